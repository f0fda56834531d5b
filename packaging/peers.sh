#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the reference tools of the tests side by side, on Debian 12 or 13, as root.
#
# usage: peers.sh [DIR]              (default: $PEERS, else /opt/peers)
#
# Fills DIR/10.0/usr/bin and DIR/7.2/usr/bin with qemu-img, qemu-io and
# qemu-nbd of these versions, which run from there: 7.2 is qemu-utils of
# Debian 12, 10.0 its backport, or that of Debian 13, which has no 7.2: the
# comparisons with it are skipped there.  With QEMU_MODULE_DIR set to
# DIR/10.0/usr/lib/.../qemu they have their network drivers, too.  Only the
# tests use them.  Safe to run again.
set -eu

dir=${1:-${PEERS:-/opt/peers}}
suite=bookworm-backports
retry='-o Acquire::Retries=3'
# of the network drivers that the tests compare with
network_libraries='libcurl3-gnutls libcurl3t64-gnutls libssh-4 libiscsi7 libnfs13 libnfs14 librbd1'

die() {
    echo "$0: $*" >&2
    exit 1
}

# Is the tool of that version installed with its network drivers, and does it start?
stands() {
    set -- "$1" "$dir/$1"/usr/lib/*/qemu/block-curl.so
    [ -e "$2" ] || return 1
    case $("$dir/$1/usr/bin/qemu-img" --version 2> /dev/null) in
        "qemu-img version $1."*) return 0 ;;
    esac
    return 1
}

show() {
    for v in 7.2 10.0; do
        [ -e "$dir/$v" ] || continue
        printf '%s: ' "$v"
        "$dir/$v/usr/bin/qemu-img" --version | head -n 1
    done
}

# The configured archive, with the backports suite instead of the release:
# from deb822 files (*.sources), else from one-line files.
backports_source() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        grep -v '^#' "$file" | awk -v suite="$suite" '
            BEGIN { RS = ""; FS = "\n" }
            {
                found = 0
                for (i = 1; i <= NF; i++)
                    if ($i ~ /^Suites:/ && (" " substr($i, 8) " ") ~ / bookworm /)
                        found = 1
                if (!found || done++)
                    next
                for (i = 1; i <= NF; i++) {
                    if ($i ~ /^Types:/) $i = "Types: deb"
                    if ($i ~ /^Suites:/) $i = "Suites: " suite
                    if ($i ~ /^Components:/) $i = "Components: main"
                    print $i
                }
            }' > "$tmp/found"
        if [ -s "$tmp/found" ]; then
            mv "$tmp/found" "$tmp/imgbox-backports.sources"
            return 0
        fi
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        sed -n "s/^deb \(\[[^]]*\] *\)\{0,1\}\([^ ]*\) bookworm .*/deb \1\2 $suite main/p" "$file" |
            head -n 1 > "$tmp/found"
        if [ -s "$tmp/found" ]; then
            mv "$tmp/found" "$tmp/imgbox-backports.list"
            return 0
        fi
    done
    die 'found no source line of the suite "bookworm" under /etc/apt'
}

# The newest version of qemu-utils whose upstream part begins with $1.
version_of() {
    apt-cache madison qemu-utils | awk -v want="1:$1" 'index($3, want) == 1 && !n++ { print $3 }'
}

# Packages that a package of that version depends on, without version bounds.
needs() {
    apt-cache show "qemu-utils=$1" | sed -n 's/^Depends: //p' | head -n 1 |
        tr ',' '\n' | sed -e 's/|.*//' -e 's/(.*//' -e 's/ //g'
}

# Those of the packages that the release has.
known() {
    for package; do
        [ -z "$(apt-cache madison "$package")" ] || echo "$package"
    done
}

unpack() {
    version=$(version_of "$1")
    [ -n "$version" ] || die "the archive has no qemu-utils $1"
    # shellcheck disable=SC2046,SC2086
    apt-get $retry install -y -q --no-install-recommends $(needs "$version") $(known $network_libraries) > /dev/null
    mkdir "$tmp/$1"
    # shellcheck disable=SC2086
    (cd "$tmp/$1" && apt-get $retry -o APT::Sandbox::User=root download -q "qemu-utils=$version" \
        "qemu-block-extra=$version" > /dev/null)
    rm -rf "${dir:?}/$1"
    mkdir -p "$dir/$1"
    for package in "$tmp/$1"/*.deb; do
        dpkg -x "$package" "$dir/$1"
    done
    stands "$1" || die "$dir/$1/usr/bin/qemu-img does not run"
}

if stands 10.0 && stands 7.2; then
    show
    exit 0
fi

[ "$(id -u)" -eq 0 ] || die 'must be root'
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
[ -n "$(version_of 7.2)" ] || apt-get $retry update -q > /dev/null
if [ -z "$(version_of 10.0)" ]; then
    backports_source
    for file in "$tmp"/imgbox-backports.*; do
        cp "$file" /etc/apt/sources.list.d/
    done
    # shellcheck disable=SC2086
    apt-get $retry update -q > /dev/null
fi
if [ -z "$(version_of 7.2)" ]; then
    echo 'this release has no qemu-utils 7.2: comparisons with it are skipped'
elif ! stands 7.2; then
    unpack 7.2
fi
stands 10.0 || unpack 10.0
show
