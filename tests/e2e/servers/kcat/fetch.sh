# Puts Debian's kcat, and the libraries it needs that the system does not have, into the folder $1. Neither root nor any change
# of the system is needed for that: apt keeps its lists and packages here.
set -eu
out=$1
export LC_ALL=C

apt() {
  apt-get -q -o Dir::Cache="$PWD" -o Dir::Cache::archives="$PWD/archives" -o Dir::State::lists="$PWD/lists" \
    -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true "$@"
}
mkdir -p archives/partial lists/partial
apt update
if ! apt --yes --no-install-recommends --download-only install "kcat=$VERSION*"; then
  echo "Debian 12 and 13 have kcat $VERSION; elsewhere, install a kcat that is on the PATH."
  exit 1
fi
for package in archives/*.deb; do
  dpkg-deb -x "$package" "$out"
done

cat > "$out/kcat" <<'END'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
for folder in "$here"/lib/*-linux-gnu "$here"/usr/lib/*-linux-gnu; do
  LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "$here/usr/bin/kcat" "$@"
END
chmod +x "$out/kcat"
"$out/kcat" -V
