#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# One file, many names: dispatch by argv[0] and argv[1], links, --list, --install.

load ../helper

the_six='check compare convert create info map'

@test "multicall: qemu-img, its version and its help" {
    img 0 --version
    has "$OUT" '^qemu-img version [0-9]+\.[0-9]+\.[0-9]+'
    err ''
    img 0 -V
    has "$OUT" '^qemu-img version '
    for option in -h --help; do
        img 0 "$option"
        err ''
        for name in $the_six; do
            has "$OUT" "\\b$name\\b"
        done
    done
}

@test "multicall: one-line synopses, as callers grep for them" {
    beyond
    img 0 --help
    has "$OUT" '\binfo\b.*-U\b'
    has "$OUT" '\bconvert\b.*-O\b'
}

@test "multicall: every applet has its --help" {
    for name in $the_six; do
        img 0 "$name" --help
        has "$OUT" "$name"
        err ''
        img 0 "$name" -h
        err ''
    done
}

@test "multicall: a command that does not exist, none at all" {
    img 1 nosuch
    out ''
    has "$ERR" "^qemu-img: .*nosuch"
    img 1
    out ''
    has "$ERR" '^qemu-img: '
    img 1 --nosuch
    out ''
    has "$ERR" 'nosuch'
}

@test "multicall: the name may have any path and be a chain of links" {
    ln -s "$IMG" one
    ln -s one qemu-img
    mkdir sub
    ln -s ../qemu-img sub/qemu-img
    cmd 0 ./qemu-img --version
    has "$OUT" '^qemu-img version'
    cmd 0 sub/qemu-img create -q sub/a.raw 1M
    cmd 0 "$PWD/sub/qemu-img" info sub/a.raw
    has "$OUT" '^file format: raw'
    cmd 1 ./qemu-img info none
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
}

@test "multicall: img-CMD runs an applet" {
    beyond
    for name in $the_six; do
        ln -s "$IMGBOX" "img-$name"
        cmd 0 "./img-$name" --help
        has "$OUT" "img-$name|$name"
    done
    cmd 0 ./img-create -q -f qcow2 a.qcow2 1M
    cmd 0 ./img-check a.qcow2
    cmd 1 ./img-info none
    err "img-info: Could not open 'none': Could not open 'none': No such file or directory"
}

@test "multicall: imgbox CMD" {
    beyond
    cmd 0 "$IMGBOX" create -q a.raw 1M
    cmd 0 "$IMGBOX" info a.raw
    has "$OUT" '^virtual size: 1 MiB'
    cmd 0 "$IMGBOX" qemu-img info a.raw
    cmd 1 "$IMGBOX" nosuch
    has "$ERR" '^imgbox: '
    cmd 0 "$IMGBOX" --help
}

@test "multicall: imgbox --list" {
    beyond
    cmd 0 "$IMGBOX" --list
    err ''
    for name in $the_six; do
        has "$OUT" "^(img-)?$name\$"
    done
}

@test "multicall: imgbox --install makes the links, -s symbolic ones" {
    beyond
    cp "$IMGBOX" ./imgbox
    mkdir hard soft
    cmd 0 ./imgbox --install hard
    cmd 0 ./imgbox --install -s soft
    for name in $the_six; do
        [ -x "hard/img-$name" ] && [ ! -L "hard/img-$name" ]
        [ -L "soft/img-$name" ] && [ -x "soft/img-$name" ]
    done
    [ -L soft/qemu-img ]
    cmd 0 soft/qemu-img --version
    cmd 0 hard/qemu-img create -q a.raw 1M
    cmd 0 soft/img-info a.raw
    # again, over what is there
    cmd 0 ./imgbox --install -s soft
    cmd 1 ./imgbox --install nosuch
}

@test "multicall: the links of the build" {
    beyond
    for name in $the_six; do
        cmd 0 "$BUILD/bin/img-$name" --help
    done
    cmd 0 "$BUILD/bin/qemu-img" --version
}

@test "multicall: -T and --trace are taken before the command" {
    truncate -s 64k a.raw
    img 0 --trace enable=nosuch* info a.raw
    img 0 -T enable=nosuch* info a.raw
    has "$OUT" '^file format: raw'
}

@test "multicall: standard output that is closed or full is an error" {
    beyond
    truncate -s 64k a.raw
    [ -c /dev/full ] || skip 'no /dev/full'
    in_full() {
        "$IMG" info a.raw > /dev/full
    }
    cmd 1 in_full
    has "$ERR" '^qemu-img: '
}

# written RC PATTERN ARGUMENT...: a run says lines of that form and no other on standard error, each in one write
written() {
    cmd "$1" strace -qq -f -e trace=write,writev -o calls "$IMG" "${@:3}"
    ! grep -v -q -E "$2" "$ERR" || { show; return 1; }
    [ "$(grep -c -E 'writev?\(2, ' calls)" -eq "$(wc -l < "$ERR")" ]
}

@test "multicall: a line on standard error is one write" {
    beyond
    need_strace
    # Workers that find a sector each that cannot be read
    truncate -s 8M a.raw
    pattern a.raw 11 0 8M
    {
        for n in $(seq 1000 1000 16000); do
            printf '[inject-error]\nevent = "none"\nonce = "off"\nimmediately = "on"\nsector = "%s"\n' "$n"
        done
    } > rules
    written 0 "^qemu-img: warning: error while reading offset [0-9]+: Input/output error\$" \
        convert -W -m 16 --salvage -O raw \
        --image-opts driver=raw,file.driver=blkdebug,file.config=rules,file.image.filename=a.raw b.raw
    [ "$(wc -l < "$ERR")" -eq 16 ]
    written 1 "^([^ ]+ info: unrecognized option|Try '[^ ]+ info --help')" info --bogus
    written 1 "^qemu-img: Could not open 'nonesuch': Could not open 'nonesuch': No such" info nonesuch
}

@test "multicall: a line of a trace is one write" {
    beyond
    need_strace
    truncate -s 8M a.raw
    pattern a.raw 11 0 8M
    written 0 '^img_read [a-z0-9]+ "[ab]\.(raw|qcow2)" offset [0-9]+ length [0-9]+$' \
        -T img_read convert -W -m 16 -f raw -O qcow2 a.raw b.qcow2
    [ -s "$ERR" ]
}
