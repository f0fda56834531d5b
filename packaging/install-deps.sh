#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what imgbox needs from the distribution's packages, as root.
#
# usage: install-deps.sh build | test
#
# build: the compilers and libraries of `make` and `make static`.
# test:  also the tools that the tests run, and the reference tools (peers.sh).
# Safe to run again: it asks the archive only for packages that are missing.
set -eu

build_packages='gcc make pkg-config libc6-dev zlib1g-dev libdeflate-dev libzstd-dev libbz2-dev liblzma-dev nettle-dev
                libargon2-dev libgnutls28-dev libnbd-dev libcurl4-gnutls-dev libssh-dev libnfs-dev libiscsi-dev
                musl-tools linux-libc-dev'
test_packages='bats shellcheck clang libclang-rt-14-dev python3 e2fsprogs mount util-linux strace btrfs-progs
               7zip cryptsetup-bin openssl libvmdk-utils bximage libvhdi-utils dmg2img cloop-utils python3-libqcow
               gnutls-bin procps nbdkit libnbd-bin python3-libnbd nbd-client nginx-light vsftpd openssh-server
               iproute2 nfs-ganesha nfs-ganesha-vfs rpcbind tgt'

usage() {
    echo "usage: $0 build | test" >&2
    exit 2
}

die() {
    echo "$0: $*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
case ${1-} in
    build) packages="$build_packages e2fsprogs" ;;
    test) packages="$build_packages $test_packages" ;;
    *) usage ;;
esac
[ $# -eq 1 ] || usage

if [ ! -e /etc/debian_version ] || ! command -v apt-get > /dev/null; then
    die "knows only Debian and its apt-get; install the counterparts of these by hand: $packages"
fi

installed() {
    case $(dpkg-query -W -f '${Status}' "$1" 2> /dev/null || :) in
        'install ok installed') return 0 ;;
    esac
    return 1
}

missing=
for package in $packages; do
    installed "$package" || missing="$missing $package"
done

if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || die "must be root to install:$missing"
    export DEBIAN_FRONTEND=noninteractive
    echo "installing:$missing"
    apt-get -o Acquire::Retries=3 update -q > /dev/null
    # shellcheck disable=SC2086
    apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install -y -q --no-install-recommends $missing > /dev/null
fi

if [ "$1" = test ]; then
    sh "$here/peers.sh"
fi
echo "$1: all packages are there"
