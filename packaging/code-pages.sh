#!/bin/sh
# Print the C source of the static file's code pages.
#
# usage: code-pages.sh FOLDER COMPILER...     (a compiler for this machine; FOLDER: for what is made on the way)
set -eu
folder=$1
shift
"$@" -O1 -o "$folder/code-pages" "$(dirname "$0")/code-pages.c"
"$folder/code-pages" > "$folder/code-pages.raw"
gzip -9 -n -c "$folder/code-pages.raw" > "$folder/code-pages.gz"
echo '#include "drivers/vmdk/code-pages.h"'
echo 'const uint8_t vmdk_code_pages[] = {'
# The deflate stream is between a header of 10 bytes and a trailer of 8 (RFC 1952).
tail -c +11 "$folder/code-pages.gz" | head -c -8 | od -A n -v -t u1 | sed 's/ *\([0-9][0-9]*\)/\1,/g'
echo '};'
echo 'const size_t vmdk_code_pages_length = sizeof vmdk_code_pages;'
