#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-amend: what can be changed, what is refused and in which words.

load ../helper

bits_are() {  # FILE BITS
    img 0 info "$1"
    has "$OUT" "^    refcount bits: $2$"
}

compat_is() {  # FILE COMPAT
    img 0 info "$1"
    has "$OUT" "^    compat: $2$"
}

clean() {
    img 0 check "$1"
    has "$OUT" '^No errors were found on the image.'
}

@test "amend: help" {
    img 0 create -q -f qcow2 a.qcow2 1M
    for words in '-f qcow2 -o help' '-o help a.qcow2' '-o size=1M,help a.qcow2' '-o ? a.qcow2'; do
        # shellcheck disable=SC2086
        img 0 amend $words
        out <<'EOF'
Amend options for 'qcow2':
  backing_file=<str>     - File name of a base image
  backing_fmt=<str>      - Image format of the base image
  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
  data_file=<str>        - File name of an external data file
  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image
  encrypt.iter-time=<num> - Time to spend in PBKDF in milliseconds
  encrypt.keyslot=<num>  - Select a single keyslot to modify explicitly
  encrypt.new-secret=<str> - New secret to set in the matching keyslots. Empty string to erase
  encrypt.old-secret=<str> - Select all keyslots that match this password
  encrypt.state=<str>    - Select new state of affected keyslots (active/inactive)
  lazy_refcounts=<bool (on/off)> - Postpone refcount updates
  refcount_bits=<num>    - Width of a reference count entry in bits
  size=<size>            - Virtual disk size
EOF
        err ''
    done
    img 1 amend -f raw -o help
    err "qemu-img: Format driver 'raw' does not support option amendment"
    img 1 amend -f xx -o help
    err "qemu-img: Unknown file format 'xx'"
}

@test "amend: the command line" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 create -q -f raw a.raw 1M
    img 1 amend a.qcow2
    err 'qemu-img: Must specify options (-o)' "Try 'qemu-img amend --help' for more info"
    img 1 amend -o compat=1.1
    err 'qemu-img: Expecting one image file name'
    img 1 amend -o compat=1.1 a.qcow2 b
    err 'qemu-img: Expecting one image file name'
    img 1 amend -f raw -o size=2M a.raw
    err "qemu-img: Format driver 'raw' does not support option amendment"
    img 1 amend -t foo -o compat=1.1 a.qcow2
    err 'qemu-img: Invalid cache option: foo'
    img 1 amend --image-opts -f qcow2 -o compat=1.1 a.qcow2
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    img 0 amend --image-opts -q --force -t unsafe -o compat=1.1 driver=qcow2,file.filename=a.qcow2
    silent
    img 0 amend -p -o lazy_refcounts=on a.qcow2
    tr '\r' '\n' < "$OUT" > lines
    has lines '^    \(0.00/100%\)$'
    has lines '^    \(100.00/100%\)$'
    img 0 amend -p -q -o lazy_refcounts=off a.qcow2
    silent
}

refused() {  # OPTIONS LINE...
    img 1 amend -f qcow2 -o "$1" a.qcow2
    out ''
    err "${@:2}"
}

@test "amend: what is refused" {
    img 0 create -q -f qcow2 a.qcow2 1M
    before=$(sum a.qcow2)
    refused foo=1 "qemu-img: Invalid parameter 'foo'"
    for option in cluster_size=4k preallocation=off extended_l2=on compression_type=zlib encryption=off \
                  encrypt.format=luks; do
        refused $option "qemu-img: Invalid parameter '${option%=*}'" 'This option is only supported for image creation'
    done
    refused cluster_size=x,foo=1 "qemu-img: Invalid parameter 'cluster_size'"
    for option in backing_file=b backing_file= backing_fmt=raw; do
        refused $option 'qemu-img: Cannot amend the backing file' "You can use 'qemu-img rebase' instead."
    done
    for option in encrypt.iter-time=1 encrypt.state=foo encrypt.keyslot=-1 encrypt.new-secret=x,compat=9; do
        refused $option "qemu-img: Can't amend encryption options - encryption not present"
    done
    refused compat=9 'qemu-img: Unknown compatibility level 9'
    refused lazy_refcounts=x "qemu-img: Parameter 'lazy_refcounts' expects 'on' or 'off'"
    for bits in 0 3 128 -1; do
        refused refcount_bits=$bits 'qemu-img: Refcount width must be a power of two and may not exceed 64 bits'
    done
    refused data_file=x 'qemu-img: data-file can only be set for images that use an external data file'
    refused data_file_raw=on 'qemu-img: data-file-raw cannot be set on existing images'
    refused size=1001 'qemu-img: The new size must be a multiple of 512'
    refused size=8E 'qemu-img: Image size cannot be negative'
    refused lazy_refcounts=on,compat=0.10 'qemu-img: Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)'
    refused refcount_bits=8,compat=0.10 'qemu-img: Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)'
    [ "$(sum a.qcow2)" = "$before" ]
}

@test "amend: versions, and what version 2 cannot hold" {
    pattern data 44 0 1M
    img 0 convert -f raw -O qcow2 data a.qcow2
    img 0 amend -o compat=0.10 a.qcow2
    silent
    compat_is a.qcow2 0.10
    clean a.qcow2
    img 0 amend -o compat=v3,refcount_bits=32,lazy_refcounts=on,size=2M a.qcow2
    compat_is a.qcow2 1.1
    bits_are a.qcow2 32
    has "$OUT" '^    lazy refcounts: true$'
    has "$OUT" '^virtual size: 2 MiB'
    clean a.qcow2
    img 1 amend -o compat=0.10 a.qcow2
    err 'qemu-img: compat=0.10 requires refcount_bits=16'
    img 0 amend -o compat=v2,refcount_bits=16 a.qcow2
    truncate -s 2M data
    img 0 convert -O raw a.qcow2 guest
    raw_is data guest
    img 0 create -q -f qcow2 -o extended_l2=on b.qcow2 1M
    img 1 amend -o compat=0.10 b.qcow2
    err 'qemu-img: Cannot downgrade an image with incompatible features 0x10 set'
    img 0 create -q -f qcow2 -o data_file=d.raw c.qcow2 1M
    img 1 amend -o compat=0.10 c.qcow2
    err 'qemu-img: Cannot downgrade an image with a data file'
    img 0 create -q -f qcow2 -o compression_type=zstd e.qcow2 1M
    img 0 amend -o compat=0.10 e.qcow2
    img 0 convert -f raw -c -O qcow2 -o compression_type=zstd data e.qcow2
    img 1 amend -o compat=0.10 e.qcow2
    err 'qemu-img: Cannot downgrade an image with zstd compression type and existing compressed clusters'
    need_peer
    img 0 create -q -f qcow2 f.qcow2 1M
    "$PEER" snapshot -c s f.qcow2
    img 0 resize -q f.qcow2 2M
    img 1 amend -o compat=0.10 f.qcow2
    err 'qemu-img: Internal snapshots prevent downgrade of image'
}

@test "amend: zero clusters of the disk and of snapshots stay zeroes in version 2" {
    need_peer
    pattern base.raw 55 0 2M
    img 0 create -q -f qcow2 -b base.raw -F raw a.qcow2
    "$PEER_IO" -f qcow2 -c 'write -P 1 0 256k' -c 'write -z 512k 256k' a.qcow2 > log
    "$PEER" snapshot -c s0 a.qcow2
    # zero over what the snapshot has as data, with the place kept
    "$PEER_IO" -f qcow2 -c 'write -z 64k 64k' -c 'write -z -u 1M 512k' a.qcow2 > log
    "$PEER" snapshot -c s1 a.qcow2
    for snapshot in '' '-l s0' '-l s1'; do
        # shellcheck disable=SC2086
        img 0 convert $snapshot -O raw a.qcow2 "before$snapshot"
    done
    img 0 amend -o compat=0.10 a.qcow2
    silent
    clean a.qcow2
    "$PEER" check -q a.qcow2
    for snapshot in '' '-l s0' '-l s1'; do
        # shellcheck disable=SC2086
        img 0 convert $snapshot -O raw a.qcow2 after
        raw_is "before$snapshot" after
    done
}

@test "amend: refcount_bits, every width to every other" {
    pattern data 66 0 300k
    img 0 convert -f raw -O qcow2 -o cluster_size=512,refcount_bits=1 data a.qcow2
    for bits in 2 64 4 32 8 16 1 64 1; do
        img 0 amend -o refcount_bits=$bits a.qcow2
        silent
        bits_are a.qcow2 $bits
        clean a.qcow2
        img 0 convert -O raw a.qcow2 guest
        raw_is data guest
    done
    need_peer
    "$PEER" check -q a.qcow2
    img 0 create -q -f qcow2 b.qcow2 1M
    "$PEER_IO" -f qcow2 -c 'write 0 64k' b.qcow2 > log
    for name in 1 2 3 4; do "$PEER" snapshot -c $name b.qcow2; done
    before=$(sum b.qcow2)
    img 1 amend -o refcount_bits=2 b.qcow2
    has "$ERR" '^qemu-img: Cannot decrease refcount entry width to 2 bits: Cluster at offset 0x[0-9a-f]* has a refcount of 5$'
    [ "$(sum b.qcow2)" = "$before" ]
}

@test "amend: the external data file" {
    img 0 create -q -f qcow2 -o data_file=d.raw,data_file_raw=on a.qcow2 1M
    img 0 amend -o data_file_raw=off a.qcow2
    img 0 info a.qcow2
    has "$OUT" '^    data file raw: false$'
    cp d.raw e.raw
    img 0 amend -o data_file=e.raw a.qcow2
    img 0 info a.qcow2
    has "$OUT" '^    data file: e.raw$'
    img 0 amend -o data_file= a.qcow2
    img 1 map a.qcow2
    err "qemu-img: Could not open 'a.qcow2': 'data-file' is required for this image"
}

@test "amend: a backing file that is given as it is stored" {
    img 0 create -q -f qcow2 base 1M
    img 0 create -q -f qcow2 other 1M
    img 0 create -q -f qcow2 -b base -F qcow2 x
    img 0 create -q -f qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base"}}' -F qcow2 json
    before=$(sum x)
    img 0 amend -o backing_file=base,backing_fmt=qcow2 x
    silent
    [ "$(sum x)" = "$before" ]
    img 0 amend -o 'backing_file=json:{"driver":"qcow2",,"file":{"driver":"file",,"filename":"base"}},backing_fmt=qcow2' json
    for options in backing_file=base backing_fmt=qcow2 backing_file=base,backing_fmt=raw backing_file=base,backing_fmt= \
            backing_file=./base,backing_fmt=qcow2 backing_file=other,backing_fmt=qcow2 backing_file=,backing_fmt=; do
        img 1 amend -o "$options" x
        err 'qemu-img: Cannot amend the backing file' "You can use 'qemu-img rebase' instead."
    done
    [ "$(sum x)" = "$before" ]
    # beside other options
    img 0 amend -o backing_file=base,backing_fmt=qcow2,lazy_refcounts=on,size=2M x
    img 0 info x
    has "$OUT" 'lazy refcounts: true'
    has "$OUT" 'virtual size: 2 MiB'
    # stored without a format
    img 0 create -q -f qcow2 -b base -F qcow2 x
    sed -i 's/\xe2\x79[*]\xca/\x01\x23\x45\x67/' x
    img 0 amend -o backing_file=base x
    img 1 amend -o backing_file=base,backing_fmt=qcow2 x
    # none
    img 0 create -q -f qcow2 x 1M
    for options in backing_file= backing_file=,backing_fmt= backing_fmt=; do
        img 1 amend -o "$options" x
    done
}
