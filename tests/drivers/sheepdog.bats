#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# sheepdog: a disk of a Sheepdog cluster.  The server is our own, which answers as a real one does.

load ../helper
load ../examples

setup() {
    fresh_folder
    beyond
    SHEEP=$ROOT/tests/interop/lib/sheepdog_server.py
    "$IMG" info sheepdog+unix:///x?socket=none 2>&1 | grep -q 'Failed to connect' || skip 'sheepdog is not built in'
}

teardown() {
    end_servers
}

# sheep OPTION...: a server on the socket s, with objects of 1 MiB; what it did is in the file log
sheep() {
    rm -f s log
    python3 "$SHEEP" s shift=20 log=log "$@" > sheep.out 2>&1 3>&- &
    remember $!
    wait_until test -S s
}

# The last server ends; it has written its state.
end_sheep() {
    local pid=${SERVERS[-1]}
    kill "$pid" 2> /dev/null || true
    wait "$pid" || true
    unset 'SERVERS[-1]'
}

# vdi NAME: its name
vdi() {
    echo "sheepdog+unix:///$1?socket=s"
}

# opts WORD...: options for --image-opts of the VDI x
opts() {
    local IFS=,
    echo "driver=raw,file.driver=sheepdog,file.server.type=unix,file.server.path=s,file.vdi=x${*:+,}${*/#/file.}"
}

# The server has seen nothing that a client must not do.
well_behaved() {
    ! grep WRONG log
}

# sample FILE: 5 MiB and a half: random bytes, zeroes, and an end inside an object
sample() {
    head -c 1500000 /dev/urandom > "$1"
    truncate -s 3M "$1"
    head -c 2621440 /dev/urandom >> "$1"
}

@test "sheepdog: names and options" {
    local port name options='driver=raw,file.driver=sheepdog,file.server.type=inet,file.server.host=127.0.0.1'
    port=$(free_port)
    python3 "$SHEEP" "$port" shift=20 > sheep.out 2>&1 3>&- &
    remember $!
    wait_until listens "$port"
    img 0 create -q -f raw "sheepdog://127.0.0.1:$port/x" 3M
    img 0 create -q -f raw "sheepdog://127.0.0.1:$port/a%20%23b" 1M
    img 0 snapshot -c one "sheepdog:127.0.0.1:$port:x"
    for name in "sheepdog://127.0.0.1:$port/x" "sheepdog+tcp://127.0.0.1:$port/x" "sheepdog:127.0.0.1:$port:x" \
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"sheepdog\",\"server\":{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"$port\"},\"vdi\":\"x\"}}"; do
        img 0 info -f raw "$name"
        has "$OUT" "^image: sheepdog://127.0.0.1:$port/x\$"
        has "$OUT" '^virtual size: 3 MiB'
    done
    for name in "sheepdog://127.0.0.1:$port/x#one" "sheepdog:127.0.0.1:$port:x:one" "sheepdog+tcp://127.0.0.1:$port/x#%6fne"; do
        img 0 info -f raw "$name"
        has "$OUT" "^image: sheepdog://127.0.0.1:$port/x#one\$"
        has "$OUT" '^ *snapshot: true$'
    done
    img 0 info -f raw "sheepdog:127.0.0.1:$port:x:1"
    has "$OUT" "^image: sheepdog://127.0.0.1:$port/x#1\$"
    img 0 info -f raw "sheepdog:127.0.0.1:$port:a #b"
    has "$OUT" "^image: sheepdog://127.0.0.1:$port/a%20%23b\$"
    img 0 info --image-opts "$options,file.server.port=$port,file.vdi=x,file.snap-id=1,file.timeout=5,file.connections=1"
    has "$OUT" '^ *snapshot: true$'
    img 0 info --image-opts "$options,file.server.port=$port,file.vdi=x,file.tag=one,file.reconnect-delay=0"
    has "$OUT" '^ *snapshot: true$'
}

@test "sheepdog: a tag that looks like a number has no plain name" {
    sheep
    img 0 create -q -f raw "$(vdi x)" 1M
    img 0 snapshot -c 77 "$(vdi x)"
    img 1 info "$(vdi 'x')#77"
    err "qemu-img: Could not open '$(vdi x)#77': Could not find snapshot 77 of VDI 'x': no such snapshot"
    img 0 info --image-opts "$(opts tag=77)"
    has "$OUT" '^image: json:\{"driver": "raw", "file": \{.*"tag": "77"'
}

@test "sheepdog: names that make no sense" {
    local name
    for name in sheepdog:// sheepdog:/// sheepdog://h:99999/x sheepdog://u@h/x 'sheepdog:///x?q=1' 'sheepdog:///x#' 'sheepdog:///%' \
        sheepdog+unix:///x 'sheepdog+unix:///?socket=s' 'sheepdog+unix:///x?sock=s' 'sheepdog+unix://h/x?socket=s' \
        'sheepdog+unix:///x?socket=s&a=b'; do
        img 1 info "$name"
        err "qemu-img: Could not open '$name': No valid URL specified"
    done
    for name in sheepdog: sheepdog:a:b: sheepdog:x: sheepdog:h:1:x:; do
        img 1 info "$name"
        err "qemu-img: Could not open '$name': error parsing name '$name'"
    done
}

# opens_not OPTIONS TEXT
opens_not() {
    img 1 info --image-opts "driver=sheepdog,$1"
    err "qemu-img: Could not open 'driver=sheepdog,$1': $2"
}

@test "sheepdog: options that make no sense" {
    local here=server.type=unix,server.path=s long
    long=$(head -c 256 /dev/zero | tr '\0' a)
    opens_not "$here" "Parameter 'vdi' is missing"
    opens_not "$here,vdi=" 'The name of a VDI has 1 to 255 bytes'
    opens_not "$here,vdi=$long" 'The name of a VDI has 1 to 255 bytes'
    opens_not "$here,vdi=x,tag=$long" 'The tag of a snapshot has 1 to 255 bytes'
    opens_not "$here,vdi=x,tag=a,snap-id=1" 'snap-id and tag may not be used at the same time'
    opens_not "$here,vdi=x,snap-id=0" 'snap-id must be between 1 and 4294967295'
    opens_not "$here,vdi=x,snap-id=a" "Parameter 'snap-id' expects a number"
    opens_not "$here,vdi=x,timeout=100000" 'timeout must be between 0 and 86400'
    opens_not "$here,vdi=x,connections=17" 'connections must be between 1 and 16'
    opens_not vdi=x,server.host=h "Parameter 'type' is missing"
    opens_not server.type=unix,server.path=none,vdi=x "Failed to connect to 'none': No such file or directory"
    opens_not server.type=inet,server.host=127.0.0.1,server.port=1,vdi=x "Failed to connect to '127.0.0.1:1': Connection refused"
    sheep
    opens_not "$here,vdi=x" "Could not find VDI 'x': no such VDI"
    img 0 create -q -f sheepdog "$(vdi x)" 1M
    opens_not "$here,vdi=x,tag=a" "Could not find snapshot 'a' of VDI 'x': no such snapshot"
    opens_not "$here,vdi=x,foo=a" "Block protocol 'sheepdog' doesn't support the option 'foo'"
}

@test "sheepdog: info" {
    sheep
    img 0 create -f raw -o redundancy=3 "$(vdi x)" 5M
    out "Formatting '$(vdi x)', fmt=raw size=5242880 redundancy=3"
    pattern one 11 0 1M
    img 0 dd -n -f raw -O raw bs=1M count=1 if=one of="$(vdi x)"
    img 0 info -f raw "$(vdi x)"
    out "image: $(vdi x)" 'file format: raw' 'virtual size: 5 MiB (5242880 bytes)' 'disk size: 1 MiB' "Child node '/file':" \
        "    filename: $(vdi x)" '    protocol type: sheepdog' '    file length: 5 MiB (5242880 bytes)' \
        '    disk size: 1 MiB' '    Format specific information:' '        vdi id: 021707' '        object size: 1048576' \
        '        redundancy: 3' '        snapshot: false'
    well_behaved
}

@test "sheepdog: create" {
    sheep
    img 1 create -q -f raw -o redundancy=3:2 "$(vdi x)" 1M
    err "qemu-img: $(vdi x): Invalid redundancy '3:2'"
    local bad
    for bad in '""' 0 32 4:0 4:16 17:1 :1 4: 4:2x 999 a 4:2:1; do
        img 1 create -q -f raw -o "redundancy=$bad" "$(vdi x)" 1M
        err "qemu-img: $(vdi x): Invalid redundancy '$bad'"
    done
    for bad in 512k 3M 4G; do
        img 1 create -q -f raw -o "object_size=$bad" "$(vdi x)" 1M
        err "qemu-img: $(vdi x): object_size must be a power of two between 1 MiB and 2 GiB"
    done
    img 1 create -q -f raw -o preallocation=metadata "$(vdi x)" 1M
    err "qemu-img: $(vdi x): Unsupported preallocation mode 'metadata'"
    img 1 create -q -f raw "$(vdi x)#a" 1M
    err "qemu-img: $(vdi x)#a: A new VDI has no snapshot, so its name has none"
    img 1 create -q -f raw "$(vdi x)" 2T
    err "qemu-img: $(vdi x): The image size is too large for file format 'raw'"
    IMGBOX_HINTS=1 img 1 create -q -f raw "$(vdi x)" 2T
    has "$ERR" '^hint: larger objects: -o object_size=64M$'
    img 0 create -q -f raw -o redundancy=4:2,object_size=64M "$(vdi x)" 2T
    img 0 info -f raw "$(vdi x)"
    has "$OUT" '^virtual size: 2 TiB'
    has "$OUT" 'redundancy: 4:2$'
    has "$OUT" 'object size: 67108864$'
    img 1 create -q -f raw "$(vdi x)" 1M
    err "qemu-img: $(vdi x): Could not create VDI 'x': there is a VDI of that name"
    img 0 create -q -f raw -o preallocation=full "$(vdi full)" 2500k
    img 0 info -f raw "$(vdi full)"
    has "$OUT" '^disk size: 3 MiB$'
    img 0 map -f raw --output=json "$(vdi full)"
    out '[{ "start": 0, "length": 2560000, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
    well_behaved
}

@test "sheepdog: a new disk that could not be filled is deleted" {
    sheep fail=1:0x15:3
    img 1 create -q -f raw -o preallocation=full "$(vdi x)" 5M
    has "$ERR" ": Could not preallocate VDI 'x': No space left on device\$"
    img 1 info "$(vdi x)"
    has "$ERR" 'no such VDI$'
}

@test "sheepdog: copies both ways" {
    sample a
    local how m
    for how in '' reorder=6 copies=1; do
        # shellcheck disable=SC2086
        sheep $how
        for m in 1 8; do
            img 0 convert -m $m -W -f raw -O raw a "$(vdi x$m)"
            img 0 compare -f raw -F raw a "$(vdi x$m)"
            img 0 convert -m $m -f raw -O qcow2 "$(vdi x$m)" back.qcow2
            img 0 compare -f raw -F qcow2 a back.qcow2
        done
        pattern b 33 0 5767168
        img 0 convert -n -f raw -O raw b "$(vdi x1)"
        img 0 convert -n -W -f raw -O raw a "$(vdi x1)"
        img 0 convert -f raw -O raw "$(vdi x1)" back
        cmp a back
        well_behaved
        end_sheep
    done
}

@test "sheepdog: an object is there before the table names it, and is made once" {
    sample a
    sheep
    img 0 convert -f raw -O raw a "$(vdi x)"
    # (the server looks at each entry, and at each object that is made)
    well_behaved
    [ "$(grep -c '^0x1 ' log)" -eq 5 ]
    [ "$(grep -c '^0x3 1 80.* 4: 0x0$' log)" -eq 5 ]
}

@test "sheepdog: a qcow2 image grows in a disk" {
    sample a
    sheep
    img 0 convert -f raw -O qcow2 a "$(vdi q)"
    img 0 check -f qcow2 "$(vdi q)"
    img 0 compare -f raw -F qcow2 a "$(vdi q)"
    img 0 create -q -f qcow2 -b "$(vdi q)" -F qcow2 top.qcow2
    img 0 compare -f raw -F qcow2 a top.qcow2
    img 0 snapshot -c inside "$(vdi q)"
    img 0 snapshot -l "$(vdi q)"
    has "$OUT" '^1 +inside '
    well_behaved
}

@test "sheepdog: snapshots" {
    pattern a 11 0 3M
    pattern b 22 0 3M
    sheep
    img 0 convert -f raw -O raw a "$(vdi x)"
    img 0 snapshot -l "$(vdi x)"
    out ''
    img 0 snapshot -c one "$(vdi x)"
    img 0 convert -n -f raw -O raw b "$(vdi x)"
    img 0 snapshot -c two "$(vdi x)"
    img 1 snapshot -c two "$(vdi x)"
    has "$ERR" "^qemu-img: Could not create snapshot 'two': File exists\$"
    img 1 snapshot -c '' "$(vdi x)"
    has "$ERR" "^qemu-img: Could not create snapshot '': Invalid argument\$"
    img 0 snapshot -l "$(vdi x)"
    [ "$(awk 'NR > 2 { print $1, $2, $3, $4 }' "$OUT")" = "$(printf '%s\n' '1 one 0 B' '2 two 0 B')" ]
    img 0 compare -f raw -F raw a "$(vdi x)#one"
    img 0 compare -f raw -F raw b "$(vdi x)#two"
    img 0 compare -f raw -F raw b "$(vdi x)"
    img 0 convert -f sheepdog -l one -O raw "$(vdi x)" back
    cmp a back
    img 0 convert -f sheepdog -l snapshot.id=2 -O raw "$(vdi x)" back
    cmp b back
    img 1 convert -f sheepdog -l three -O raw "$(vdi x)" back
    err "qemu-img: Failed to load snapshot: Can't find snapshot"
    img 0 snapshot -a one "$(vdi x)"
    img 0 compare -f raw -F raw a "$(vdi x)"
    img 0 compare -f raw -F raw b "$(vdi x)#two"
    img 1 snapshot -a three "$(vdi x)"
    has "$ERR" "^qemu-img: Could not apply snapshot 'three': Can't find snapshot\$"
    img 0 snapshot -d one "$(vdi x)"
    img 1 snapshot -d one "$(vdi x)"
    has "$ERR" "^qemu-img: Could not delete snapshot 'one': snapshot not found\$"
    img 0 snapshot -l "$(vdi x)"
    never has "$OUT" one
    img 0 compare -f raw -F raw a "$(vdi x)"
    img 1 convert -n -f raw -O raw b "$(vdi x)#two"
    has "$ERR" ': A snapshot of a VDI can only be read$'
    well_behaved
}

@test "sheepdog: going back to a snapshot loses nothing, wherever it ends" {
    pattern a 11 0 2M
    sheep locking=1
    img 0 convert -f raw -O raw a "$(vdi x)"
    img 0 snapshot -c one "$(vdi x)"
    : > log
    img 0 snapshot -a one "$(vdi x)"
    # the new one is made before the old one is deleted
    [ "$(grep -n '^0x11 ' log | head -n 1 | cut -d: -f1)" -lt "$(grep -n '^0x17 ' log | cut -d: -f1)" ]
    img 0 compare -f raw -F raw a "$(vdi x)"
    img 0 convert -n -f raw -O raw a "$(vdi x)"
    well_behaved
}

@test "sheepdog: snapshots that the cluster refuses" {
    pattern a 11 0 2M
    pattern b 22 0 2M
    sheep state=state
    img 0 convert -f raw -O raw a "$(vdi x)"
    img 0 snapshot -c one "$(vdi x)"
    img 0 convert -n -f raw -O raw b "$(vdi x)"
    end_sheep
    # what was there before cannot be deleted: it stays, as one more snapshot
    sheep state=state fail=0x17:3
    img 1 snapshot -a one -f raw "$(vdi x)"
    err "qemu-img: Could not apply snapshot 'one': Could not delete snapshot 2 of VDI 'x': the cluster has an input/output error"
    img 0 compare -f raw -F raw a "$(vdi x)"
    img 0 compare -f raw -F raw b "$(vdi x)#2"
    img 1 snapshot -d one -f raw "$(vdi x)"
    err "qemu-img: Could not delete snapshot 'one': Could not delete snapshot 1 of VDI 'x': the cluster has an input/output error"
    end_sheep
    sheep state=state fail=0x11:0x13
    img 1 snapshot -c two -f raw "$(vdi x)"
    err "qemu-img: Could not create snapshot 'two': No space left on device"
    img 1 snapshot -a one -f raw "$(vdi x)"
    err "qemu-img: Could not apply snapshot 'one': Could not make a snapshot of VDI 'x': the cluster has no room for another VDI"
    img 0 compare -f raw -F raw a "$(vdi x)"
    end_sheep
    # the tag went with it
    python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); from sheepdog_server import load
assert load("state").find(b"x").tag == b""' "${SHEEP%/*}"
}

@test "sheepdog: clones" {
    pattern a 11 0 3M
    sheep
    img 0 convert -f raw -O raw a "$(vdi base)"
    img 1 create -q -f raw -b "$(vdi base)" "$(vdi c)"
    err "qemu-img: $(vdi c): VDI 'base' is no snapshot, and only a snapshot can be cloned"
    img 0 snapshot -c one "$(vdi base)"
    img 0 create -f raw -b "$(vdi base)#one" "$(vdi c)"
    out "Formatting '$(vdi c)', fmt=raw size=3145728 backing_file=$(vdi base)#one"
    img 0 create -q -f raw -b "$(vdi base)#one" -F raw "$(vdi large)" 5M
    img 1 create -q -f raw -b "$(vdi base)#one" -F qcow2 "$(vdi d)" 5M
    has "$ERR" "Could not open backing image|The format of what a VDI is cloned from is raw, not 'qcow2'"
    img 1 create -q -f raw -b "$(vdi base)#one" "$(vdi d)" 1M
    err "qemu-img: $(vdi d): A clone cannot be smaller than its base"
    img 1 create -q -f raw -o object_size=2M -b "$(vdi base)#one" "$(vdi d)"
    err "qemu-img: $(vdi d): A clone has objects of the same size as its base"
    img 1 create -q -f raw -b "$PWD/a" "$(vdi d)"
    err "qemu-img: $(vdi d): A VDI can only be cloned from one of the same cluster, not from '$PWD/a'"
    img 1 create -q -f raw -b a -F raw b
    err "qemu-img: b: Backing file not supported for file format 'raw'"
    img 0 info -f raw "$(vdi c)"
    has "$OUT" '^disk size: 0 B$'
    img 0 compare -f raw -F raw a "$(vdi c)"
    # a part of an object: the server copies the rest
    pattern part 44 0 4k
    img 0 dd -n -f raw -O raw bs=4k seek=300 if=part of="$(vdi c)"
    cp a want
    dd if=part of=want bs=4k seek=300 conv=notrunc status=none
    img 0 compare -f raw -F raw want "$(vdi c)"
    img 0 compare -f raw -F raw a "$(vdi base)#one"
    img 0 compare -f raw -F raw a "$(vdi base)"
    img 0 info -f raw "$(vdi c)"
    has "$OUT" '^disk size: 1 MiB$'
    [ "$(grep -c '^0x1 3 ' log)" -eq 1 ]
    img 0 create -q -f raw -o preallocation=full -b "$(vdi base)#one" "$(vdi whole)"
    img 0 info -f raw "$(vdi whole)"
    has "$OUT" '^disk size: 3 MiB$'
    img 0 compare -f raw -F raw a "$(vdi whole)"
    well_behaved
}

@test "sheepdog: a base of another cluster" {
    pattern a 11 0 1M
    sheep
    img 0 convert -f raw -O raw a "$(vdi base)"
    img 0 snapshot -c one "$(vdi base)"
    mv s s1
    sheep
    for name in base other; do
        img 0 convert -f raw -O raw a "$(vdi $name)"
        img 0 snapshot -c one "$(vdi $name)"
    done
    img 1 create -q -f raw -b 'sheepdog+unix:///base?socket=s1#one' "$(vdi c)"
    err "qemu-img: $(vdi c): A VDI can only be cloned from one of the same cluster"
}

@test "sheepdog: zeroes, discarding and the map" {
    pattern a 11 0 4M
    sheep
    img 0 convert -f raw -O raw a "$(vdi x)"
    img 0 snapshot -c one "$(vdi x)"
    pattern one 55 0 1M
    img 0 dd -n -f raw -O raw bs=1M seek=3 if=one of="$(vdi x)"
    # object 2 belongs to the snapshot, 3 is our own; the rest is a part of an object
    truncate -s 4M holes
    pattern holes 66 0 1536k
    img 0 convert -n -S 4k -f raw -O raw holes "$(vdi x)"
    img 0 compare -f raw -F raw holes "$(vdi x)"
    img 0 compare -f raw -F raw a "$(vdi x)#one"
    [ "$(grep -c '^0x5 ' log)" -eq 1 ]
    img 0 map -f raw --output=json "$(vdi x)"
    out '[{ "start": 0, "length": 3145728, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0},' \
        '{ "start": 3145728, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 3145728}]'
    img 0 create -q -f raw "$(vdi y)" 3M
    img 0 map -f raw --output=json "$(vdi y)"
    out '[{ "start": 0, "length": 3145728, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0}]'
    well_behaved
}

@test "sheepdog: resize" {
    pattern a 11 0 1536k
    sheep
    img 0 convert -f raw -O raw a "$(vdi x)"
    img 0 resize -q -f raw "$(vdi x)" 4M
    img 0 info -f raw "$(vdi x)"
    has "$OUT" '^virtual size: 4 MiB'
    truncate -s 4M a
    img 0 compare -f raw -F raw a "$(vdi x)"
    img 0 resize -q -f raw --preallocation=full "$(vdi x)" 6M
    img 0 info -f raw "$(vdi x)"
    has "$OUT" '^disk size: 4 MiB$'
    img 1 resize -q -f raw --preallocation=falloc "$(vdi x)" 8M
    err "qemu-img: Unsupported preallocation mode 'falloc'"
    img 1 resize -q -f raw --shrink "$(vdi x)" 1M
    err 'qemu-img: A VDI cannot become smaller'
    img 1 resize -q -f raw "$(vdi x)" 2T
    err 'qemu-img: With objects of 1048576 bytes a VDI has at most 1099511627776 bytes'
    well_behaved
}

@test "sheepdog: the lock of a disk" {
    pattern a 11 0 2M
    sheep locking=1
    img 0 convert -f raw -O raw a "$(vdi x)"
    img 0 convert -n -f raw -O raw a "$(vdi x)"
    img 0 snapshot -c one "$(vdi x)"
    img 0 convert -n -f raw -O raw a "$(vdi x)"
    img 0 snapshot -a one "$(vdi x)"
    [ "$(grep -c '^0x12 .*: 0x0$' log)" -eq "$(grep -c '^0x13 .*: 0x0$' log)" ]
    # another client has it
    python3 - << 'end'
import socket, struct
s = socket.socket(socket.AF_UNIX)
s.connect('s')
s.sendall(struct.pack('<BBHIII', 1, 0x12, 1, 0, 1, 512) + bytes(32) + b'x'.ljust(512, b'\0'))
assert s.recv(48)[16] == 0
end
    img 1 convert -n -f raw -O raw a "$(vdi x)"
    err "qemu-img: Could not open '$(vdi x)': VDI 'x' is locked by another client"
    img 0 compare -f raw -F raw a "$(vdi x)"
    img 0 info "$(vdi x)"
}

@test "sheepdog: what the server says, in words" {
    pattern a 11 0 2M
    sheep state=state
    img 0 convert -f raw -O raw a "$(vdi x)"
    end_sheep
    sheep state=state fail=2:0x3
    img 1 convert -f raw -O raw "$(vdi x)" back
    has "$ERR" '^qemu-img: Sheepdog: could not read object 000217070000000[01] at s: the cluster has an input/output error$'
    has "$ERR" 'error while reading at byte 0: Input/output error$'
    end_sheep
    sheep state=state fail=2:0x2
    img 1 convert -f raw -O raw "$(vdi x)" back
    has "$ERR" 'at s: no such object$'
    has "$ERR" 'error while reading at byte 0: Input/output error$'
    end_sheep
    sheep state=state fail=3:0x15
    img 1 convert -n -f raw -O raw a "$(vdi x)"
    has "$ERR" 'at s: the cluster has no space$'
    has "$ERR" 'No space left on device$'
    end_sheep
    sheep state=state fail=3:0x1a
    img 1 convert -n -f raw -O raw a "$(vdi x)"
    has "$ERR" 'at s: the VDI has become a snapshot, which cannot be written$'
    end_sheep
    sheep state=state fail=2:0x77
    img 1 convert -f raw -O raw "$(vdi x)" back
    has "$ERR" 'at s: the server has an error that is not known$'
}

@test "sheepdog: a cluster that is busy is asked again" {
    sample a
    sheep busy=5 state=state
    img 0 convert -f raw -O raw a "$(vdi x)"
    end_sheep
    sheep busy=5 state=state
    img 0 compare -f raw -F raw a "$(vdi x)"
    well_behaved
}

@test "sheepdog: an older server" {
    sample a
    sheep no=0x18,5 flush=1
    img 0 create -q -f raw -o object_size=1M "$(vdi x)" 5767168
    img 0 create -q -f raw "$(vdi y)" 1M
    img 0 info "$(vdi y)"
    has "$OUT" 'object size: 4194304$'
    pattern b 33 0 5767168
    img 0 convert -n -t writeback -f raw -O raw b "$(vdi x)"
    img 0 convert -n -t writeback -f raw -O raw a "$(vdi x)"
    img 0 compare -f raw -F raw a "$(vdi x)"
    grep -q '^0x16 .*: 0x0$' log
    well_behaved
}

@test "sheepdog: connections that are lost" {
    sample a
    pattern b 33 0 5767168
    sheep hangup=3,9,14,18 state=state
    img 0 convert -f raw -O raw a "$(vdi x)"
    end_sheep
    sheep hangup=2,5,9,14 state=state
    img 0 convert -f raw -O raw "$(vdi x)" back
    cmp a back
    end_sheep
    sheep hangup=2,5,9,14 state=state
    img 0 convert -n -f raw -O raw b "$(vdi x)"
    img 0 convert -n -f raw -O raw a "$(vdi x)"
    img 0 compare -f raw -F raw a "$(vdi x)"
    end_sheep
    sheep hangup=3 state=state
    img 1 convert --image-opts "$(opts reconnect-delay=0)" -O raw back
    has "$ERR" 'at s: the server was lost$'
}

@test "sheepdog: a server that ends, and one that is started again" {
    sample a
    sheep state=state
    img 0 create -q -f raw "$(vdi x)" 5767168
    end_sheep
    sheep state=state stop=5
    img 1 convert -n -f raw a --target-image-opts "$(opts reconnect-delay=0)"
    has "$ERR" 'could not write object [08]002170.* at s: the server was lost$'
    end_sheep
    sheep state=state stop=4 again=0.5
    img 0 convert -n -f raw a --target-image-opts "$(opts reconnect-delay=30)"
    img 0 compare -f raw -F raw a "$(vdi x)"
    well_behaved
}

@test "sheepdog: another disk behind the name after a loss" {
    pattern a 11 0 4M
    sheep state=one
    img 0 convert -f raw -O raw a "$(vdi x)"
    end_sheep
    sheep state=two
    img 0 create -q -f raw "$(vdi y)" 4M
    end_sheep
    sheep state=one stop=3 again=0.2 then=two
    img 1 convert --image-opts "$(opts reconnect-delay=30)" -O raw back
    has "$ERR" 'Input/output error$'
}

@test "sheepdog: a server that is silent" {
    pattern a 11 0 4M
    sheep state=state
    img 0 convert -f raw -O raw a "$(vdi x)"
    end_sheep
    sheep state=state stall=2
    img 1 convert --image-opts "$(opts timeout=1 reconnect-delay=0)" -O raw back
    has "$ERR" 'could not read object 0002170.* at s: the server does not answer$'
    img 1 convert -n -f raw a --target-image-opts "$(opts timeout=1)"
    has "$ERR" 'could not write object [08]002170.* at s: the server does not answer$'
    end_sheep
    # (bytes that come one by one, and are no answer)
    sheep state=state wrong=drip
    img 1 convert --image-opts "$(opts timeout=1 reconnect-delay=0)" -O raw back
    has "$ERR" 'at s: the server does not answer$|does not keep to the protocol$|was lost$'
}

@test "sheepdog: answers that make no sense" {
    pattern a 11 0 4M
    sheep state=state
    img 0 convert -f raw -O raw a "$(vdi x)"
    end_sheep
    local wrong
    for wrong in id long short body garbage; do
        sheep state=state wrong=$wrong
        img 1 convert -m 1 -f raw -O raw "$(vdi x)" back
        has "$ERR" 'at s: the server does not keep to the protocol$'
        has "$ERR" ': Input/output error$'
        end_sheep
    done
    for wrong in id long body garbage; do
        sheep state=state wrong=$wrong
        img 1 convert -m 1 -n -f raw -O raw a "$(vdi x)"
        has "$ERR" 'at s: the server does not keep to the protocol$'
        end_sheep
    done
}

@test "sheepdog: inodes that are damaged" {
    sheep state=state
    img 0 create -q -f raw "$(vdi x)" 2M
    end_sheep
    local wrong text
    while read -r wrong text; do
        sheep state=state inode="$wrong"
        img 1 info "$(vdi x)"
        err "qemu-img: Could not open '$(vdi x)': $text"
        end_sheep
    done << 'end'
id The inode of VDI 021707 is damaged
shift The inode of VDI 021707 is damaged
owner The inode of VDI 021707 is damaged
size VDI 'x' is larger than a VDI can be
hyper VDI 'x' is a hyper volume, which is not supported
end
}

@test "sheepdog: a socket that the tool was started with" {
    sheep
    img 0 create -q -f raw "$(vdi x)" 2M
    python3 - "$IMG" << 'end' > "$OUT"
import os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX)
s.connect('s')
os.set_inheritable(s.fileno(), True)
words = 'driver=sheepdog,vdi=x,server.type=fd,server.str=%d' % s.fileno()
subprocess.run([sys.argv[1], 'info', '--image-opts', words], close_fds=False, check=True)
end
    has "$OUT" '^virtual size: 2 MiB'
}

@test "sheepdog: advice for people" {
    export IMGBOX_HINTS=1
    sheep locking=1
    img 0 create -q -f raw "$(vdi x)" 1M
    img 1 create -q -f raw "$(vdi x)" 1M
    has "$ERR" "^hint: 'convert -n' writes into a VDI that is there; 'dog vdi delete x' removes it\$"
    img 1 create -q -f raw -o redundancy=3:1 "$(vdi y)" 1M
    has "$ERR" '^hint: the number of copies, 1 to 31; or X:Y for erasure coding'
    img 1 create -q -f raw -b "$(vdi x)" "$(vdi y)"
    has "$ERR" '^hint: make one: qemu-img snapshot -c TAG'
    img 1 info "$(vdi x)#one"
    has "$ERR" "^hint: 'snapshot -l' shows those of the VDI; a number after '#' is an id, and no tag\$"
}

@test "the examples of the page" {
    local port
    port=$(free_port)
    python3 "$SHEEP" "$port" > sheep.out 2>&1 3>&- &
    remember $!
    wait_until listens "$port"
    make_world
    fresh_folder
    examples_of docs/drivers/sheepdog.md "s|sheepdog:///|sheepdog://127.0.0.1:$port/|g"
    # what the page shows of the last one
    img 0 info -f raw "sheepdog://127.0.0.1:$port/vm1"
    sed -i "s/127.0.0.1:$port/localhost:7000/" "$OUT"
    sed -n 's/^    //p' "$ROOT/docs/drivers/sheepdog.md" | sed -n '/^image: /,/snapshot: false$/p' | diff - "$OUT"
}

@test "sheepdog: the page of the driver has its options" {
    local name
    grep -ohE 'AT_(CREATE|OPEN)\("[a-z_-]+"' "$ROOT/drivers/sheepdog/sheepdog.c" | cut -d '"' -f 2 > names
    [ -s names ]
    while read -r name; do
        grep -qw -- "$name" "$ROOT/docs/drivers/sheepdog.md" || { echo "$name"; false; }
    done < names
}
