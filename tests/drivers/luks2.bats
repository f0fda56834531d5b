#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# luks version 2: beyond the real tool, so cryptsetup is what to compare with.

load ../helper

SECRET=(--object 'secret,id=s,data=pass')
NODE=driver=luks,key-secret=s,file.filename=x

setup() {
    fresh_folder
    beyond
    printf '#include <nettle/aes.h>\n' | cc -E - > /dev/null 2>&1 || skip 'no nettle'
    printf pass > key
    printf other > key2
}

need_argon2() {
    printf '#include <argon2.h>\n' | cc -E - > /dev/null 2>&1 || skip 'no libargon2'
}

need_cryptsetup() {
    command -v cryptsetup > /dev/null || skip 'no cryptsetup'
}

make() {  # [OPTIONS]
    rm -f x
    qemu-img create -q "${SECRET[@]}" -f luks -o "key-secret=s,iter-time=10,version=2${1:+,$1}" x 1M
}

fill() {
    rm -f data.raw
    pattern data.raw 61 4096 300000
    truncate -s 1M data.raw
    img 0 convert -n "${SECRET[@]}" -f raw --target-image-opts data.raw "$NODE"
}

holds() {
    img 0 compare "${SECRET[@]}" --image-opts "$NODE" driver=raw,file.filename=data.raw
}

# edit CODE: change the JSON text `h` of x
edit() {
    python3 "$ROOT/tests/interop/lib/luks2.py" x "$1"
}

# refuses TEXT: opening x for its content fails with this
refuses() {
    img 1 map "${SECRET[@]}" --image-opts "$NODE"
    err "qemu-img: Could not open '$NODE': $1"
}

@test "luks2: what is written is read, at any place, in sectors of any length" {
    for options in pbkdf=pbkdf2 pbkdf=pbkdf2,sector-size=4096 pbkdf=pbkdf2,sector-size=1024,cipher-mode=cbc,ivgen-alg=essiv; do
        make "$options"
        fill
        holds
        if grep -q aaaaaaaa x; then false; fi
        img 0 dd "${SECRET[@]}" --image-opts if="$NODE" of=out.raw bs=1000 count=100 skip=3
        cmp -n 97000 out.raw <(tail -c +3001 data.raw)
    done
}

@test "luks2: cryptsetup opens ours, and has nothing to say about it" {
    need_cryptsetup
    need_argon2
    for options in pbkdf=pbkdf2 pbkdf=argon2i,pbkdf-memory=1M pbkdf=argon2id,pbkdf-memory=2M,sector-size=4096 \
        pbkdf=pbkdf2,hash-alg=sha512,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv; do
        make "$options"
        cmd 0 cryptsetup open --test-passphrase --key-file key x
        silent
        cmd 0 cryptsetup luksDump x
        err ''
        has "$OUT" '^Version:[[:space:]]*2$'
        cmd 2 cryptsetup open --test-passphrase --key-file key2 x
    done
}

@test "luks2: ours becomes version 1, which reads the same" {
    need_cryptsetup
    [ -d /sys/dev/block ] || skip 'cryptsetup convert wants /sys'
    make pbkdf=pbkdf2
    fill
    cmd 0 cryptsetup convert -q --type luks1 x
    img 0 info x
    has "$OUT" '^    master key iters: '
    holds
}

@test "luks2: version 1 of cryptsetup becomes version 2, which reads the same" {
    need_cryptsetup
    [ -d /sys/dev/block ] || skip 'cryptsetup convert wants /sys'
    truncate -s 17M x
    cmd 0 cryptsetup luksFormat -q --type luks1 --offset 32768 --iter-time 10 --key-file key x
    fill
    cmd 0 cryptsetup convert -q --type luks2 x
    img 0 info x
    has "$OUT" '^    version: 2$'
    holds
    fill
    holds
}

@test "luks2: images of cryptsetup, with each way to make a key" {
    need_cryptsetup
    need_argon2
    while read -r options; do
        rm -f x
        truncate -s 17M x
        # shellcheck disable=SC2086
        cmd 0 cryptsetup luksFormat -q --type luks2 $options --key-file key x
        img 0 map --output=json "${SECRET[@]}" --image-opts "$NODE"
        img 1 map --object secret,id=s,data=wrong --image-opts "$NODE"
        err "qemu-img: Could not open '$NODE': Invalid password, cannot unlock any keyslot"
    done <<'END'
--pbkdf pbkdf2 --pbkdf-force-iterations 1000
--pbkdf argon2i --pbkdf-memory 64 --pbkdf-force-iterations 4
--pbkdf argon2id --pbkdf-memory 2000 --pbkdf-force-iterations 4 --pbkdf-parallel 4
--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --sector-size 4096 --luks2-metadata-size 64k --luks2-keyslots-size 1M
--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --cipher aes-cbc-essiv:sha256 --key-size 128 --hash ripemd160
END
}

@test "luks2: slots that are added, preferred, ignored, and of another key" {
    need_cryptsetup
    make pbkdf=pbkdf2
    fill
    local fast=(-q --pbkdf pbkdf2 --pbkdf-force-iterations 1000)
    cmd 0 cryptsetup luksAddKey "${fast[@]}" --key-file key x key2
    img 0 compare --object secret,id=s,data=other --image-opts "$NODE" driver=raw,file.filename=data.raw
    cmd 0 cryptsetup config --priority prefer --key-slot 1 x
    holds
    cmd 0 cryptsetup config --priority ignore --key-slot 1 x
    img 1 map --object secret,id=s,data=other --image-opts "$NODE"
    printf third > key3
    cmd 0 cryptsetup luksAddKey "${fast[@]}" --unbound --key-slot 5 --key-size 512 x key3
    img 1 map --object secret,id=s,data=third --image-opts "$NODE"
    err "qemu-img: Could not open '$NODE': Invalid password, cannot unlock any keyslot"
    holds
    cmd 0 cryptsetup config --label disk --subsystem test x
    img 0 info x
    has "$OUT" '^    label: disk$'
    has "$OUT" '^            priority: 0$'
}

@test "luks2: info needs no secret, and names segments, slots and tokens" {
    make pbkdf=pbkdf2
    edit "h['tokens']['0'] = {'type': 'luks2-keyring', 'keyslots': ['0'], 'key_description': 'x'}"
    img 0 info --output=json x
    python3 - "$OUT" <<'END'
import json, sys
data = json.load(open(sys.argv[1]))['format-specific']['data']
assert data['version'] == 2 and data['header-size'] == 16384 and data['second-header'] is False, data
assert data['segments'] == [{'id': '0', 'type': 'crypt', 'encryption': 'aes-xts-plain64', 'offset': 16777216,
                             'size': 'dynamic', 'sector-size': 512}], data
assert data['keyslots'][0]['pbkdf'] == 'pbkdf2' and data['keyslots'][0]['hash-alg'] == 'sha256', data
assert data['tokens'] == [{'id': '0', 'type': 'luks2-keyring'}], data
END
}

@test "luks2: the newer whole copy of the header counts" {
    make pbkdf=pbkdf2
    fill
    cp x sound
    poke x 5000 ff
    holds
    img 0 info x
    has "$OUT" '^    second header: true$'
    cp sound x; poke x 0 00000000
    img 0 compare "${SECRET[@]}" --image-opts "$NODE" driver=raw,file.filename=data.raw
    cp sound x; poke x $((16384 + 5000)) ff
    holds
    # A first copy that is older: its slot is unknown to the second.
    python3 - <<END
import sys
sys.path.insert(0, '$ROOT/tests/interop/lib')
import luks2
data = bytearray(open('sound', 'rb').read())
second = bytearray(data)
header = luks2.load(data)
header['keyslots'] = {}
luks2.store(second, header, 2)
data[16384:32768] = second[16384:32768]
open('x', 'wb').write(data)
END
    refuses 'Invalid password, cannot unlock any keyslot'
    cp sound x; poke x 5000 ff; poke x $((16384 + 5000)) ff
    refuses 'Neither copy of the LUKS2 header is whole'
}

@test "luks2: what is refused, by name" {
    make pbkdf=pbkdf2
    cp x sound
    while IFS='|' read -r code message; do
        cp sound x
        edit "$code"
        refuses "$message"
        img 0 info x
    done <<'END'
h['config']['requirements'] = {'mandatory': ['online-reencrypt-v2']}|The image is being reencrypted ('online-reencrypt-v2'), which is not supported
h['config']['requirements'] = {'mandatory': ['inline-hw-tags']}|The image requires 'inline-hw-tags', which is not supported
h['segments']['0']['integrity'] = {'type': 'hmac(sha256)', 'journal_encryption': 'none', 'journal_integrity': 'none'}|The image has integrity tags, which are not supported
h['segments']['1'] = {'type': 'linear', 'offset': '16777216', 'size': 'dynamic'}|The image has more than one segment, which is not supported
h['keyslots']['0']['kdf'] = {'type': 'argon2id', 'time': 4, 'memory': 4194304, 'cpus': 4, 'salt': 'MTIzNDU2Nzg5MDEyMzQ1Ng=='}|Key slot 0 asks for 4096 MiB of memory; at most 1024 are given to one
h['keyslots']['0']['kdf']['type'] = 'scrypt'|Key slot 0: 'scrypt' is not supported
h['keyslots']['0']['kdf']['iterations'] = 0|LUKS2 header: the key slot 0 is not as it has to be
h['keyslots']['0']['af']['stripes'] = 1|LUKS2 header: the key slot 0 is not as it has to be
h['keyslots']['0']['area']['size'] = '4096'|LUKS2 header: the key slot 0 is not as it has to be
h['keyslots']['0']['area']['offset'] = '9223372036854775807'|Request for data outside of extension header
h['keyslots']['0']['area']['encryption'] = 'camellia-xts-plain64'|Algorithm 'camellia' with key size 32 bytes not supported
h['digests']['0']['digest'] = ''|LUKS2 header: the digest of key slot 0 is not as it has to be
h['segments']['0']['encryption'] = 'capi:gcm(aes)-random'|Algorithm 'capi:gcm(aes)-random' not supported
END
    while IFS='|' read -r code message; do
        cp sound x
        edit "$code"
        refuses "$message"
        img 1 info x
    done <<'END'
h['segments'] = {}|LUKS2 header: no segment is encrypted
h['segments']['0']['offset'] = '-1'|LUKS2 header: the segment 0 is not as it has to be
h['segments']['0']['offset'] = '18446744073709551616'|LUKS2 header: the segment 0 is not as it has to be
h['segments']['0']['sector_size'] = 8192|LUKS2 header: the segment 0 is not as it has to be
h['segments']['0']['size'] = '513'|LUKS2 header: the segment 0 is not as it has to be
END
}

@test "luks2: a disk whose length the header says; growth of others" {
    make pbkdf=pbkdf2
    cp x sound
    edit "h['segments']['0']['size'] = '524288'"
    img 0 info x
    has "$OUT" '^virtual size: 512 KiB'
    img 1 resize "${SECRET[@]}" --image-opts "$NODE" 2M
    err 'qemu-img: The header says how long the disk is, so it cannot be resized'
    cp sound x
    edit "h['segments']['0']['size'] = '2097152'"
    refuses 'The file is 1048576 bytes shorter than its header says'
    cp sound x
    fill
    img 0 resize "${SECRET[@]}" --image-opts "$NODE" 2M
    img 0 info x
    has "$OUT" '^virtual size: 2 MiB'
    img 1 amend "${SECRET[@]}" --image-opts -o state=inactive,keyslot=0 "$NODE"
    err 'qemu-img: The passwords of LUKS version 2 cannot be changed here (cryptsetup does it)'
}

@test "luks2: what create refuses, and what measure says" {
    while IFS='|' read -r options message; do
        img 1 create -q "${SECRET[@]}" -f luks -o "key-secret=s,iter-time=10,$options" y 1M
        err "qemu-img: y: $message"
        [ ! -e y ]
    done <<'END'
version=3|'version' must be 1 or 2
pbkdf=pbkdf2|'pbkdf', 'pbkdf-memory' and 'sector-size' need 'version=2'
version=2,pbkdf=scrypt|Parameter 'pbkdf' does not accept value 'scrypt'
version=2,pbkdf-memory=2G|'pbkdf-memory' must be from 32 KiB to 1024 MiB
version=2,sector-size=8192|'sector-size' must be 512, 1024, 2048 or 4096
version=2,cipher-alg=cast5-128|Unsupported cipher mode xts
END
    img 0 measure -O luks "${SECRET[@]}" -o key-secret=s,version=2,sector-size=4096 --size 1048577
    out 'required size: 17829888' 'fully allocated size: 17829888'
}

@test "luks2: probed by its first bytes" {
    make pbkdf=pbkdf2
    img 0 info x
    has "$OUT" '^file format: luks$'
    head -c 20000 /dev/zero > x
    poke x 0 4c554b53babe0002
    img 1 info x
    err "qemu-img: Could not open 'x': Neither copy of the LUKS2 header is whole"
}
