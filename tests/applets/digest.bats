#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-digest, and convert --digest: the figures, the lines, the lists.

load ../helper

ours() {
    beyond
    img 1 digest -a none x
    ! grep -q 'not built in' "$ERR" || skip 'built without nettle'
}

# An img-digest of this line.
digest() {
    qemu-img digest "$@"
}

line() {  # NAME [TOOL]: what TOOL (sha256sum) says of a.raw, under another name
    "${2:-sha256sum}" < a.raw | sed "s/-\$/$1/"
}

# The reference of the page, on a file.
reference() {  # FILE HASH
    # shellcheck disable=SC2016
    { sed -n '/^```python/,/^```$/p' "$ROOT/docs/applets/digest.md" | sed '/^```/d'
      echo "import sys"
      echo "print(tree(open(sys.argv[1], 'rb'), sys.argv[2]))"; } > ref.py
    python3 ref.py "$1" "$2"
}

@test "digest: one figure for every format and layout" {
    ours
    sample a.raw
    img 0 convert -O qcow2 a.raw plain.qcow2
    img 0 convert -c -O qcow2 -o cluster_size=4k a.raw small.qcow2
    img 0 convert -c -O qcow2 -o compression_type=zstd,cluster_size=2M a.raw zstd.qcow2
    img 0 convert -S 0 -O qcow2 -o compat=0.10,preallocation=full a.raw old.qcow2
    img 0 create -q -f qcow2 -b plain.qcow2 -F qcow2 over.qcow2
    for name in a.raw plain.qcow2 small.qcow2 zstd.qcow2 old.qcow2 over.qcow2; do
        img 0 digest "$name"
        out "$(line "$name")"
        err ''
    done
    img 0 digest --image-opts driver=qcow2,file.filename=plain.qcow2
    out "$(line driver=qcow2,file.filename=plain.qcow2)"
    img 0 digest -f raw plain.qcow2
    out "$(sha256sum plain.qcow2)"
    for tool in sha512 sha1 md5; do
        img 0 digest -a "$tool" zstd.qcow2
        out "$(line zstd.qcow2 "${tool}sum")"
    done
    for workers in 1 2 16; do
        img 0 digest -m "$workers" a.raw zstd.qcow2
        out "$(line a.raw)" "$(line zstd.qcow2)"
    done
    cmd 0 digest - < a.raw
    out "$(line -)"
    tail -c +1 a.raw | cmd 0 digest -
    out "$(line -)"
    printf abc > b.raw
    truncate -s 512 b.raw
    printf abc > c.raw
    img 0 digest b.raw c.raw
    out "$(sha256sum b.raw)" "$(sha256sum < b.raw | sed s/-/c.raw/)"
    cmd 0 digest - < c.raw
    out "$(sha256sum - < b.raw)"
    : > a.raw
    img 0 digest a.raw
    out "$(line a.raw)"
}

@test "digest: the tree is that of the page" {
    ours
    sample a.raw
    img 0 convert -c -O qcow2 a.raw a.qcow2
    for hash in sha256 sha512 sha1 md5; do
        tree="$(echo $hash | tr shamd SHAMD)-TREE (%s) = $(reference a.raw $hash)\n"
        img 0 digest -a $hash --tree a.raw a.qcow2
        # shellcheck disable=SC2059
        printf "$tree" a.raw a.qcow2 | out
    done
    for size in 0 512 1M 1049088 8388096; do
        head -c "$(bytes $size)" a.raw > b.raw
        tree=$(reference b.raw sha256)
        img 0 digest -a tree -m 1 b.raw
        out "SHA256-TREE (b.raw) = $tree"
        cmd 0 digest --tree - < b.raw
        out "SHA256-TREE (-) = $tree"
    done
}

@test "digest: trees of zeroes take no time" {
    ours
    truncate -s 1T a.raw
    zeroes=$(python3 - <<'EOF'
import hashlib
level = [hashlib.sha256(bytes(1 << 20)).digest()] * (1 << 20)
while len(level) > 1:
    level = [hashlib.sha256(b"".join(level[i:i + 1024])).digest() for i in range(0, len(level), 1024)]
print(hashlib.sha256(level[0] + (1 << 40).to_bytes(8, "big")).hexdigest())
EOF
)
    img 0 digest --tree a.raw
    out "SHA256-TREE (a.raw) = $zeroes"
    img 0 create -q -f qcow2 -o cluster_size=2M a.qcow2 60P
    img 0 digest --tree a.qcow2
    out 'SHA256-TREE (a.qcow2) = 0d5f8e2ed7edccd053dadddba04669bb9e4d0b126d5ad998ed27a9cc77d34f82'
}

@test "digest: holes are not read" {
    ours
    need_strace
    truncate -s 64M a.raw
    pattern a.raw 55 32M 64k
    for options in '' --tree; do
        # shellcheck disable=SC2086
        cmd 0 strace -f -e trace=pread64,preadv,read -o calls "$IMG" digest -f raw $options a.raw
        read=$(grep -oE '= [0-9]+$' calls | awk '{ n += $2 } END { print n }')
        [ "$read" -lt 3000000 ]
    done
}

@test "digest: snapshots" {
    ours
    fixture snapshots.qcow2
    img 0 info snapshots.qcow2
    snapshot=$(awk '/^Snapshot list/ { getline; getline; print $2 }' "$OUT")
    img 0 convert -l "$snapshot" snapshots.qcow2 a.raw
    img 0 digest -l "$snapshot" snapshots.qcow2
    out "$(line snapshots.qcow2)"
    img 0 digest -l "snapshot.name=$snapshot" snapshots.qcow2
    out "$(line snapshots.qcow2)"
    img 1 digest -l no-such snapshots.qcow2
    out ''
    err "qemu-img: Failed to load snapshot: Can't find snapshot"
}

@test "digest: names and forms of the lines" {
    ours
    sample a.raw
    cp a.raw 'b\c'
    cp a.raw $'n\nl'
    cp a.raw $'r\rl'
    cp a.raw 'x) = y'
    img 0 digest a.raw 'b\c' $'n\nl' 'x) = y'
    out "$(sha256sum a.raw 'b\c' $'n\nl' 'x) = y')"
    img 0 digest --tag -a md5 a.raw 'b\c' $'n\nl' $'r\rl' 'x) = y'
    out "$(md5sum --tag a.raw 'b\c' $'n\nl' $'r\rl' 'x) = y')"
    img 0 digest a.raw 'b\c' $'n\nl' $'r\rl' 'x) = y'
    cp "$OUT" list
    digest --tag -a sha512 a.raw 'b\c' $'n\nl' 'x) = y' >> list
    digest --tree a.raw 'b\c' $'n\nl' 'x) = y' >> list
    img 0 digest --check list
    [ "$(grep -c ': OK$' "$OUT")" -eq 13 ]
    [ "$(wc -l < "$OUT")" -eq 13 ]
    err ''
    digest -a sha1 a.raw 'b\c' $'n\nl' > list
    # (coreutils 9.7 shows a backslash as it stands in the list)
    sha1sum --check list | sed 's/^\\b\\\\c:/b\\c:/' > want
    img 0 digest --check list
    cmp want "$OUT"
    img 0 digest --tag -a ripemd160 a.raw
    cp "$OUT" list
    img 0 digest --check list
    out 'a.raw: OK'
    img 0 digest -a ripemd160 a.raw
    cp "$OUT" list
    img 1 digest --check list
    img 0 digest --check -a ripemd160 list
    out 'a.raw: OK'
    img 0 digest --output=json --tree -a md5 a.raw
    out <<EOF
[
    {
        "filename": "a.raw",
        "algorithm": "md5",
        "tree": true,
        "length": 8388608,
        "digest": "$(reference a.raw md5)"
    }
]
EOF
}

# check STATUS OPTION...: with the list `list`, as sha256sum does it
check() {
    local want=$1
    shift
    sha256sum --check "$@" list > want.out 2> want.err || [ $? -eq "$want" ]
    sed -i 's/^sha256sum: /qemu-img: /; s/^qemu-img: none: .*/MISSING/' want.err
    img "$want" digest --check "$@" list
    sed -i "s/^qemu-img: Could not open 'none'.*/MISSING/" "$ERR"
    same "$OUT" < want.out
    same "$ERR" < want.err
}

@test "digest: lists are checked as sha256sum does it" {
    ours
    sample a.raw
    img 0 convert a.raw b.raw
    zero=0000000000000000000000000000000000000000000000000000000000000000
    sha256sum a.raw b.raw > list
    check 0
    check 0 --quiet
    check 0 --status
    check 0 --strict --warn
    { echo "$zero  a.raw"; echo garbage; sha256sum b.raw; echo "$zero  none"; printf '# comment\n\n'; } > list
    check 1
    check 1 --quiet
    check 1 --status
    check 1 --warn
    check 1 --ignore-missing
    check 1 --status --warn
    check 1 --warn --status
    { cat list; echo more; echo "$zero  none"; echo "$zero  b.raw"; } > list2
    mv list2 list
    check 1
    { echo garbage; sha256sum b.raw; } > list
    check 0
    check 1 --strict
    echo garbage > list
    check 1
    : > list
    check 1
    echo "$zero  none" > list
    check 1 --ignore-missing
    sha256sum a.raw | sed 's/  / */' > list
    check 0
    sha256sum a.raw | tr a-f A-F | sed 's/A\.RAW/a.raw/; s/\([A-F0-9]*\)  .*/  \1  a.raw\r/' > list
    check 0
    sha256sum a.raw | sed 's/  / /' | tr -d '\n' > list
    check 0
    sha256sum a.raw | sed 's/^./g/' > list
    check 1
    sha256sum a.raw | sed 's/^.//' > list
    check 1
    cmd 0 digest --check - < <(sha256sum a.raw)
    out 'a.raw: OK'
    cmd 0 digest --check < <(sha256sum a.raw)
    out 'a.raw: OK'
    cmd 1 digest --check - < /dev/null
    err "qemu-img: 'standard input': no properly formatted checksum lines found"
    img 1 digest --check missing
    err 'qemu-img: missing: No such file or directory'
}

@test "digest: a list of trees, one image changed" {
    ours
    sample a.raw
    img 0 convert -O qcow2 a.raw a.qcow2
    digest --tree a.raw a.qcow2 > list
    img 0 digest --check list
    out 'a.raw: OK' 'a.qcow2: OK'
    pattern a.raw 01 5000000 1
    img 1 digest --check list
    out 'a.raw: FAILED' 'a.qcow2: OK'
    err 'qemu-img: WARNING: 1 computed checksum did NOT match'
    # sha256sum does not take it for one of its own lines
    cmd 1 sha256sum --check list
}

@test "digest: what can't be read" {
    ours
    sample a.raw
    img 1 digest missing a.raw
    out "$(sha256sum a.raw)"
    err "qemu-img: Could not open 'missing': Could not open 'missing': No such file or directory"
    img 1 digest -a sha3 a.raw
    out ''
    err "qemu-img: Unknown digest 'sha3'"
    img 1 digest -f qcow2 a.raw
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    cmd 1 digest -f qcow2 - < a.raw
    err "qemu-img: Could not open '-': Image is not in qcow2 format"
    cmd 1 digest -l x - < a.raw
    has "$ERR" "^qemu-img: Failed to load snapshot: Block format 'raw' used by device '' does not support"
    img 1 digest -m 17 a.raw
    err 'qemu-img: Invalid number of workers specified. Must be between 1 and 16.'
    img 1 digest
    has "$ERR" 'Expecting at least one image file name'
    img 1 digest --strict a.raw
    has "$ERR" 'the --strict option is meaningful only when verifying checksums'
    img 1 digest --check --tag a.raw
    has "$ERR" 'the --tag option is meaningless when verifying checksums'
    img 1 digest --image-opts -f raw file.filename=a.raw
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    # compressed data that are none
    img 0 convert -c -O qcow2 a.raw a.qcow2
    img 0 map --output=json a.qcow2
    dd if=/dev/zero of=a.qcow2 bs=64k seek=5 count=3 conv=notrunc status=none
    img 1 digest a.qcow2
    out ''
    has "$ERR" '^qemu-img: a.qcow2: error while reading (at byte|block status at offset) [0-9]+: '
    img 1 digest --tree a.qcow2
    out ''
}

# ---- convert --digest

@test "convert --digest: every way through the copy" {
    ours
    sample a.raw
    want=$(line x)
    tree="SHA256-TREE (x) = $(reference a.raw sha256)"
    img 0 convert -O qcow2 a.raw a.qcow2
    for options in '-q -O qcow2 -c -W' '-W -m 8' '-S 0' '-O qcow2 -S 0 -m 1' '-O qcow2 -o cluster_size=2M -c' \
                   '-r 100G --salvage'; do
        # shellcheck disable=SC2086
        img 0 convert --digest=sha256 $options a.raw x
        out "$want"
        err ''
        # shellcheck disable=SC2086
        img 0 convert --digest=tree $options a.qcow2 x
        out "$tree"
    done
    img 0 convert -p --digest sha1 a.raw x
    has "$OUT" '^[0-9a-f]{40}  x$'
    img 1 convert -C --digest sha1 a.raw x
    err 'qemu-img: Cannot use copy offloading with --digest'
    img 1 convert --digest crc a.raw x
    err "qemu-img: Unknown digest 'crc'"
}

@test "convert --digest: overlays, several sources, streams, a longer target" {
    ours
    sample a.raw
    img 0 convert -O qcow2 a.raw base.qcow2
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 10M
    img 0 convert --digest=sha256 -B base.qcow2 -F qcow2 -O qcow2 top.qcow2 x
    cp "$OUT" first
    img 0 digest x
    cmp "$OUT" first
    img 0 convert --digest=tree -c -B base.qcow2 -F qcow2 -O qcow2 top.qcow2 x
    cp "$OUT" first
    img 0 digest --tree x
    cmp "$OUT" first
    cat a.raw a.raw > twice.raw
    img 0 convert --digest=sha256 a.raw base.qcow2 x
    out "$(sha256sum < twice.raw | sed s/-/x/)"
    cmd 0 qemu-img convert --digest=tree -O qcow2 - x < a.raw
    out "SHA256-TREE (x) = $(reference a.raw sha256)"
    cmd 0 qemu-img convert --digest=sha256 base.qcow2 -
    cmp "$OUT" a.raw
    err "$(line -)"
    cmd 0 qemu-img convert --digest=sha256 - - < a.raw
    cmp "$OUT" a.raw
    err "$(line -)"
    qemu-img convert --digest=sha256 base.qcow2 /dev/stdout 2> err.txt | cmp - a.raw
    same err.txt "$(sha256sum < a.raw | sed 's,-$,/dev/stdout,')"
    truncate -s 20M x
    img 0 convert -n --digest=sha256 a.raw x
    out "$(line x)"
    img 1 convert --digest=sha256 missing x
    out ''
}
