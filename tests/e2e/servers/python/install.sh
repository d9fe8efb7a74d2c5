# Makes a virtual environment in the folder $1, with what requirements.txt names, and imports the modules $2 to see that it works. It
# stays one when the folder is moved.
set -eu
out=$1
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "This takes Python 3.11 or newer."; exit 1; }
# Debian has pip in a package of its own, in it a wheel that runs as it is. Nothing of the system is changed to get it.
pip="python3 -m pip"
if ! $pip --version; then
  mkdir -p lists/partial archives/partial
  apt() {
    apt-get -q -o Dir::Cache="$PWD" -o Dir::Cache::archives="$PWD/archives" -o Dir::State::lists="$PWD/lists" \
      -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true "$@"
  }
  if ! { apt update && apt download python3-pip-whl; }; then
    echo "python3 has no pip, and apt has none: install it."
    exit 1
  fi
  dpkg-deb -x python3-pip-whl_*.deb pip
  pip="python3 $(echo pip/usr/share/python-wheels/pip-*.whl)/pip"
fi
python3 -m venv --without-pip "$out"
$pip --python "$out/bin/python3" install --no-deps --only-binary :all: --require-hashes --requirement requirements.txt
"$out/bin/python3" -c "import $2"
