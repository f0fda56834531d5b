#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# `make install` and `make uninstall`.

load ../helper

@test "install: DESTDIR and PREFIX, and uninstall leaves nothing" {
    beyond
    no_asan
    make -s -C "$ROOT" BUILD="$BUILD" install DESTDIR="$PWD/root" PREFIX=/usr > "$OUT" 2> "$ERR" || { show; false; }
    [ -x root/usr/bin/imgbox ]
    [ -x root/usr/bin/img-convert ]
    cmd 0 root/usr/bin/img-create -q a.raw 1M
    make -s -C "$ROOT" BUILD="$BUILD" uninstall DESTDIR="$PWD/root" PREFIX=/usr > "$OUT" 2> "$ERR" || { show; false; }
    [ -z "$(find root -type f -o -type l)" ]
}
