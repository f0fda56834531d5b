#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what imgbox needs from the distribution's packages, as root.
#
# usage: install-deps.sh build | network | test [--no-peers] | long [--no-peers]
#
# build: the compilers and libraries of `make` and `make static`.
# network: also what `make static CONFIG=packaging/network.config` needs to build libraries from source, on Debian 12.
# test:  also the tools that the tests run, and the reference tools (peers.sh), unless --no-peers is given.  On Debian 12
#        these come from the suite of backports, which is added to the sources of apt.
# long:  also what only `make check-long` needs: the tools that build packages, other processors, an emulated machine and
#        its kernel; and the servers of Ceph and Gluster, which `make check` tests, too, where they are.
# Safe to run again: it asks the archive only for packages that are missing.
#
# Tried on Debian 12 and 13.  The names for Ubuntu, Fedora, Alpine and Arch are written from their lists of packages, and
# not tried.  A package that a release does not have is left out, and named: the build then leaves out a driver, and
# tests are skipped.
set -eu

# The packages of a manager.  a|b: the first that the release has.
list() {  # manager, build, network, test or long
    case $1-$2 in
    apt-build) echo 'gcc make pkg-config libc6-dev zlib1g-dev libdeflate-dev libzstd-dev libbz2-dev liblzma-dev nettle-dev
              libargon2-dev libgnutls28-dev libnbd-dev libcurl4-gnutls-dev libssh-dev libnfs-dev libiscsi-dev
              librbd-dev librados-dev libglusterfs-dev uuid-dev musl-tools linux-libc-dev e2fsprogs' ;;
    apt-network) echo 'libgmp-dev dpkg-dev debian-archive-keyring' ;;
    apt-test) echo 'bats shellcheck clang libclang-rt-19-dev|libclang-rt-18-dev|libclang-rt-14-dev python3 mount util-linux
              strace btrfs-progs 7zip cryptsetup-bin openssl libvmdk-utils bximage libvhdi-utils dmg2img cloop-utils
              python3-libqcow gnutls-bin procps nbdkit libnbd-bin python3-libnbd nbd-client nginx-light|nginx vsftpd
              openssh-server openssh-client iproute2 nfs-ganesha nfs-ganesha-vfs rpcbind tgt zsh fish lowdown mandoc groff-base
              ca-certificates zstd xz-utils bzip2' ;;
    apt-long) echo 'debootstrap dpkg-dev debhelper lintian rpm busybox-static qemu-system-x86 qemu-user-static|qemu-user
              gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-i686-linux-gnu libc6-dev-i386-cross fio ceph-mon ceph-osd
              ceph-common glusterfs-server glusterfs-client' ;;
    dnf-build) echo 'gcc make pkgconf-pkg-config glibc-devel zlib-devel libdeflate-devel libzstd-devel bzip2-devel xz-devel
              nettle-devel libargon2-devel gnutls-devel libnbd-devel libcurl-devel libssh-devel libnfs-devel
              libiscsi-devel musl-gcc kernel-headers e2fsprogs' ;;
    dnf-test) echo 'bats ShellCheck clang compiler-rt python3 util-linux strace btrfs-progs 7zip cryptsetup openssl
              gnutls-utils procps-ng nbdkit libnbd python3-libnbd nbd nginx vsftpd openssh-server iproute nfs-ganesha
              nfs-ganesha-vfs rpcbind scsi-target-utils zsh fish zstd xz bzip2' ;;
    apk-build) echo 'gcc make pkgconf musl-dev zlib-dev zlib-static libdeflate-dev libdeflate-static zstd-dev zstd-static
              bzip2-dev bzip2-static xz-dev xz-static nettle-dev nettle-static argon2-dev argon2-static gnutls-dev
              libnbd-dev curl-dev libssh-dev libnfs-dev linux-headers e2fsprogs bash' ;;
    apk-test) echo 'bats shellcheck clang compiler-rt python3 util-linux strace btrfs-progs 7zip cryptsetup openssl
              gnutls-utils procps nbdkit libnbd nbd-client nginx vsftpd openssh iproute2 rpcbind coreutils findutils
              grep sed diffutils zsh fish zstd xz bzip2' ;;
    pacman-build) echo 'gcc make pkgconf zlib libdeflate zstd bzip2 xz nettle argon2 gnutls libnbd curl libssh libnfs libiscsi
              musl linux-api-headers e2fsprogs' ;;
    pacman-test) echo 'bash-bats shellcheck clang compiler-rt python util-linux strace btrfs-progs 7zip cryptsetup openssl
              nbdkit nbd nginx vsftpd openssh iproute2 rpcbind zsh fish zstd xz bzip2' ;;
    esac
}

usage() {
    echo "usage: $0 build | network | test [--no-peers] | long [--no-peers]" >&2
    exit 2
}

die() {
    echo "$0: $*" >&2
    exit 1
}

# How this system installs packages.
manager() {
    for name in apt-get dnf apk pacman; do
        if command -v "$name" > /dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    die "knows apt-get, dnf, apk and pacman; install the counterparts of these by hand: $(list apt build)"
}

# ---- One function of each kind for a manager: is it installed, does the archive have it, install it

has_apt() {
    case $(dpkg-query -W -f '${Status}' "$1" 2> /dev/null || :) in
        'install ok installed') return 0 ;;
    esac
    return 1
}
refresh_apt() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o Acquire::Retries=3 update -q > /dev/null
}
knows_apt() {
    [ -n "$(apt-cache madison "$1" 2> /dev/null)" ]
}
add_apt() {
    apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install -y -q --no-install-recommends "$@" > /dev/null
}

has_dnf() { rpm -q --quiet "$1"; }
refresh_dnf() { dnf -q -y makecache > /dev/null; }
knows_dnf() { [ -n "$(dnf -q repoquery --whatprovides "$1" 2> /dev/null)" ]; }
add_dnf() { dnf -q -y install --setopt=install_weak_deps=False "$@" > /dev/null; }

has_apk() { apk info -e -q "$1"; }
refresh_apk() { apk update -q; }
knows_apk() { [ -n "$(apk search -x "$1" 2> /dev/null)" ]; }
add_apk() { apk add -q "$@"; }

has_pacman() { pacman -Q "$1" > /dev/null 2>&1; }
refresh_pacman() { pacman -Sy --noconfirm > /dev/null; }
knows_pacman() { pacman -Si "$1" > /dev/null 2>&1; }
add_pacman() { pacman -S --noconfirm --needed "$@" > /dev/null; }

# ---- The work

peers=1
[ "${2-}" != --no-peers ] || peers=
case $#,${1-},${2-} in
    1,build, | 1,network, | 1,test, | 2,test,--no-peers | 1,long, | 2,long,--no-peers) ;;
    *) usage ;;
esac
kind=$(manager)
kind=${kind%-get}
packages=$(list "$kind" build)
[ "$1" = build ] || packages="$packages $(list "$kind" network)"
case $1 in test | long) packages="$packages $(list "$kind" test)" ;; esac
[ "$1" != long ] || packages="$packages $(list "$kind" long)"

# Is one of a|b|c installed?
satisfied() {
    for one in $(echo "$1" | tr '|' ' '); do
        ! "has_$kind" "$one" || return 0
    done
    return 1
}

# The first of a|b|c that the archive has.
pick() {
    for one in $(echo "$1" | tr '|' ' '); do
        if "knows_$kind" "$one"; then
            echo "$one"
            return
        fi
    done
    echo "not in this release, left out: $1" >&2
}

missing=
for package in $packages; do
    satisfied "$package" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || die "must be root to install:$missing"
    "refresh_$kind"
    picked=
    for package in $missing; do
        picked="$picked $(pick "$package")"
    done
    # shellcheck disable=SC2086
    set -- "$1" $picked
    if [ $# -gt 1 ]; then
        echo "installing:$picked"
        # shellcheck disable=SC2086
        "add_$kind" $picked
    fi
fi

case $1 in test | long) ;; *) peers= ;; esac
if [ -n "$peers" ]; then
    if [ "$kind" = apt ]; then
        sh "$(dirname "$0")/peers.sh"
        [ "$1" != long ] || sh "$(dirname "$0")/lio.sh"
    else
        echo "the reference tools are installed on Debian only: comparisons with them are skipped"
    fi
fi
echo "$1: all packages are there"
