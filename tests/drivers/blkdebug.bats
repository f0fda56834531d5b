#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The filter blkdebug: names, rules, errors at the right time.

load ../helper

# rules RULE[,RULE...]: open options of a raw image over blkdebug over the file f
rules() {
    echo "driver=raw,file.driver=blkdebug,file.image.filename=f${1:+,file.${1//,/,file.}}"
}

refused() {
    img 1 info --image-opts "$(rules "$1")"
    head -n 1 "$ERR" > first
    same first "qemu-img: Could not open '$(rules "$1")': $2"
}

copy() {  # RC RULES: read all of it
    img "$1" convert --image-opts -O raw "$(rules "$2")" out
}

@test "blkdebug: the plain name is complete if all rules are in a file" {
    truncate -s 1M f
    printf '# full\n[inject-error]\nevent = "l2_load"\nerrno = "28"\n' > rules
    for name in blkdebug::f blkdebug:rules:f blkdebug::blkdebug::f; do
        img 0 info -f raw "$name"
        has "$OUT" "^image: $name\$"
        has "$OUT" '^disk size: unavailable$'
        has "$OUT" "^    Child node '/file/image':\$"
    done
    img 1 info blkdebug:f
    err "qemu-img: Could not open 'blkdebug:f': blkdebug requires both config file and image path"
    img 1 info blkdebug:none:f
    err "qemu-img: Could not open 'blkdebug:none:f': Could not read blkdebug config file: No such file or directory"
    img 0 info --image-opts "$(rules align=512,inject-error.0.event=l2_load)"
    has "$OUT" '^image: json:\{"driver": "raw", "file": \{"image": \{"driver": "file", "filename": "f"\}, "driver": "blkdebug", "inject-error.0.event": "l2_load", "align": "512"\}\}$'
}

@test "blkdebug: invalid rules and limits" {
    truncate -s 1M f
    refused inject-error.0.event=l2_lod 'invalid parameter value: l2_lod'
    refused inject-error.0.errno=5 'Missing event name for rule'
    refused inject-error.0.event=none,inject-error.0.iotype=wrte 'invalid parameter value: wrte'
    refused inject-error.0.event=none,inject-error.0.bogus=1 "[inject-error] section doesn't support the option 'bogus'"
    refused inject-error.1.event=none "Unused option '1.event' for [inject-error]"
    refused inject-error.0.event=none,inject-error.0.sector=x "Parameter 'sector' expects a number"
    refused align=3 'Cannot meet constraints with align 3'
    refused align=512,max-transfer=1000 'Cannot meet constraints with max-transfer 1000'
    for empty in '[]' '{}'; do
        name='json:{"driver": "blkdebug", "image": {"driver": "file", "filename": "f"}, "inject-error": '$empty'}'
        img 1 info "$name"
        err "qemu-img: Could not open '$name': Block protocol 'blkdebug' doesn't support the option 'inject-error'"
    done
    refused bogus=1 "Block protocol 'blkdebug' doesn't support the option 'bogus'"
    img 1 info --image-opts driver=blkdebug
    err "qemu-img: Could not open 'driver=blkdebug': A block device must be specified for \"image\""
}

@test "blkdebug: invalid rule files" {
    truncate -s 1M f
    while IFS='|' read -r text message; do
        printf '%b' "$text" > rules
        img 1 info -f raw blkdebug:rules:f
        err "qemu-img: Could not open 'blkdebug:rules:f': $message"
    done << 'END'
[inject-error]\nevent = "l2_lod"\n|invalid parameter value: l2_lod
[inject-error]\nbogus = "1"\n|Invalid parameter 'bogus'
[bogus]\n|There is no option group 'bogus'
event = "none"\n|no group defined
[inject-error]\nevent="none"\n|Invalid parameter 'event="none"'
[set-state]\n|Missing event name for rule
END
}

@test "blkdebug: a sector that cannot be read" {
    head -c 1M /dev/urandom > f
    copy 1 inject-error.0.event=none,inject-error.0.sector=1500,inject-error.0.errno=5
    grep -q '^qemu-img: error while reading at byte [0-9]*: Input/output error$' "$ERR"
    copy 0 inject-error.0.event=none,inject-error.0.sector=2048
    cmp f out
    printf '[inject-error]\nevent = "none"\nsector = "1500"\nerrno = "28"\n' > rules
    img 1 convert -f raw -O raw blkdebug:rules:f out
    grep -q ': No space left on device$' "$ERR"
    img 0 convert --salvage -f raw -O raw blkdebug:rules:f out
    cmp -n 768000 f out
}

@test "blkdebug: kinds of requests" {
    truncate -s 1M f g
    pattern f 11 0 64k
    copy 0 inject-error.0.event=none,inject-error.0.iotype=write
    copy 1 inject-error.0.event=none,inject-error.0.iotype=read
    copy 1 inject-error.0.event=none,inject-error.0.iotype=block-status
    target=driver=raw,file.driver=blkdebug,file.image.filename=g,file.inject-error.0.event=none
    img 1 convert -n -f raw --target-image-opts f "$target,file.inject-error.0.iotype=write"
    err 'qemu-img: error while writing at byte 0: Input/output error'
    img 0 convert -n -f raw --target-image-opts f "$target,file.inject-error.0.iotype=read"
    cmp f g
    img 1 convert -n -f raw --target-image-opts f "$target,file.inject-error.0.iotype=write-zeroes"
    grep -q 'error while writing at byte .*: Input/output error' "$ERR"
}

@test "blkdebug: once" {
    head -c 1M /dev/urandom > f
    img 4 compare --image-opts "$(rules inject-error.0.event=none,inject-error.0.sector=0)" driver=raw,file.filename=f
    img 0 convert --salvage --image-opts -O raw \
        "$(rules inject-error.0.event=none,inject-error.0.sector=5,inject-error.0.once=on)" out
    cmp f out
}

# The first write is let through, which makes the second one fail.
@test "blkdebug: states" {
    truncate -s 4M g
    head -c 4M /dev/urandom > f
    target=driver=raw,file.driver=blkdebug,file.image.filename=g
    target+=,file.set-state.0.event=pwritev,file.set-state.0.state=1,file.set-state.0.new_state=2
    target+=,file.inject-error.0.event=pwritev,file.inject-error.0.state=2,file.inject-error.0.errno=28
    img 1 convert -n -f raw --target-image-opts f "$target"
    grep -q 'No space left on device' "$ERR"
    [ "$(peek g 0 16)" = "$(peek f 0 16)" ]
    [ "$(peek g 4194288 16)" = 00000000000000000000000000000000 ]
}

# events KIND EVENT...: a write to a qcow2 image fails after each of them
events() {
    local event target
    for event in "${@:2}"; do
        img 0 create -q -f qcow2 x 4M
        target=driver=qcow2,file.driver=blkdebug,file.image.filename=x,file.inject-error.0.errno=28
        img 1 convert -n "$1" -f raw --target-image-opts f "$target,file.inject-error.0.event=$event"
        grep -q 'No space left on device' "$ERR" || { echo "$event"; false; }
        rm -f y
        # Nothing worse than clusters that nobody uses.
        qemu-img check x > check.txt 2>&1 || [ $? -eq 3 ] || { cat check.txt; false; }
    done
}

@test "blkdebug: events of qcow2, writing" {
    beyond
    yes abcdefgh | head -c 4M > f
    events -p cluster_alloc write_aio l1_update l2_update refblock_load refblock_update flush_to_os flush_to_disk pwritev
    events -c cluster_alloc_bytes write_compressed
}

@test "blkdebug: events of qcow2, reading" {
    yes abcdefgh | head -c 1M > f
    img 0 convert -f raw -O qcow2 f plain
    img 0 convert -c -f raw -O qcow2 f packed
    for case in plain:l2_load plain:read_aio packed:read_compressed; do
        node="driver=qcow2,file.driver=blkdebug,file.image.filename=${case%:*},file.inject-error.0.event=${case#*:}"
        img 1 convert --image-opts -O raw "$node" out
        has "$ERR" 'Input/output error$'
    done
    node=driver=qcow2,file.driver=blkdebug,file.image.filename=plain,file.inject-error.0.event
    img 0 convert --image-opts -O raw "$node=read_compressed" out
    cmp f out
    img 1 info --image-opts "$node=reftable_load"
    has "$ERR" 'Input/output error$'
}
