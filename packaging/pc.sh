#!/bin/sh
# SPDX-License-Identifier: MIT
# Print imgbox.pc, for pkg-config.
#
# usage: pc.sh VERSION PREFIX LIBDIR INCLUDEDIR REQUIRES LIBS MODULES
#
# REQUIRES: packages of pkg-config; LIBS: libraries that have none.  MODULES: drivers that are loaded into the program.
set -eu

# pkg-config splits at spaces, too.
escaped() {
    printf '%s' "$1" | sed 's/[ \\"]/\\&/g'
}

# A module calls the library in the program, which has to have all of it, and to show it.
link=-limg
[ -z "$7" ] || link='-Wl,--whole-archive -limg -Wl,--no-whole-archive -rdynamic'
cat << EOF
prefix=$(escaped "$2")
libdir=$(escaped "$3")
includedir=$(escaped "$4")

Name: imgbox
Description: libimg, a library for disk images (a static one: ask with --static)
Version: $1
Requires.private: $5
Cflags: -I\${includedir}/imgbox -pthread
Libs: -L\${libdir} $link -pthread
Libs.private: $6
EOF
