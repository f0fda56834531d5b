#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The static file (`make static`): small, and it runs where there is nothing else.

load ../helper

static=$BUILD/static/imgbox

built() {
    beyond
    no_asan
    [ -x "$static" ] || skip 'no static build'
}

@test "static: needs no library" {
    built
    if ldd "$static" > "$OUT" 2>&1; then
        has "$OUT" 'statically linked'
    fi
}

# (the server is its own 45 KB, 25 of its command lines, and 20 of the C library, for host names and the like)
# (compressed files and archives around images are 40 KB: 22 of drivers, 13 of libdeflate for CRC-32)
@test "static: at most 1.56 MB stripped, of which encryption is 0.16, encodings 0.06, and the NBD server 0.09" {
    built
    cp "$static" s
    strip s
    # (the libraries of Debian 13 are larger)
    limit=1560000
    ! grep -q '^VERSION_ID="13"' /etc/os-release || limit=1600000
    [ "$(stat -c %s s)" -le "$limit" ]
}

@test "static: the link map tells what each part adds, and it adds up" {
    built
    cmd 0 sh "$ROOT/packaging/sizes.sh" "$static.map" "$static"
    for part in zstd libdeflate zlib 'code pages' 'driver qcow2' 'C library' applets; do
        has "$OUT" "^ *[0-9]{4,}  $part\$"
    done
    awk '/headers and padding/ { exit !($1 >= 0 && $1 < 32768) }' "$OUT"
}

# Whatever level made a frame, and whatever window its header asks for.
@test "static: zstd frames of every level are decoded" {
    built
    command -v zstd > /dev/null || skip 'no zstd'
    head -c 40000 "$static" > plain
    head -c 25536 "$ROOT/README.md" >> plain
    truncate -s 64k plain
    cmd 0 "$static" convert -c -f raw -O qcow2 -o compression_type=zstd plain plain.qcow2
    at=$(grep -abo -P '\x28\xb5\x2f\xfd' plain.qcow2 | head -n 1 | cut -d: -f1)
    room=$(($(stat -c %s plain.qcow2) - at))
    for how in -1 -5 -9 -13 -16 -19 '--ultra -22' '-19 --long=27 --no-check' '-3 --long=31' '-6 --stream-size=65536'; do
        # shellcheck disable=SC2086
        zstd -q --no-progress $how < plain > frame
        length=$(stat -c %s frame)
        [ "$length" -le "$room" ] || continue
        cp plain.qcow2 other.qcow2
        head -c "$room" /dev/zero | dd of=other.qcow2 bs=1 seek="$at" conv=notrunc status=none
        dd if=frame of=other.qcow2 bs=1 seek="$at" conv=notrunc status=none
        cmd 0 "$static" convert -f qcow2 -O raw other.qcow2 back
        cmp plain back || { echo "zstd $how"; return 1; }
        echo "$how" >> decoded
    done
    has decoded '^-19$'
    has decoded '^--ultra -22$'
}

@test "static: levels that are left out are refused, the others work" {
    built
    sample a.raw
    grep -q '^libzstd: slimmed' "${static%/*}/sysroot/slimmed" || skip 'zstd is whole'
    cmd 1 "$static" convert -c -f raw -O qcow2 -o compression_type=zstd,compression_level=4 a.raw a.qcow2
    has "$ERR" "'compression_level' of 'zstd' must be from 1 to 3 in this build\$"
    [ ! -e a.qcow2 ]
    for o in compression_type=zstd compression_type=zstd,compression_level={1,2,3} compression_level={1,6,12} \
            compression_window=4k; do
        cmd 0 "$static" convert -c -f raw -O qcow2 -o "$o" a.raw b.qcow2
        cmd 0 "$static" convert -f qcow2 -O raw b.qcow2 b.raw
        cmp a.raw b.raw
    done
}

@test "static: converts in an empty chroot" {
    built
    need_root
    mkdir empty
    cp "$static" empty/qemu-img
    sample empty/a.raw
    cmd 0 chroot empty /qemu-img convert -c -f raw -O qcow2 a.raw a.qcow2
    silent
    cmd 0 chroot empty /qemu-img check a.qcow2
    cmd 0 chroot empty /qemu-img info a.qcow2
    has "$OUT" '^file format: qcow2'
    cmd 0 chroot empty /qemu-img convert -O raw a.qcow2 b.raw
    cmp empty/a.raw empty/b.raw
    fixture zstd.qcow2
    mv zstd.qcow2 empty/
    cmd 0 chroot empty /qemu-img convert -O raw zstd.qcow2 z.raw
    [ "$(peek empty/z.raw 0 1)" = 55 ]
    for format in vpc vmdk vhdx vdi; do
        cmd 0 chroot empty /qemu-img convert -f raw -O $format - b < <(cat empty/a.raw)
        img 0 compare -f raw -F $format empty/a.raw empty/b
        cmd 0 chroot empty /qemu-img convert -O $format /dev/stdin b < empty/a.qcow2
        img 0 compare -f raw -F $format empty/a.raw empty/b
    done
}

# A vmdk for each encoding, of extents whose names have letters from all over its table.
@test "static: names in the code pages that it has tables of" {
    built
    python3 - <<- 'end'
	import os
	encodings = {'windows-%d' % n: 'cp%d' % n for n in (874, *range(1250, 1259))}
	encodings.update(('IBM%d' % n, 'cp%d' % n) for n in (437, 850, 852, 855, 866))
	encodings.update(('cp%d' % n, 'cp%d' % n) for n in (737, 775, 857, 861, 869))
	encodings.update(('ISO-8859-%d' % n, 'iso8859-%d' % n) for n in (*range(1, 12), 13, 14, 15, 16))
	encodings.update({'KOI8-R': 'koi8-r', 'koi8-u': 'koi8-u', 'GBK': 'gbk', 'GB2312': 'gb2312', 'EUC-CN': 'gb2312',
	                  'Big5': 'big5', 'EUC-KR': 'euc_kr', 'CP949': 'cp949', 'windows-949': 'cp949',
	                  'Shift_JIS': 'shift_jis', 'windows-932': 'cp932', 'EUC-JP': 'euc_jp'})
	def known(codec):
	    single = [bytes([one]) for one in range(0x80, 0x100)]
	    double = [bytes([lead, trail]) for lead in range(0x81, 0xff) for trail in range(0x40, 0xff)]
	    for code in single + double:
	        try:
	            text = code.decode(codec)
	        except UnicodeDecodeError:
	            continue
	        # (what else these bytes may be in Big5 differs between systems)
	        if codec == 'big5' and 0xc6 <= code[0] <= 0xc8:
	            continue
	        if len(text) == 1 and text.isalpha() and text.encode(codec) == code:
	            yield text
	for encoding, codec in encodings.items():
	    letters = list(known(codec))
	    assert len(letters) > 20, encoding
	    letters = letters[::max(1, len(letters) // 200)]
	    lines, whole = '', b''
	    for i in range(0, len(letters), 20):
	        name = encoding + '-' + ''.join(letters[i:i + 20])
	        whole += name.encode().ljust(512, b'.')
	        with open(name, 'wb') as file:
	            file.write(whole[-512:])
	        lines += 'RW 1 FLAT "%s" 0\n' % name
	    text = ('# Disk DescriptorFile\nversion=1\nencoding="%s"\nCID=12345678\nparentCID=ffffffff\n'
	            'createType="monolithicFlat"\n%s' % (encoding, lines))
	    with open(encoding, 'wb') as file:
	        file.write(text.encode(codec))
	    with open('want ' + encoding, 'wb') as file:
	        file.write(whole)
	with open('list', 'w') as file:
	    print(*encodings, sep='\n', file=file)
	end
    while read -r encoding; do
        cmd 0 "$static" convert -f vmdk -O raw "$encoding" raw
        cmp "want $encoding" raw
    done < list
}

# mappings LOG ARGUMENT...: the calls that map and unmap memory in one run of the static file.
mappings() {
    cmd 0 strace -qq -f -e trace=mmap,munmap,mremap,madvise,brk -o "$1" "$static" "${@:2}"
    wc -l < "$1"
}

# musl maps a large buffer anew for each malloc() and unmaps it for each free(): none may be made for each cluster.
@test "static: memory is not mapped anew for each cluster" {
    built
    need_strace
    seq 9000000 | head -c 64M > a.raw
    for o in compression_type={zlib,zstd}; do
        cmd 0 "$static" convert -c -f raw -O qcow2 -o "$o" a.raw "$o.qcow2"
    done
    cmd 0 "$static" convert -f raw -O vmdk -o subformat=streamOptimized a.raw a.vmdk
    cmd 0 "$static" convert -c -f raw -O qcow a.raw a.qcow
    cmd 0 "$static" create -q -f qcow2 -F qcow2 -b compression_type=zlib.qcow2 top.qcow2
    while read -r words; do
        # shellcheck disable=SC2086
        calls=$(mappings log $words)
        echo "$calls $words"
        [ "$calls" -le 200 ]
    done <<- 'end'
	convert -O raw compression_type=zlib.qcow2 out
	convert -O raw compression_type=zstd.qcow2 out
	convert -O raw a.vmdk out
	convert -O raw a.qcow out
	convert -f raw -O qcow2 a.raw out
	convert -f raw -O vmdk a.raw out
	convert -f raw -O vhdx a.raw out
	convert -f raw -O vdi a.raw out
	convert -f raw -O vpc a.raw out
	convert -f raw -O qed a.raw out
	convert -f raw -O qcow a.raw out
	convert -f raw -O parallels a.raw out
	convert -f raw -O vmdk -o subformat=streamOptimized a.raw out
	convert -c -f raw -O qcow2 a.raw out
	convert -c -f raw -O qcow2 -o compression_type=zstd a.raw out
	convert -c -f raw -O qcow2 -o compression_window=4k a.raw out
	convert -f raw -O qcow2 a.raw --digest=sha256 out
	compare a.raw compression_type=zlib.qcow2
	dd -f qcow2 -O raw bs=4k if=compression_type=zlib.qcow2 of=out
	dd -f raw -O qcow2 bs=4k if=a.raw of=out
	digest compression_type=zlib.qcow2
	bench -w -d 4 -f qcow2 -c 4000 -s 4096 -S 20480 top.qcow2
	rebase -f qcow2 -b a.raw -F raw top.qcow2
	commit -f qcow2 top.qcow2
	end
}
