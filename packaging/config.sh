#!/bin/sh
# Write the build's configuration as a makefile fragment on standard output.
#
# usage: config.sh [FILE]
#
# FILE (make CONFIG=FILE) chooses by hand, a line each: `zstd=off`, `zlib=on` (then a
# missing library is an error), `driver.qcow2=off`.  What it does not name is
# built in when its library is found.  Comment lines of the result are what `make config` shows.
set -eu
file=${1-}
pkg=${PKG_CONFIG:-pkg-config}

choice() {
    chosen=
    if [ -n "$file" ]; then
        chosen=$(sed -n "s/^$1=\(on\|off\)[[:space:]]*\$/\1/p" "$file" | tail -n 1)
    fi
    echo "${chosen:-auto}"
}

cflags='' libs=''
# Is it wanted, and does the command find it?  Says why not.
taken() {  # name, what it is for, what is said to be missing, command...
    want=$(choice "$1") name=$1 about=$2 missing=$3
    shift 3
    if [ "$want" = off ]; then
        echo "# $name: off by choice ($about)"
        return 1
    fi
    ! "$@" 2> /dev/null || return 0
    if [ "$want" = on ]; then
        echo "config: $name is asked for, but $missing" >&2
        exit 1
    fi
    echo "# $name: not found, left out ($about)"
    return 1
}

library() {  # name, pkg-config module, macro, what it is for
    taken "$1" "$4" "pkg-config does not find $2" "$pkg" --exists "$2" || return 0
    cflags="$cflags -D$3 $("$pkg" --cflags "$2")"
    libs="$libs $("$pkg" --libs "$2")"
    echo "# $1: yes, $("$pkg" --modversion "$2") ($4)"
}

# One that pkg-config does not know everywhere: whether a program with it can be linked.
plain_library() {  # name, header, function, library, macro, what it is for
    taken "$1" "$6" "$2 and -l$4 are not found" links "$2" "$3" "$4" || return 0
    cflags="$cflags -D$5"
    libs="$libs -l$4"
    echo "# $1: yes ($6)"
}

links() {  # header, function, library
    printf '#include <%s>\nint main(void) { return !%s(); }\n' "$1" "$2" |
        "${CC:-cc}" -x c -o /dev/null - "-l$3"
}

library libdeflate libdeflate HAVE_LIBDEFLATE 'fast deflate, for compressed clusters'
library zlib zlib HAVE_ZLIB 'deflate where libdeflate is not built in'
library zstd libzstd HAVE_ZSTD 'compression_type=zstd'
library libmd libmd HAVE_LIBMD 'digests: img-digest, convert --digest'
library xz liblzma HAVE_LZMA 'dmg: chunks of ULMO images'
plain_library bzip2 bzlib.h BZ2_bzlibVersion bz2 HAVE_BZIP2 'dmg: chunks of UDBZ images'

off=
for driver in ${DRIVERS-}; do
    if [ "$(choice "driver.$driver")" = off ]; then
        off="$off $driver"
        echo "# driver $driver: off by choice, its images are only recognised"
    else
        echo "# driver $driver: yes"
    fi
done

static=''
if command -v musl-gcc > /dev/null 2>&1; then
    static=musl-gcc
    echo '# static build: with musl'
else
    echo '# static build: with the C library of the compiler (musl-gcc is not installed; it makes a smaller file)'
fi

cat <<EOF
CONFIG_CFLAGS := $cflags
CONFIG_LIBS := $libs
DRIVERS_OFF := $off
STATIC_CC := $static
EOF
