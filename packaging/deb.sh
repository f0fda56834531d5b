#!/bin/sh
# SPDX-License-Identifier: MIT
# Build the packages for Debian of the release that `make dist` made.
#
# usage: deb.sh RELEASE.tar.gz VERSION DATE FOLDER
#
# They go into FOLDER.  MAINTAINER="Name <address>" is who answers for them.
set -eu
release=$1 version=$2 date=$3
mkdir -p "$4"
folder=$(cd "$4" && pwd)
maintainer=${MAINTAINER:-imgbox developers <imgbox@users.noreply.github.com>}
command -v dpkg-buildpackage > /dev/null || {
    echo 'make deb: needs dpkg-dev, debhelper and the build dependencies' >&2
    exit 1
}
work=$(mktemp -d "$folder/deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$release" "$work/imgbox_$version.orig.tar.gz"
tar -C "$work" -xf "$release"
cd "$work/imgbox-$version"
cp -R packaging/debian debian
sed -i "s|@MAINTAINER@|$maintainer|" debian/control
sed -e '1,/^$/d' -e 's/^$/./' -e 's/^/ /' LICENSE > "$work/license"
sed -i -e "/@LICENSE@/r $work/license" -e '/@LICENSE@/d' debian/copyright
{
    printf 'imgbox (%s-1) unstable; urgency=medium\n\n  * This release; see changelog.md.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "$date")"
} > debian/changelog
dpkg-buildpackage -us -uc
cd "$work"
mv ./*.deb ./*.dsc ./*.orig.tar.gz ./*.debian.tar.* ./*.buildinfo ./*.changes "$folder"
