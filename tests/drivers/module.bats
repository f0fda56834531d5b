#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Drivers in modules: loaded when they are asked for and not before, from the right place, and only if they fit.

load ../helper

setup() {
    fresh_folder
    beyond
    MODULE=$(dirname "$IMGBOX")/modules/img-blkdebug.so
    [ -e "$MODULE" ] || skip 'blkdebug is built in'
    img 0 create -q -f qcow2 x 1M
}

# module NAME SOURCE...: bad/img-NAME.so from lines of C
module() {
    mkdir -p bad
    { echo '#include "libimg/driver.h"'; printf '%s\n' "${@:2}"; } |
        cc -shared -fPIC -D_GNU_SOURCE -I"$ROOT" -I"$ROOT/libimg" -x c -o "bad/img-$1.so" -
}

# refused WORDS: blkdebug of bad/ is refused with them, by its prefix, its name, and as a format
refused() {
    export IMGBOX_MODULES=$PWD/bad
    img 1 info blkdebug::x
    err "qemu-img: Could not open 'blkdebug::x': $1"
    img 1 info --image-opts driver=blkdebug,image.filename=x
    err "qemu-img: Could not open 'driver=blkdebug,image.filename=x': $1"
    img 1 convert -O blkdebug x y
    err "qemu-img: $1"
    img 1 create -f blkdebug y 1M
    err "qemu-img: y: $1"
    img 0 --help
    has "$OUT" '^Supported formats: asif bochs'
    # which hurts nobody else
    img 0 info x
    [ ! -e y ]
}

# unfit WORDS: the same, for a file that is no module of this program
unfit() {
    refused "Could not load '$PWD/bad/img-blkdebug.so': $1"
}

@test "module: no file of it is looked for until it is asked for" {
    need_strace
    for words in 'info x' 'convert -O raw x y' 'check x' 'create -q -f qcow2 -b x -F qcow2 z' 'info --backing-chain z' \
            'info --image-opts driver=qcow2,file.driver=file,file.filename=x' 'create -f qcow2 -o help'; do
        # shellcheck disable=SC2086
        strace -qq -f -e trace=%file -o files "$IMG" $words > /dev/null
        ! grep -e 'img-[a-z]' -e /modules files
    done
    strace -qq -f -e trace=%file -o files "$IMG" info blkdebug::x > /dev/null
    grep -q "openat.*\"$MODULE\"" files
}

@test "module: loaded by prefix, by name, by option, as a node of several" {
    img 0 info blkdebug::x
    has "$OUT" '^    file format: blkdebug$'
    img 0 info --image-opts driver=blkdebug,image.filename=x
    img 0 info 'json:{"driver":"qcow2","file":{"driver":"blkdebug","image.driver":"blkdebug","image.image.filename":"x"}}'
    img 0 --help
    has "$OUT" '^Supported formats: asif blkdebug '
    img 1 create -f blkdebug y 1M
    err "qemu-img: y: Format driver 'blkdebug' does not support image creation"
}

@test "module: one of another version is refused" {
    module blkdebug 'const struct img_driver img_driver_blkdebug = {' \
        '.abi = IMG_DRIVER_ABI + 1, .size = sizeof(struct img_driver), .name = "blkdebug" };'
    unfit "it was built for another version"
    module blkdebug 'const struct img_driver img_driver_blkdebug = {' \
        '.abi = IMG_DRIVER_ABI, .size = sizeof(struct img_driver) - 8, .name = "blkdebug" };'
    unfit "it was built for another version"
    module blkdebug 'const unsigned img_driver_blkdebug[2];'
    unfit "it was built for another version"
}

@test "module: one that does not hold the driver is refused" {
    module blkdebug 'int nothing;'
    unfit "it does not hold the driver 'blkdebug'"
    module blkdebug 'const struct img_driver img_driver_other = { IMG_ROW(.name = "other") };'
    unfit "it does not hold the driver 'blkdebug'"
    module blkdebug 'const struct img_driver img_driver_blkdebug = { IMG_ROW(.name = "other") };'
    unfit "it does not hold the driver 'blkdebug'"
}

@test "module: one that is missing, or no module, or asks for what is not there" {
    mkdir bad
    refused "blkdebug support is not installed: there is no '$PWD/bad/img-blkdebug.so'"
    echo 'not a program' > bad/img-blkdebug.so
    unfit "file too short"
    head -c 4096 /dev/zero > bad/img-blkdebug.so
    unfit "invalid ELF header"
    rm bad/img-blkdebug.so
    mkdir bad/img-blkdebug.so
    unfit "cannot read file data: Is a directory"
    rmdir bad/img-blkdebug.so
    module blkdebug 'int img_of_tomorrow(void);' 'int call(void) { return img_of_tomorrow(); }'
    unfit "undefined symbol: img_of_tomorrow"
}

@test "module: IMGBOX_MODULES names the folder, and an empty one counts for nothing" {
    mkdir own
    cp "$MODULE" own
    IMGBOX_MODULES=own img 0 info blkdebug::x
    IMGBOX_MODULES='' img 0 info blkdebug::x
    IMGBOX_MODULES=$PWD/none img 1 info blkdebug::x
    has "$ERR" "there is no '$PWD/none/img-blkdebug.so'\$"
}

# A copy of the program with its modules in there/, of the user 1.
elsewhere() {
    need_root
    mkdir -p there/modules
    cp "$IMGBOX" there/imgbox
    cp "$MODULE" there/modules
    chown -R 1 there
    chmod 755 "$BATS_TEST_TMPDIR" there
}

@test "module: what others put beside the program is not run" {
    elsewhere
    IMG=there/imgbox img 0 info blkdebug::x
    chown 2 there/modules
    IMG=there/imgbox img 1 info blkdebug::x
    has "$ERR" "there/modules' is not of the owner of the program alone, and nothing in it is run\$"
    chown 1 there/modules
    chmod o+w there/modules
    IMG=there/imgbox img 1 info blkdebug::x
    has "$ERR" "there/modules' is not of the owner of the program alone, and nothing in it is run\$"
}

@test "module: a program that runs setuid does not hear IMGBOX_MODULES" {
    no_asan
    elsewhere
    command -v setpriv > /dev/null || skip 'no setpriv'
    cp "$(command -v id)" there/id
    chown -R 0 there
    chmod u+s there/id there/imgbox
    chmod a+rX . x
    as_other=(setpriv --reuid=1 --regid=1 --clear-groups)
    [ "$("${as_other[@]}" there/id -u)" = 0 ] || skip 'setuid has no effect here'
    mkdir own
    IMGBOX_MODULES=$PWD/own cmd 1 there/imgbox info blkdebug::x
    IMGBOX_MODULES=$PWD/own cmd 0 "${as_other[@]}" there/imgbox info blkdebug::x
}

@test "module: executables for each tool have them, too; one static file needs none" {
    no_asan
    mkdir build
    make -s -C "$ROOT" BUILD="$PWD/build" OPT=-O0 HARDEN= FLAVOUR=single "$PWD/build/single/img-info" \
        "$PWD/build/single/modules/img-blkdebug.so" > "$OUT" 2> "$ERR" || { show; false; }
    cmd 0 build/single/img-info blkdebug::x
    has "$OUT" '^    file format: blkdebug$'
    rm build/single/modules/img-blkdebug.so
    cmd 1 build/single/img-info blkdebug::x
    has "$ERR" "^img-info: .* there is no '.*/build/single/modules/img-blkdebug.so'\$"
    [ -x "$BUILD/static/imgbox" ] || return 0
    IMGBOX_MODULES=$PWD/none cmd 0 "$BUILD/static/imgbox" info blkdebug::x
}

# configured LINE...: what packaging/config.sh makes of the drivers one and two (which needs a package) and these choices
configured() {
    printf '%s\n' "$@" > choice
    (cd tree && DRIVERS='one two' sh "$ROOT/packaging/config.sh" "$PWD/../choice" > "$OUT" 2> "$ERR")
}

@test "module: the configuration decides, and says what it came to" {
    mkdir -p tree/drivers/one tree/drivers/two
    echo 'int one;' > tree/drivers/one/one.c
    echo 'IMG_MODULE("no-such-package >= 2");' > tree/drivers/two/two.c
    configured
    has "$OUT" '^# driver one: built in$'
    has "$OUT" '^# driver two: off, its images and names are only recognised \(needs no-such-package >= 2\)$'
    has "$OUT" '^DRIVERS_OFF :=  two$'
    configured driver.one=module driver.two=off
    has "$OUT" '^# driver one: module$'
    has "$OUT" '^DRIVERS_IN_MODULES :=  one$'
    configured driver.one=off
    has "$OUT" '^# driver one: off, its images and names are only recognised$'
    configured driver.two=module && false
    err 'config: driver.two is asked for, but pkg-config does not find no-such-package >= 2'
    # with a package that is there, of which there may be no static library
    echo 'IMG_MODULE("zlib");' > tree/drivers/two/two.c
    pkg-config --exists zlib || return 0
    configured
    has "$OUT" '^# driver two: module \(zlib'
    has "$OUT" '^DRIVER_LIBS_two := .*-lz'
    configured driver.two=on
    has "$OUT" '^# driver two: built in \(zlib'
    echo 'IMG_MODULE("");' > tree/drivers/two/two.c
    configured
    has "$OUT" '^# driver two: module$'
}

@test "module: a library without a pkg-config file is tried" {
    mkdir -p tree/drivers/one tree/drivers/two
    echo 'int one;' > tree/drivers/one/one.c
    printf '%s\n' 'IMG_MODULE("");' 'IMG_LINKS("math.h", "no_such_function", "-lm -lc");' > tree/drivers/two/two.c
    configured
    has "$OUT" '^# driver two: off, its images and names are only recognised \(needs -lm -lc\)$'
    configured driver.two=module && false
    err 'config: driver.two is asked for, but math.h and -lm -lc are not found'
    printf '%s\n' 'IMG_MODULE("");' 'IMG_LINKS("math.h", "ldexp", "-lm -lc");' > tree/drivers/two/two.c
    configured
    has "$OUT" '^# driver two: module \(-lm -lc\)'
    has "$OUT" '^DRIVER_LIBS_two := -lm -lc$'
}
