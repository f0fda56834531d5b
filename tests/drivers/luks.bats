#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# luks: encrypted disks, version 1.

load ../helper

SECRET=(--object 'secret,id=s,data=pass')
NODE=driver=luks,key-secret=s,file.filename=x

setup() {
    fresh_folder
    printf '#include <nettle/aes.h>\n' | cc -E - > /dev/null 2>&1 || [ -n "$IMG_IS_PEER" ] || skip 'no nettle'
}

make() {  # OPTIONS...
    qemu-img create -q "${SECRET[@]}" -f luks -o "key-secret=s,iter-time=10${1:+,$1}" x 1M
}

@test "luks: what is written is read, and is not in the file" {
    make
    pattern data.raw 61 4096 300000
    truncate -s 1M data.raw
    img 0 convert -n "${SECRET[@]}" -f raw --target-image-opts data.raw "$NODE"
    img 0 compare "${SECRET[@]}" --image-opts "$NODE" driver=raw,file.filename=data.raw
    if grep -q aaaaaaaa x; then false; fi
    img 0 dd "${SECRET[@]}" --image-opts if="$NODE" of=out.raw bs=1000 count=100 skip=3
    cmp -n 97000 out.raw <(tail -c +3001 data.raw)
}

@test "luks: no secret, a wrong one, an unknown one" {
    make
    img 1 convert -O raw x y
    err "qemu-img: Could not open 'x': Parameter 'key-secret' is required for cipher"
    img 1 convert -O raw --object secret,id=s,data=wrong --image-opts "$NODE" y
    err "qemu-img: Could not open '$NODE': Invalid password, cannot unlock any keyslot"
    img 1 convert -O raw --image-opts "$NODE" y
    err "qemu-img: Could not open '$NODE': No secret with id 's'"
    img 1 create -f luks y 1M
    err "qemu-img: y: Parameter 'key-secret' is required for cipher"
    [ ! -e y ]
}

@test "luks: the messages never show a passphrase" {
    make
    IMGBOX_TRACE=all img 1 convert -O raw --object secret,id=s,data=TopSecretWord --image-opts "$NODE" y
    if grep -q TopSecretWord "$OUT" "$ERR"; then false; fi
}

@test "luks: info needs no secret, and says how it was made" {
    make cipher-alg=serpent-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5,hash-alg=sha512
    img 0 info x
    for line in 'encrypted: yes' '    ivgen alg: essiv' '    hash alg: sha512' '    cipher alg: serpent-128' \
        '    ivgen hash alg: md5' '    cipher mode: cbc' '            stripes: 4000' '    payload offset: 528384'; do
        grep -qx -- "$line" "$OUT" || { echo "$line"; false; }
    done
}

@test "luks: what create refuses" {
    while IFS='|' read -r options message; do
        img 1 create -q "${SECRET[@]}" -f luks -o "key-secret=s,iter-time=10,$options" y 1M
        err "qemu-img: y: $message"
    done << 'END'
cipher-alg=nix|Parameter 'cipher-alg' does not accept value 'nix'
cipher-alg=3des|Algorithm '3des' not supported
cipher-mode=nix|Parameter 'cipher-mode' does not accept value 'nix'
ivgen-alg=nix|Parameter 'ivgen-alg' does not accept value 'nix'
ivgen-hash-alg=nix|Parameter 'ivgen-hash-alg' does not accept value 'nix'
hash-alg=nix|Parameter 'hash-alg' does not accept value 'nix'
cipher-alg=cast5-128|Unsupported cipher mode xts
cipher-alg=cast5-128,ivgen-alg=essiv|Cipher cast5-128 not supported with essiv
cipher-alg=cast5-128,ivgen-alg=essiv,ivgen-hash-alg=md5|Unsupported cipher mode xts
ivgen-alg=essiv,ivgen-hash-alg=sha1|No AES cipher with key size 20 available
detached-header=on|Parameter 'detached-header' is unexpected
END
}

@test "luks: keys of 192 bits, on which qemu-img aborts" {
    beyond
    make cipher-alg=aes-192,cipher-mode=cbc
    head -c 1M /dev/urandom > data.raw
    img 0 convert -n "${SECRET[@]}" -f raw --target-image-opts data.raw "$NODE"
    img 0 compare "${SECRET[@]}" --image-opts "$NODE" driver=raw,file.filename=data.raw
}

@test "luks: convert makes one, of any size; resize, measure" {
    head -c 700100 /dev/urandom > data.raw
    img 0 convert -q "${SECRET[@]}" -f raw -O luks -o key-secret=s,iter-time=10 data.raw x
    img 0 convert "${SECRET[@]}" -O raw --image-opts "$NODE" y
    cmp <(head -c 700100 y) data.raw
    img 0 resize "${SECRET[@]}" --image-opts "$NODE" 2M
    [ "$(stat -c %s x)" -eq $((2068480 + 2097152)) ]
    img 0 measure "${SECRET[@]}" -O luks -o key-secret=s --size 1G
    out $'required size: 1075810304\nfully allocated size: 1075810304'
}

# slots: which are active
slots() {
    qemu-img info x | sed -n 's/^ *active: //p' | tr '\n' ' '
}

# amends CODE OPTIONS: with the secrets s and n (new)
amends() {
    local force=() code=$1
    shift
    [ "$1" != --force ] || { force=("$1"); shift; }
    img "$code" amend "${SECRET[@]}" --object secret,id=n,data=new "${force[@]}" --image-opts -o "$1" "$NODE"
}

@test "luks: amend adds, replaces and erases passwords" {
    local new=driver=luks,key-secret=s,file.filename=x
    make
    amends 0 state=active,new-secret=n,keyslot=7,iter-time=10
    [ "$(slots)" = 'true false false false false false false true ' ]
    img 0 convert -O raw --object secret,id=s,data=new --image-opts "$new" y
    amends 1 state=active,new-secret=n,keyslot=7,iter-time=10
    err 'qemu-img: Refusing to overwrite active keyslot 7 - please erase it first'
    amends 0 state=inactive,old-secret=n
    [ "$(slots)" = 'true false false false false false false false ' ]
    img 1 convert -O raw --object secret,id=s,data=new --image-opts "$new" y
    amends 0 --force state=active,new-secret=n,keyslot=0,iter-time=10
    [ "$(slots)" = 'true false false false false false false false ' ]
    img 0 convert -O raw --object secret,id=s,data=new --image-opts "$new" z
    img 1 convert -O raw "${SECRET[@]}" --image-opts "$new" y
}

@test "luks: what amend refuses" {
    make
    while IFS='|' read -r options message; do
        amends 1 "$options"
        err "qemu-img: $message"
        [ "$(slots)" = 'true false false false false false false false ' ]
    done << 'END'
iter-time=10|Parameter 'state' is missing
state=nix|Parameter 'state' does not accept value 'nix'
state=active|'new-secret' is required to activate a keyslot
state=active,new-secret=n,old-secret=s|'old-secret' must not be given when activating keyslots
state=active,new-secret=n,keyslot=8|Invalid keyslot 8 specified, must be between 0 and 7
state=active,new-secret=x|No secret with id 'x'
state=inactive|To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given
state=inactive,new-secret=n|'new-secret' must not be given when erasing keyslots
state=inactive,keyslot=0,iter-time=1|'iter-time' must not be given when erasing keyslots
state=inactive,keyslot=9|Invalid keyslot 9 specified, must be between 0 and 7
state=inactive,keyslot=0,old-secret=n|Given keyslot 0 doesn't contain the given old password for erase operation
state=inactive,old-secret=n|No keyslots match given (old) password for erase operation
state=inactive,keyslot=3|Given keyslot 3 is already erased (inactive) 
state=inactive,keyslot=0|Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - refusing operation
state=inactive,old-secret=s|All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation
END
}

# poke AT BYTES: the header is damaged there
@test "luks: damaged headers" {
    make
    cp x good
    while read -r at bytes message; do
        cp good x
        poke x "$at" "$bytes"
        img 1 info -f luks x
        err "qemu-img: Could not open 'x': $message"
    done << 'END'
0 00 Volume is not in LUKS format
104 00000007 LUKS payload is overlapping with the header
104 00000008 Keyslot 0 is overlapping with the encrypted payload
108 00000000 Algorithm 'aes' with key size 0 bytes not supported
108 ffffffff Keyslot 0 is overlapping with the encrypted payload
164 00000000 LUKS key iteration count is zero
208 12345678 Keyslot 0 state (active/disable) is corrupted
212 00000000 Keyslot 0 iteration count is zero
248 00000007 Keyslot 0 is overlapping with the LUKS header
248 00000300 Keyslots 0 and 1 are overlapping in the header
252 00000fa1 Keyslot 0 is corrupted (stripes 4001 != 4000)
END
}

@test "luks: cryptsetup opens ours, and we open one with its password added" {
    beyond
    command -v cryptsetup > /dev/null || skip 'no cryptsetup'
    make
    printf pass > pass
    printf more > second
    cryptsetup luksDump x > dump 2> complaints
    grep -q '^Key Slot 0: ENABLED' dump
    [ ! -s complaints ]
    cryptsetup open --test-passphrase --key-file=pass x 2> complaints || skip "cryptsetup: $(tail -1 complaints)"
    cryptsetup luksAddKey --key-file=pass --pbkdf-force-iterations 1000 x second
    img 0 convert -O raw --object secret,id=s,data=more --image-opts "$NODE" y
    truncate -s 4M made
    cryptsetup luksFormat -q --type luks1 --key-file=pass --pbkdf-force-iterations 1000 made
    img 0 convert -O raw "${SECRET[@]}" --image-opts "${NODE%x}made" z
}

@test "luks: a header in a file of its own" {
    command -v cryptsetup > /dev/null || skip 'no cryptsetup'
    printf pass > key
    for type in luks1 luks2; do
        [ "$type" = luks1 ] || [ -z "$IMG_IS_PEER" ] || continue
        rm -f x header
        truncate -s 1M x
        cmd 0 cryptsetup luksFormat -q --type "$type" --pbkdf pbkdf2 --iter-time 10 --header header --key-file key x
        pattern data.raw 61 4096 300000
        truncate -s 1M data.raw
        local node="$NODE,header.driver=file,header.filename=header"
        img 0 convert -n "${SECRET[@]}" -f raw --target-image-opts data.raw "$node"
        img 0 compare "${SECRET[@]}" --image-opts "$node" driver=raw,file.filename=data.raw
        if grep -q aaaaaaaa x; then false; fi
        img 0 info "${SECRET[@]}" --image-opts "$node"
        has "$OUT" '^image: json:\{"header": \{"driver": "file", "filename": "header"\}, "driver": "luks", '
        has "$OUT" "^Child node '/header':\$"
        img 1 map "${SECRET[@]}" --image-opts "$NODE,header.filename=none"
        err "qemu-img: Could not open '$NODE,header.filename=none': Could not open 'none': No such file or directory"
    done
    img 1 info -f luks x
    err "qemu-img: Could not open 'x': Volume is not in LUKS format"
    [ -z "$IMG_IS_PEER" ] || return 0
    cmd 0 cryptsetup luksFormat -q --type luks1 --iter-time 10 --header header --key-file key x
    img 1 info header
    err "qemu-img: Could not open 'header': LUKS payload is overlapping with the header"
    img 0 amend "${SECRET[@]}" --image-opts -o state=active,new-secret=s,iter-time=10 "$node"
    img 0 map --output=json "${SECRET[@]}" --image-opts "$node"
}

@test "luks: an image of cryptsetup 1.0" {
    local sample="$ROOT/../shared/samples/real/luks1-compatkey.img.xz"
    [ -e "$sample" ] || skip 'no sample'
    xz -dc "$sample" > x
    img 0 convert -O raw --object secret,id=s,data=compatkey --image-opts "$NODE" out
    sha256sum out | grep ^7428e8f2436882a07eb32765086f5c899474c08b5576f556b573d2aabdf923e8
}
