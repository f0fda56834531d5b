#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A build without drivers: their images and names are still recognised, and never taken for raw.
# A driver that is added to a copy of the sources by one file needs nothing else for that: a format, and the protocol of
# "Adding a driver" in the README.

load ../helper

# build NAME...: the copy of the sources in build/, of its drivers only these, raw and file
build() {
    local folder
    (echo zstd=off
    for folder in tree/drivers/*/; do
        folder=${folder%/} folder=${folder##*/}
        [[ " raw file $* " == *" $folder "* ]] || echo "driver.$folder=off"
    done) > choice
    make -s -C tree BUILD="$PWD/build" CONFIG="$PWD/choice" OPT=-O0 HARDEN= CFLAGS=-Werror all 2>&1
}

# The tools that are tested are built here, so once is enough.
built_here() {
    [ -z "$IMG_IS_PEER" ] && [[ $IMG != */asan/* ]] && [[ $IMG != */static/* ]]
}

setup_file() {
    built_here || return 0
    cd "$BATS_FILE_TMPDIR" || return 1
    mkdir tree
    (cd "$ROOT" && cp -R GNUmakefile applets compat drivers libimg packaging "$BATS_FILE_TMPDIR/tree")
    mkdir tree/drivers/example
    cat > tree/drivers/example/example.c <<'END'
#include "libimg/driver.h"

static int example_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)parsed, (void)options, (void)err;
    image->size = 1 << 20;
    return 0;
}

static int example_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    (void)image, (void)offset;
    for (size_t i = 0; i < length; i++)
        ((char *)buffer)[i] = 'x';
    return 0;
}

const struct img_driver img_driver_example = {
    IMG_ROW(
        .name = "example", .kind = IMG_FORMAT,
        .marks = IMG_MARKS(IMG_AT(8, "EXAMPLE\0"), IMG_AT_LEAST(16, "\0\7"))
    ),
    .open = example_open, .pread = example_pread,
};

const struct img_driver img_driver_example_p = {
    IMG_ROW(
        .name = "example-p", .kind = IMG_PROTOCOL, .prefix = "exam exam+ple"
    ),
    .open = example_open, .pread = example_pread,
};
END
    mkdir tree/drivers/text
    # shellcheck disable=SC2016
    sed -n '/^## Adding a driver/,/^## /{/^```c$/,/^```$/p}' "$ROOT/README.md" | sed '/^```/d' > tree/drivers/text/text.c
    build example text
    cp -a build with
    build
}

setup() {
    built_here || skip 'a build of its own'
    fresh_folder
    WITH=$BATS_FILE_TMPDIR/with/bin/qemu-img WITHOUT=$BATS_FILE_TMPDIR/build/bin/qemu-img
}

# left_out NAME FILE: this is of a format that is left out, whether it is named or not
left_out() {
    IMG=$WITHOUT img 1 info "$2"
    err "qemu-img: Could not open '$2': $1 support is not built in"
    IMG=$WITHOUT img 1 convert -O raw "$2" out.raw
    err "qemu-img: Could not open '$2': $1 support is not built in"
    [ ! -e out.raw ]
    IMG=$WITHOUT img 1 info -f "$1" "$2"
    err "qemu-img: Could not open '$2': $1 support is not built in"
}

# mark NAME [OFFSET TEXT]...: a file of zeroes with texts, as printf takes them, at these places
mark() {
    local name=$1
    truncate -s 64k "$name"
    shift
    while [ $# -gt 0 ]; do
        # shellcheck disable=SC2059
        printf "$2" | dd of="$name" bs=1 seek="$1" conv=notrunc status=none
        shift 2
    done
}

@test "left out: what each format makes" {
    for format in qcow2 qcow qed vdi vmdk vpc vhdx parallels; do
        img 0 create -q -f "$format" "$format.img" 4M
        left_out "$format" "$format.img"
    done
    IMG=$WITHOUT img 0 create -q -f raw raw.img 4M
    IMG=$WITHOUT img 0 info raw.img
    has "$OUT" '^file format: raw$'
}

@test "left out: formats that are only read, and what is no plain mark" {
    mark bochs 0 'Bochs Virtual HD Image' 32 Redolog 48 Growing 64 '\0\0\2\0'
    left_out bochs bochs
    mark asif 0 'shdw\0\0\0\1'
    left_out asif asif
    mark luks 0 'LUKS\xba\xbe\0\1'
    left_out luks luks
    # shellcheck disable=SC2016
    mark cloop 0 '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'
    left_out cloop cloop
    mark x.dmg
    left_out dmg x.dmg
    mark qcow2 0 'QFI\xfb\0\0\0\77'
    left_out qcow2 qcow2
    printf '# comment\n  \nversion=2\r\n' > vmdk
    left_out vmdk vmdk
    mkdir bundle
    printf '\xef\xbb\xbf<?xml version="1.0"?><Parallels_disk_image Version="1.0"/>' > bundle/DiskDescriptor.xml
    left_out parallels bundle
    left_out parallels bundle/DiskDescriptor.xml
    mkdir sparse
    printf '<plist><dict><key>band-size</key><integer>4096</integer></dict></plist>' > sparse/Info.plist
    left_out sparsebundle sparse
    left_out sparsebundle sparse/Info.plist
    cp bundle/DiskDescriptor.xml text
    IMG=$WITHOUT img 0 info text
    has "$OUT" '^file format: raw$'
}

@test "left out: nested formats, backing files, new images" {
    img 0 create -q -f qcow2 base 4M
    IMG=$WITHOUT img 1 info --image-opts driver=raw,file.driver=qcow2,file.file.filename=base
    has "$ERR" ': qcow2 support is not built in$'
    IMG=$WITHOUT img 1 create -q -f qcow2 x 1M
    err 'qemu-img: x: qcow2 support is not built in'
    IMG=$WITHOUT img 1 convert -O qcow2 base x
    IMG=$WITHOUT img 1 create -f qcow2 -o help
    err 'qemu-img: qcow2 support is not built in'
    [ ! -e x ]
}

@test "left out: protocols and filters, by prefix and by name" {
    for name in null-co null-aio; do
        IMG=$WITHOUT img 1 info "$name://"
        err "qemu-img: Could not open '$name://': $name support is not built in"
        IMG=$WITHOUT img 1 info "json:{\"driver\":\"$name\"}"
        has "$ERR" ": $name support is not built in\$"
    done
    IMG=$WITHOUT img 1 info blkdebug::x
    err "qemu-img: Could not open 'blkdebug::x': blkdebug support is not built in"
    for name in blkdebug throttle compress; do
        IMG=$WITHOUT img 1 info --image-opts "driver=$name"
        has "$ERR" ": $name support is not built in\$"
    done
    for name in nbd nbds nbd+unix; do
        IMG=$WITHOUT img 1 info "$name://localhost/"
        err "qemu-img: Could not open '$name://localhost/': nbd support is not built in"
    done
    for name in sheepdog: sheepdog+unix:///; do
        IMG=$WITHOUT img 1 info "${name}x"
        err "qemu-img: Could not open '${name}x': sheepdog support is not built in"
    done
    IMG=$WITHOUT img 1 info gopher:x
    err "qemu-img: Could not open 'gopher:x': Unknown protocol 'gopher'"
    IMG=$WITHOUT img 0 --help
    has "$OUT" '^Supported formats: file host_device raw$'
}

@test "left out: the marks decide as in a build with everything" {
    need_peer
    IMG=$WITHOUT COUNT=40 python3 "$ROOT/tests/interop/probe-random.py"
}

@test "left out: a format that was added by one file" {
    mark x 8 'EXAMPLE\0\0\10'
    IMG=$WITH img 0 info x
    has "$OUT" '^file format: example$'
    IMG=$WITH img 0 convert -O raw x y
    [ "$(head -c 1048576 y | tr -d x | wc -c)" -eq 0 ]
    left_out example x
    mark z 8 'EXAMPLE\0\0\6'
    IMG=$WITHOUT img 0 info z
    has "$OUT" '^file format: raw$'
}

@test "left out: a protocol with several prefixes" {
    for prefix in exam exam+ple; do
        IMG=$WITHOUT img 1 info $prefix:x
        err "qemu-img: Could not open '$prefix:x': example-p support is not built in"
    done
    for prefix in exa exam+ example-p 'exam exam+ple'; do
        IMG=$WITHOUT img 1 info "$prefix:x"
        err "qemu-img: Could not open '$prefix:x': Unknown protocol '$prefix'"
    done
}

@test "left out: the protocol of the README" {
    export IMG=$WITH
    img 0 info text:hello
    has "$OUT" '^image: text:hello$'
    has "$OUT" '^    protocol type: text$'
    has "$OUT" '^virtual size: 1 MiB '
    img 0 info 'json:{"driver":"text","text":"hello","size":"2M"}'
    has "$OUT" '^image: json:\{"driver": "text", "size": "2M", "text": "hello"\}$'
    img 0 info --image-opts driver=text,text=hello
    has "$OUT" '^image: text:hello$'
    img 0 convert -O raw text:hello y
    [ "$(head -c 12 y)" = hellohellohe ]
    [ "$(stat -c %s y)" -eq 1048576 ]
    img 0 compare text:ab text:abab
    img 1 compare text:ab text:ba
    img 1 info text:
    err "qemu-img: Could not open 'text:': The option 'text' is missing"
    img 1 info --image-opts driver=text,text=a,size=-1
    img 1 info --image-opts driver=text,text=a,color=red
    err "qemu-img: Could not open 'driver=text,text=a,color=red': Block protocol 'text' doesn't support the option 'color'"
    img 1 bench -w -c 1 text:a
    has "$ERR" 'A text cannot be written to$'
    img 0 --help
    has "$OUT" '^Supported formats: .*\btext\b'

    export IMG=$WITHOUT
    img 1 info text:hello
    err "qemu-img: Could not open 'text:hello': text support is not built in"
    img 1 info 'json:{"driver":"text","text":"hello"}'
    has "$ERR" ': text support is not built in$'
    img 1 convert -O raw text:hello z
    [ ! -e z ]
}

@test "left out: the protocol of the README as a module" {
    cp -a "$BATS_FILE_TMPDIR"/{tree,build} .
    build text
    [ ! -e build/modules ]
    # Nothing but the source says so.
    echo 'IMG_MODULE("");' >> tree/drivers/text/text.c
    make -s -C tree BUILD="$PWD/build" OPT=-O0 HARDEN= CFLAGS=-Werror all > "$OUT" 2> "$ERR" || { show; false; }
    [ -e build/modules/img-text.so ]
    IMG=build/bin/qemu-img img 0 convert -O raw text:hello y
    [ "$(head -c 12 y)" = hellohellohe ]
    rm build/modules/img-text.so
    IMG=build/bin/qemu-img img 1 info text:hello
    has "$ERR" ': text support is not installed: there is no '
}

@test "left out: a driver whose row would not stand alone does not build" {
    cp -a "$BATS_FILE_TMPDIR"/{tree,build} .
    sed -i 's/^#include.*/&\n#define EXAMPLE "EXAMPLE"/; s/"EXAMPLE.0"/EXAMPLE/' tree/drivers/example/example.c
    run build example
    [ "$status" -ne 0 ]
    [[ $output == *gen/drivers.c*EXAMPLE* ]]
    sed -i 's/IMG_ROW(/IMG_ROW (/' tree/drivers/example/example.c
    run build example
    [ "$status" -ne 0 ]
    [[ $output == *'img_driver_example does not begin with its row'* ]]
}
