#!/bin/sh
# SPDX-License-Identifier: MIT
# Libraries for the static file of which the distribution has no archive that fits.
#
# usage: sources.sh build network | zstd-small SYSROOT FOLDER COMPILER...
#        sources.sh libs DRIVER
#
# build: adds headers and archives to SYSROOT (see sysroot.sh), working in FOLDER.  Sources are those of the distribution,
#        which apt-get fetches and verifies (MIRROR: from where; the release's own corrections are in them).
#        network: what the network drivers need.  nettle's public-key half, GMP, libnfs and libiscsi come from the
#        archives that the distribution has: they use little of the C library, and packaging/slim-chk.c has what musl
#        lacks of it.  GnuTLS, libcurl and libnbd are compiled, for size and without what an initramfs has no use for.
#        zstd-small: zstd, as its makefile calls minified, with a section for each function.
# libs:  prints what to link for a driver; fails for one that the static file cannot have.
#
# TLS is GnuTLS, as in the other builds: one library for https and for NBD, and the same messages.
set -eu
mirror=${MIRROR:-http://deb.debian.org/debian}
release=bookworm
tls='-lgnutls -lhogweed -lgmp -lnettle'

die() {
    echo "sources.sh: $*" >&2
    exit 1
}

libs() {
    case $1 in
        curl) echo "-lcurl $tls" ;;
        tls) echo "$tls" ;;
        nbd) echo -lnbd ;;
        nfs) echo -lnfs ;;
        iscsi) echo -liscsi ;;
        *) return 1 ;;
    esac
}

# ---- Sources ---------------------------------------------------------------------------------

# apt-get with lists of its own, so that the machine's stay as they are.
apt() {
    apt-get -q -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Retries=3 "$@"
}

prepared=
prepare_apt() {
    [ -z "$prepared" ] || return 0
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$key" ] || die "needs $key, to verify the sources"
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache"
    for suite in "$mirror $release" "$mirror $release-updates" "$mirror-security $release-security"; do
        echo "deb-src [signed-by=$key] $suite main"
    done > "$work/apt/sources.list"
    apt update > "$work/apt.log" 2>&1 || die "cannot fetch the list of sources from $mirror (see $work/apt.log)"
    prepared=yes
}

# Fetch a source package: the newest, or, if the mirror does not have that (yet), the one of the release.
fetch() {  # NAME
    (cd "$work/packages" && apt source --download-only "$1") > "$work/$1.log" 2>&1 ||
        (cd "$work/packages" && apt source --download-only "$1/$release") >> "$work/$1.log" 2>&1
}

# Unpack a source package as $work/NAME; the upstream version must be the one that is known to build.
unpack() {  # NAME UPSTREAM-VERSION
    mkdir -p "$work/packages"
    rm -f "$work/packages/$1"_*.dsc
    fetch "$1" || die "cannot fetch the source of $1 (see $work/$1.log)"
    for description in "$work/packages/$1_$2-"*.dsc; do
        [ -e "$description" ] || die "the source of $1 is not version $2"
    done
    rm -rf "${work:?}/$1"
    # (apt-get has verified it)
    dpkg-source --no-check -x "$description" "$work/$1" >> "$work/$1.log" 2>&1 || die "cannot unpack $1"
    basename "$description" .dsc > "$work/$1.version"
}

# ---- Building --------------------------------------------------------------------------------

# Archives and headers as the distribution has them.
take() {  # LIBRARY HEADER
    archive=$("$1" -print-file-name="$2.a")
    [ -e "$archive" ] || die "no $2.a: run packaging/install-deps.sh network"
    library=$2 header=$3
    for from in "/usr/include/$("$1" -print-multiarch)/$header" "/usr/include/$header"; do
        [ ! -e "$from" ] || ln -sfn "$from" "$sysroot/include/$header"
    done
    shift 3
    sh "$here/slim.sh" "$library" "$archive" "$sysroot/lib" "$compiler" "$@" -isystem "$sysroot/include"
}

configure() {  # NAME OPTION...
    name=$1
    shift
    cd "$work/$name" || return
    # (the generated files are as they are to be; their dates may say otherwise)
    export AUTOCONF=: AUTOMAKE=: ACLOCAL=: AUTOHEADER=:
    ./configure --host="$(uname -m)-linux-musl" --prefix="$sysroot" --disable-shared --enable-static \
        --disable-dependency-tracking "$@" \
        CC="$compiler" CFLAGS='-Os -w -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables' \
        CPPFLAGS="-isystem $sysroot/include" LDFLAGS="-L$sysroot/lib" LIBS="$libs $sysroot/lib/chk.o"
}

libs=''
jobs=$(nproc)
unset MAKEFLAGS MFLAGS MAKELEVEL

# No smart cards, internationalised names, GOST, SRP, compression.  nettle has the instructions of processors for AES.
# (A correction of the release adds two files of gnulib, but only automake would put them into the makefile.)
build_gnutls28() {
    export NETTLE_CFLAGS=' ' NETTLE_LIBS=-lnettle HOGWEED_CFLAGS=' ' HOGWEED_LIBS='-lhogweed -lgmp' \
        GMP_CFLAGS=' ' GMP_LIBS=-lgmp
    configure gnutls28 --with-default-trust-store-file=/etc/ssl/certs/ca-certificates.crt --disable-doc \
        --disable-tools --disable-cxx --disable-tests --disable-full-test-suite --disable-nls --disable-guile \
        --disable-libdane --disable-gost --disable-srp-authentication --disable-heartbeat-support \
        --disable-ssl2-support --disable-ssl3-support --disable-ktls --disable-hardware-acceleration \
        --disable-maintainer-mode --without-p11-kit --without-idn --without-tpm --without-tpm2 --without-zlib \
        --without-brotli --without-zstd --with-included-unistring --with-included-libtasn1 &&
    make -j "$jobs" -C gl &&
    make -C gl gl_list.lo gl_linkedhash_list.lo &&
    make -j "$jobs" -C lib &&
    make -C lib install &&
    "$("$compiler" -print-prog-name=ar)" r "$sysroot/lib/libgnutls.a" gl/gl_list.o gl/gl_linkedhash_list.o
}

# http, https, ftp, ftps, proxies, cookies, basic and digest authentication.
build_curl() {
    libs='-lhogweed -lgmp -lnettle'
    PKG_CONFIG=false configure curl --with-gnutls="$sysroot" \
        --with-ca-bundle=/etc/ssl/certs/ca-certificates.crt --enable-threaded-resolver \
        --disable-file --disable-ldap --disable-ldaps --disable-rtsp --disable-dict --disable-telnet --disable-tftp \
        --disable-pop3 --disable-imap --disable-smb --disable-smtp --disable-gopher --disable-mqtt --disable-manual \
        --disable-ntlm --disable-ntlm-wb --disable-tls-srp --disable-unix-sockets --disable-alt-svc --disable-hsts \
        --disable-doh --disable-netrc --disable-ares --disable-libcurl-option --disable-mime --disable-form-api \
        --disable-bearer-auth --disable-aws --disable-get-easy-options --disable-negotiate-auth \
        --disable-kerberos-auth --without-zlib --without-brotli --without-zstd --without-nghttp2 --without-libpsl \
        --without-libidn2 --without-librtmp --without-libssh2 &&
    make -j "$jobs" -C lib &&
    make -C lib install &&
    make -C include install
}

# Without URIs and TLS: the driver has its own.
build_libnbd() {
    configure libnbd --without-gnutls --without-libxml2 --disable-ocaml --disable-python --disable-golang \
        --disable-rust --disable-fuse --disable-ublk --without-bash-completions &&
    make -C common/utils libutils.la &&
    make -j "$jobs" -C lib &&
    make -C lib install &&
    make -C include install
}

# Only what imgbox calls: no dictionaries are made, and no formats before version 0.8 are read.
build_libzstd() {
    make -j "$jobs" -C "$work/libzstd/lib" libzstd.a CC="$compiler" AR="$("$compiler" -print-prog-name=ar)" \
        ZSTD_LIB_MINIFY=1 ZSTD_LIB_DICTBUILDER=0 ZSTD_LIB_DEPRECATED=0 ZSTD_LEGACY_SUPPORT=0 \
        MOREFLAGS='-w -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables'
}

# (what is finished is kept when a later one fails)
from_source() {  # NAME UPSTREAM-VERSION
    if [ -z "$(find "$work/$1.done" -newer "$here/sources.sh" 2> /dev/null)" ]; then
        prepare_apt
        unpack "$1" "$2"
        ("build_$1") >> "$work/$1.log" 2>&1 || die "cannot build $1 (see $work/$1.log)"
        touch "$work/$1.done"
    fi
    echo "$1: $(cat "$work/$1.version"), from source"
}

build_network() {
    take "$compiler" libgmp gmp.h "$@"
    take "$compiler" libhogweed nettle "$@"
    take "$compiler" libnfs nfsc "$@"
    take "$compiler" libiscsi iscsi "$@"
    from_source gnutls28 3.7.9
    from_source curl 7.88.1
    from_source libnbd 1.14.2
}

build_zstd_small() {
    from_source libzstd 1.5.4+dfsg2
    sh "$here/slim.sh" libzstd "$work/libzstd/lib/libzstd.a" "$sysroot/lib" "$compiler" "$@" \
        -isystem "$sysroot/include"
}

build() {
    what=build_$(echo "$1" | tr - _) sysroot=$(cd "$2" && pwd) compiler=$4
    mkdir -p "$3"
    work=$(cd "$3" && pwd) here=$(cd "$(dirname "$0")" && pwd)
    shift 4
    [ "$(. /etc/os-release && echo "${VERSION_CODENAME-}")" = "$release" ] ||
        die "knows the sources of Debian $release only"
    command -v dpkg-source > /dev/null || die 'no dpkg-source: run packaging/install-deps.sh network'
    "$what" "$@"
}

case ${1-},${2-} in
    build,network | build,zstd-small) shift; build "$@" ;;
    libs,*) libs "$2" ;;
    *) echo "usage: $0 build network | zstd-small SYSROOT FOLDER COMPILER... | libs DRIVER" >&2; exit 2 ;;
esac
