#!/bin/sh
# SPDX-License-Identifier: MIT
# Make a link without spaces to a folder whose name has some, and print it.
#
# usage: without-spaces.sh FOLDER
set -eu
mkdir -p "$1" build/at
folder=$(cd "$1" && pwd)
link=build/at/$(printf '%s' "$folder" | cksum | cut -d ' ' -f 1)
ln -sfn "$folder" "$link"
echo "$link"
