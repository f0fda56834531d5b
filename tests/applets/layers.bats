#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Arrows between the rooms of the code run one way (tests/layers.py).

load ../helper

setup() {
    fresh_folder
    beyond
}

@test "layers: no include and no call points upwards" {
    python3 "$ROOT/tests/layers.py" "$BUILD/obj"
}

@test "layers: an upward call is found" {
    cp -R "$ROOT/tests/layers.py" "$BATS_TEST_TMPDIR/"
    mkdir -p "$BATS_TEST_TMPDIR/x/tests" "$BATS_TEST_TMPDIR/x/libimg/util" "$BATS_TEST_TMPDIR/x/libimg/io"
    cp "$ROOT/tests/layers.py" "$BATS_TEST_TMPDIR/x/tests/"
    cd "$BATS_TEST_TMPDIR/x"
    echo 'int io_thing(void) { return 1; }' > libimg/io/thing.c
    echo 'int io_thing(void); int util_thing(void); int util_thing(void) { return io_thing(); }' > libimg/util/thing.c
    mkdir -p obj/libimg/io obj/libimg/util
    cc -c -o obj/libimg/io/thing.o libimg/io/thing.c
    cc -c -o obj/libimg/util/thing.o libimg/util/thing.c
    run python3 tests/layers.py "$PWD/obj"
    [ "$status" -eq 1 ]
    [[ $output == *'libimg/util/thing.c -> libimg/io/thing.c: io_thing'* ]]
}
