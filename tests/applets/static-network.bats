#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The static file with network drivers (packaging/network.config).  `make check-long` builds it, from sources that it
# fetches; otherwise the one that was built with BUILD=build/network is tested, if there is one.

load ../helper
load ../nbd
load ../nfs

static=$BUILD/network/static/imgbox

setup_file() {
    export RIG=$BATS_FILE_TMPDIR EXPORT=$BATS_RUN_TMPDIR
    if [ "${TIMES:-1}" -ge 2 ] && [ -z "$IMG_IS_PEER" ]; then
        unset MAKEFLAGS MAKELEVEL MFLAGS
        (cd "$ROOT" && make static BUILD="$BUILD/network" CONFIG=packaging/network.config) > "$RIG/build.log" 2>&1 ||
            true
    fi
}

teardown_file() {
    nfs_stop
}

setup() {
    beyond
    no_asan
    fresh_folder
    unset SSL_CERT_FILE
    # What keeps it from being built here, if that is known; anything else is a fault.
    if [ -s "$RIG/build.log" ] && [ ! -x "$static" ]; then
        reason=$(sed -n -E 's/^(sources.sh|config): ((cannot fetch|knows the|needs|no |sources=on and).*)/\2/p' \
            "$RIG/build.log")
        [ -z "$reason" ] || skip "$reason"
        cat "$RIG/build.log"
        return 1
    fi
    [ -x "$static" ] || skip 'make check-long builds it'
}

teardown() {
    [ -z "${LOOP-}" ] || losetup --detach "$LOOP" || true
    [ -z "${TGT_IPC_SOCKET-}" ] || end_target
    end_servers
}

# room: the folder `empty` with the file, names, and the certificate of the authority; and the folder root with a disk
room() {
    need_root
    mkdir -p empty/etc/ssl/certs root
    cp "$static" empty/qemu-img
    echo '127.0.0.1 localhost images.example' > empty/etc/hosts
    chmod 755 "$BATS_TEST_TMPDIR" root
    sample root/disk
}

# inside RC ARGUMENT...: in the empty room
inside() {
    cmd "$1" chroot empty /qemu-img "${@:2}"
}

# web: nginx at $HTTP, and with TLS at $HTTPS
web() {
    need nginx certtool
    make_pki
    HTTP=$(free_port)
    HTTPS=$(free_port)
    cat > conf << END
daemon off; pid $PWD/pid; error_log $PWD/error.log; user root;
events { worker_connections 64; }
http { access_log off; client_body_temp_path $PWD/t1; proxy_temp_path $PWD/t2; fastcgi_temp_path $PWD/t3;
    uwsgi_temp_path $PWD/t4; scgi_temp_path $PWD/t5; root $PWD/root;
    server { listen 127.0.0.1:$HTTP; }
    server { listen 127.0.0.1:$HTTPS ssl; ssl_certificate $PWD/pki/server-cert.pem;
        ssl_certificate_key $PWD/pki/server-key.pem; } }
END
    nginx -c "$PWD/conf" -p "$PWD" -e "$PWD/error.log" > nginx.log 2>&1 3>&- &
    remember $!
    wait_until listens "$HTTP"
    wait_until listens "$HTTPS"
}

@test "network: needs no library, and has at most 3.55 MB stripped" {
    if ldd "$static" > "$OUT" 2>&1; then
        has "$OUT" 'statically linked'
    fi
    cp "$static" s
    strip s
    [ "$(stat -c %s s)" -le 3550000 ]
}

@test "network: the link map tells what each library adds" {
    cmd 0 sh "$ROOT/packaging/sizes.sh" "$static.map" "$static"
    for part in libgnutls libcurl libnfs libiscsi libnbd 'driver nbd' 'driver curl' 'driver tls'; do
        has "$OUT" "^ *[0-9]{4,}  $part\$"
    done
}

@test "network: http and https to a file, to qcow2 and to a device, in an empty chroot" {
    room
    web
    cp pki/ca-cert.pem empty/etc/ssl/certs/ca-certificates.crt
    inside 0 convert -O raw "http://images.example:$HTTP/disk" http.raw
    cmp root/disk empty/http.raw
    inside 0 convert -c -O qcow2 "https://localhost:$HTTPS/disk" https.qcow2
    inside 0 convert -O raw https.qcow2 https.raw
    cmp root/disk empty/https.raw
    LOOP=$(truncate -s 8M device && losetup --find --show device) || skip 'no loop device'
    mkdir empty/dev
    cp -a "$LOOP" empty/dev/disk
    inside 0 convert -n -O raw "https://localhost:$HTTPS/disk" /dev/disk
    cmp root/disk "$LOOP"
}

@test "network: which certificates of authorities https believes" {
    room
    web
    inside 1 info "https://localhost:$HTTPS/disk"
    has "$ERR" "Cannot read the certificates of authorities in '/etc/ssl/certs/ca-certificates.crt'; SSL_CERT_FILE"
    cp pki/ca-cert.pem empty/ours.pem
    cmd 0 env SSL_CERT_FILE=/ours.pem chroot empty /qemu-img info "https://localhost:$HTTPS/disk"
    cmd 1 env SSL_CERT_FILE=/none.pem chroot empty /qemu-img info "https://localhost:$HTTPS/disk"
    has "$ERR" "Cannot read the certificates of authorities in '/none.pem'"
    # (it is for localhost)
    cmd 1 env SSL_CERT_FILE=/ours.pem chroot empty /qemu-img info "https://images.example:$HTTPS/disk"
    has "$ERR" 'does not match|SSL'
    mkdir -p empty/etc/pki/tls/certs
    cp pki/ca-cert.pem empty/etc/pki/tls/certs/ca-bundle.crt
    inside 0 info "https://localhost:$HTTPS/disk"
    rm -r empty/etc/pki
    inside 0 info --image-opts "driver=https,url=https://localhost:$HTTPS/disk,sslverify=off"
}

@test "network: nbd, in the clear and with TLS" {
    need nbdkit psktool
    room
    for how in off require; do
        port=$(free_port)
        mkdir -p empty/keys
        psktool -u qemu -p empty/keys/keys.psk > /dev/null 2>&1
        nbdkit -f -i 127.0.0.1 -p "$port" --tls=$how --tls-psk=empty/keys/keys.psk file root/disk 3>&- &
        remember $!
        wait_until listens "$port"
        if [ $how = off ]; then
            inside 0 convert -O raw "nbd://localhost:$port" nbd.raw
        else
            inside 0 convert --object tls-creds-psk,id=t,dir=/keys,endpoint=client --image-opts -O raw \
                "driver=nbd,host=localhost,port=$port,tls-creds=t" nbd.raw
        fi
        cmp root/disk empty/nbd.raw
        rm empty/nbd.raw
    done
}

admin() {
    tgtadm --lld iscsi --op "$1" --mode "${@:2}"
}

end_target() {
    admin delete target --force --tid 1 || true
    admin delete system || true
}

@test "network: iscsi, both ways; iser is refused" {
    need tgtd tgtadm
    room
    cp root/disk lun
    port=$(free_port)
    export TGT_IPC_SOCKET=$PWD/socket
    tgtd -f -C 0 --iscsi "portal=127.0.0.1:$port" > log 2>&1 3>&- &
    remember $!
    wait_until admin show sys > /dev/null 2>&1
    admin new target --tid 1 -T iqn.2026-01.example:a
    admin bind target --tid 1 -I 127.0.0.1
    admin new logicalunit --tid 1 --lun 1 -b "$PWD/lun"
    inside 0 convert -O raw "iscsi://localhost:$port/iqn.2026-01.example:a/1" iscsi.raw
    cmp root/disk empty/iscsi.raw
    truncate -s 8M empty/zeroes
    inside 0 convert -n -O raw zeroes "iscsi://localhost:$port/iqn.2026-01.example:a/1"
    cmp lun empty/zeroes
    inside 1 info "iser://localhost:$port/iqn.2026-01.example:a/1"
    has "$ERR" 'iSER'
}

@test "network: nfs, both ways" {
    nfs_needs || skip 'not root, or nfs-ganesha, rpcbind, ip, nsenter are missing, or the root is no mount'
    room
    chmod 755 "$BATS_RUN_TMPDIR" "$RIG"
    nfs_world
    nfs_start
    for words in "nfs://localhost$PWD/root/disk nfs.raw" "nfs.raw nfs://localhost$PWD/root/back"; do
        # shellcheck disable=SC2086
        cmd 0 nsenter -t "$(< "$RIG/world")" -n -- chroot empty /qemu-img convert -O raw $words
    done
    cmp root/disk empty/nfs.raw
    cmp root/disk root/back
}
