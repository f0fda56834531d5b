#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# dmg: Apple disk images, read only; in qemu-img's words, and with the codecs that it does not have here.

load ../helper

# craft FILE EXPRESSION: the bytes of an image; in the expression
#   table([(TYPE, SECTOR, SECTORS, BYTES), ...], START)   a block table; BYTES go into the data fork, or are (OFFSET, LENGTH)
#   image(TABLES, FIELD=VALUE...)                         the whole file
#   sectors('ab')                                         sectors full of a, then of b
craft() {
    crafting - "$@" <<'END'
import sys, zlib, dmg, lzfse
from dmg import ADC, BZIP2, COMMENT, END, IGNORE, LZFSE, RAW, XZ, ZERO, ZLIB
data = bytearray()

def table(chunks, start=0, **head):
    entries = []
    for kind, sector, count, stored in chunks:
        if isinstance(stored, bytes):
            stored = put(stored)
        entries.append((kind, sector, count, *stored))
    return dmg.mish(entries, start, **head)

def put(stored):
    at = len(data)
    data.extend(stored)
    return at, len(stored)

def image(tables, how='xml', sectors=0, **fields):
    return dmg.image(bytes(data), tables, how, sectors, **fields)

def sectors(letters):
    return b''.join(letter.encode() * 512 for letter in letters)

def deflated(letters):
    return zlib.compress(sectors(letters))

with open(sys.argv[1], 'wb') as file:
    file.write(eval(sys.argv[2]))
END
}

# holds LETTER...: all of x is these sectors ("\0" for zeroes)
holds() {
    rm -f out
    img 0 convert -f dmg -O raw x out
    err ''
    letters "$@" > raw
    raw_is out raw
}

# refused LINE...: info says that and nothing else
refused() {
    img 1 info -f dmg x
    err "${@/#/qemu-img: }"
}

BASE="[(ZLIB, 0, 2, deflated('ab')), (RAW, 2, 2, sectors('cd')), (ZERO, 4, 1, b''), (IGNORE, 5, 1, b''), (END, 6, 0, b'')]"

@test "dmg: an image by hdiutil" {
    fixture simple.dmg
    img 0 info simple.dmg
    mask
    out <<'END'
image: simple.dmg
file format: dmg
virtual size: 1.72 MiB (1799168 bytes)
disk size: N
Child node '/file':
    filename: simple.dmg
    protocol type: file
    file length: 19.5 KiB (19968 bytes)
    disk size: N
END
    img 0 map --output=json simple.dmg
    out '[{ "start": 0, "length": 1799168, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false}]'
    img 1 map simple.dmg
    err 'qemu-img: File contains external, encrypted or compressed clusters.'
    img 63 check simple.dmg
    err 'qemu-img: This image format does not support checks'
    for workers in 1 8; do
        img 0 convert -m $workers -W -O raw simple.dmg out
        [ "$(sum out)" = 20647e0a98a830a6a250b91e0e6d7200a872caea07b87a3c19611f3dd031c9df ]
        img 0 compare simple.dmg out
    done
}

@test "dmg: chunks of zlib, raw and zeroes" {
    for how in xml rsrc; do
        craft x "image([table($BASE)], '$how', 6)"
        holds a b c d '\0' '\0'
    done
    img 0 dd -f dmg -O raw bs=100 skip=7 if=x of=out
    tail -c +701 raw > rest
    cmp -n 2372 out rest
    img 0 create -q -f qcow2 -F dmg -b x over.qcow2
    img 0 convert -O raw over.qcow2 out
    raw_is out raw
}

@test "dmg: the name decides" {
    craft x "image([table($BASE)], 'xml', 6)"
    cp x x.dmg
    img 0 info x
    has "$OUT" '^file format: raw$'
    img 0 info x.dmg
    has "$OUT" '^file format: dmg$'
    img 0 create -q -f qcow2 y.dmg 1M
    img 0 info y.dmg
    has "$OUT" '^file format: qcow2$'
}

@test "dmg: chunks of ADC, bzip2, xz and LZFSE" {
    beyond
    for kind in ADC BZIP2 XZ LZFSE; do
        craft x "image([table([($kind, 0, 3, dmg.encode($kind, sectors('aba'))), (ZLIB, 3, 1, deflated('c'))])], 'xml', 4)"
        img 0 info -f dmg x
        ! grep -q 'not built in' "$ERR" || continue
        holds a b a c
    done
    for kind in bvx- bvxn bvx1 bvx2; do
        craft x "image([table([(LZFSE, 0, 3, lzfse.encode(sectors('aba'), '$kind'))])], 'xml', 3)"
        holds a b a
    done
}

@test "dmg: LZFSE of many blocks" {
    beyond
    head -c 59904 "$IMGBOX" > file
    for how in "'bvx2', most_triples=300, most_literals=4000" "'bvx1'" "'bvxn'"; do
        craft x "image([table([(LZFSE, 0, 117, lzfse.encode(open('file', 'rb').read(), $how))])], 'xml', 117)"
        img 0 convert -f dmg -O raw x out
        raw_is out file
    done
}

# tests/images/lines.lzfse was made by the reference encoder of LZFSE (Debian has it in the package apfs-dkms).
@test "dmg: LZFSE as its authors' encoder writes it" {
    beyond
    python3 - > want << 'END'
import sys
x, out = 1, []
for i in range(30000):
    x = (x * 1103515245 + 12345) & 0x7fffffff
    out.append(b'%d: %d blocks of kind %d\n' % (i, x % 97, (x >> 8) % 13))
sys.stdout.buffer.write(b''.join(out)[:147456])
END
    craft x "image([table([(LZFSE, 0, 288, open('$ROOT/tests/images/lines.lzfse', 'rb').read())])], 'xml', 288)"
    img 0 convert -f dmg -O raw x out
    raw_is out want
}

@test "dmg: partitions, in any order" {
    craft x "image([table([(RAW, 0, 2, sectors('ab'))]), table([(COMMENT, 0, 0, b''), (RAW, 0, 1, sectors('c'))], 2)], 'xml', 3)"
    holds a b c
    beyond
    craft x "image([table([(RAW, 0, 1, sectors('c'))], 2), table([(RAW, 1, 1, sectors('b')), (RAW, 0, 1, sectors('a'))])], 'xml', 3)"
    holds a b c
}

@test "dmg: offsets are counted from what the trailer and the table say" {
    craft x "(put(b'12345'), image([table([(RAW, 0, 2, (1, 1024))], data_offset=put(sectors('abc'))[0] - 3)], 'xml', 2, data_offset=2))[1]"
    holds a b
}

# A sample of another program: sample NAME makes x, as it is in the folder of samples.
sample_of() {
    local sample="$ROOT/../shared/samples/real/$1.xz"
    [ -e "$sample" ] || skip 'no sample'
    xz -dc "$sample" > "$2"
}

@test "dmg: a trailer that counts no sectors" {
    beyond
    for how in xml rsrc; do
        craft x "image([table($BASE)], '$how', 0)"
        holds a b c d '\0' '\0'
    done
    # the longest table counts, and what cannot be read counts too
    craft x "image([table([(RAW, 0, 1, sectors('c'))], 2), table([(RAW, 0, 2, sectors('ab'))])], 'xml', 0)"
    holds a b c
    craft x "image([table([(RAW, 0, 1, sectors('a')), (9, 1, 3, b''), (END, 900, 0, b''), (COMMENT, 900, 9, b'')])], 'xml', 0)"
    img 0 info --output=json -f dmg x
    has "$OUT" '^    "virtual-size": 2048,$'
    for tables in "[]" "[table([(END, 6, 0, b'')])]"; do
        craft x "image($tables, 'xml', 0)"
        refused "Could not open 'x': Neither the trailer nor a block table tells how long the disk is"
    done
    craft x "image([table([(ZERO, 0, 2**62, b'')])], 'xml', 0)"
    refused "Could not open 'x': Could not refresh total sector count: File too large"
    craft x "image([table([(ZERO, 2**63, 2**63, b''), (RAW, 0, 1, sectors('a'))])], 'xml', 0)"
    holds a
}

@test "dmg: images of libdmg-hfsplus" {
    beyond
    sample_of dmg-sectorcount0-hfs.dmg x.dmg
    img 0 convert -O raw x.dmg out
    [ "$(sum out)" = 4c09457bb59a3436e1db1c682fd19e7b4ecae4a0950ee139912b23f4d8b3995c ]
    sample_of dmg-sectorcount0-iso.dmg x.dmg
    img 0 convert -O raw x.dmg out
    [ "$(sum out)" = c2b45129b4330b22647ad921af0b048a3dc141b8793390e59bfcdffb8fdc1d8d ]
}

@test "dmg: a file of that name without a trailer is a raw disk" {
    beyond
    letters a b c > x.dmg
    img 0 info x.dmg
    has "$OUT" '^file format: raw$'
    cp x.dmg raw
    img 0 convert -O qcow2 x.dmg out
    img 0 compare -f raw -F qcow2 raw out
    img 1 info -f dmg x.dmg
    err "qemu-img: Could not open 'x.dmg': Could not locate UDIF trailer in dmg file"
    IMGBOX_HINTS=1 img 1 info -f dmg x.dmg
    has "$ERR" '^hint: if it is not cut off, it is the disk itself: use -f raw$'
    for name in dmg-udrw-raw-gpt-apfs dmg-udrw-raw-iso; do
        sample_of $name.dmg x.dmg
        img 0 info x.dmg
        has "$OUT" '^file format: raw$'
        img 0 convert -O raw x.dmg out
        raw_is out x.dmg
    done
}

@test "dmg: a file that was cut off is no raw disk" {
    beyond
    for kind in ZLIB BZIP2 XZ LZFSE; do
        craft x.dmg "image([table([($kind, 0, 3, dmg.encode($kind, sectors('aba')))])], 'xml', 3)"
        truncate -s -1000 x.dmg
        img 1 info x.dmg
        err "qemu-img: Could not open 'x.dmg': Could not locate UDIF trailer in dmg file"
    done
}

@test "dmg: a sound one that begins like a compressed file" {
    beyond
    for kind in BZIP2 XZ; do
        craft x.dmg "image([table([($kind, 0, 3, dmg.encode($kind, sectors('aba')))])], 'xml', 3)"
        img 0 info x.dmg
        has "$OUT" '^file format: dmg$'
        img 0 convert -O raw x.dmg out
        letters a b a > want
        raw_is out want
        gzip -c x.dmg > y.dmg.gz
        img 0 convert -O raw y.dmg.gz out
        raw_is out want
    done
}

@test "dmg: no trailer" {
    : > x; refused "Could not open 'x': dmg file must be at least 512 bytes long"
    head -c 3000 /dev/zero > x; refused "Could not open 'x': Could not locate UDIF trailer in dmg file"
    craft x "image([table($BASE)], 'xml', 6, magic=b'kolz')"
    refused "Could not open 'x': Could not locate UDIF trailer in dmg file"
    # less than a sector behind it is no matter
    craft x "image([table($BASE)], 'xml', 6)"
    truncate -s %512 x
    [ $(($(stat -c %s x) % 512)) -eq 0 ]
    holds a b c d '\0' '\0'
}

@test "dmg: invalid table offsets" {
    for fields in xml_length=0 xml_length=2**40 xml_offset=2**40 xml_offset=2**64-1 rsrc_length=1 sectors=2**63; do
        craft x "image([table($BASE)], 'xml', **dict(dict(sectors=6), $fields))"
        refused "Could not open 'x': Could not open 'x': Invalid argument"
    done
    craft x "image([table($BASE)], 'xml', 2**54)"
    refused "Could not open 'x': Could not refresh total sector count: File too large"
}

@test "dmg: invalid chunks" {
    craft x "image([table([(ZERO, 0, 1, b''), (RAW, 1, 131073, b'')])], 'xml', 6)"
    refused 'sector count 131073 for chunk 1 is larger than max (131072)' "Could not open 'x': Could not open 'x': Invalid argument"
    craft x "image([table([(ZLIB, 0, 1, (0, 67108865))])], 'xml', 6)"
    refused 'length 67108865 for chunk 0 is larger than max (67108864)' "Could not open 'x': Could not open 'x': Invalid argument"
    craft x "image([table([(ZERO, 0, 2**40, b'')])], 'xml', 2**40)"
    img 0 info -f dmg x
    craft x "image([table([(9, 0, 1, b''), (10, 1, 1, b''), (RAW, 2, 1, sectors('c'))])], 'xml', 3)"
    img 0 info -f dmg x
    err 'qemu-img: warning: Image contains chunks of unknown type 9, accessing them will result in I/O errors'
    img 0 dd -f dmg -O raw bs=512 skip=2 if=x of=out
    letters c > raw
    cmp -n 512 out raw
}

@test "dmg: only damaged or missing chunks are errors" {
    for stored in "deflated('abc')" "deflated('a')" "deflated('ab')[:-3]" "b''"; do
        craft x "image([table([(ZLIB, 0, 2, $stored), (RAW, 2, 1, sectors('c'))])], 'xml', 3)"
        img 1 convert -f dmg -O raw x out
        err 'qemu-img: error while reading at byte 0: Input/output error'
        img 0 dd -f dmg -O raw bs=1024 skip=1 if=x of=out
        letters c > raw
        cmp -n 512 out raw
    done
    craft x "image([table([(RAW, 1, 1, sectors('b'))])], 'xml', 2)"
    img 1 convert -f dmg -O raw x out
    # bytes behind a stream are no matter
    craft x "image([table([(ZLIB, 0, 1, deflated('b') + b'more')])], 'xml', 1)"
    holds b
    beyond
    # raw chunks end with zeroes where the file has less, and an image may have no table at all
    craft x "image([table([(RAW, 0, 2, sectors('a')), (RAW, 2, 1, sectors('b'))])], 'xml', 3)"
    holds a '\0' b
    craft x "image([], 'xml', 3)"
    img 1 convert -f dmg -O raw x out
    err 'qemu-img: error while reading at byte 0: Input/output error'
}

@test "dmg: damaged chunks of other codecs" {
    beyond
    for kind in ADC BZIP2 XZ LZFSE; do
        for change in '[:-9]' '[:9]' '[1:]'; do
            craft x "image([table([($kind, 0, 2, dmg.encode($kind, bytes(range(256)) * 4)$change)])], 'xml', 2)"
            img 1 convert -f dmg -O raw x out
            err 'qemu-img: error while reading at byte 0: Input/output error'
        done
    done
}

# Only AddressSanitizer sees it: eight bytes at a time were read, the last of them behind the stream.
@test "dmg: LZFSE that ends with its last block" {
    beyond
    craft more "b''.join(lzfse.encode(bytes((i * i >> s) % 8 + 97 for i in range(1536)), 'bvx2')[:-4].ljust(4096, b'.')
                         for s in range(1, 13))"
    for part in {0..11}; do
        craft x "image([table([(LZFSE, 0, 3, open('more', 'rb').read()[$part << 12:][:4096].rstrip(b'.'))])], 'xml', 3)"
        img 1 convert -f dmg -O raw x out
        err 'qemu-img: error while reading at byte 0: Input/output error'
    done
}

# The bytes of each would be kept, if it were for as long as the chunk is.
@test "dmg: small chunks that name many coded bytes cost little memory" {
    beyond
    no_asan
    craft x "[data.extend(deflated('a').ljust(64 << 20, b'.')),
              image([table([(ZLIB, i, 1, (0, 64 << 20)) for i in range(12)])], 'xml', 12)][1]"
    (ulimit -v 600000; img 0 convert -m 1 -f dmg -O raw x out)
    letters a a a a a a a a a a a a > raw
    cmp out raw
}

@test "dmg: nothing can be created or changed" {
    craft x "image([table($BASE)], 'xml', 6)"
    img 1 resize -f dmg x 1M
    err "qemu-img: Could not open 'x': Image is read-only"
    img 1 bench -w -c 1 -f dmg x
    err "qemu-img: Could not open 'x': Image is read-only"
    img 1 create -f dmg y 1M
    err "qemu-img: y: Format driver 'dmg' does not support image creation"
}

@test "dmg: dmg2img reads the same" {
    command -v dmg2img > /dev/null || skip 'no dmg2img'
    craft x "image([table($BASE)], 'xml', 6)"
    dmg2img -i x -o other
    holds a b c d '\0' '\0'
    raw_is other out
}

# ---- encrypted images (beyond the real tool)

need_crypto() {
    beyond
    command -v openssl > /dev/null || skip 'no openssl'
    printf '#include <nettle/aes.h>\n' | cc -E - > /dev/null 2>&1 || skip 'no nettle'
}

# encrypt PLAIN BITS BLOCK: to x.dmg, with the password "pass"
encrypt() {
    python3 "$ROOT/tests/interop/lib/encrcdsa.py" "$1" x.dmg pass "$2" "$3"
}

PASS=(--object 'secret,id=s,data=pass')
SEALED=driver=dmg,key-secret=s,file.filename=x.dmg

@test "dmg: an encrypted disk, with keys of both lengths" {
    need_crypto
    pattern data.raw 61 1000 50000
    truncate -s 100k data.raw
    for kind in '128 512' '256 4096'; do
        # shellcheck disable=SC2086
        encrypt data.raw $kind
        img 0 compare "${PASS[@]}" --image-opts "$SEALED" driver=raw,file.filename=data.raw
        img 0 info "${PASS[@]}" --image-opts "$SEALED"
        has "$OUT" '^encrypted: yes$'
        has "$OUT" '^virtual size: 100 KiB'
    done
}

@test "dmg: an encrypted image with chunks" {
    need_crypto
    gunzip < "$ROOT/tests/images/simple.dmg.gz" > plain.dmg
    encrypt plain.dmg 256 512
    img 0 compare "${PASS[@]}" --image-opts "$SEALED" driver=dmg,file.filename=plain.dmg
}

@test "dmg: an encrypted image of hdiutil" {
    need_crypto
    local sample="$ROOT/../shared/samples/real/dmg-encrypted-v2.dmg.xz"
    [ -e "$sample" ] || skip 'no sample'
    xz -dc "$sample" > x.dmg
    img 0 convert -O raw --object secret,id=s,data=test123 --image-opts "$SEALED" out
    sha256sum out | grep ^1407509ff44696aab011815d84951ad2c53cb7345a71d9803b73817c2d2d83cf
}

@test "dmg: passwords, and what is not an encrypted image of this kind" {
    need_crypto
    pattern data.raw 61 0 8192
    encrypt data.raw 128 512
    cp x.dmg sound
    img 1 info x.dmg
    err "qemu-img: Could not open 'x.dmg': Parameter 'key-secret' is required for cipher"
    img 1 info --object secret,id=s,data=wrong --image-opts "$SEALED"
    err "qemu-img: Could not open '$SEALED': Invalid password, cannot unlock any keyslot"
    mv x.dmg x.img
    img 1 info x.img
    err "qemu-img: Could not open 'x.img': Parameter 'key-secret' is required for cipher"
    while read -r offset bytes message; do
        cp sound x.dmg
        poke x.dmg "$offset" "$bytes"
        img 1 info "${PASS[@]}" --image-opts "$SEALED"
        err "qemu-img: Could not open '$SEALED': $message"
    done <<'END'
8 00000003 Encrypted disk images of version 3 are not supported
20 80000002 The image is encrypted in a way that is not supported
52 00002000 The header of the encrypted image is not as it has to be
52 00000000 The header of the encrypted image is not as it has to be
56 ffffffffffffffff The header of the encrypted image is not as it has to be
64 7fffffffffffffff The header of the encrypted image is not as it has to be
72 00000021 The header of the encrypted image is not as it has to be
72 00000001 Invalid password, cannot unlock any keyslot
100 7ffffffffffffff0 Could not read encryption header: Input/output error
160 00000001 Invalid password, cannot unlock any keyslot
172 00000021 Invalid password, cannot unlock any keyslot
260 000000ff Invalid password, cannot unlock any keyslot
END
    head -c 8184 /dev/zero > x.dmg
    printf cdsaencr >> x.dmg
    img 1 info x.dmg
    err "qemu-img: Could not open 'x.dmg': Encrypted disk images of version 1 are not supported"
}

# sparse BANDS...: x is a sparse image of 5 bands of 1024 bytes, the last of which is half there; BANDS lie in that order
sparse() {
    crafting - "$@" <<'END'
import sys, apple
bands = [(int(band), bytes([96 + int(band)]) * 1024) for band in sys.argv[1:]]
with open('x', 'wb') as file:
    file.write(apple.sparseimage(9, 2, bands))
END
}

# long_sparse: x has 2500 bands of 512 bytes, every second one, in some order; raw is its disk
long_sparse() {
    crafting - <<'END'
import random, apple
numbers = list(range(1, 5001, 2))
random.Random(7).shuffle(numbers)
bands = [(number, bytes([number % 255 + 1]) * 512) for number in numbers]
with open('x', 'wb') as file:
    file.write(apple.sparseimage(5000, 1, bands))
with open('raw', 'wb') as file:
    file.write(b''.join((bytes([number % 255 + 1]) if number % 2 else b'\0') * 512 for number in range(1, 5001)))
END
}

# refuses_bands: info of x says that
refuses_bands() {
    img 1 info x
    err "qemu-img: Could not open 'x': The bands of the sparse image are not as they have to be"
}

@test "dmg: a sparse image with more bands than its header has room for" {
    beyond
    long_sparse
    img 0 convert -O raw x out
    raw_is out raw
    cp x sound
    # the first index lies behind 1008 bands
    local index=$((4096 + 1008 * 512))
    [ "$(peek x 20 8)" = "$(be 8 $index)" ]
    [ "$(peek x $index 4)" = 73707273 ]
    for place in $index 4096 1 0x7fffffffffffffff $((index - 512)); do
        cp sound x
        poke x $((index + 12)) "$(be 8 "$place")"
        refuses_bands
    done
    cp sound x; poke x $index 00; refuses_bands
    cp sound x; poke x 20 "$(be 8 $((index - 1)))"; refuses_bands
    cp sound x; truncate -s $((index + 4000)) x; refuses_bands
    cp sound x; truncate -s $((index + 4096 + 511)) x; refuses_bands
}

@test "dmg: a sparse image, plain and encrypted" {
    beyond
    sparse 4 1 5
    { printf '%01024d' 0 | tr 0 a; head -c 2048 /dev/zero; printf '%01024d' 0 | tr 0 d; printf '%0512d' 0 | tr 0 e; } > raw
    img 0 info x
    has "$OUT" '^file format: dmg$'
    img 0 convert -O raw x out
    cmp out raw
    need_crypto
    encrypt x 128 512
    img 0 compare "${PASS[@]}" --image-opts "$SEALED" driver=raw,file.filename=raw
}

@test "dmg: damaged sparse images" {
    beyond
    sparse 4 1 4
    img 1 info x
    err "qemu-img: Could not open 'x': The bands of the sparse image are not as they have to be"
    sparse 6
    img 1 info x
    err "qemu-img: Could not open 'x': The bands of the sparse image are not as they have to be"
    sparse 1; poke x 8 00000000
    img 1 info x
    err "qemu-img: Could not open 'x': The header of the sparse image is not as it has to be"
    sparse 1; poke x 8 00400001
    img 1 info x
    err "qemu-img: Could not open 'x': The header of the sparse image is not as it has to be"
    # a disk of terabytes, with one band
    sparse 1; poke x 16 ffffffff
    img 0 convert -O qcow2 x out
    has <(qemu-img info out) '^virtual size: 2 TiB \(2199023255040 bytes\)$'
    sparse 1; poke x 16 ffffffff; poke x 28 00ffffffffffffff
    img 1 info x
    err "qemu-img: Could not open 'x': The header of the sparse image is not as it has to be"
    sparse 1; truncate -s 4600 x
    img 1 info x
    err "qemu-img: Could not open 'x': The bands of the sparse image are not as they have to be"
}
