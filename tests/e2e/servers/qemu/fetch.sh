# Puts Debian's emulator of aarch64, one static file, into the folder $1. Neither root nor any change of the system is needed for
# that: apt keeps its lists and packages here.
set -eu
apt() {
  apt-get -q -o Dir::Cache="$PWD" -o Dir::State::lists="$PWD/lists" -o APT::Sandbox::User="$(id -un)" \
    -o Debug::NoLocking=true "$@"
}
mkdir -p archives/partial lists/partial
apt update
if ! apt download "qemu-user-static=1:$VERSION*"; then
  echo "Debian 12 has QEMU $VERSION; elsewhere, set QEMU_AARCH64 to the path of a qemu-aarch64 that is static."
  exit 1
fi
dpkg-deb -x qemu-user-static_*.deb package
cp package/usr/bin/qemu-aarch64-static "$1"
"$1/qemu-aarch64-static" --version
