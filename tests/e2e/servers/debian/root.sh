#!/bin/sh
# Makes a clean Debian as a tar file: the packages that every Debian has, and those that are named. It is the release that
# runs here, so that what is built here runs there. The system's own apt sources say from where; nothing of the system is
# changed.
set -eu
tar=$1
shift
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")

# Lists and packages of our own, so that neither an `apt-get update` is needed nor one done.
mkdir -p apt/lists/partial apt/cache/archives/partial tool
cat > apt.conf <<EOF
Dir::State::Lists "$PWD/apt/lists";
Dir::Cache "$PWD/apt/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
EOF
export APT_CONFIG="$PWD/apt.conf"
apt-get -q update
apt-get -q download mmdebstrap
dpkg-deb -x mmdebstrap_*.deb tool
# Everybody's sources also name what is not Debian's, and other suites.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' "Created-By: Packages" |
    awk -v suite="$suite" -v keyring="$keyring" '
        $2 == suite && $3 == "main" { print "deb [signed-by=" keyring "] " $1 " " $2 " " $3 }' |
    sort -u > sources.list
if [ ! -s sources.list ]; then
    echo "apt knows no sources of Debian $suite" >&2
    exit 1
fi
mkdir -p tmp
export TMPDIR="$PWD/tmp"
packages=$(IFS=,; echo "$*")
perl tool/usr/bin/mmdebstrap --variant=required ${packages:+--include="$packages"} \
    --dpkgopt=force-unsafe-io --aptopt='APT::Sandbox::User "root"' \
    "$suite" "$tar" - < sources.list
