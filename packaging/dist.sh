#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the release: the files of the last commit and the manual pages in docs/man, in a tar file that is the same
# whenever and wherever it is made of that commit.
#
# usage: dist.sh FOLDER VERSION DATE
set -eu
cd "$(dirname "$0")/.."
folder=$1 name=imgbox-$2 date=$3
git rev-parse --verify -q HEAD > /dev/null || {
    echo 'make dist: this is no clone' >&2
    exit 1
}
[ -z "$(git status --porcelain)" ] || echo 'make dist: what is not committed is not in it' >&2
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d "$folder/dist.XXXXXX")
trap 'rm -rf "$work"' EXIT
git archive --prefix="$name/" HEAD | tar -C "$work" -x
day=$(LC_ALL=C date -u -d "$date" '+%a %b %d %Y')
for file in rpm/imgbox.spec alpine/APKBUILD arch/PKGBUILD nix/default.nix; do
    sed -i -e "s/@VERSION@/$2/" -e "s/@DAY@/$day/" "$work/$name/packaging/$file"
done
sh "$work/$name/packaging/manual/make.sh" "$work/$name/docs/man" "$2" "$date"
tar -C "$work" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --mtime="@$(git log -1 --format=%ct)" -c "$name" | gzip -n -9 > "$folder/$name.tar.gz.new"
mv "$folder/$name.tar.gz.new" "$folder/$name.tar.gz"
echo "$folder/$name.tar.gz"
