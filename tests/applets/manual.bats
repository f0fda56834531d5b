#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The manual pages, which `make man` makes of docs/.

load ../helper

setup_file() {
    command -v lowdown > /dev/null || skip 'no lowdown'
    sh "$ROOT/packaging/manual/make.sh" "$BATS_FILE_TMPDIR/man" 1.2.3 2026-11-30
}

setup() {
    fresh_folder
    beyond
    MAN=$BATS_FILE_TMPDIR/man
}

sections() {
    sed -n 's/^\.SH //p' "$1"
}

@test "manual: mandoc finds nothing wrong" {
    command -v mandoc > /dev/null || skip 'no mandoc'
    cmd 0 mandoc -T lint -W warning "$MAN"/*/*
    silent
}

@test "manual: groff finds nothing wrong" {
    command -v groff > /dev/null || skip 'no groff'
    # (it has to be told the encoding, which man does)
    groff -K utf8 -t -man -z -ww -b -rLL=100n -Tutf8 "$MAN"/man1/img-convert.1 2> "$ERR"
    err ''
}

@test "manual: each tool has a page, with the sections that are expected, in their order" {
    for tool in "$ROOT"/applets/img-*.c; do
        tool=${tool##*/}
        [ -s "$MAN/man1/${tool%.c}.1" ]
    done
    [ -s "$MAN/man5/imgbox-formats.5" ]
    [ -s "$MAN/man7/imgbox-drivers.7" ]
    [ -s "$MAN/man3/libimg.3" ]
    printf '%s\n' NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' EXAMPLES 'SEE ALSO' > want
    for page in "$MAN"/man1/*.1 "$MAN"/man8/qemu-nbd.8; do
        echo "$page"
        sections "$page" | grep -x -F -f want | diff want -
    done
}

@test "manual: the line of NAME is one that whatis finds" {
    for page in "$MAN"/*/*; do
        name=${page##*/}
        name=${name%.*}
        [[ $(sed -n '/^\.SH NAME/{n;p}' "$page") =~ ^"$name"' - '[a-z].* ]] || { echo "$page"; false; }
    done
}

@test "manual: qemu-img has the synopsis of each command" {
    for tool in "$ROOT"/applets/img-*.c; do
        tool=${tool##*/img-}
        grep -q "^\.SY \"qemu..img.* ${tool%.c}\"" "$MAN/man1/qemu-img.1" || { echo "$tool"; false; }
    done
}

@test "manual: each page of docs/ is in a manual, or is for those who work on imgbox" {
    for page in "$ROOT"/docs/*.md "$ROOT"/docs/drivers/*.md; do
        name=${page#"$ROOT/docs/"}
        case $name in
            architecture.md | building.md | changelog.md | security.md) continue ;;
        esac
        grep -q '^<!-- manual: ' "$page" && continue
        echo "$name"
        [ "$(grep -l "^- \[[^]]*\]($name)" "$ROOT"/docs/{imgbox,formats,drivers}.md | wc -l)" -eq 1 ]
    done
}

@test "manual: the manuals that are named are there" {
    grep -ohE '(qemu|img|imgbox|libimg)(.-[a-z]+)?(\\f[RBI])?\([1-8]\)' "$MAN"/*/* |
        sed 's/\\f.//; s/\\//g' | sort -u > named
    [ -s named ]
    while read -r name; do
        page=${name%(*}
        section=${name#*(}
        [ -e "$MAN/man${section%)}/$page.${section%)}" ] || { echo "$name"; false; }
    done < named
}

@test "manual: no mark of the source is left" {
    command -v mandoc > /dev/null || skip 'no mandoc'
    for page in "$MAN"/*/*; do
        mandoc -T ascii "$page" | col -b > text
        # links, tables, comments, fences
        ! grep -n -E '\]\(|\.md\b|^ *\|[- |]*\||<!--|```' text || { echo "$page"; false; }
    done
}
