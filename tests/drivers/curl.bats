#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# http, https, ftp and ftps: files on other machines, read only.  The servers are one of our own, which does what real
# ones do on a bad day, nginx and vsftpd.

load ../helper
load ../nbd

setup() {
    fresh_folder
    "$IMG" --help | grep -q '\<https\>' || skip 'http is not built in'
}

teardown() {
    end_servers
}

# web: our own server of the folder `root`; $PORT
web() {
    mkdir -p root
    rm -f port
    python3 "$ROOT/tests/interop/lib/web_server.py" root port > web.log 2>&1 3>&- &
    remember $!
    wait_until test -s port
    PORT=$(< port)
}

url() {
    echo "http://127.0.0.1:$PORT/$1"
}

# patient DRIVER URL [OPTION]: options for convert.  (A busy machine may not answer for a while.)
patient() {
    echo "driver=raw,file.driver=$1,file.url=$2,file.timeout=100${3+,file.$3}"
}

# reads WAY: a disk of 5 MiB comes as it is
reads() {
    web
    head -c 5M /dev/urandom > root/disk
    img 0 convert -O raw --image-opts "$(patient http "$(url "$1/disk")")" copy
    silent
    raw_is copy root/disk
}

# fails WAY LINE: the disk does not come; the first line on standard error matches
fails() {
    web
    head -c 20M /dev/urandom > root/disk
    img 1 convert -O raw --image-opts "$(patient http "$(url "$1/disk")")" copy
    has "$ERR" "$2"
}

# ---- what info says

@test "info names the file by its URL" {
    web
    truncate -s 1M root/disk
    img 0 info "$(url ok/disk)"
    out "image: $(url ok/disk)" 'file format: raw' 'virtual size: 1 MiB (1048576 bytes)' 'disk size: unavailable' \
        "Child node '/file':" "    filename: $(url ok/disk)" '    protocol type: http' \
        '    file length: 1 MiB (1048576 bytes)' '    disk size: unavailable'
    err ''
}

@test "options that change what is read make a json: name, with the id of a secret and not its text" {
    web
    truncate -s 1M root/disk
    img 0 info --object secret,id=pw,data=hidden --image-opts \
        "driver=http,url=$(url ok/disk),username=bob,password-secret=pw,timeout=20,readahead=1M"
    has "$OUT" "^image: json:\{\"password-secret\": \"pw\", \"url\": \"$(url ok/disk)\", \"driver\": \"http\", \"username\": \"bob\"\}$"
    never grep hidden "$OUT"
}

@test "an image in a format, its map and its check" {
    web
    sample root/raw
    img 0 convert -c -O qcow2 root/raw root/disk
    img 0 compare "$(url ok/disk)" root/raw
    out 'Images are identical.'
    img 0 map --output=json root/disk
    cp "$OUT" want
    img 0 map --output=json "$(url ok/disk)"
    cmp want "$OUT"
    img 0 check "$(url ok/disk)"
}

@test "an overlay of an image on a server" {
    web
    sample root/base
    img 0 create -f qcow2 -b "$(url ok/base)" -F raw over.qcow2
    img 0 compare over.qcow2 root/base
    img 0 rebase -b '' over.qcow2
    img 0 compare over.qcow2 root/base
}

@test "a file that is no whole number of sectors, and an empty one" {
    web
    printf abc > root/three
    : > root/none
    img 0 convert -O raw "$(url ok/three)" copy
    { printf abc; head -c 509 /dev/zero; } > want
    raw_is copy want
    img 0 info "$(url ok/none)"
    has "$OUT" '^virtual size: 0 B'
}

# ---- refusals

@test "what is not there, and what cannot be asked" {
    web
    img 1 info "$(url ok/none)"
    err "qemu-img: Could not open '$(url ok/none)': CURL: Error opening file: The requested URL returned error: 404"
    img 1 info http:x
    err "qemu-img: Could not open 'http:x': http curl driver cannot handle the URL 'http:x' (does not start with 'http://')"
    img 1 info --image-opts driver=https,url=http://x
    has "$ERR" "https curl driver cannot handle the URL 'http://x' \(does not start with 'https://'\)"
    img 1 info --image-opts driver=http
    has "$ERR" "curl block driver requires an 'url' option"
    img 1 info --image-opts driver=http,readahead=1000
    has "$ERR" 'HTTP_READAHEAD_SIZE 1000 is not a multiple of 512'
    img 1 info --image-opts driver=http,timeout=-1
    has "$ERR" 'timeout parameter is too large or negative'
    img 1 info --image-opts driver=http,cookie=a,cookie-secret=b
    has "$ERR" 'curl driver cannot handle both cookie and cookie secret'
    img 1 info --image-opts driver=http,url=http://x,connections=17
    has "$ERR" 'connections must be between 1 and 16'
}

@test "nothing is written" {
    web
    truncate -s 1M root/disk x
    img 1 convert -n -O raw x "$(url ok/disk)"
    err "qemu-img: Could not open '$(url ok/disk)': curl driver does not support writes"
    img 1 create -f raw "$(url ok/new)" 1M
    err "qemu-img: $(url ok/new): Protocol driver 'http' does not support image creation"
    out ''
}

# ---- servers that give only the whole file

@test "info of a file on a server without ranges is refused, unless the file is small" {
    web
    truncate -s 1M root/disk
    img 1 info "$(url norange/disk)"
    has "$ERR" "^qemu-img: Could not open .*: CURL: Error opening file: Server does not support 'range' \(byte ranges\)\.$"
    img 1 info "$(url chunked/disk)"
    has "$ERR" "CURL: Error opening file: Server didn't report file size\.$"
    letters a b > root/small
    img 0 info "$(url norange/small)"
    img 0 compare "$(url norange/small)" root/small
}

@test "without ranges, a raw file is copied as it comes" {
    reads norange
}

@test "without a length, too" {
    reads chunked
}

@test "what breaks off is asked for again, and what came before is left out" {
    reads cut
    [ "$(curl_counts cut/disk)" -eq 4 ]
}

@test "without ranges, images of each kind are read forward, or saved first" {
    web
    head -c 3M /dev/urandom > disk
    truncate -s 40M disk
    local format
    for format in raw qcow2 vmdk vdi vhdx vpc qed parallels; do
        img 0 convert -O "$format" disk root/disk
        # the last 40 MiB of a file are not in memory while its first are read
        img 0 convert -O qcow2 -c "$(url norange/disk)" copy
        silent
        img 0 compare -f "$format" -F qcow2 root/disk copy
        img 0 compare "$(url cut/disk)" copy
        img 0 digest -f "$format" "$(url chunked/disk)"
        cut -d ' ' -f 1 "$OUT" > sum
        img 0 digest root/disk
        [ "$(cut -d ' ' -f 1 "$OUT")" = "$(< sum)" ]
    done
    gzip -k disk
    mv disk.gz root
    img 0 convert -O raw "$(url norange/disk.gz)" copy
    raw_is copy disk
}

@test "without ranges: dd, two sources, names of all kinds" {
    web
    head -c 3000001 /dev/urandom > root/disk
    img 0 dd if="$(url norange/disk)" of=copy bs=100000 skip=2 count=9
    img 0 dd if=root/disk of=own bs=100000 skip=2 count=9
    cmp copy own
    img 0 convert -O raw "$(url norange/disk)" "$(url cut/disk)" copy
    img 0 convert -O raw root/disk root/disk both
    cmp copy both
    img 0 convert -O qcow2 root/disk root/disk.qcow2
    local name
    name=$(url norange/disk.qcow2)
    img 0 convert -O raw "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"http\",\"url\":\"$name\"}}" copy
    img 0 compare copy root/disk
    # the name of a protocol as the driver: the bytes as they are
    img 0 convert -O raw --image-opts "driver=http,url=$name" copy
    cmp -n "$(stat -c %s root/disk.qcow2)" copy root/disk.qcow2
    # more options than those of the file
    img 1 convert -O raw --image-opts "driver=qcow2,lazy-refcounts=on,file.driver=http,file.url=$name" copy
    has "$ERR" "Server does not support 'range'"
}

@test "without ranges: a server that always breaks off, that stops, that changes the file" {
    fails stub '^qemu-img: curl: '
    img 1 convert -O raw --image-opts "driver=raw,file.driver=http,file.url=$(url hang/disk),file.timeout=1" copy
    has "$ERR" '^qemu-img: curl: Operation'
    end_servers
    fails cutother "^qemu-img: curl: '.*/cutother/disk' has changed on the server while it was read$"
    [ ! -e copy ]
}

# ---- passing faults

@test "a server that does not answer HEAD" { reads nohead; }
@test "connections that break in the middle" { reads drop; }
@test "a server that is busy (503)" { reads busy; }
@test "too many requests (429)" { reads limit; }
@test "a content coding that is only a label" { reads gzip; }
@test "a redirect" { reads away; }

@test "an address that expires is asked for anew" {
    reads expire
    [ "$(curl_counts expire/disk)" -ge 2 ]
}

# curl_counts WAY/NAME: how many requests the server got
curl_counts() {
    python3 -c 'import ast, sys, urllib.request
counts = ast.literal_eval(urllib.request.urlopen(sys.argv[1] + "count/x").read().decode())
way, name = sys.argv[2].split("/")
print(counts.get((way, name), 0))' "$(url '')" "$1"
}

@test "a redirect is followed once, not for each request" {
    web
    truncate -s 20M root/disk
    img 0 convert -O raw --image-opts "$(patient http "$(url away/disk)")" copy
    [ "$(curl_counts away/disk)" -eq 1 ]
    [ "$(curl_counts seen/disk)" -gt 3 ]
}

# ---- lies

@test "a range that begins elsewhere is an error" {
    fails shift '^qemu-img: curl: the server sent another range'
}
@test "a range that is too long is an error" {
    fails long '^qemu-img: curl: the server sent another range'
}
@test "a file that changes while it is read is an error" {
    fails changes '^qemu-img: curl: .* has changed on the server while it was read$'
}
@test "a file that becomes longer while it is read is an error" {
    fails grows '^qemu-img: curl: .* has changed on the server while it was read$'
}
@test "a file that goes away is an error" {
    fails gone '^qemu-img: curl: The requested URL returned error: 404$'
}

@test "a server that stalls is an error when the time is up" {
    web
    head -c 1M /dev/urandom > root/disk
    img 1 convert --image-opts -O raw "driver=raw,file.driver=http,file.timeout=1,file.url=$(url stall/disk)" copy
    has "$ERR" '(Operation too slow|timed out)'
}

# ---- secrets

@test "passwords: basic in the URL, digest, and by a secret" {
    web
    truncate -s 1M root/disk
    img 0 info "http://bob:secret@127.0.0.1:$PORT/digest/disk"
    img 0 info --object secret,id=pw,data=secret --image-opts \
        "driver=http,url=$(url digest/disk),username=bob,password-secret=pw"
    img 1 info "http://bob:wrong@127.0.0.1:$PORT/digest/disk"
    has "$ERR" 'The requested URL returned error: 401$'
}

@test "credentials and cookies are not sent to another server" {
    web
    truncate -s 1M root/disk
    img 0 convert -O raw --image-opts "$(patient http "http://bob:secret@127.0.0.1:$PORT/away/disk" cookie=sid=42)" copy
    # (to the server that is named they are)
    img 0 convert -O raw --image-opts "$(patient http "$(url secrets/disk)" cookie=sid=42)" x
    has x 'sid=42'
}

@test "no message has a password" {
    web
    head -c 20M /dev/urandom > root/disk
    img 1 convert -O raw "http://bob:secret@127.0.0.1:$PORT/changes/disk" copy
    never grep secret "$ERR"
}

# ---- real servers

@test "https: a certificate that nobody knows is refused; sslverify=off takes it" {
    need nginx certtool
    make_pki
    mkdir root logs
    sample root/disk
    port=$(free_port)
    cat > conf << END
daemon off; pid $PWD/pid; error_log $PWD/error.log; $([ "$(id -u)" -ne 0 ] || echo 'user root;')
events { worker_connections 64; }
http { access_log off; client_body_temp_path $PWD/t1; proxy_temp_path $PWD/t2; fastcgi_temp_path $PWD/t3;
    uwsgi_temp_path $PWD/t4; scgi_temp_path $PWD/t5;
    server { listen 127.0.0.1:$port ssl; ssl_certificate $PWD/pki/server-cert.pem;
        ssl_certificate_key $PWD/pki/server-key.pem; root $PWD/root; } }
END
    nginx -c "$PWD/conf" -p "$PWD" -e "$PWD/error.log" > nginx.log 2>&1 3>&- &
    remember $!
    wait_until listens "$port"
    img 1 info "https://127.0.0.1:$port/disk"
    has "$ERR" 'CURL: Error opening file: server (certificate )?verification failed|SSL certificate problem'
    img 0 convert --image-opts -O raw "$(patient https "https://127.0.0.1:$port/disk" sslverify=off)" x
    raw_is x root/disk
}

@test "ftp and ftps" {
    need vsftpd certtool
    need_root
    make_pki
    mkdir -p root empty
    chmod 755 "$BATS_TEST_TMPDIR" root empty
    sample root/disk
    for kind in ftp ftps; do
        port=$(free_port)
        printf '%s\n' listen=YES listen_address=127.0.0.1 "listen_port=$port" background=NO anonymous_enable=YES \
            local_enable=NO "anon_root=$PWD/root" no_anon_password=YES "secure_chroot_dir=$PWD/empty" \
            pasv_address=127.0.0.1 seccomp_sandbox=NO > "$kind.conf"
        [ $kind = ftp ] || printf '%s\n' ssl_enable=YES allow_anon_ssl=YES implicit_ssl=YES require_ssl_reuse=NO \
            ssl_ciphers=HIGH "rsa_cert_file=$PWD/pki/server-cert.pem" "rsa_private_key_file=$PWD/pki/server-key.pem" \
            >> ftps.conf
        vsftpd "$PWD/$kind.conf" > "$kind.log" 2>&1 3>&- &
        remember $!
        wait_until listens "$port"
        img 0 convert --image-opts -O raw "$(patient $kind "$kind://127.0.0.1:$port/disk" sslverify=off)" copy
        raw_is copy root/disk
    done
    img 1 info "ftps://127.0.0.1:$port/disk"
    has "$ERR" 'certificate'
}
