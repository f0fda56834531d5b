#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The programs that call qemu-img: each test issues the commands of one of them as it does (flags, limits, folder,
# attached and repeated arguments) and reads the answer the way that it does.

load ../helper

# is EXPRESSION VALUE...: each expression over the JSON document `d` on standard output has that value
is() {
    python3 - "$OUT" "$@" <<'END' || { show; return 1; }
import json, sys
d = json.loads(open(sys.argv[1], encoding="utf-8", errors="strict").read())
for expression, want in zip(sys.argv[2::2], sys.argv[3::2]):
    value = eval(expression)
    got = json.dumps(value) if isinstance(value, (dict, list, tuple, bool)) or value is None else str(value)
    if got != want:
        sys.exit(f"{expression} is {got!r}, not {want!r}")
END
}

# limited BYTES SECONDS ARGUMENT...: with that much address space and processor time
limited() {
    (ulimit -v $(($1 / 1024)) -t "$2"; exec -a qemu-img "$IMG" "${@:3}")
}

quiet() {
    err ''
}

# writes FILE ARGUMENT...: what the tool writes to a pipe as a list, a line for each write as a reader that
# is always waiting sees it
writes() {
    python3 - "$IMG" "$@" <<'END'
import socket, subprocess, sys
# (a packet a write; no terminal, which gets a line for people)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
child = subprocess.Popen(['qemu-img'] + sys.argv[3:], executable=sys.argv[1], stdout=theirs)
theirs.close()
with open(sys.argv[2], 'w') as log:
    while True:
        piece = ours.recv(65536)
        if not piece:
            break
        log.write(repr(piece.decode()) + '\n')
sys.exit(child.wait())
END
}

# Each write of a progress is one figure: what KubeVirt, vdsm and Incus split.
progress_is_sound() {
    python3 - "$1" <<'END'
import ast, re, sys
text = ''.join(ast.literal_eval(line) for line in open(sys.argv[1]))
pieces = [piece for piece in re.split(r'[\r\n]', text) if piece.strip() and piece != 'Image committed.']
assert pieces, text
numbers = []
for piece in pieces:
    match = re.fullmatch(r'\s*\(([\d.]+)/100%\)\s*', piece)             # vdsm: anything else raises
    assert match, repr(piece)
    assert re.search(r'\((\d{1,3}\.\d\d)/100%\)', piece), repr(piece)   # KubeVirt CDI
    assert piece.strip('(%) \t\r\n').split('/')[0] == match.group(1)    # Incus
    numbers.append(float(match.group(1)))
assert numbers == sorted(numbers), numbers
assert numbers[0] == 0 and numbers[-1] == 100, numbers
END
}

# ---- OpenStack

@test "callers: Nova privsep/qemu.py" {
    no_asan
    img 0 create -q -f qcow2 disk 64M
    cmd 0 limited 2147483648 30 info "$PWD/disk" --force-share --output=json -f qcow2
    quiet
    is 'd["format"]' qcow2 \
       'd["virtual-size"]' 67108864
    img 0 convert -t none -O raw -f qcow2 disk disk.raw
    quiet
    img 0 convert -t writeback -O qcow2 -f raw -c disk.raw disk.out
    quiet
    img 0 create -f qcow2 -o backing_file="$PWD/disk.raw",backing_fmt=raw,cluster_size=65536 overlay
    quiet
    img 0 info "$PWD/overlay" --force-share --output=json
    is 'd["backing-filename"]' "$PWD/disk.raw" \
       'd["backing-filename-format"]' raw \
       'd["cluster-size"]' 65536
    cmd 1 limited 2147483648 30 info "$PWD/nix" --force-share --output=json
    has "$ERR" 'No such file or directory'
}

@test "callers: Nova resizes and rebases" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 resize -f qcow2 a.qcow2 2097152
    quiet
    truncate -s 1M base.raw
    img 0 create -q -f qcow2 -b base.raw -F raw b.qcow2
    cp base.raw new.raw
    img 0 rebase -b new.raw -F raw b.qcow2
    quiet
    img 0 info b.qcow2 --force-share --output=json
    is 'd["backing-filename"]' new.raw
    img 0 rebase -b "" -F raw b.qcow2
    img 0 info b.qcow2 --force-share --output=json
    is '"backing-filename" in d' false
}

@test "callers: oslo.utils QemuImgInfo, JSON" {
    img 0 create -q -f qcow2 base.qcow2 1M
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
    img 0 snapshot -c d9a9784a500742a7bb95627bb3aace38 a.qcow2
    img 0 info --output=json a.qcow2
    quiet
    is 'set("filename format virtual-size actual-size cluster-size backing-filename backing-filename-format'\
' snapshots format-specific".split()) <= set(d)' true \
       'd.get("encrypted", False)' false \
       'd["snapshots"][0]["name"]' d9a9784a500742a7bb95627bb3aace38 \
       'd["snapshots"][0]["id"]' 1 \
       'isinstance(d["snapshots"][0]["vm-state-size"], int)' true
}

@test "callers: oslo.utils QemuImgInfo, the old human parser" {
    mkdir dir
    img 0 create -q -f qcow2 dir/base.qcow2 1M
    (cd dir && img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2)
    img 0 snapshot -c d9a9784a500742 dir/a.qcow2
    img 0 info dir/a.qcow2
    python3 - "$OUT" <<'END'
import re, sys
TOP = re.compile(r'^([\w\d\s\_\-]+):(.*)$')
SIZE = re.compile(r'([0-9]+[eE][-+][0-9]+|\d*\.?\d+)\s*(\w+)?(\s*\(\s*(\d+)\s+bytes\s*\))?', re.I)
lines = [line for line in open(sys.argv[1]).read().splitlines() if line.strip()]
found, snapshots = {}, []
while lines:
    match = TOP.match(lines.pop(0))
    if not match:
        continue
    field, value = match.group(1).strip().lower().replace(' ', '_'), match.group(2).strip()
    if field == 'snapshot_list':
        assert lines.pop(0).startswith('ID')
        while lines and len(lines[0].split()) >= 6 and re.search(r'\d+:\d+:\d+', lines[0]):
            words = lines.pop(0).split()
            snapshots.append(dict(id=words[0], tag=words[1], vm_size=words[2:4], date=words[-4], time=words[-3]))
    elif field not in found:
        found[field] = value
assert found['file_format'] == 'qcow2', found
assert SIZE.match(found['virtual_size']).group(4) == '1048576', found
assert re.match(r'^(.*?)\s*\(actual\s+path\s*:\s+(.*?)\)$', found['backing_file']).groups() == \
    ('base.qcow2', 'dir/base.qcow2'), found
assert found['cluster_size'] == '65536', found
assert [snapshot['tag'] for snapshot in snapshots] == ['d9a9784a500742'], snapshots
END
}

@test "callers: Cinder image_utils, remotefs" {
    no_asan
    img 0 create -q -f qcow2 -o cluster_size=65536 vol 16M
    cmd 0 limited 1073741824 60 info -f qcow2 --output=json vol
    quiet
    is 'd["format"]' qcow2
    cmd 1 limited 1073741824 60 info -f luks --output=json vol
    [ -s "$ERR" ]
    img 0 convert -O raw -t none -f qcow2 vol vol.raw
    img 0 convert -O raw -S 0 -f qcow2 vol full.raw
    quiet
    [ "$(stored full.raw)" -eq $((16 << 20)) ]
    img 0 convert -O qcow2 -c -f raw vol.raw vol.out
    quiet
    img 0 create -fqcow2 top.qcow2 -b "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/vol\"}}" \
        -F qcow2
    quiet
    img 0 info -f qcow2 --output=json top.qcow2
    is 'd["virtual-size"]' 16777216
    img 0 --version
    has "$OUT" '^qemu-img version ([0-9.]*)'
    # LUKS options come in pieces
    img 1 convert -O luks -f raw --object secret,id=luks_sec,format=raw,data=x -o key-secret=luks_sec -o cipher-alg=nix \
        vol.raw vol.luks
    [ -s "$ERR" ]
}

@test "callers: Cinder rebases, commits, resizes" {
    img 0 create -q -f qcow2 base 16M
    img 0 create -q -f qcow2 -b base -F qcow2 a
    cp base other
    img 0 rebase -u -b other a -F qcow2
    quiet
    img 0 info --output=json a
    is 'd["backing-filename"]' other
    img 0 commit -d a
    quiet
    img 0 resize a 10G
    quiet
    img 0 info --output=json a
    is 'd["virtual-size"]' 10737418240
}

@test "callers: Cinder reads stderr for a full disk" {
    need_root
    mkdir small
    mount -t tmpfs -o size=2M tmpfs small 2> /dev/null || skip 'cannot mount'
    head -c 8M /dev/urandom > a.raw
    got=0
    qemu-img convert -f raw -O raw a.raw small/b.raw > "$OUT" 2> "$ERR" || got=$?
    umount small
    [ "$got" -eq 1 ]
    has "$ERR" 'No space left'
}

@test "callers: Glance image_conversion takes any word on stderr for a failure" {
    no_asan
    img 0 create -q -f qcow2 a.qcow2 16M
    truncate -s 16M a.raw
    for format in qcow2 raw; do
        cmd 0 limited 1073741824 2 info -f $format --output=json a.$format
        quiet
        is 'd["format"]' $format
        is 'd.get("format-specific", {}).get("data", {}).get("data-file")' null
        img 0 convert -f $format -O raw a.$format out.raw
        silent
        img 0 convert -f $format -O qcow2 a.$format out.qcow2
        silent
    done
    img 0 create -q -f qcow2 -o data_file=ext.raw ext.qcow2 1M
    img 0 info -f qcow2 --output=json ext.qcow2
    is 'd["format-specific"]["data"]["data-file"]' ext.raw
}

# ---- KubeVirt

@test "callers: KubeVirt CDI converts with progress" {
    sample a.raw
    img 0 convert -q -O qcow2 a.raw a.qcow2
    writes log convert -t writeback -p -O raw a.qcow2 b.raw
    progress_is_sound log
    writes log convert -t none -p -O raw -o preallocation=falloc a.qcow2 b.raw
    progress_is_sound log
    writes log convert -t none -p -O raw -o preallocation=full a.qcow2 b.raw
    progress_is_sound log
    raw_is a.raw b.raw
    img 1 convert -O raw -o preallocation=metadata a.qcow2 b.raw
    has "$ERR" 'Unsupported preallocation mode'
}

@test "callers: KubeVirt CDI reads from an NBD socket" {
    img 1 info --output=json 'nbd+unix:///?socket=/nix/sock'
    [ -s "$ERR" ]
    skip 'the nbd protocol is not built in'
}

@test "callers: KubeVirt CDI rebases and commits" {
    truncate -s 8M base.raw
    sample over.raw
    img 0 create -q -f qcow2 -b base.raw -F raw a.qcow2
    img 0 convert -n -f raw -O qcow2 over.raw a.qcow2
    cp base.raw target.raw
    writes log rebase -p -u -F raw -b target.raw a.qcow2
    writes log commit -p a.qcow2
    progress_is_sound log
    raw_is over.raw target.raw
}

@test "callers: KubeVirt CDI resizes with preallocation" {
    for mode in off falloc full; do
        truncate -s 1M a.raw
        img 0 resize -f raw --preallocation=$mode a.raw 4M
        quiet
        [ "$(stat -c %s a.raw)" -eq 4194304 ]
    done
    img 1 resize -f raw --preallocation=metadata a.raw 8M
    has "$ERR" 'Unsupported preallocation mode'
}

@test "callers: KubeVirt pkg/os/disk" {
    no_asan
    img 0 create -q -f qcow2 base.qcow2 32M
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
    sync a.qcow2
    cmd 0 bash -c "ulimit -t 10; ulimit -v 1000000; exec '$IMG' info '$PWD/a.qcow2' --output json"
    quiet
    is 'd["format"]' qcow2 \
       'd["backing-filename"]' base.qcow2 \
       'd["virtual-size"]' 33554432 \
       'd["actual-size"] > 0' true
}

# ---- oVirt

@test "callers: vdsm qemuimg.py info, map and check" {
    img 0 create -q -f qcow2 base.qcow2 4M
    img 0 create -q -f qcow2 -u -b base.qcow2 -F qcow2 top.qcow2 8M
    img 0 info --output json -f qcow2 -U --backing-chain top.qcow2
    quiet
    is 'len(d)' 2 \
       'd[0]["backing-filename"]' base.qcow2 \
       'd[0]["full-backing-filename"]' base.qcow2
    img 0 info --output json -U 'json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"top.qcow2"}}'
    is 'd["virtual-size"]' 8388608
    img 0 map --output json -U 'json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"top.qcow2"}}'
    is '[(x["start"], x["length"], x["data"], x["zero"]) for x in d]' '[[0, 8388608, false, true]]'
    img 0 check --output json -f qcow2 top.qcow2
    quiet
    is 'd["image-end-offset"] > 0' true
    # leaks are accepted: exit code 3
    block=$((0x$(peek top.qcow2 $((0x$(peek top.qcow2 48 8))) 8)))
    poke top.qcow2 $((block + 40)) 0001
    truncate -s 2M top.qcow2
    img 3 check --output json -f qcow2 top.qcow2
    is 'd["leaks"]' 1
}

@test "callers: vdsm qemuimg.py convert and compare" {
    sample a.raw
    img 0 convert -q -f raw -O qcow2 a.raw a.qcow2
    truncate -s 8M target.raw
    writes log convert -p -t none -T none -f qcow2 -O raw -n --target-is-zero -W a.qcow2 target.raw
    progress_is_sound log
    raw_is a.raw target.raw
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
    writes log convert -p -t none -T none -f qcow2 -O qcow2 -o compat=1.1 -c over.qcow2 out.qcow2
    progress_is_sound log
    writes log compare -p -T none -f qcow2 -F qcow2 -s a.qcow2 a.qcow2
    grep -q 'Images are identical' log
    img 0 convert -q -p -f raw -O qcow2 -B a.qcow2 -F qcow2 a.raw out2.qcow2 > /dev/null
    img 0 info --output json out2.qcow2
    is 'd["backing-filename"]' a.qcow2
}

@test "callers: vdsm qemuimg.py measure, amend and bitmaps" {
    sample a.raw
    img 0 convert -q -f raw -O qcow2 -o compat=0.10 a.raw a.qcow2
    img 0 measure --output json -f qcow2 -O qcow2 a.qcow2
    quiet
    is 'd["required"] > 0' true \
       'd["fully-allocated"] >= d["required"]' true
    img 0 amend -o compat=1.1 a.qcow2
    quiet
    img 0 info --output json a.qcow2
    is 'd["format-specific"]["data"]["compat"]' 1.1
    img 0 bitmap --add -g 65536 a.qcow2 one
    img 0 bitmap --add --disable a.qcow2 two
    img 0 bitmap --merge one a.qcow2 two
    img 0 bitmap --enable a.qcow2 two
    img 0 bitmap --disable a.qcow2 one
    quiet
    img 0 info --output json a.qcow2
    is '[(b["name"], b["granularity"], b["flags"]) for b in d["format-specific"]["data"]["bitmaps"]]' \
        '[["one", 65536, []], ["two", 65536, ["auto"]]]'
    img 0 convert -q -f qcow2 -O qcow2 --bitmaps --skip-broken-bitmaps a.qcow2 b.qcow2
    img 0 info --output json b.qcow2
    is 'sorted(b["name"] for b in d["format-specific"]["data"]["bitmaps"])' '["one", "two"]'
    img 0 bitmap --remove a.qcow2 one
    img 0 info --output json a.qcow2
    is 'len(d["format-specific"]["data"]["bitmaps"])' 1
}

# ---- Proxmox and libvirt

@test "callers: Proxmox pve-storage" {
    img 0 create -q -f qcow2 base.qcow2 4096K
    img 0 create -F qcow2 -b base.qcow2 -f qcow2 disk.qcow2 -o extended_l2=on,cluster_size=128k
    quiet
    img 0 info --output=json -f qcow2 disk.qcow2
    is 'd["format"]' qcow2 \
       'isinstance(d["virtual-size"], int) and isinstance(d["actual-size"], int)' true \
       'len(d["children"])' 1 \
       'd["virtual-size"]' 4194304
    img 0 measure --output=json --size 4194304 -O qcow2 -o cluster_size=64k
    is 'isinstance(d["required"], int)' true
    img 0 snapshot -c snap1 disk.qcow2
    img 0 snapshot -a snap1 disk.qcow2
    img 0 snapshot -d snap1 disk.qcow2
    quiet
}

@test "callers: Proxmox streams to standard output" {
    sample a.raw
    img 0 convert -q -f raw -O qcow2 a.raw a.qcow2
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
    beyond
    qemu-img convert -O raw b.qcow2 /dev/stdout | cat > out.raw
    raw_is a.raw out.raw
    qemu-img dd bs=64k if=a.raw -f raw -O raw | cat > out2.raw
    raw_is a.raw out2.raw
}

@test "callers: libvirt asks for the creation options" {
    img 0 create -o '?' -f qcow2 /dev/null
    python3 -c 'import sys; assert "\ncompat " in open(sys.argv[1]).read() or "\n  compat=" in open(sys.argv[1]).read()' "$OUT"
    img 0 create -f qcow2 -o compat=0.10,nocow=on a.qcow2 1024K
    img 0 create -f qcow2 -o compat=1.1,lazy_refcounts,nocow=on b.qcow2 1024K
    quiet
    img 0 convert -f qcow2 -O qcow2 -o compat=0.10,nocow=on a.qcow2 c.qcow2
    quiet
}

# ---- libguestfs, Packer, Vagrant, Lima, Incus

@test "callers: libguestfs and virt-v2v" {
    no_asan
    img 0 --help
    [ -n "$IMG_IS_PEER" ] || has "$OUT" '\binfo\b.*-U\b'      # (gone from the help of 10.0)
    sample disk
    cmd 0 limited 1073741824 10 info -U --output json ./disk
    quiet
    is 'd["filename"]' ./disk
    img 0 dd if=disk of=head bs=256k count=1
    quiet
    cmp -n 262144 head disk
    [ "$(stat -c %s head)" -eq 262144 ]
    img 0 info --output json 'json:{"file":{"driver":"raw","offset":512,"size":1048576,"file":{"driver":"file","filename":"disk"}}}'
    is 'd["virtual-size"]' 1048576
    cp disk $'\xc3\x28.raw'
    img 0 info -U --output json $'./\xc3\x28.raw'
    is 'd["format"]' raw             # (strict UTF-8 also then)
}

@test "callers: Packer" {
    img 0 create -q -f qcow2 base.qcow2 4M
    img 0 create -f qcow2 -b base.qcow2 -F qcow2 a.qcow2 8M
    quiet
    img 0 convert -c -O qcow2 a.qcow2 b.qcow2
    quiet
    img 0 convert -O raw a.qcow2 b.raw
    img 0 resize -f qcow2 b.qcow2 16M
    quiet
}

@test "callers: Packer tries again while the image is locked" {
    need_peer
    [ -n "$PEER_IO" ] || skip 'no reference tool'
    img 0 create -q -f qcow2 a.qcow2 4M
    hold qcow2 a.qcow2
    img 1 convert -O raw a.qcow2 b.raw
    let_go
    has "$ERR" 'Failed to get shared "write" lock'
    grep -qi lock "$ERR"             # kiwi, os-autoinst: /lock/i
    img 0 convert -O raw a.qcow2 b.raw
}

@test "callers: vagrant-libvirt" {
    sample base.raw
    img 0 create -q -f qcow2 -b base.raw -F raw a.qcow2
    img 0 info a.qcow2
    grep -q 'backing file:' "$OUT"
    img 0 info --output=json a.qcow2
    size=$(sed -nE 's/^\s{0,4}"virtual-size": ([0-9]+),?$/\1/p' "$OUT")
    [ "$size" = 8388608 ]
    writes log rebase -p -b '' a.qcow2
    progress_is_sound log
    img 0 info a.qcow2
    ! grep -q 'backing file:' "$OUT" || false
    img 0 compare a.qcow2 base.raw
}

@test "callers: Lima" {
    img 0 create -q -f qcow2 -o compat=1.1 base.qcow2 4M
    img 0 info --output=json --force-share base.qcow2
    is 'd["children"][0]["info"]["filename"]' base.qcow2 \
       'd["format-specific"]["data"]["compat"]' 1.1 \
       'd["format-specific"]["data"].get("extents")' null
    img 0 create -f qcow2 -F qcow2 -b base.qcow2 diff.qcow2 8589934592
    img 0 resize -f qcow2 diff.qcow2 10737418240
    img 0 convert -O raw base.qcow2 out.raw
    quiet
    for step in '-c s' '-a s' '-l' '-d s'; do
        # shellcheck disable=SC2086
        img 0 snapshot $step diff.qcow2
        quiet
    done
}

@test "callers: Incus" {
    no_asan
    sample a.raw
    img 0 convert -q -f raw -O qcow2 a.raw a.qcow2
    cmd 0 prlimit --cpu=2 --as=1073741824 "$IMG" info -f qcow2 --output=json "$PWD/a.qcow2"
    quiet
    is 'd["virtual-size"]' 8388608
    truncate -s 8M b.raw
    writes log convert -p -f qcow2 -O raw -t writeback a.qcow2 b.raw
    progress_is_sound log
    truncate -s 0 c.raw
    truncate -s 8M c.raw
    writes log convert -p -f qcow2 -O raw -t none -W -n --target-is-zero a.qcow2 c.raw
    progress_is_sound log
    raw_is a.raw c.raw
    img 0 create -f qcow2 -o data_file=ext.raw,data_file_raw=on,preallocation=metadata e.qcow2 1048576b
    quiet
    [ "$(stat -c %s ext.raw)" -eq 1048576 ]
}

@test "callers: Incus resizes by options, lists bitmaps" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 resize --image-opts driver=qcow2,file.driver=file,file.filename="$PWD/a.qcow2" 2097152b
    quiet
    img 0 bitmap --add a.qcow2 backup0
    img 0 info --output=json a.qcow2
    is '[b["name"] for b in d["format-specific"]["data"]["bitmaps"]]' '["backup0"]' \
       'd["virtual-size"]' 2097152
}

# ---- xapi, CloudStack, OpenNebula

@test "callers: xapi" {
    sample a.raw
    img 0 convert -q -f raw -O qcow2 a.raw a.qcow2
    img 0 map a.qcow2 --output=json
    quiet
    is 'all(isinstance(x["start"], int) and isinstance(x["length"], int) and isinstance(x["data"], bool) for x in d)' true \
       'sum(x["length"] for x in d)' 8388608
    img 0 info a.qcow2 --output=json
    is 'd["cluster-size"]' 65536
}

@test "callers: CloudStack QemuImg.java" {
    sample a.raw
    img 0 convert -q -f raw -O qcow2 a.raw a.qcow2
    img 0 snapshot -c snap a.qcow2
    truncate -s 8M b.raw
    img 0 convert -n --target-is-zero -W -S 1M -t none -U --image-opts -O raw -l snapshot.name=snap \
        driver=qcow2,file.filename=a.qcow2 b.raw
    quiet
    raw_is a.raw b.raw
    img 1 convert -O raw -l snapshot.name=nix a.qcow2 c.raw
    has "$ERR" "Failed to load snapshot: Can't find snapshot|Can't find the snapshot"
    img 1 snapshot -d nix a.qcow2
    has "$ERR" 'snapshot not found'
    img 0 info -U a.qcow2
    python3 - "$OUT" <<'END'
import re, sys
found = {}
for line in open(sys.argv[1]):
    parts = line.split(':', 1)
    if len(parts) == 2 and parts[0] not in found:
        found[parts[0].strip()] = parts[1].strip()
assert re.match(r'^.*\(([0-9]+).*$', found['virtual size']).group(1) == '8388608', found
assert found['file format'] == 'qcow2' and found['cluster_size'] == '65536', found
END
}

@test "callers: OpenNebula" {
    sample a.raw
    img 0 convert -m 4 -f raw -O qcow2 a.raw a.qcow2
    quiet
    img 0 info a.qcow2
    [ "$(grep -oP '(?<=^file format: )\w+' "$OUT")" = qcow2 ]
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
    img 0 create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2
    img 0 commit -q -b a.qcow2 c.qcow2
    quiet
    img 0 bitmap --add a.qcow2 one
    truncate -s 1M small.raw
    img 1 convert -n -f qcow2 -O raw a.qcow2 small.raw
    [ -s "$ERR" ]
}

# ---- image builders

@test "callers: osbuild, coreos-assembler" {
    sample a.raw
    img 0 convert -O qcow2 -c -m 8 a.raw a.qcow2
    quiet
    img 0 info --output=json a.qcow2
    is '(d["format"], d["virtual-size"])' '["qcow2", 8388608]'
    img 0 convert -O vmdk -c -o subformat=streamOptimized,compat6,adapter_type=lsilogic a.raw a.vmdk
    quiet
    img 0 convert -O vpc -o subformat=fixed,force_size a.raw a.vhd
    quiet
}

@test "callers: kiwi, diskimage-builder, os-autoinst, Longhorn, cloud-utils, qemus" {
    img 0 create P 20M
    quiet
    sample a.raw
    img 0 convert -c -W -O qcow2 a.raw a.qcow2
    quiet
    img 0 resize a.qcow2 +1M
    quiet
    img 0 info a.qcow2
    [ "$(awk '/^file format:/{print $3}' "$OUT")" = qcow2 ]
    img 0 dd if=a.raw of=part bs=512 skip=16 count=2048
    quiet
    [ "$(stat -c %s part)" -ge 1000000 ]        # (the real tool counts from the start of the file)
    cmp -n "$(stat -c %s part)" part <(dd if=a.raw bs=512 skip=16 count=2048 status=none)
    img 0 info --output json -- a.qcow2
    is 'd["virtual-size"]' 9437184
    img 0 convert -f raw -O qcow2 -- a.raw out.qcow2
    quiet
}

# ---- the rules that follow

@test "callers: options and operands in any order, attached and repeated" {
    img 0 create a.qcow2 -fqcow2 1M -ocluster_size=4k -o lazy_refcounts=on
    img 0 info a.qcow2 --output=json -fqcow2
    is 'd["cluster-size"]' 4096 \
       'd["format-specific"]["data"]["lazy-refcounts"]' true
    img 0 info --object secret,id=a,data=x --object secret,id=b,data=y a.qcow2
    quiet
}

@test "callers: stderr is silent on success, and an error is one line with the name in front" {
    sample a.raw
    for words in 'create -f qcow2 a.qcow2 8M' 'convert -n -f raw -O qcow2 a.raw a.qcow2' 'info a.qcow2' \
        'check a.qcow2' 'map a.qcow2' 'snapshot -c s a.qcow2' 'snapshot -l a.qcow2' 'compare -f raw a.raw a.qcow2'; do
        # shellcheck disable=SC2086
        img 0 $words
        quiet
    done
    for words in 'info nix' 'convert -O raw nix x' 'map nix' 'snapshot -l nix' 'check nix' 'create -f nix a 1M'; do
        # shellcheck disable=SC2086
        img 1 $words
        out ''
        [ "$(wc -l < "$ERR")" -eq 1 ]
        has "$ERR" '^qemu-img: '
    done
}

@test "callers: each figure of a progress is a write of its own" {
    need_strace
    sample a.raw
    strace -f -e trace=write,writev -o trace "$IMG" convert -p -f raw -O qcow2 a.raw a.qcow2 > out.txt
    # (musl's standard output has two parts of a write, of which the second is empty)
    grep -E 'writev?\(1, ' trace | sed -E -e 's/^[0-9]+ +//; s/^write\(1, (".*"), [0-9]+(\)| <unfinished).*/\1/' \
        -e 's/^writev\(1, \[\{iov_base=(".*"), iov_len=[0-9]+\}(, \{iov_base=(NULL|""), iov_len=0\})?\].*/\1/' > log
    [ "$(wc -l < log)" -gt 3 ]
    ! grep -v -E '^"    \([0-9]+\.[0-9]{2}/100%\)(\\r|\\n)?"$|^"\\n"$' log || false
    progress_is_sound log
}

@test "callers: SIGUSR1 prints the progress without -p" {
    sample a.raw
    img 0 create -q -f qcow2 -b a.raw -F raw a.qcow2
    python3 - "$IMG" <<'END'
import os, re, signal, subprocess, sys, time
with open('big.raw', 'wb') as file:
    file.truncate(1 << 30)
    for at in range(0, 1 << 30, 1 << 20):
        file.seek(at)
        file.write(b'\x11' * 65536)
# 64 MiB at this rate keep it running
for _ in range(8):
    if os.path.exists('out.qcow2'):
        os.unlink('out.qcow2')
    child = subprocess.Popen(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-r', '64M', 'big.raw', 'out.qcow2'],
                             executable=sys.argv[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while child.poll() is None and not os.path.exists('out.qcow2'):
        time.sleep(0.01)                # before that the signal may end it
    while child.poll() is None:
        child.send_signal(signal.SIGUSR1)
        time.sleep(0.05)
    out, err = child.communicate()
    assert child.returncode == 0, (child.returncode, err)
    if re.search(rb'\(\d+\.\d\d/100%\)', out + err):
        sys.exit(0)
sys.exit('no progress was printed')
END
}

@test "callers: JSON has an indent of four" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 info --output=json a.qcow2
    sed -n 1,3p "$OUT" > start
    same start '{' '    "children": [' '        {'
    has "$OUT" '^    "virtual-size": 1048576,$'
    img 0 check --output=json a.qcow2
    has "$OUT" '^    "check-errors": 0,$'
}
