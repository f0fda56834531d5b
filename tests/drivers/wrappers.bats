#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Compressed files and archives around an image: gzip, xz, zstd, bzip2, tar.

load ../helper

setup() {
    beyond
    fresh_folder
}

# python3 with the modules of tests/interop/lib, of which wrap.py makes compressed files
wrap() {
    crafting -c "import sys, wrap
data = open('$1', 'rb').read()
open('$2', 'wb').write($3)"
}

# reads FILE RAW: converted, compared, and read in part, it is the same as the raw file
reads() {
    img 0 convert -O raw "$1" back
    cmp back "$2"
    img 0 compare "$1" "$2"
    img 0 dd if="$1" of=part bs=1000 skip=4500 count=6500 -O raw
    cmp -n 2000000 part <(dd if="$2" bs=1000 skip=4500 count=2000 status=none)
    rm back part
}

@test "wrappers: each is read with the image inside" {
    sample a.raw
    img 0 convert -O qcow2 a.raw a.qcow2
    for image in a.raw a.qcow2; do
        gzip -k "$image"
        xz -0 -k "$image"
        zstd -q "$image"
        bzip2 -k "$image"
        for suffix in gz xz zst bz2; do
            echo "$image.$suffix"
            reads "$image.$suffix" a.raw
            img 0 info "$image.$suffix"
            has "$OUT" "^image: $image.$suffix\$"
            has "$OUT" "^file format: ${image#a.}\$"
            has "$OUT" '^virtual size: 8 MiB \(8388608 bytes\)$'
            has "$OUT" "^ *Child node '/file/file':\$"
            # but not for those who give a format, or the version whose output they want
            img 0 info -f raw "$image.$suffix"
            has "$OUT" '^file format: raw$'
            ! grep -q '8 MiB' "$OUT"
            IMGBOX_COMPAT=10.0 img 0 info "$image.$suffix"
            has "$OUT" '^file format: raw$'
            ! grep -q '8 MiB' "$OUT"
        done
    done
    img 1 info -f qcow2 a.qcow2.gz
    err "qemu-img: Could not open 'a.qcow2.gz': Image is not in qcow2 format"
}

@test "wrappers: names with a prefix, json:, and --image-opts" {
    sample a.raw
    img 0 convert -O qcow2 a.raw a.qcow2
    gzip -k a.qcow2
    img 0 info gzip:a.qcow2.gz
    has "$OUT" '^image: gzip:a.qcow2.gz$'
    has "$OUT" '^file format: qcow2$'
    img 0 info -f qcow2 gzip:a.qcow2.gz
    has "$OUT" '^file format: qcow2$'
    img 0 info -f gzip a.qcow2.gz
    has "$OUT" '^file format: gzip$'
    for name in 'json:{"driver":"qcow2","file":{"driver":"gzip","file":{"driver":"file","filename":"a.qcow2.gz"}}}' \
        gzip:a.qcow2.gz gzip:file:a.qcow2.gz gzip:./a.qcow2.gz; do
        img 0 compare "$name" a.raw
    done
    img 0 convert -O raw --image-opts driver=qcow2,file.driver=gzip,file.file.filename=a.qcow2.gz b.raw
    cmp a.raw b.raw
}

@test "wrappers: content of any length, also none" {
    for length in 0 1 511 512 513 70000; do
        head -c "$length" /dev/urandom > a
        cp a padded
        truncate -s "%512" padded
        for tool in gzip xz zstd bzip2; do
            "$tool" -c < a > a.wrapped
            img 0 convert -O raw a.wrapped back
            cmp padded back || { echo "$tool $length"; return 1; }
        done
    done
}

@test "gzip: members, what follows them, and headers with everything in them" {
    sample a.raw
    wrap a.raw a.gz 'b"".join(wrap.member(data[i:i + 3000000], extra=b"XY\3\0abc", name=b"n", comment=b"c", hcrc=True)
                              for i in range(0, len(data), 3000000))'
    gzip -t a.gz
    reads a.gz a.raw
    wrap a.raw zeroes.gz 'wrap.member(data) + bytes(100000)'
    reads zeroes.gz a.raw
    wrap a.raw more.gz 'wrap.member(data) + bytes(1000) + b"x"'
    img 1 info more.gz
    has "$ERR" 'The gzip file is damaged: something else follows at [0-9]+$'
}

@test "gzip: bgzf is found by its headers, and read from any block" {
    sample a.raw
    wrap a.raw a.gz 'wrap.bgzf(data)'
    gzip -t a.gz
    reads a.gz a.raw
    # a block that is damaged is an error of its own
    poke a.gz $(($(stat -c %s a.gz) / 2)) ffffffffffff
    img 0 info a.gz
    img 1 convert -O raw a.gz back
    has "$ERR" '^qemu-img: error while reading at byte [0-9]+: Input/output error$'
    # one without its field makes it a plain file
    wrap a.raw b.gz 'wrap.bgzf(data) + wrap.member(b"x" * 512)'
    { cat a.raw; letters x; } > b.raw
    reads b.gz b.raw
}

@test "xz: blocks, streams, padding, and every check" {
    sample a.raw
    for check in none crc32 crc64 sha256; do
        xz -0 -k -c -C "$check" --block-size=1MiB a.raw > a.xz
        reads a.xz a.raw
    done
    { xz -0 -c < a.raw; head -c 400 /dev/zero; xz -0 -c --block-size=100KiB < a.raw; head -c 4 /dev/zero; } > two.xz
    cat a.raw a.raw > two.raw
    reads two.xz two.raw
    xz -0 -c --x86 --lzma2=dict=4096 < a.raw > filter.xz
    reads filter.xz a.raw
}

@test "zstd: frames with and without their length, skipped frames, the seekable format" {
    sample a.raw
    zstd -q -c < a.raw > unsized.zst
    reads unsized.zst a.raw
    wrap a.raw frames.zst 'wrap.zstd_frames(data, 700001, sized=False)'
    reads frames.zst a.raw
    wrap a.raw mixed.zst 'wrap.skipped(b"abc") + wrap.zstd_frames(data, 700001) + wrap.skipped(b"")'
    reads mixed.zst a.raw
    for sums in False True; do
        wrap a.raw seekable.zst "wrap.seekable(data, 300001, sums=$sums)"
        zstd -q -t seekable.zst
        reads seekable.zst a.raw
    done
    # a table that lies about a frame is noticed when the frame is read
    wrap a.raw lying.zst 'wrap.seekable(data, 3000001, lie=4)'
    img 1 convert -O raw lying.zst back
    has "$ERR" 'Input/output error$'
    zstd -q --long=31 -3 --no-progress -c < a.raw > long.zst
    img 1 convert -O raw long.zst back
}

@test "bzip2: blocks at any bit, streams, a block that is much longer than it looks" {
    sample a.raw
    for level in 1 9; do
        bzip2 -c -"$level" a.raw > a.bz2
        reads a.bz2 a.raw
    done
    wrap a.raw streams.bz2 'b"".join(wrap.bz2(data[i:i + 500000], 5) for i in range(0, len(data), 500000))'
    reads streams.bz2 a.raw
    truncate -s 60M zero.raw
    bzip2 -c zero.raw > zero.bz2
    reads zero.bz2 zero.raw
}

@test "wrappers: what is cut off or damaged is an error" {
    head -c 3000000 /dev/urandom > a.raw
    truncate -s 3000320 a.raw
    for tool in gzip xz zstd bzip2; do
        "$tool" -c < a.raw > a
        length=$(stat -c %s a)
        for at in 5 20 $((length / 3)) $((length - 600)) $((length - 4)); do
            head -c "$at" a > short
            # (so short that it has no mark: a raw disk)
            [ "$at" -gt 8 ] || continue
            img 1 convert -O raw short back || { echo "$tool cut at $at"; return 1; }
            has "$ERR" '^qemu-img: (Could not open .short.: The [a-z0-9]+ file is |error while reading at byte [0-9]+: Input)'
        done
        for at in $((length / 3)) $((length / 2)); do
            cp a bad
            poke bad "$at" "$(peek a "$at" 1 | tr 0-9a-f fedcba9876543210)"
            img 1 convert -O raw bad back || { echo "$tool damaged at $at"; return 1; }
        done
    done
}

@test "wrappers: --salvage keeps what can be read" {
    head -c 8M /dev/urandom > a.raw
    xz -0 -k -c --block-size=2MiB a.raw > a.xz
    wrap a.raw a.gz 'wrap.bgzf(data)'
    for suffix in xz gz; do
        poke a.$suffix $(($(stat -c %s a.$suffix) * 5 / 8)) 0000000000000000
        img 1 convert -O raw a.$suffix back
        img 0 convert --salvage -O raw a.$suffix back
        cmp -n 4M back a.raw
        cmp -i 7M back a.raw
    done
}

@test "wrappers: in each other, up to a depth" {
    sample a.raw
    gzip -c a.raw | xz -0 -c | zstd -q -c | bzip2 -c > four
    reads four a.raw
    gzip -c four > five
    img 1 info five
    err "qemu-img: Could not open 'five': More than 4 compressed files or archives in each other"
}

@test "wrappers: nothing writes to them" {
    sample a.raw
    gzip -k a.raw
    cp a.raw.gz kept
    img 1 resize a.raw.gz +1M
    err "qemu-img: Could not open 'a.raw.gz': A gzip file cannot be written to"
    tar -cf a.tar a.raw
    IMGBOX_HINTS=1 img 1 resize a.tar +1M
    err "qemu-img: Could not open 'a.tar': A tar archive cannot be written to" \
        'hint: with -f raw the file is taken as it is'
    cmp a.raw.gz kept
}

@test "wrappers: a guessed raw image does not become one" {
    truncate -s 1M a.raw
    gzip -c a.raw > x.gz
    cp a.raw b.raw
    truncate -s 1M x.gz
    img 1 convert -n -f raw x.gz --target-image-opts file.filename=b.raw
    has "$ERR" 'Operation not permitted$'
    cmp a.raw b.raw
    img 0 convert -n -f raw x.gz --target-image-opts driver=raw,file.filename=b.raw
    cmp x.gz b.raw
}

@test "wrappers: backing files are beside the compressed file" {
    mkdir in
    sample in/base.raw
    img 0 create -q -f qcow2 -b base.raw -F raw in/top.qcow2
    gzip -k in/top.qcow2
    for name in in/top.qcow2.gz gzip:in/top.qcow2.gz; do
        img 0 info --backing-chain "$name"
        has "$OUT" '^backing file: base.raw \(actual path: in/base.raw\)$'
        img 0 compare "$name" in/base.raw
    done
    # and a backing file whose format is not told may be one
    gzip -k in/base.raw
    img 0 create -q -f qcow2 -u -b base.raw.gz -F raw in/over.qcow2 8M
    # (an extension of the header that nobody knows)
    poke in/over.qcow2 "$(grep -abo -P '\xe2\x79\x2a\xca' in/over.qcow2 | cut -d: -f1)" 01020304
    img 0 compare in/over.qcow2 in/base.raw
    img 0 info --backing-chain in/over.qcow2
    has "$OUT" '^image: in/base.raw.gz$'
}

@test "wrappers: memory is bounded, whatever is inside" {
    no_asan
    # 8 GiB of zeroes, through two layers, in some KiB
    wrap /dev/null bomb.gz 'wrap.gzip_zeroes(8 << 30)'
    gzip -c bomb.gz > bomb.gz.gz
    [ "$(stat -c %s bomb.gz.gz)" -lt 50000 ]
    (ulimit -v 300000; exec -a qemu-img "$IMG" info bomb.gz.gz) > "$OUT"
    has "$OUT" '^virtual size: 8 GiB'
}

@test "tar: the only image is found, others by name" {
    sample disk.raw
    img 0 convert -O vmdk -o subformat=streamOptimized disk.raw disk1.vmdk
    echo '<Envelope/>' > a.ovf
    echo 'SHA256(a.ovf)= 00' > a.mf
    for format in ustar gnu oldgnu pax; do
        tar --format="$format" -cf a.ova a.ovf disk1.vmdk a.mf
        reads a.ova disk.raw
        img 0 info a.ova
        has "$OUT" '^image: a.ova$'
        has "$OUT" '^file format: vmdk$'
        img 0 info 'tar:a.ova!disk1.vmdk'
        has "$OUT" '^image: tar:a.ova!disk1.vmdk$'
        has "$OUT" '^file format: vmdk$'
        img 0 convert -f vmdk -O raw 'tar:a.ova!./disk1.vmdk' back
        cmp back disk.raw
    done
    tar --format=v7 -cf v7.ova a.ovf disk1.vmdk
    reads tar:v7.ova disk.raw
    img 0 info 'tar:a.ova!a.ovf'
    has "$OUT" '^file format: raw$'
    img 1 info 'tar:a.ova!none'
    err "qemu-img: Could not open 'tar:a.ova!none': The tar archive has no member 'none'"
    img 0 info -f raw a.ova
    has "$OUT" '^file format: raw$'
    gzip -k a.ova
    reads a.ova.gz disk.raw
    gzip disk1.vmdk
    tar -cf b.ova a.ovf disk1.vmdk.gz
    reads b.ova disk.raw
}

@test "tar: several images, or none" {
    sample disk.raw
    cp disk.raw other.img
    tar -cf two.tar disk.raw other.img
    IMGBOX_HINTS=1 img 1 info tar:two.tar
    err "qemu-img: Could not open 'tar:two.tar': The tar archive has several images: 'disk.raw', 'other.img'" \
        'hint: name one of them: tar:ARCHIVE!MEMBER'
    img 1 info two.tar
    err "qemu-img: Could not open 'two.tar': The tar archive has several images: 'disk.raw', 'other.img'"
    reads 'tar:two.tar!other.img' disk.raw
    # an archive without an image is what it was
    echo text > text
    tar -cf none.tar text
    img 0 info none.tar
    has "$OUT" '^file format: raw$'
    img 1 info tar:none.tar
    err "qemu-img: Could not open 'tar:none.tar': The tar archive has no image"
    # so is a disk that begins like one
    tar -cf disk.raw text text
    poke disk.raw 1024 41
    truncate -s 1M disk.raw
    img 0 info disk.raw
    has "$OUT" '^file format: raw$'
    img 0 resize -q disk.raw 2M
}

@test "tar: long names, large sizes, sparse members, links" {
    name=$(printf 'n%.0s' $(seq 200))
    mkdir -p "$name/$name"
    sample "$name/$name/disk.raw"
    sample=$name/$name/disk.raw
    for format in gnu pax; do
        tar --format="$format" -cf a.tar "$name"
        reads "tar:a.tar!$sample" "$sample"
        reads a.tar "$sample"
    done
    # a size in binary, one in a pax header
    crafting -c 'import wrap
data = open("'"$sample"'", "rb").read()
open("binary.tar", "wb").write(wrap.tar([("disk.raw", data)], binary=True))
open("pax.tar", "wb").write(wrap.tar([("disk.raw", data)], pax={"size": str(len(data)), "comment": "x" * 3000}))
open("wrong.tar", "wb").write(wrap.tar([("disk.raw", data)], wrong=1))
open("cut.tar", "wb").write(wrap.tar([("disk.raw", data)])[:5000000])'
    reads binary.tar "$sample"
    reads pax.tar "$sample"
    img 1 info tar:wrong.tar
    err "qemu-img: Could not open 'tar:wrong.tar': Not in tar format"
    img 1 info cut.tar
    has "$ERR" "The tar archive is truncated: member 'disk.raw' needs 8388608 bytes, and [0-9]+ are there\$"
    truncate -s 8M holes.raw
    pattern holes.raw 11 1M 64k
    for format in gnu pax; do
        tar --format="$format" -Scf sparse.tar holes.raw
        img 1 info 'tar:sparse.tar!holes.raw'
        has "$ERR" "The member 'holes.raw' is stored as a sparse file, which is not supported\$"
    done
    ln -s "$sample" link.raw
    tar -cf links.tar link.raw "$sample"
    reads links.tar "$sample"
    img 1 info 'tar:links.tar!link.raw'
    err "qemu-img: Could not open 'tar:links.tar!link.raw': The member 'link.raw' is not a file"
}
