#!/bin/sh
# Print the symbols that an executable exports to its modules, as a list for the linker (--dynamic-list): those declared
# in driver.h and in the helpers that drivers include.
#
# usage: exports.sh DRIVER-SOURCE...
set -eu
helpers=$(grep -h '^#include ".*libimg/' "$@" | sed 's|.*"\(\.\./\)*\(libimg/.*\)"|\2|' | sort -u)
echo '{'
# Every word that could be a name; words that are no symbols do no harm.
# shellcheck disable=SC2086
grep -h -o '\<img_[a-z0-9_]*' libimg/img.h libimg/driver.h libimg/node/mark.h $helpers | sort -u | sed 's/.*/    &;/'
echo '};'
