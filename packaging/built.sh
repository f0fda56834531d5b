#!/bin/sh
# SPDX-License-Identifier: MIT
# Print the C file with what --version says.
#
# usage: built.sh CONFIG VERSION FLAVOUR BUGS MODULES OFF
#
# CONFIG: the file of config.sh.  MODULES, OFF: drivers in modules, and drivers that are left out.
set -eu
config=$1 version=$2 flavour=$3 bugs=$4 modules=$5 off=$6

quoted() {
    printf '%s' "$1" | sed 's/[\\"]/\\&/g'
}

# "zlib 1.2.13, bzip2": what a script of sed finds in the configuration.
list() {
    sed -n -E "$1" "$config" | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $0 }'
}
with=$(list 's/^# ([a-z0-9]+): yes, ([^ ]+) .*/\1 \2/p; s/^# ([a-z0-9]+): yes \(.*/\1/p')
without=$(list 's/^# ([a-z0-9]+): (off by choice|not found).*/\1/p')
for driver in $off; do
    without="$without${without:+, }driver $driver"
done
text="${with:+with $with}${without:+${with:+; }without $without}"
# shellcheck disable=SC2086
set -- $modules
[ $# -eq 0 ] || text="$text${text:+; }modules $*"
[ "$flavour" = default ] || text="$text${text:+; }$flavour"

cat << EOF
#include "applets/version.h"
const char app_version[] = "$(quoted "$version")";
const char app_built[] = "$(quoted "$text")";
const char app_bugs[] = "$(quoted "$bugs")";
EOF
