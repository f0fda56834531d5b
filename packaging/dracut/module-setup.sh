#!/bin/bash
# SPDX-License-Identifier: MIT
# Puts imgbox and its links into the initramfs that dracut makes; for /usr/lib/dracut/modules.d/90imgbox/.  It is there
# if it is asked for: dracut --add imgbox.  The static file is taken if it is installed.

box() {
    command -v imgbox-static || command -v imgbox
}

check() {
    box > /dev/null || return 1
    return 255
}

depends() {
    return 0
}

install() {
    local name
    # (a function of dracut)
    inst_binary "$(box)" /usr/bin/imgbox
    for name in $(imgbox --list 2> /dev/null || imgbox-static --list); do
        # shellcheck disable=SC2154
        ln -sf imgbox "$initdir/usr/bin/$name"
    done
}
