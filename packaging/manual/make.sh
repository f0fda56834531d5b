#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the manual pages of docs/.
#
# usage: make.sh FOLDER VERSION DATE
#
# Writes FOLDER/manN/NAME.N.  Needs lowdown.
set -eu
export LC_ALL=C
mkdir -p "$1"
folder=$(cd "$1" && pwd) version=$2 date=$3
cd "$(dirname "$0")/../.."
command -v lowdown > /dev/null || {
    echo 'make man: lowdown is not installed' >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The pages of docs/ that are parts of another one.
parts_of() {
    sed -n '/^<!-- parts -->$/,$s/^- \[[^]]*\](\([^)#]*\.md\)).*/docs\/\1/p' "$1"
}

# NAME(N) of a page: said in a comment, or img-TOOL.
name_of() {
    said=$(sed -n 's/^<!-- manual: \([^:]*([0-9])\).*-->.*/\1/p' "$1")
    case $said$1 in
    docs/applets/*) basename "$1" .md | sed 's/.*/img-&(1)/' ;;
    *) echo "$said" ;;
    esac
}

for page in docs/*.md docs/applets/*.md; do
    name=$(name_of "$page")
    [ -n "$name" ] || continue
    echo "$page $name" >> "$work/manuals"
    for file in "$page" $(parts_of "$page"); do
        echo "${file#docs/} $name" >> "$work/links"
    done
done

# The first block of code of each tool's page, under the name that qemu-img gives to the tool.
for page in docs/applets/*.md; do
    case $page in
    */qemu-nbd.md) ;;
    *) awk '/^    / { seen = 1; print substr($0, 5) } seen && !/^    / { exit }' "$page" ;;
    esac
done | sed 's/^img-/qemu-img /' > "$work/synopses"

while read -r page name; do
    title=${name%(*} section=${name#*(}
    section=${section%)}
    mkdir -p "$folder/man$section"
    # shellcheck disable=SC2046
    awk -v manual="$title" -v section="$section" -v links="$work/links" -v synopses="$work/synopses" \
        -f packaging/manual/page.awk "$page" $(parts_of "$page") > "$work/page.md"
    lowdown -s -t man --out-no-smarty --parse-no-metadata --parse-no-super --parse-no-autolink \
        -m title="$title" -m section="$section" -m date="$date" -m source="imgbox $version" -m volume='imgbox manual' \
        "$work/page.md" > "$work/page.roff"
    awk -f packaging/manual/post.awk "$work/page.roff" > "$folder/man$section/$title.$section"
done < "$work/manuals"
