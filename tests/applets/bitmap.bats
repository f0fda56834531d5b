#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-bitmap: its actions, messages and limits; bitmaps that follow what is written; convert --bitmaps.

load ../helper

number() {  # FILE OFFSET BYTES: a big-endian number
    echo $((16#$(peek "$1" "$2" "$3")))
}

# The directory of the bitmaps: a line "OFFSET NAME FLAGS GRANULARITY-BITS TABLE ENTRIES" each.
directory() {
    local at type length end
    at=$(number "$1" 100 4)
    while type=$(peek "$1" "$at" 4) && [ "$type" != 00000000 ] && [ "$type" != 23852875 ]; do
        length=$(number "$1" $((at + 4)) 4)
        at=$((at + 8 + (length + 7) / 8 * 8))
    done
    [ "$type" = 23852875 ] || return 0
    end=$(($(number "$1" $((at + 16)) 8) + $(number "$1" $((at + 24)) 8)))
    at=$(number "$1" $((at + 24)) 8)
    while [ "$at" -lt "$end" ]; do
        length=$(number "$1" $((at + 18)) 2)
        echo "$at $(tail -c +$((at + 25)) "$1" | head -c "$length") $(number "$1" $((at + 12)) 4)" \
            "$(number "$1" $((at + 17)) 1) $(number "$1" "$at" 8) $(number "$1" $((at + 8)) 4)"
        at=$((at + (24 + length + 7) / 8 * 8))
    done
}

# bits FILE NAME BYTES: that many bytes of its bits, as hex digits.
bits() {
    local table entry
    table=$(directory "$1" | awk -v name="$2" '$2 == name { print $5 }')
    entry=$(number "$1" "$table" 8)
    case $entry in
        0) printf "%0$(($3 * 2))d" 0 ;;
        1) printf "%0$(($3 * 2))d" 0 | tr 0 f ;;
        *) peek "$1" "$entry" "$3" ;;
    esac
}

bits_are() {  # FILE NAME HEX
    local is
    is=$(bits "$1" "$2" $((${#3} / 2)))
    [ "$is" = "$3" ] || { echo "bits of $2: $is"; return 1; }
}

# A writer died: the bitmap is in use.
die() {  # FILE NAME
    local entry flags
    read -r entry _ flags _ <<< "$(directory "$1" | awk -v name="$2" '$2 == name')"
    poke "$1" $((entry + 12)) "$(printf '%08x' $((flags | 1)))"
}

# Data into an image, with whatever writes: here by copying a raw file into it.
dirty() {  # FILE OFFSET LENGTH
    rm -f raw
    truncate -s 1M raw
    pattern raw 55 "$2" "$3"
    qemu-img convert -n --target-is-zero -f raw -O qcow2 raw "$1"
}

@test "bitmap: add, list, remove" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b0
    silent
    img 0 bitmap --add -g 4k --disable -f qcow2 a.qcow2 b1
    img 0 bitmap --add --granularity 2G a.qcow2 b2
    img 0 info --output=json a.qcow2
    sed -n '/"bitmaps"/,/^            \]/p' "$OUT" > list
    same list <<'EOF'
            "bitmaps": [
                {
                    "flags": [
                        "auto"
                    ],
                    "name": "b0",
                    "granularity": 65536
                },
                {
                    "flags": [
                    ],
                    "name": "b1",
                    "granularity": 4096
                },
                {
                    "flags": [
                        "auto"
                    ],
                    "name": "b2",
                    "granularity": 2147483648
                }
            ],
EOF
    img 0 check -q a.qcow2
    silent
    [ "$(peek a.qcow2 95 1)" = 01 ]         # autoclear: the bitmaps count
    img 0 bitmap --remove a.qcow2 b1
    [ "$(directory a.qcow2 | cut -d ' ' -f 2 | tr '\n' ' ')" = 'b0 b2 ' ]
    img 0 bitmap --remove a.qcow2 b0
    img 0 bitmap --remove a.qcow2 b2
    [ "$(peek a.qcow2 95 1)" = 00 ]
    img 0 check -q a.qcow2
    silent
    img 0 info --output=json a.qcow2
    mv "$OUT" list
    cmd 1 grep bitmaps list
}

@test "bitmap: the standard granularity follows the cluster size" {
    local pair
    for pair in 512:12 4096:12 8192:13 65536:16 2097152:16; do
        img 0 create -q -f qcow2 -o "cluster_size=${pair%:*}" a.qcow2 1M
        img 0 bitmap --add a.qcow2 b
        [ "$(directory a.qcow2 | cut -d ' ' -f 4)" = "${pair#*:}" ]
    done
    img 0 bitmap --add -g 0 a.qcow2 c
    [ "$(directory a.qcow2 | sed -n 2p | cut -d ' ' -f 4)" = 16 ]
}

@test "bitmap: actions in their order, those before a failure count" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add --disable --enable --enable --disable a.qcow2 b
    [ "$(directory a.qcow2 | cut -d ' ' -f 2,3)" = 'b 0' ]
    img 1 bitmap --enable --add a.qcow2 b
    err 'qemu-img: Operation add on bitmap b failed: Bitmap already exists: b'
    [ "$(directory a.qcow2 | cut -d ' ' -f 2,3)" = 'b 2' ]
    img 1 bitmap --add --remove --clear a.qcow2 c
    err "qemu-img: Operation clear on bitmap c failed: Dirty bitmap 'c' not found"
    img 1 bitmap --add --add a.qcow2 c
    [ "$(directory a.qcow2 | cut -d ' ' -f 2 | tr '\n' ' ')" = 'b c ' ]
    img 0 bitmap --remove --add a.qcow2 b
    [ "$(directory a.qcow2 | cut -d ' ' -f 2 | tr '\n' ' ')" = 'c b ' ]
}

@test "bitmap: usage errors" {
    img 0 create -q -f qcow2 a.qcow2 1M
    local args
    while IFS='|' read -r args text; do
        # shellcheck disable=SC2086
        img 1 bitmap $args
        out ''
        err "qemu-img: $text"
    done <<'EOF'
a.qcow2 b|Need at least one of --add, --remove, --clear, --enable, --disable, or --merge
--add a.qcow2|Expecting filename and bitmap name
--add a.qcow2 b c|Expecting filename and bitmap name
-g 64k --clear a.qcow2 b|granularity only supported with --add
-b a.qcow2 --clear a.qcow2 b|Merge bitmap source file only supported with --merge
-F qcow2 --merge x a.qcow2 b|-F only supported with -b
--image-opts -f qcow2 --add a.qcow2 b|--image-opts and --format are mutually exclusive
-g -1 --add a.qcow2 b|Invalid granularity specified. Must be between 0 and 9223372036854775807.
-g 1x --add a.qcow2 b|Invalid granularity specified: '1x'.
-g 511 --add a.qcow2 b|Operation add on bitmap b failed: Granularity must be power of 2 and at least 512
-g 4G --add a.qcow2 b|Operation add on bitmap b failed: Granularity must be power of 2 and at least 512
--remove a.qcow2 b|Operation remove on bitmap b failed: Dirty bitmap 'b' not found
--disable a.qcow2 b|Operation disable on bitmap b failed: Dirty bitmap 'b' not found
--merge x a.qcow2 b|Operation merge on bitmap b failed: Dirty bitmap 'b' not found
--add none b|Could not open 'none': Could not open 'none': No such file or directory
EOF
    img 1 bitmap --add a.qcow2 ''
    err 'qemu-img: Operation add on bitmap  failed: Bitmap name cannot be empty'
}

@test "bitmap: images that cannot store bitmaps" {
    img 0 create -q -f raw r 1M
    img 1 bitmap --add -f raw r b
    sed -i 's/#block[0-9]*/#block/' "$ERR"
    err "qemu-img: Operation add on bitmap b failed: Can't store persistent bitmaps to #block: Operation not supported"
    img 1 bitmap --clear -f raw r b
    err "qemu-img: Operation clear on bitmap b failed: Dirty bitmap 'b' not found"
    img 0 create -q -f qcow2 -o compat=0.10 v2 1M
    img 1 bitmap --add --image-opts driver=qcow2,node-name=n,file.filename=v2 b
    err "qemu-img: Operation add on bitmap b failed: Can't make bitmap 'b' persistent in 'n': Cannot store dirty bitmaps in qcow2 v2 files"
    img 0 create -q -f qcow2 big 64T
    img 1 bitmap --add -g 8k --image-opts driver=qcow2,node-name=n,file.filename=big b
    err "qemu-img: Operation add on bitmap b failed: Can't make bitmap 'b' persistent in 'n': Too much space will be occupied by the bitmap. Use larger granularity"
    img 0 bitmap --add -g 16k big b
}

@test "bitmap: names have up to 1023 bytes" {
    local name
    img 0 create -q -f qcow2 a.qcow2 1M
    name=$(printf 'x%.0s' {1..1023})
    img 0 bitmap --add a.qcow2 "$name"
    [ "$(directory a.qcow2 | cut -d ' ' -f 2)" = "$name" ]
    img 1 bitmap --add a.qcow2 "y$name"
    has "$ERR" 'Name length exceeds maximum \(1023 characters\)$'
    img 0 bitmap --remove a.qcow2 "$name"
    img 0 check -q a.qcow2
    silent
}

@test "bitmap: enabled ones record what is written, disabled ones do not" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 on
    img 0 bitmap --add -g 16k a.qcow2 fine
    img 0 bitmap --add --disable a.qcow2 off
    dirty a.qcow2 128k 192k
    bits_are a.qcow2 on 1c00
    bits_are a.qcow2 fine 00ff0f0000000000
    bits_are a.qcow2 off 0000
    img 0 bitmap --disable a.qcow2 on
    img 0 bitmap --enable a.qcow2 off
    dirty a.qcow2 0 64k
    bits_are a.qcow2 on 1c00
    bits_are a.qcow2 off 0100
    img 0 bitmap --clear a.qcow2 fine
    bits_are a.qcow2 fine 0000000000000000
    img 0 check -q a.qcow2
    silent
    # all of it, which needs no cluster
    img 0 convert -n -f raw -O qcow2 raw a.qcow2
    bits_are a.qcow2 fine ffffffffffffffff
    img 0 check -q a.qcow2
    silent
}

@test "bitmap: merge, also with another granularity and from another image" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 create -q -f qcow2 b.qcow2 1M
    img 0 bitmap --add -g 16k a.qcow2 fine
    img 0 bitmap --add -g 256k a.qcow2 coarse
    dirty a.qcow2 256k 64k
    img 0 bitmap --add --merge fine --merge coarse a.qcow2 both
    bits_are a.qcow2 both f000
    img 0 bitmap --add -g 4k --merge fine -b a.qcow2 -F qcow2 b.qcow2 m
    bits_are b.qcow2 m 0000000000000000ffff0000
    img 0 bitmap --disable --merge coarse -b a.qcow2 b.qcow2 m
    bits_are b.qcow2 m 0000000000000000ffffffffffffffff00
    img 0 bitmap --merge m b.qcow2 m
    # The source is only read.
    sum a.qcow2 > before
    img 0 bitmap --merge fine -b a.qcow2 b.qcow2 m
    [ "$(sum a.qcow2)" = "$(cat before)" ]
    img 1 bitmap --merge nope -b a.qcow2 b.qcow2 m
    err "qemu-img: Operation merge on bitmap m failed: Dirty bitmap 'nope' not found"
    img 0 create -q -f qcow2 c.qcow2 2M
    img 0 bitmap --add c.qcow2 m
    img 1 bitmap --merge fine -b a.qcow2 c.qcow2 m
    err "qemu-img: Operation merge on bitmap m failed: Bitmaps are of different sizes (destination size is 2097152, source size is 1048576) and can't be merged"
    img 1 bitmap --merge fine -b none c.qcow2 m
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    img 1 bitmap --merge m -b c.qcow2 c.qcow2 m
    has "$ERR" 'Failed to get shared "write" lock$'
    img 0 check -q a.qcow2
    img 0 check -q b.qcow2
    silent
}

@test "bitmap: merge at one granularity, clusters of any size" {
    img 0 create -q -f qcow2 -o cluster_size=512 a.qcow2 10M
    img 0 bitmap --add -g 512 a.qcow2 b
    truncate -s 10M raw
    for at in 0 1536k 2047k 2048k 5M 10239k; do
        pattern raw 55 $at 1k
    done
    pattern raw 66 6M 2M            # a cluster of ones, which has no bits of its own
    img 0 convert -n --target-is-zero -f raw -O qcow2 raw a.qcow2
    img 0 create -q -f qcow2 x.qcow2 10M
    img 0 bitmap --add -g 512 --merge b -b a.qcow2 x.qcow2 b
    for cluster in 512 4k 2M; do
        img 0 create -q -f qcow2 -o cluster_size=$cluster c.qcow2 10M
        img 0 bitmap --add -g 512 --merge b -b x.qcow2 c.qcow2 b
        img 0 create -q -f qcow2 y.qcow2 10M
        img 0 bitmap --add -g 512 --merge b -b c.qcow2 y.qcow2 b
        [ "$(bits x.qcow2 b 2560)" = "$(bits y.qcow2 b 2560)" ]
        img 0 check -q c.qcow2
        silent
    done
    # 4k at each place and 2M; a bit is 512 bytes, a digit 2k
    [ "$(bits x.qcow2 b 2560 | tr -d '0\n')" = "$(printf 'f%.0s' {1..1036})" ]
    [ "$(bits x.qcow2 b 2560 | tail -c 3)" = 0ff ]
}

@test "bitmap: many clusters of bits" {
    img 0 create -q -f qcow2 -o cluster_size=512 a.qcow2 10M
    img 0 bitmap --add -g 512 a.qcow2 b
    truncate -s 10M raw
    pattern raw 55 2M 4M
    pattern raw 66 9M 4k
    img 0 convert -n --target-is-zero -f raw -O qcow2 raw a.qcow2
    img 0 bitmap --add -g 1k --merge b a.qcow2 c
    img 0 check -q a.qcow2
    silent
    # second and third cluster of bits are full, the fifth has eight bits
    read -r _ _ _ _ table entries <<< "$(directory a.qcow2 | head -1)"
    [ "$entries" = 5 ]
    [ "$(number a.qcow2 "$table" 8)" = 0 ]
    [ "$(number a.qcow2 $((table + 24)) 8)" = 0 ]
    [ "$(peek a.qcow2 $(($(number a.qcow2 $((table + 32)) 8) + 256)) 2)" = ff00 ]
    img 0 bitmap --remove a.qcow2 b
    img 0 bitmap --remove a.qcow2 c
    img 0 check -q a.qcow2
    silent
}

@test "bitmap: one that was left in use can only be removed" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b
    img 0 bitmap --add a.qcow2 c
    die a.qcow2 b
    img 0 info a.qcow2
    has "$OUT" 'in-use'
    local action
    for action in clear enable disable 'merge c' 'merge b'; do
        # shellcheck disable=SC2086
        img 1 bitmap --$action a.qcow2 b
        err "qemu-img: Operation ${action% *} on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used" \
            'Try block-dirty-bitmap-remove to delete this bitmap from disk'
    done
    img 1 bitmap --merge b a.qcow2 c
    err "qemu-img: Operation merge on bitmap c failed: Bitmap 'b' is inconsistent and cannot be used" \
        'Try block-dirty-bitmap-remove to delete this bitmap from disk'
    img 1 bitmap --add a.qcow2 b
    err 'qemu-img: Operation add on bitmap b failed: Bitmap already exists: b'
    # Writing leaves it as it is.
    dirty a.qcow2 0 64k
    [ "$(directory a.qcow2 | cut -d ' ' -f 2,3 | tr '\n' ' ')" = 'b 3 c 2 ' ]
    img 0 bitmap --remove a.qcow2 b
    img 0 check -q a.qcow2
    silent
}

@test "bitmap: killed at any write, it is as before, as after, or in use" {
    need_strace
    beyond
    local n now found
    img 0 create -q -f qcow2 -o cluster_size=4k base 1M
    img 0 bitmap --add -g 4k base b
    dirty base 16k 128k
    rm raw
    truncate -s 1M raw
    pattern raw 77 512k 300k
    found=
    for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
        cp base a
        strace -qq -f -o /dev/null -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when=$n \
            "$IMG" convert -n --target-is-zero -f raw -O qcow2 raw a > /dev/null 2>&1 && break
        now=$(directory a | cut -d ' ' -f 3)
        found="$found $now"
        "$IMG" check -q a > /dev/null 2>&1 || [ $? -eq 3 ]
    done
    # Before the first byte of data goes out the mark is on disk; it goes last.
    [[ $found =~ ^' 2 3'(' 3')+(' 2')?$ ]]
}

@test "bitmap: disks of different sizes" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b
    img 0 bitmap --add --disable --merge b a.qcow2 off
    dirty a.qcow2 960k 64k
    bits_are a.qcow2 b 0080
    img 0 bitmap --merge b a.qcow2 off
    img 0 resize -q a.qcow2 2M
    bits_are a.qcow2 b 00800000
    bits_are a.qcow2 off 00800000
    img 0 resize -q --shrink a.qcow2 960k
    bits_are a.qcow2 b 0000
    img 0 resize -q a.qcow2 1M
    bits_are a.qcow2 b 0000
    img 0 check -q a.qcow2
    silent
    die a.qcow2 off
    img 1 resize -q a.qcow2 2M
    err "qemu-img: Bitmap 'off' is inconsistent and cannot be used" \
        'Try block-dirty-bitmap-remove to delete this bitmap from disk'
}

@test "bitmap: all of them are removed" {
    beyond
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b
    img 0 bitmap --add a.qcow2 c
    die a.qcow2 c
    img 0 bitmap --remove-all a.qcow2
    silent
    [ -z "$(directory a.qcow2)" ]
    img 0 check -q a.qcow2
    silent
    img 0 bitmap --remove-all a.qcow2
    img 0 bitmap --remove-all --add a.qcow2 d
    [ "$(directory a.qcow2 | cut -d ' ' -f 2)" = d ]
    img 1 bitmap --remove-all --add a.qcow2
    err 'qemu-img: Expecting filename and bitmap name'
}

@test "bitmap: stale bitmaps are dropped with the first change" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b
    poke a.qcow2 95 00
    cp a.qcow2 c.qcow2
    img 3 check -q a.qcow2
    has "$ERR" 'a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent$'
    img 0 check -q -r all a.qcow2
    [ -z "$(directory a.qcow2)" ]
    img 0 check -q a.qcow2
    silent
    img 0 bitmap --add c.qcow2 b
    [ "$(directory c.qcow2 | cut -d ' ' -f 2,3)" = 'b 2' ]
}

@test "convert --bitmaps" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b0
    img 0 bitmap --add -g 16k a.qcow2 b1
    dirty a.qcow2 128k 64k
    img 0 bitmap --disable a.qcow2 b1
    img 0 convert --bitmaps -O qcow2 a.qcow2 t.qcow2
    silent
    [ "$(directory t.qcow2 | cut -d ' ' -f 2,3,4 | tr '\n' ' ')" = 'b0 2 16 b1 0 14 ' ]
    bits_are t.qcow2 b0 0400
    bits_are t.qcow2 b1 000f000000
    img 0 check -q t.qcow2
    img 0 compare -q a.qcow2 t.qcow2
    silent
    img 0 convert --bitmaps -c -O qcow2 -o cluster_size=4k a.qcow2 t.qcow2
    bits_are t.qcow2 b1 000f000000
    img 0 convert -O qcow2 a.qcow2 t.qcow2
    [ -z "$(directory t.qcow2)" ]
}

@test "convert --bitmaps: a snapshot that is shorter than the disk" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 snapshot -c first a.qcow2
    img 0 bitmap --add a.qcow2 b0
    img 0 bitmap --add -g 16k a.qcow2 b1
    img 0 resize -q a.qcow2 640G
    truncate -s 640G raw
    pattern raw 55 192k 64k
    pattern raw 55 600G 64k
    img 0 convert -n --target-is-zero -f raw -O qcow2 raw a.qcow2
    img 0 convert --bitmaps -l first -O qcow2 a.qcow2 t.qcow2
    silent
    bits_are t.qcow2 b0 080000
    bits_are t.qcow2 b1 00f0000000
    img 0 check -q t.qcow2
    silent
}

@test "convert --bitmaps: what it refuses" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 bitmap --add a.qcow2 b0
    img 0 bitmap --add a.qcow2 b1
    img 0 create -q -f raw r 1M
    img 1 convert --bitmaps -O raw a.qcow2 t
    err "qemu-img: Format driver 'raw' does not support bitmaps"
    img 1 convert --bitmaps a.qcow2 none/x
    err "qemu-img: none/x: error while converting raw: Could not create 'none/x': No such file or directory"
    img 1 convert --bitmaps -f raw -O qcow2 r t
    err 'qemu-img: Source lacks bitmap support'
    img 1 convert --bitmaps -O qcow2 a.qcow2 r t
    err 'qemu-img: Copying bitmaps only possible with single source'
    img 1 convert --skip-broken-bitmaps -O qcow2 a.qcow2 t
    err 'qemu-img: Use of --skip-broken-bitmaps requires --bitmaps'
    [ -n "$IMG_IS_PEER" ] || [ ! -e t ]
    rm -f t
    img 1 convert --bitmaps -O qcow2 -o compat=0.10 a.qcow2 t
    err "qemu-img: Format driver 'qcow2' does not support bitmaps"
    img 0 create -q -f qcow2 t 1M
    img 0 bitmap --add t b1
    img 1 convert --bitmaps -n -O qcow2 a.qcow2 t
    err 'qemu-img: Failed to create bitmap b1: Bitmap already exists: b1'
    img 0 create -q -f qcow2 t 2M
    img 1 convert --bitmaps -n -O qcow2 a.qcow2 t
    err "qemu-img: Failed to populate bitmap b1: Bitmaps are of different sizes (destination size is 2097152, source size is 1048576) and can't be merged"
    [ -z "$(directory t)" ]
    img 0 check -q t
    rm t
    die a.qcow2 b0
    img 1 convert --bitmaps -O qcow2 a.qcow2 t
    err "qemu-img: Cannot copy inconsistent bitmap 'b0'" \
        "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it"
    [ ! -e t ]
    img 0 convert --bitmaps --skip-broken-bitmaps -O qcow2 a.qcow2 t
    err "qemu-img: warning: Skipping inconsistent bitmap 'b0'"
    [ "$(directory t | cut -d ' ' -f 2)" = b1 ]
}
