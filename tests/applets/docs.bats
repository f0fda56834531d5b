#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The pages and the tools tell the same: every long option of --help stands on its page and the other way
# round; every creation option of -o help stands on the page of its driver.

load ../helper

# help_of PAGE: sets $tool; what that says is in $OUT
help_of() {
    tool=${1##*/}
    tool=${tool%.md}
    # (qemu-nbd is a name of its own)
    cmd 0 "$IMGBOX" "$tool" --help
}

long_options() {
    grep -oE -- '--[a-z][a-z-]+' "$1" | sort -u
}

@test "docs: the page of each tool has its options, and no others" {
    beyond
    for page in "$ROOT"/docs/applets/*.md; do
        help_of "$page"
        long_options "$OUT" > help.txt
        # Examples and comparisons aside: what a table row begins with is an option of the tool.
        grep '^|' "$page" | long_options - > page.txt
        diff help.txt page.txt
    done
}

short_options() {
    grep -oE -- '(^| |`)-[A-Za-z]\b' "$1" | grep -o '[A-Za-z]$' | sort -u
}

@test "docs: short options, too, and operands of the form name=value" {
    beyond
    for page in "$ROOT"/docs/applets/*.md; do
        help_of "$page"
        grep -E '^ +(-|\(also spelled )' "$OUT" | short_options - > help.txt
        grep '^|' "$page" | cut -d '|' -f 2 | short_options - > page.txt
        echo "$tool"
        diff help.txt page.txt
        sed -n 's/^ *\([a-z]*=\)[A-Z].*/\1/p' "$OUT" | sort -u > help.txt
        grep '^|' "$page" | cut -d '|' -f 2 | grep -oE '`[a-z]+=' | tr -d '`' | sort -u > page.txt
        [ -z "$(comm -23 help.txt page.txt)" ]
    done
}

@test "docs: the page of each driver has its creation options" {
    beyond
    for format in raw qcow2 vpc file vdi qed qcow vhdx vmdk luks; do
        img 0 create -f "$format" -o help x
        sed -n 's/^  \([a-z_-]*\)[=.].*/\1/p' "$OUT" | sort -u > names.txt
        [ -s names.txt ]
        while read -r name; do
            grep -qw -- "$name" "$ROOT"/docs/drivers/{"$format",file}.md || { echo "$format: $name"; false; }
        done < names.txt
    done
}

@test "docs: the README names every tool" {
    beyond
    for source in "$ROOT"/applets/img-*.c; do
        tool=${source##*/}
        grep -q "^| \`${tool%.c}\` |.*(docs/applets/${tool#img-}" <(sed 's/\.md/.c/' "$ROOT/README.md")
        [ -s "$ROOT/docs/applets/$(basename "${tool#img-}" .c).md" ]
    done
    # and no tool that is not there
    # shellcheck disable=SC2016
    sed -n 's/^| `img-\([a-z]*\)` |.*/\1/p' "$ROOT/README.md" | while read -r tool; do
        [ -s "$ROOT/applets/img-$tool.c" ]
    done
}

@test "docs: each variable of the environment stands on a page" {
    beyond
    grep -rhoE 'getenv\("IMGBOX_[A-Z_]+"\)' "$ROOT"/{applets,libimg,drivers,compat} | grep -oE 'IMGBOX_[A-Z_]+' | sort -u > names.txt
    [ -s names.txt ]
    while read -r name; do
        grep -rqw -- "$name" "$ROOT/docs" || { echo "$name"; false; }
    done < names.txt
}

@test "docs: the page of hints has the other names of the formats that it shows" {
    beyond
    # shellcheck disable=SC2016
    grep -oE '`[a-z0-9]+` is `[a-z0-9]+`' "$ROOT/docs/hints.md" | tr -d '`' | sed 's/ is / /' > pairs.txt
    [ "$(wc -l < pairs.txt)" -ge 4 ]
    while read -r wrong right; do
        IMGBOX_HINTS=1 img 1 create -f "$wrong" x 1M
        has "$ERR" "^hint: did you mean '$right'\\?$"
    done < pairs.txt
}

@test "docs: no link leads nowhere" {
    beyond
    cmd 0 python3 "$ROOT/tests/links.py" "$ROOT/README.md" "$ROOT"/docs/*.md "$ROOT"/docs/*/*.md
    silent
    # (it would find them)
    # shellcheck disable=SC2016
    printf '# A title\n[a](#a-title) [b](#b) [c](nosuch.md) `[d](e)`\n' > page.md
    cmd 1 python3 "$ROOT/tests/links.py" page.md
    out 'page.md:2: there is no heading #b' 'page.md:2: there is no nosuch.md'
}

@test "docs: the pages of the commands have their options, and all tools" {
    beyond
    cmd 0 "$IMGBOX" qemu-img --help
    sed '/^Commands/,$d' "$OUT" | long_options - > help.txt
    sed -n '/^## Options/,/^## /p' "$ROOT/docs/qemu-img.md" | grep '^|' | long_options - | diff help.txt -
    cmd 0 "$IMGBOX" --help
    sed '/^Tools:/,$d' "$OUT" | long_options - > help.txt
    sed -n '/^## Options/,/^## /p' "$ROOT/docs/imgbox.md" | grep '^|' | long_options - > page.txt
    [ -z "$(comm -23 help.txt page.txt)" ]
    for page in qemu-img imgbox; do
        for tool in "$ROOT"/applets/img-*.c; do
            tool=${tool##*/img-}
            grep -q "^| .${tool%.c}. |.*(applets/${tool%.c}.md)" "$ROOT/docs/$page.md" || { echo "$page: $tool"; false; }
        done
    done
}
