#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The seeds of the fuzzer and what it found: every tool ends in good time, in order, and leaves a source alone.

load ../helper

# No crash (128 and more), which a run away is as well: it gets 20 seconds of processor time.
ends() {
    local status=0
    (ulimit -t 20; exec timeout 600 "$IMG" "$@") > /dev/null 2>&1 || status=$?
    [ "$status" -lt 124 ] || { echo "exit $status: $*"; return 1; }
}

@test "qcow2: the corpus of the fuzzer" {
    [ -z "${IMG_IS_PEER-}" ] || skip 'the real tool hangs on some of them'
    for seed in "$BATS_TEST_DIRNAME"/../fuzz/corpus/qcow2/*; do
        cp "$seed" source.img
        ends info -f qcow2 source.img
        ends info -f qcow2 --output=json source.img
        ends map -f qcow2 -l 64M source.img
        ends check -f qcow2 source.img
        cmp "$seed" source.img
        ends check -f qcow2 -r all source.img
    done
}
