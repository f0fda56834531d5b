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

@test "multicall: the version of a tool, with what is built in on a second line" {
    beyond
    version=$(sed -n 's/^## \([0-9.]*\) (.*/\1/p' "$ROOT/docs/changelog.md" | head -n 1)
    cmd 0 "$IMGBOX" --version
    [ "$(head -n 1 "$OUT")" = "imgbox $version" ]
    [[ $(sed -n 2p "$OUT") == 'Built with '*libdeflate* ]]
    ln -s "$IMGBOX" img-info
    cmd 0 ./img-info --version
    [ "$(head -n 1 "$OUT")" = "img-info (imgbox $version)" ]
    cmd 0 "$IMGBOX" info --version
    [ "$(head -n 1 "$OUT")" = "img-info (imgbox $version)" ]
    has "$OUT" '^Built with '
    # qemu-img has it at the front only, as callers parse it
    img 0 --version
    [[ $(head -n 1 "$OUT") =~ ^qemu-img\ version\ [0-9.]+\ \(imgbox ]]
    [ "$(grep -c Built "$OUT")" -eq 0 ]
    img 1 info --version
    err "qemu-img info: unrecognized option '--version'" "Try 'qemu-img info --help' for more info"
}

@test "multicall: the address for faults is that of who builds it" {
    beyond
    sh "$ROOT/packaging/built.sh" "$BUILD/config.mk" 1.0 static 'https://example.org/"x"' '' 'nbd' > version.c
    cat > main.c << 'END'
#include <stdio.h>
extern const char app_version[], app_built[], app_bugs[];
int main(void) { printf("%s\n%s\n%s\n", app_version, app_built, app_bugs); return 0; }
END
    cc -I"$ROOT" version.c main.c -o main
    cmd 0 ./main
    [ "$(sed -n 1p "$OUT")" = 1.0 ]
    [[ $(sed -n 2p "$OUT") == with*'; without '*'driver nbd; static' ]]
    [ "$(sed -n 3p "$OUT")" = 'https://example.org/"x"' ]
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

@test "multicall: --install -s makes relative links: the system may be moved, and be the root of another" {
    beyond
    mkdir -p root/usr/lib/imgbox root/usr/bin root/bin
    ln -s usr/bin root/sbin
    cp "$IMGBOX" root/usr/lib/imgbox/imgbox
    cmd 0 root/usr/lib/imgbox/imgbox --install -s root/usr/bin
    [ "$(readlink root/usr/bin/img-info)" = ../lib/imgbox/imgbox ]
    [ "$(readlink root/usr/bin/qemu-img)" = ../lib/imgbox/imgbox ]
    cmd 0 root/usr/lib/imgbox/imgbox --install -s root/bin
    [ "$(readlink root/bin/img-info)" = ../usr/lib/imgbox/imgbox ]
    cmd 0 root/usr/lib/imgbox/imgbox --install -s root/usr/lib/imgbox
    [ "$(readlink root/usr/lib/imgbox/img-info)" = imgbox ]
    cmd 0 root/usr/lib/imgbox/imgbox --install -s root/usr/lib
    [ "$(readlink root/usr/lib/img-info)" = imgbox/imgbox ]
    cmd 0 root/usr/lib/imgbox/imgbox --install -s root
    [ "$(readlink root/img-info)" = usr/lib/imgbox/imgbox ]
    # by the folder that a link means, not by the link
    rm root/usr/bin/*
    cmd 0 root/usr/lib/imgbox/imgbox --install -s root/sbin
    [ "$(readlink root/usr/bin/img-info)" = ../lib/imgbox/imgbox ]
    mv root moved
    for folder in usr/bin bin usr/lib/imgbox usr/lib .; do
        cmd 0 "moved/$folder/img-info" --help
    done
    # a hard link of before becomes a symbolic one, a file of others stays
    cmd 0 moved/usr/lib/imgbox/imgbox --install moved/usr/bin
    [ ! -L moved/usr/bin/img-info ]
    rm moved/usr/bin/img-map
    echo other > moved/usr/bin/img-map
    cmd 1 moved/usr/lib/imgbox/imgbox --install -s moved/usr/bin
    err 'imgbox: moved/usr/bin/img-map: File exists'
    [ -L moved/usr/bin/img-info ]
    cmd 0 moved/usr/bin/img-info --help
}

@test "multicall: --install -s to another file system makes whole names" {
    beyond
    other=$(mktemp -d /dev/shm/install.XXXXXX) || skip 'no /dev/shm'
    [ "$(stat -c %d "$other")" != "$(stat -Lc %d "$IMGBOX")" ] || { rmdir "$other"; skip '/dev/shm is no other file system'; }
    cmd 0 "$IMGBOX" --install -s "$other"
    readlink "$other/img-info" > "$OUT"
    rm -r "$other"
    out "$(realpath "$IMGBOX")"
}

@test "multicall: imgbox help" {
    beyond
    cmd 0 "$IMGBOX" help
    cp "$OUT" help.txt
    cmd 0 "$IMGBOX" --help
    cmp help.txt "$OUT"
    for name in convert img-info qemu-img qemu-nbd; do
        cmd 0 "$IMGBOX" help "$name"
        cp "$OUT" help.txt
        cmd 0 "$IMGBOX" "$name" --help
        cmp help.txt "$OUT"
    done
    cmd 1 "$IMGBOX" help convert info
    err 'imgbox: usage: imgbox help [TOOL]'
    cmd 1 "$IMGBOX" help --install
    err 'imgbox: usage: imgbox help [TOOL]'
    IMGBOX_HINTS=1 cmd 1 "$IMGBOX" help con
    has "$ERR" '^imgbox: Tool not found: con$'
    has "$ERR" "^hint: did you mean 'convert'\?\$"
}

# longest: the length of the longest line of the synopsis in $OUT
longest() {
    sed '/^$/q' "$OUT" | awk '{ if (length > most) most = length } END { print most }'
}

@test "multicall: --help is 80 columns wide, its synopsis as wide as asked, with the name without its folder" {
    beyond
    for tool in $("$IMGBOX" --list | sed -n 's/^img-//p'); do
        cmd 0 "$BUILD/bin/qemu-img" "$tool" --help
        [ "$(awk 'length > 80' "$OUT")" = "" ]
        has "$OUT" "^Usage: qemu-img $tool "
        COLUMNS=60 cmd 0 "$BUILD/bin/img-$tool" --help
        [ "$(longest)" -le 60 ]
        has "$OUT" "^Usage: img-$tool "
        # nothing is lost
        sed '/^$/q' "$OUT" | tr -s ' \n' ' ' > narrow.txt
        COLUMNS=1000 cmd 0 "$BUILD/bin/img-$tool" --help
        sed '/^$/q' "$OUT" | tr -s ' \n' ' ' | cmp - narrow.txt
        [ "$(sed '/^$/q' "$OUT" | wc -l)" -eq 2 ]
    done
    for columns in '' 0 -1 x 19 99999999999999999999; do
        COLUMNS=$columns img 0 convert --help
        [ "$(longest)" -le 80 ]
    done
    img 0 info --help
    head -n 3 "$OUT" > usage.txt
    same usage.txt 'Usage: qemu-img info [-f FMT | --image-opts] [--strict-format] [-b] [-U]' \
        '        [--limits] [--object OBJDEF] [--output human|json] FILENAME' ''
}

@test "multicall: qemu-img --help has a synopsis and a description for each command" {
    beyond
    img 0 --help
    cp "$OUT" full.txt
    IMGBOX_COMPAT=10.0 img 0 --help
    cp "$OUT" plain.txt
    # what scripts look for is as it was, and the rest are lines with a deeper indent
    comm -13 <(sort full.txt) <(sort plain.txt) > lost.txt
    same lost.txt ''
    comm -23 <(sort full.txt) <(sort plain.txt) > new.txt
    [ "$(wc -l < new.txt)" -eq "$("$IMGBOX" --list | grep -c '^img-')" ]
    [ "$(grep -c '^     [a-z]' new.txt)" -eq "$(wc -l < new.txt)" ]
}

@test "multicall: a version that is not known is refused" {
    beyond
    for version in 8.2 7 10.1 7.2. 7.2.x x ' '; do
        IMGBOX_COMPAT=$version img 1 --version
        out ''
        err "qemu-img: IMGBOX_COMPAT=$version: there are 7.2, 10.0 and 11.0"
        IMGBOX_COMPAT=$version cmd 1 "$IMGBOX" --list
        IMGBOX_COMPAT=$version cmd 1 "$BUILD/bin/qemu-nbd" --version
    done
    for version in '' 10 10.0 10.0.2 11 11.0; do
        IMGBOX_COMPAT=$version img 0 --version
        has "$OUT" '^qemu-img version 10.0.2 '
    done
    for version in 7.2 7.2.22; do
        IMGBOX_COMPAT=$version img 0 --version
        has "$OUT" '^qemu-img version 7.2.22 '
    done
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
