#!/bin/sh
# Write the build's configuration as a makefile fragment on standard output.
#
# usage: config.sh [FILE]
#
# FILE (make CONFIG=FILE) has one choice per line: `zstd=off`, `zlib=on` (then a missing library is an error),
# `driver.qcow2=off`, `driver.blkdebug=on` (built in) or `=module`.  Anything else is built in if its library is found;
# a driver with IMG_MODULE becomes a module.  Any other line that is no comment is an error.  `make config` shows the
# comment lines of the result, summary.sh what they mean.
set -eu
file=${1-}
pkg=${PKG_CONFIG:-pkg-config}
here=$(dirname "$0")
# musl-gcc finds no library of the system.  The usual compiler does; archives are linked then (sysroot.sh), and drivers
# whose libraries are shared ones are left out.
musl=''
case ${CC:-cc} in
    musl-gcc | */musl-gcc) musl=yes CC=cc ;;
esac

command -v "$pkg" > /dev/null || echo "# pkg-config: not found ('$pkg'), so most libraries cannot be looked for"
exists() {  # module and version, as in the IMG_MODULE of a driver
    "$pkg" --exists "$1" 2> /dev/null
}

choice() {
    chosen=
    if [ -n "$file" ]; then
        chosen=$(sed -n "s/^$1=\(on\|off\|module\)[[:space:]]*\$/\1/p" "$file" | tail -n 1)
    fi
    echo "${chosen:-auto}"
}

cflags='' libs='' found='' names='' requires='' plain=''
# Is the library enabled, and does the command find it?  Prints the reason if not.
taken() {  # name, what it is for, what is said to be missing, command...
    want=$(choice "$1") name=$1 about=$2 missing=$3
    names="$names $1"
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
    taken "$1" "$4" "pkg-config does not find $2" exists "$2" || return 0
    cflags="$cflags -D$3 $("$pkg" --cflags "$2")"
    libs="$libs $("$pkg" --libs "$2")"
    found="$found $1"
    requires="$requires${requires:+, }$2"
    echo "# $1: yes, $("$pkg" --modversion "$2") ($4)"
}

# For a library without pkg-config file on some systems: try to link a program with it.
plain_library() {  # name, header, function, library, macro, what it is for
    taken "$1" "$6" "$2 and -l$4 are not found" links "$2" "$3" "-l$4" || return 0
    cflags="$cflags -D$5"
    libs="$libs -l$4"
    plain="$plain -l$4"
    found="$found $1"
    echo "# $1: yes ($6)"
}

# For a part of the C library that others leave out.
c_library() {  # name and header, expression, macro, what it is for
    taken "$1" "$4" "<$1.h> is not usable" compiles "$1.h" "$2" || return 0
    cflags="$cflags -D$3"
    echo "# $1: yes ($4)"
}

compiles() {  # header, expression
    printf '#include <%s>\nint main(void) { return !%s; }\n' "$1" "$2" | "${CC:-cc}" -x c -o /dev/null -
}

links() {  # header, function, what links it...
    header=$1 function=$2
    shift 2
    printf '#include <%s>\nint main(void) { void *volatile f = (void *)%s; return !f; }\n' "$header" "$function" |
        "${CC:-cc}" -x c -o /dev/null - "$@"
}

library libdeflate libdeflate HAVE_LIBDEFLATE 'fast deflate, for compressed clusters'
library zlib zlib HAVE_ZLIB 'gzip files; compressed clusters where libdeflate is not built in'
library zstd libzstd HAVE_ZSTD 'compression_type=zstd, zstd files'
library nettle nettle HAVE_NETTLE 'encryption: luks, encrypted qcow2 and qcow, encrypted secrets; digests: img-digest'
library argon2 libargon2 HAVE_ARGON2 'luks version 2: key slots with Argon2'
library xz liblzma HAVE_LZMA 'xz files; dmg: chunks of ULMO images'
plain_library bzip2 bzlib.h BZ2_bzlibVersion bz2 HAVE_BZIP2 'bzip2 files; dmg: chunks of UDBZ images'
# In the C library; the static file has tables of its own.
c_library iconv 'iconv_close(iconv_open("UTF-8", "GBK"))' HAVE_ICONV 'vmdk: names of files that are not in UTF-8'

# ---- Is each line of the file a choice?

# The nearest of the names, as an ending of a message.
meant() {  # word, name...
    word=$1
    shift
    nearest=$(printf '%s\n' "$@" | awk -v word="$word" -f "$here/nearest.awk")
    [ -z "$nearest" ] || echo " (did you mean '$nearest'?)"
}

check_line() {  # line
    name=${1%%=*} value=${1#*=}
    # shellcheck disable=SC2086
    case " $names " in
        *" $name "*) ;;
        *) echo "unknown name '$name'$(meant "$name" $names)"; return ;;
    esac
    case $name:$value in
        "$1:"*) echo "'$name' needs a value, on or off" ;;
        *:on | *:off | driver.*:module) ;;
        driver.*) echo "'$name' is on, off or module, not '$value'$(meant "$value" on off module)" ;;
        *) echo "'$name' is on or off, not '$value'$(meant "$value" on off)" ;;
    esac
}

check_file() {
    number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=$(printf '%s' "$line" | sed 's/[[:space:]]*$//')
        case $line in
            '' | '#'*) continue ;;
        esac
        said=$(check_line "$line")
        [ -z "$said" ] || echo "config: $file:$number: $said"
    done < "$file"
}

names="$names sources zstd-small"
for driver in ${DRIVERS-}; do
    names="$names driver.$driver"
done
if [ -n "$file" ]; then
    wrong=$(check_file)
    [ -z "$wrong" ] || {
        echo "$wrong" >&2
        exit 1
    }
fi

# ---- The drivers

static=''
processor() {
    machine=$("$@" -dumpmachine 2> /dev/null) || machine=unknown
    echo "${machine%%-*}"
}
# shellcheck disable=SC2086
if command -v musl-gcc > /dev/null 2>&1 && [ "$(processor ${CC:-cc})" = "$(processor musl-gcc)" ]; then
    static='musl-gcc'
    echo '# static build: with musl'
elif command -v musl-gcc > /dev/null 2>&1; then
    echo '# static build: with the C library of the compiler (musl-gcc is for another machine)'
else
    echo '# static build: with the C library of the compiler (musl-gcc is not installed; it makes a smaller file)'
fi

# The packages in a driver's IMG_MODULE.
packages_of() {
    grep -h '^IMG_MODULE("' "drivers/$1"/*.c | sed 's/^IMG_MODULE("\(.*\)");$/\1/'
}

# Are there archives of these libraries, and of all that they call?  (All members of an archive are linked, or the linker
# would not look at what they call.)
static_links() {  # libraries, library that they need...
    libraries_alone=$1
    shift
    # shellcheck disable=SC2086
    echo 'int main(void) { return 0; }' | "${static:-${CC:-cc}}" -static -x c -o /dev/null - -Wl,--whole-archive \
        $libraries_alone -Wl,--no-whole-archive "$@" 2> /dev/null
}

# The header, the function and the libraries in a driver's IMG_LINKS.
linked_by() {
    grep -h '^IMG_LINKS("' "drivers/$1"/*.c | sed 's/^IMG_LINKS("\(.*\)", "\(.*\)", "\(.*\)");$/\1 \2 \3/'
}

# The library in a driver's IMG_NEEDS.
needed_by() {
    grep -h '^IMG_NEEDS("' "drivers/$1"/*.c | sed 's/^IMG_NEEDS("\(.*\)");$/\1/'
}

# What a driver's IMG_NOT_STATIC says.
why_not_static() {
    sed -n 's/^IMG_NOT_STATIC("\(.*\)");$/\1/p' "drivers/$1"/*.c
}

# Is $needed there, or nothing needed?
has_library() {
    case " $found " in
        *" $needed "*) ;;
        *) [ -z "$needed" ] ;;
    esac
}

# Is $linked there, or nothing needed?
is_linked() {
    # shellcheck disable=SC2086
    [ -z "$linked" ] || links $linked 2> /dev/null
}

# The default for a driver: $driver, $packages, $linked.
usual_way() {
    if ! has_library; then
        echo off
    elif [ -n "$packages" ] && ! exists "$packages"; then
        echo off
    elif ! is_linked; then
        echo off
    elif [ -n "$musl" ] && [ "$sources" != on ] && [ -n "$packages$linked" ]; then
        echo off
    elif [ "$sources" = on ] && [ -n "$packages" ] && ! sh packaging/sources.sh libs "$driver" > /dev/null; then
        echo off
    elif grep -q '^IMG_MODULE("' "drivers/$driver"/*.c; then
        echo module
    else
        echo on
    fi
}

variables=''
# Libraries that the static build makes for itself: see network.config.
sources=$(choice sources)
from_source=$([ "$sources" != on ] || echo network)$([ "$(choice zstd-small)" != on ] || echo ' zstd-small')
if [ -n "$from_source" ] && [ -z "$static" ]; then
    echo 'config: sources=on and zstd-small=on need musl-gcc' >&2
    exit 1
fi
add_built_packages() {
    if ! built_libs=$(sh packaging/sources.sh libs "$driver"); then
        echo "config: driver.$driver is asked for, but sources=on has no $packages" >&2
        exit 1
    fi
    note=" ($packages, in the static file only)"
    variables="$variables
DRIVER_LIBS_$driver := $built_libs"
}

# The libraries of $driver, for the makefile.
add_packages() {
    if [ "$sources" = on ]; then
        add_built_packages
        return
    fi
    if ! exists "$packages"; then
        echo "config: driver.$driver is asked for, but pkg-config does not find $packages" >&2
        exit 1
    fi
    note=" ($packages)"
    variables="$variables
DRIVER_CFLAGS_$driver := $("$pkg" --cflags "$packages")
DRIVER_LIBS_$driver := $("$pkg" --libs "$packages")"
    # shellcheck disable=SC2046
    if ! static_links "$("$pkg" --libs "$packages")" $("$pkg" --static --libs "$packages"); then
        not_static="$not_static $driver"
        note="$note; not in the static file, which has no such library"
    fi
}

# The same for a library without a pkg-config file.
add_libraries() {
    if ! is_linked; then
        echo "config: driver.$driver is asked for, but ${linked%% *} and -${linked#* -} are not found" >&2
        exit 1
    fi
    libraries="-${linked#* -}" note=" (-${linked#* -})"
    variables="$variables
DRIVER_LIBS_$driver := $libraries"
    if ! static_links "$libraries"; then
        not_static="$not_static $driver"
        note="$note; not in the static file, which has no such library"
    fi
}

off='' modules='' not_static=''
for driver in ${DRIVERS-}; do
    packages=$(packages_of "$driver") needed=$(needed_by "$driver") note=''
    linked=$(linked_by "$driver")
    how=$(choice "driver.$driver")
    [ "$how" != auto ] || how=$(usual_way)
    if [ "$driver:$how" = file:module ]; then
        echo 'config: the driver file is asked about every plain name, and cannot be a module' >&2
        exit 1
    fi
    if [ "$how" != off ] && ! has_library; then
        echo "config: driver.$driver is asked for, but $needed is not built in" >&2
        exit 1
    fi
    if [ "$how" != off ] && [ -n "$packages" ]; then
        add_packages
        [ "$how" = module ] || requires="$requires${requires:+, }$packages"
    fi
    why=$(why_not_static "$driver")
    if [ "$how" = module ] && [ -n "$why" ]; then
        not_static="$not_static $driver"
        note="$note; not in the static file, $why"
    fi
    if [ "$how" != off ] && [ -n "$linked" ]; then
        add_libraries
    fi
    case $how in
    off)
        off="$off $driver"
        means=', its images and names are only recognised'
        ! grep -q 'kind = IMG_SERVICE' "drivers/$driver"/*.c || means=''
        echo "# driver $driver: off$means${packages:+ (needs $packages${musl:+, for musl})}${linked:+ (needs -${linked#* -}${musl:+, for musl})}${needed:+ (needs $needed)}" ;;
    module)
        modules="$modules $driver"
        echo "# driver $driver: module$note" ;;
    on) echo "# driver $driver: built in$note" ;;
    esac
done

# Some C libraries have dlopen in a separate library.
dl=-ldl
! links dlfcn.h dlerror -lc 2> /dev/null || dl=''

cat <<EOF
CONFIG_CFLAGS := $cflags
CONFIG_LIBS := $libs
CONFIG_REQUIRES := $requires
CONFIG_PLAIN_LIBS := $plain
DL_LIBS := $dl
DRIVERS_OFF := $off
DRIVERS_IN_MODULES := $modules
DRIVERS_NOT_STATIC := $not_static
STATIC_CC := $static
MUSL := $musl
STATIC_SOURCES := $from_source$variables
EOF
