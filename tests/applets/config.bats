#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a build has: choices in a file, the five lines at its end, and codecs that are left out (docs/building.md).

load ../helper

# One build without codecs for all tests, of the formats that can be compressed.
setup_file() {
    [ -z "$IMG_IS_PEER" ] && [[ $IMG != */asan/* ]] || return 0
    cd "$BATS_FILE_TMPDIR" || return 1
    for name in libdeflate zlib zstd bzip2 xz nettle argon2; do
        echo "$name=off"
    done > choice
    for folder in "$ROOT"/drivers/*/; do
        folder=${folder%/} folder=${folder##*/}
        [[ ' raw file qcow2 qcow vmdk dmg cloop ' == *" $folder "* ]] || echo "driver.$folder=off"
    done >> choice
    make -s -C "$ROOT" BUILD="$PWD/build" CONFIG="$PWD/choice" OPT=-O0 HARDEN= CFLAGS=-Werror all > log 2>&1 || {
        cat log
        return 1
    }
}

setup() {
    [ -z "$IMG_IS_PEER" ] || skip 'our own build'
    no_asan
    fresh_folder
    WITHOUT=$BATS_FILE_TMPDIR/build/bin/qemu-img
    ! grep -q '^# z.*: \(not found\|off\)' "$BUILD/config.mk" || LESS=1
}

# config LINE...: the configuration with these choices, in $OUT
config() {
    printf '%s\n' "$@" > choice
    (cd "$ROOT" && DRIVERS='raw file qcow2 vmdk zstd' sh packaging/config.sh "$OLDPWD/choice")
}

@test "config: what the static file has from sources" {
    # A library that is here, but not among those, leaves its driver out.
    cp "$ROOT/packaging/network.config" choice
    (cd "$ROOT" && DRIVERS='raw file nbd iscsi nfs curl tls ssh gluster' sh packaging/config.sh "$OLDPWD/choice") \
        > "$OUT" 2> "$ERR" || has "$ERR" 'musl-gcc'
    ! grep -q gluster "$ERR" || { show; false; }
    config sources=on zstd-small=on > "$OUT" 2>&1 || grep -q 'musl-gcc' "$OUT"
    grep -q 'musl-gcc' "$OUT" || has "$OUT" '^STATIC_SOURCES := network zstd-small$'
    config zstd=on > "$OUT"
    has "$OUT" '^STATIC_SOURCES := $'
}

@test "config: an unknown name or value is an error, and the nearest is named" {
    config '# zsdt=of' '' 'zstd=off   ' 'driver.vmdk=off' driver.qcow2=module > "$OUT"
    has "$OUT" '^# zstd: off by choice'
    has "$OUT" '^DRIVERS_OFF := .*\bvmdk\b'
    cmd 1 config zsdt=off zstd=of zlib driver.qcow=off driver.vmdk=modul zlib=module 'zlib = off' nosuch=on
    sed -i "s|^config: $PWD/choice:|:|" "$ERR"
    err ":1: unknown name 'zsdt' (did you mean 'zstd'?)" \
        ":2: 'zstd' is on or off, not 'of'" \
        ":3: 'zlib' needs a value, on or off" \
        ":4: unknown name 'driver.qcow' (did you mean 'driver.qcow2'?)" \
        ":5: 'driver.vmdk' is on, off or module, not 'modul' (did you mean 'module'?)" \
        ":6: 'zlib' is on or off, not 'module'" \
        ":7: unknown name 'zlib ' (did you mean 'zlib'?)" \
        ":8: unknown name 'nosuch'"
    # the last line without a newline, too
    printf zstd=no > choice
    (cd "$ROOT" && ! sh packaging/config.sh "$OLDPWD/choice" 2>&1) > "$OUT"
    has "$OUT" "choice:1: 'zstd' is on or off, not 'no'( \(did|\$)"
}

@test "config: make stops at it, and goes on when the file is mended" {
    echo zsdt=off > choice
    cmd 2 make -s -C "$ROOT" BUILD="$PWD/build" CONFIG="$PWD/choice" config
    has "$ERR" "choice:1: unknown name 'zsdt' \(did you mean 'zstd'\?\)\$"
    cmd 2 make -s -C "$ROOT" BUILD="$PWD/build" config
    has "$ERR" "choice:1: unknown name 'zsdt'"
    echo zstd=off > choice
    cmd 0 make -s -C "$ROOT" BUILD="$PWD/build" config
    has "$OUT" '^zstd: off by choice'
    cmd 2 make -s -C "$ROOT" BUILD="$PWD/build" CONFIG="$PWD/chioce" config
    has "$ERR" "there is no '$PWD/chioce'"
    cmd 0 make -s -C "$ROOT" BUILD="$PWD/build" CONFIG=packaging/minimal.config config
    cmd 0 make -s -C "$ROOT" BUILD="$PWD/build" CONFIG=packaging/small.config config
}

summary() {
    (cd "$ROOT" && sh packaging/summary.sh "$@")
}

@test "config: five lines at the end of a build say what it lacks" {
    tail -n 5 "$BATS_FILE_TMPDIR/log" > "$OUT"
    has "$OUT" '^libraries:    (iconv|nothing)$'
    has "$OUT" '^not found:    nothing$'
    has "$OUT" '^switched off: libdeflate \(fast deflate.*\), zlib \(.*\), zstd \(compression_type=zstd.*\), nettle \(encryption.*\)'
    has "$OUT" '^drivers:      7 built in; left out: .*\bxz \(needs xz\), zstd \(needs zstd\)$'
    has "$OUT" 'make config shows more'
    # all of them, always
    summary "$BUILD/config.mk" > "$OUT"
    [ "$(wc -l < "$OUT")" -eq 5 ]
    summary "$BUILD/config.mk" static > "$OUT"
    [ "$(wc -l < "$OUT")" -eq 5 ]
    run grep modules "$OUT"
    [ "$status" -eq 1 ]
}

@test "config: without pkg-config the build says so" {
    (cd "$ROOT" && PKG_CONFIG=no-such-tool DRIVERS='raw file gzip nbd' sh packaging/config.sh) > config.mk 2> "$ERR"
    err ''
    summary "$PWD/config.mk" > "$OUT"
    has "$OUT" '^not found:    pkg-config \(.*\), libdeflate .*, zlib .*, zstd \(compression_type=zstd.*\), nettle \('
    has "$OUT" '^drivers: .*left out: gzip \(needs zlib\), nbd \(needs libnbd'
    has "$OUT" '^install what is missing'
    # what is asked for is not left out in silence
    echo zstd=on > choice
    (cd "$ROOT" && ! PKG_CONFIG=no-such-tool sh packaging/config.sh "$OLDPWD/choice" 2>&1) > "$OUT"
    has "$OUT" '^config: zstd is asked for, but pkg-config does not find libzstd$'
}

@test "config: a codec that is left out is named when an image needs it" {
    [ -z "${LESS-}" ] || skip 'this build has no codecs either'
    local needs='this image needs'
    truncate -s 2M a.raw
    pattern a.raw 11 0 1M
    while read -r library name options; do
        # shellcheck disable=SC2086
        img 0 convert $options a.raw "$name"
        IMG=$WITHOUT img 0 info "$name"
        IMG=$WITHOUT img 0 map --output=json "$name"
        IMG=$WITHOUT img 1 convert -O raw "$name" out.raw
        err "qemu-img: error while reading at byte 0: $needs $library, which is not built in"
        [ ! -e out.raw ]
        # no zeroes in its place
        IMG=$WITHOUT img 1 convert --salvage -O raw "$name" out.raw
        has "$ERR" ": $needs $library, which is not built in\$"
        IMG=$WITHOUT img 4 compare "$name" a.raw
        has "$ERR" ": $needs $library, which is not built in\$"
    done <<- 'end'
	zlib zlib.qcow2 -c -O qcow2
	zstd zstd.qcow2 -c -O qcow2 -o compression_type=zstd
	zlib a.qcow -c -O qcow
	zlib a.vmdk -O vmdk -o subformat=streamOptimized
	end
    # what is not compressed can be used
    img 0 convert -O qcow2 -o compression_type=zstd a.raw plain.qcow2
    IMG=$WITHOUT img 0 convert -O raw plain.qcow2 out.raw
    cmp out.raw a.raw
}

@test "config: a codec that is left out is named when an image is made" {
    truncate -s 2M a.raw
    pattern a.raw 11 0 1M
    IMG=$WITHOUT img 0 create -q -f qcow2 x 1M
    IMG=$WITHOUT img 1 create -q -f qcow2 -o compression_type=zstd y 1M
    err "qemu-img: y: 'compression_type=zstd' needs zstd, which is not built in"
    [ ! -e y ]
    IMG=$WITHOUT img 1 convert -O qcow2 -o compression_type=zstd a.raw y
    err "qemu-img: y: error while converting qcow2: 'compression_type=zstd' needs zstd, which is not built in"
    IMG=$WITHOUT img 1 create -q -f qcow2 -o compression_level=1 y 1M
    err "qemu-img: y: 'compression_level' and 'compression_window' need zlib, which is not built in"
    [ ! -e y ]
    for options in '-c -O qcow2' '-c -O qcow' '-O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        IMG=$WITHOUT img 1 convert $options a.raw y
        err "qemu-img: error while writing at byte 0: this image needs zlib, which is not built in"
        [ ! -e y ]
    done
}

@test "config: the library that a driver lacks is in a hint" {
    truncate -s 64k a.raw
    gzip a.raw
    IMGBOX_HINTS=1 IMG=$WITHOUT img 1 info a.raw.gz
    has "$ERR" "^qemu-img: Could not open 'a.raw.gz': gzip support is not built in\$"
    has "$ERR" "^hint: it needs zlib; 'make config' in the sources shows what a build has found\$"
    IMG=$WITHOUT img 1 info a.raw.gz
    err "qemu-img: Could not open 'a.raw.gz': gzip support is not built in"
}

@test "config: chunks of a DMG whose codec is left out" {
    local sample=$ROOT/../shared/samples/simple-dmg.dmg.bz2
    [ -e "$sample" ] || skip 'the sample is not beside this clone'
    bunzip2 -c "$sample" > a.dmg
    IMG=$WITHOUT img 1 convert -O raw a.dmg out.raw
    has "$ERR" ': this image needs zlib, which is not built in$'
}
