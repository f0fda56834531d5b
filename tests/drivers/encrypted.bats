#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Encryption inside qcow2 and qcow.

load ../helper

SECRETS=(--object 'secret,id=s,data=pass' --object 'secret,id=t,data=other' --object 'secret,id=b,data=gIGC,format=base64')

setup() {
    fresh_folder
    printf '#include <nettle/aes.h>\n' | cc -E - > /dev/null 2>&1 || [ -n "$IMG_IS_PEER" ] || skip 'no nettle'
}

# make NAME FORMAT METHOD [OPTIONS [ARGUMENT...]]: an image of 1 MiB with the password "pass"
make() {
    local luks=
    [ "$3" != luks ] || luks=,encrypt.iter-time=10
    qemu-img create -q "${SECRETS[@]}" -f "$2" "${@:5}" -o "encrypt.format=$3,encrypt.key-secret=s$luks${4:+,$4}" "$1" 1M
}

node() {  # NAME [FORMAT]
    printf 'driver=%s,encrypt.key-secret=s,file.filename=%s' "${2:-qcow2}" "$1"
}

# fill NAME FORMAT: some data, also in data.raw
fill() {
    rm -f data.raw
    pattern data.raw 61 4096 300000
    truncate -s 1M data.raw
    img 0 convert -n "${SECRETS[@]}" -f raw --target-image-opts data.raw "$(node "$1" "$2")"
}

# holds NAME FORMAT: what fill wrote
holds() {
    img 0 compare "${SECRETS[@]}" --image-opts "$(node "$1" "$2")" driver=raw,file.filename=data.raw
}

@test "encrypted: what is written is read, and is not in the file" {
    for kind in 'qcow2 luks' 'qcow2 aes' 'qcow aes' 'qcow2 luks compat=0.10' 'qcow2 aes extended_l2=on' \
        'qcow2 luks cluster_size=512' 'qcow2 luks data_file=d' 'qcow2 aes data_file=d,data_file_raw=on'; do
        rm -f x d
        # shellcheck disable=SC2086
        make x $kind
        fill x "${kind%% *}"
        holds x "${kind%% *}"
        if grep -q aaaaaaaa x d; then false; fi
        img 0 info x
        has "$OUT" '^encrypted: yes$'
    done
}

@test "encrypted: bytes at any place, over an image with another password" {
    for kind in 'qcow2 luks' 'qcow2 aes' 'qcow aes'; do
        rm -f base.qcow2 over
        make base.qcow2 qcow2 luks
        fill base.qcow2 qcow2
        qemu-img amend "${SECRETS[@]}" --image-opts -o encrypt.state=active,encrypt.new-secret=t,encrypt.iter-time=10 \
            "$(node base.qcow2)"
        # shellcheck disable=SC2086
        make over $kind '' -u -b base.qcow2 -F qcow2
        local chain
        chain="$(node over "${kind%% *}"),backing.driver=qcow2,backing.encrypt.key-secret=t"
        img 0 compare "${SECRETS[@]}" --image-opts "$chain" driver=raw,file.filename=data.raw
        pattern data.raw 62 5000 7000
        img 0 dd "${SECRETS[@]}" if=data.raw of=new.raw
        img 0 convert -n "${SECRETS[@]}" -f raw --target-image-opts new.raw "$chain"
        img 0 compare "${SECRETS[@]}" --image-opts "$chain" driver=raw,file.filename=data.raw
        img 1 convert -O raw "${SECRETS[@]}" --image-opts "$(node over "${kind%% *}")" y
        has "$ERR" "Could not open backing file: Parameter 'encrypt.key-secret' is required for cipher\$"
    done
}

@test "encrypted: a password that is missing, unknown, no text, wrong" {
    make x qcow2 luks
    img 1 map x
    err "qemu-img: Could not open 'x': Parameter 'encrypt.key-secret' is required for cipher"
    while IFS='|' read -r options message; do
        img 1 map "${SECRETS[@]}" --image-opts "driver=qcow2,$options,file.filename=x"
        err "qemu-img: Could not open 'driver=qcow2,$options,file.filename=x': $message"
    done <<'END'
encrypt.key-secret=u|No secret with id 'u'
encrypt.key-secret=b|Data from secret b is not valid UTF-8
encrypt.key-secret=t|Invalid password, cannot unlock any keyslot
encrypt.format=aes,encrypt.key-secret=s|Header reported 'luks' encryption format but options specify 'aes'
encrypt.key-secret=s,encrypt.cipher-alg=aes-256|Parameter 'cipher-alg' is unexpected
END
    img 0 create -q -f qcow2 y 1M
    img 1 map "${SECRETS[@]}" --image-opts driver=qcow2,encrypt.format=luks,file.filename=y
    err "qemu-img: Could not open 'driver=qcow2,encrypt.format=luks,file.filename=y': No encryption in image header, but options specified format 'luks'"
    # A key that nothing needs is no error.
    img 0 map "${SECRETS[@]}" --image-opts driver=qcow2,encrypt.key-secret=u,encrypt.x=1,file.filename=y
}

@test "encrypted: what create refuses, before it touches a file" {
    printf old > y
    while IFS='|' read -r format options message; do
        img 1 create -q "${SECRETS[@]}" -f "$format" -o "$options" y 1M
        err "qemu-img: y: $message"
        [ -n "$IMG_IS_PEER" ] || [ "$(cat y)" = old ]
    done <<'END'
qcow2|encryption=on|Parameter 'encrypt.key-secret' is required for cipher
qcow2|encrypt.format=luks|Parameter 'encrypt.key-secret' is required for cipher
qcow2|encrypt.format=luks,encrypt.key-secret=u|No secret with id 'u'
qcow2|encrypt.format=luks,encrypt.key-secret=b|Data from secret b is not valid UTF-8
qcow2|encrypt.format=luks,encrypt.cipher-alg=foo|Parameter 'cipher-alg' does not accept value 'foo'
qcow2|encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=3des|Algorithm '3des' not supported
qcow2|encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=cast5-128|Unsupported cipher mode xts
qcow2|encrypt.format=foo,encrypt.key-secret=s|Parameter 'format' does not accept value 'foo'
qcow2|encrypt.key-secret=s|Parameter 'encrypt.format' is missing
qcow2|encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-128|Parameter 'encrypt.cipher-alg' is unexpected
qcow2|encryption=on,encrypt.format=aes,encrypt.key-secret=s|'encrypt.format' and its alias 'encryption' can't be used at the same time
qcow2|encryption=yes,encrypt.key-secret=s|Parameter 'format' does not accept value 'yes'
qcow2|encryption=no|Parameter 'format' does not accept value 'no'
qcow2|encrypt.format=foo,backing_fmt=xx,preallocation=zz|Parameter 'backing-fmt' does not accept value 'xx'
qcow2|encryption=y,encrypt.key-secret=s,encrypt.cipher-alg=aes-128|Parameter 'format' does not accept value 'y'
qcow2|encryption=false,encrypt.format=aes,encrypt.key-secret=s|'encrypt.format' and its alias 'encryption' can't be used at the same time
qcow2|encryption=off,encrypt.format=aes|Parameter 'encrypt.key-secret' is required for cipher
qcow2|encryption=off,encrypt.key-secret=s|Parameter 'encrypt.format' is missing
qcow|encryption=true,encrypt.key-secret=s|Parameter 'format' does not accept value 'true'
qcow|encryption=n|Parameter 'format' does not accept value 'n'
qcow|encryption=off,encrypt.format=aes|Parameter 'encrypt.key-secret' is required for cipher
qcow|encryption=on,encrypt.format=aes,encrypt.key-secret=s|'encrypt.format' and its alias 'encryption' can't be used at the same time
qcow|encrypt.format=luks,encrypt.key-secret=s|Unsupported encryption format
END
}

@test "encrypted: not together with compression, nor into a pipe" {
    truncate -s 1M data.raw
    for options in encrypt.format=luks,encrypt.key-secret=s encryption=on,encrypt.key-secret=s \
        encryption=yes,encrypt.key-secret=s encryption=true,encrypt.key-secret=s; do
        img 1 convert -c "${SECRETS[@]}" -f raw -O qcow2 -o "$options" data.raw y
        err 'qemu-img: Compression and encryption not supported at the same time'
    done
    beyond
    img 1 convert "${SECRETS[@]}" -f raw -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s data.raw -
    has "$ERR" 'An image that is written in order takes no encryption$'
}

@test "encrypted: convert makes one, check finds all of it, measure knows its size" {
    pattern data.raw 61 0 1M
    for method in luks,encrypt.iter-time=10 aes; do
        qemu-img convert "${SECRETS[@]}" -f raw -O qcow2 -o "encrypt.format=$method,encrypt.key-secret=s" data.raw x
        holds x qcow2
        img 0 check "${SECRETS[@]}" --image-opts "$(node x)"
        has "$OUT" '^No errors were found on the image.$'
        img 0 measure -O qcow2 "${SECRETS[@]}" -o "encrypt.format=$method,encrypt.key-secret=s" -f raw data.raw
        has "$OUT" "^required size: $(stat -c %s x)\$"
    done
}

@test "encrypted: preallocated clusters are not taken for zeroes" {
    for mode in metadata full; do
        pattern data.raw 61 0 100000
        truncate -s 1M data.raw
        qemu-img convert "${SECRETS[@]}" -f raw -O qcow2 \
            -o "encrypt.format=luks,encrypt.iter-time=10,encrypt.key-secret=s,preallocation=$mode" data.raw x
        holds x qcow2
    done
}

@test "encrypted: map shows what is data, and no place" {
    make x qcow2 luks
    fill x qcow2
    img 0 map --output=json "${SECRETS[@]}" --image-opts "$(node x)"
    if grep -q offset "$OUT"; then false; fi
    has "$OUT" '"data": true'
    img 1 map "${SECRETS[@]}" --image-opts "$(node x)"
    err 'qemu-img: File contains external, encrypted or compressed clusters.'
}

@test "encrypted: snapshots, growth, a bitmap" {
    make x qcow2 luks
    fill x qcow2
    img 0 snapshot -c one "${SECRETS[@]}" --image-opts "$(node x)"
    pattern new.raw 63 0 1M
    img 0 convert -n "${SECRETS[@]}" -f raw --target-image-opts new.raw "$(node x)"
    img 0 convert -l one -O raw "${SECRETS[@]}" --image-opts "$(node x)" out.raw
    cmp out.raw data.raw
    img 0 snapshot -a one "${SECRETS[@]}" --image-opts "$(node x)"
    img 0 snapshot -d one "${SECRETS[@]}" --image-opts "$(node x)"
    img 0 resize "${SECRETS[@]}" --image-opts "$(node x)" 2M
    truncate -s 2M data.raw
    holds x qcow2
    img 0 bitmap --add "${SECRETS[@]}" --image-opts "$(node x)" b
    img 0 check "${SECRETS[@]}" --image-opts "$(node x)"
}

@test "encrypted: zero clusters stay zeroes in version 2" {
    beyond      # the real tool writes zeroes that are not encrypted, which read as noise
    for method in luks aes; do
        rm -f base over
        truncate -s 1M base
        pattern base 61 0 1M
        make over qcow2 $method '' -b base -F raw
        truncate -s 1M zeroes.raw
        img 0 convert -n "${SECRETS[@]}" -f raw --target-image-opts zeroes.raw "$(node over)"
        img 0 amend "${SECRETS[@]}" --image-opts -o compat=0.10 "$(node over)"
        img 0 compare "${SECRETS[@]}" --image-opts "$(node over)" driver=raw,file.filename=zeroes.raw
        img 0 check "${SECRETS[@]}" --image-opts "$(node over)"
    done
}

@test "encrypted: amend changes the passwords of luks only" {
    make x qcow2 luks
    fill x qcow2
    img 0 amend "${SECRETS[@]}" --image-opts -o encrypt.state=active,encrypt.new-secret=t,encrypt.iter-time=10 "$(node x)"
    img 0 amend "${SECRETS[@]}" --image-opts -o encrypt.state=inactive,encrypt.old-secret=s "$(node x)"
    img 1 map "${SECRETS[@]}" --image-opts "$(node x)"
    img 0 compare "${SECRETS[@]}" --image-opts driver=qcow2,encrypt.key-secret=t,file.filename=x \
        driver=raw,file.filename=data.raw
    img 1 amend "${SECRETS[@]}" --image-opts -o encrypt.state=inactive,encrypt.old-secret=t \
        driver=qcow2,encrypt.key-secret=t,file.filename=x
    has "$ERR" 'erasing them will erase all the data in the image irreversibly - refusing operation$'
    make y qcow2 aes
    img 1 amend "${SECRETS[@]}" --image-opts -o encrypt.state=active,encrypt.new-secret=t "$(node y)"
    err 'qemu-img: Only LUKS encryption options can be amended'
    img 0 create -q -f qcow2 z 1M
    img 1 amend -o encrypt.state=active z
    err "qemu-img: Can't amend encryption options - encryption not present"
    img 1 amend -o encrypt.cipher-alg=aes-128 z
    err "qemu-img: Invalid parameter 'encrypt.cipher-alg'" 'This option is only supported for image creation'
}

@test "encrypted: the password is in no name and in no message" {
    make x qcow2 luks
    img 0 info "${SECRETS[@]}" --image-opts "$(node x)"
    has "$OUT" '^image: json:\{"encrypt.key-secret": "s", '
    IMGBOX_TRACE=all img 1 map --object secret,id=s,data=TopSecretWord --image-opts "$(node x)"
    if grep -q TopSecretWord "$OUT" "$ERR"; then false; fi
}

# refuses TEXT: reading x fails with this message
refuses() {
    img 1 map "${SECRETS[@]}" --image-opts "$(node x)"
    err "qemu-img: Could not open '$(node x)': $1"
}

@test "encrypted: damaged places of the LUKS header" {
    make x qcow2 luks
    cp x sound
    local at
    at=$(grep -obUaP -m1 '\x05\x37\xbe\x77' x | head -1 | cut -d: -f1)
    poke x $((at + 8)) 0000000000040200
    refuses "Encryption header offset '262656' is not a multiple of cluster size '65536'"
    cp sound x; poke x $((at + 8)) 0000010000000000; refuses 'Volume is not in LUKS format'
    cp sound x; poke x $((at + 8)) ffffffffffff0000; refuses 'Could not read encryption header: Input/output error'
    cp sound x; poke x $((at + 16)) 0000000000000000; refuses 'Request for data outside of extension header'
    cp sound x; poke x $((at + 16)) 0000000000001000; refuses 'Request for data outside of extension header'
    img 0 info x
    cp sound x; poke x $((at + 4)) 00000008; refuses 'CRYPTO header extension size 8, but expected size 16'
    cp sound x; poke x 32 00000001; refuses 'CRYPTO header extension only expected with LUKS encryption method'
    cp sound x; poke x 32 00000003; refuses 'Unsupported encryption method 3'
}
