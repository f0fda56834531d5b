#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The examples of docs/ and README do what they are for.

load ../helper
load ../examples

setup_file() {
    [ -z "$IMG_IS_PEER" ] || return 0
    make_world
}

setup() {
    beyond
    fresh_folder
    # (it lacks levels, servers and TLS that the pages are about)
    case $IMG in
        */static/*) skip 'not the static file' ;;
    esac
}

teardown() {
    end_servers
}

# ---- what single pages need besides

furnish_commit() {
    "$IMG" create -q -f raw base.raw 16M
    "$IMG" create -q -f qcow2 -b base.raw -F raw disk.qcow2
}

furnish_rebase() {
    mv disk.raw base.raw
    "$IMG" convert -O qcow2 base.raw base.qcow2
    "$IMG" create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
    "$IMG" create -q -f qcow2 -b mid.qcow2 -F qcow2 disk.qcow2
}

furnish_compare() {
    cp disk.qcow2 old.qcow2
    cp disk.qcow2 new.qcow2
    cp disk.raw a
    cp disk.raw b
}

furnish_bitmap() {
    "$IMG" create -q -f qcow2 backup.qcow2 16M
}

furnish_convert() {
    truncate -s 64M volume
}

furnish_create() {
    mv disk.qcow2 base.qcow2
}

furnish_dd() {
    truncate -s 1M part.raw
}

overlay() {
    truncate -s 4G base.raw
    "$IMG" create -q -f qcow2 -b base.raw -F raw overlay.qcow2
}
furnish_info() { overlay; }
furnish_map() { overlay; }

furnish_resize() {
    truncate -s 5G disk.img
}

furnish_README() {
    gzip -k disk.raw
}

furnish_raw() {
    truncate -s 600M disk.img
}

furnish_file() {
    truncate -s 64M volume
}

furnish_compress() {
    "$IMG" create -q -f qcow2 disk.qcow2 16M
}

furnish_delay() {
    cp disk.qcow2 a.qcow2
}

furnish_cloop() {
    fixture simple.cloop
    mv simple.cloop disk.cloop
}

furnish_bochs() {
    fixture bochs-empty
    mv bochs-empty disk.bochs
}

furnish_dmg() {
    fixture simple.dmg
    mv simple.dmg disk.dmg
    if grep -q key-secret "$1"; then
        python3 "$ROOT/tests/interop/lib/encrcdsa.py" disk.dmg sealed.dmg 'a password' 256 512
        mv sealed.dmg disk.dmg
    fi
}

furnish_asif() {
    crafting - << 'END'
import apple
image = apple.Asif(1000, 32768, 512, 1 << 20)
image.put(3, b"a" * 32768)
open("disk.asif", "wb").write(image.image())
END
}

furnish_sparsebundle() {
    crafting - << 'END'
import apple
apple.sparsebundle("backup.sparsebundle", 1000000, 65536, {3: b"a" * 65536})
END
}

furnish_parallels() {
    mkdir bundle.hdd
    "$IMG" create -q -f parallels bundle.hdd/disk.hds 1M
    cat > bundle.hdd/DiskDescriptor.xml << 'END'
<?xml version='1.0' encoding='UTF-8'?>
<Parallels_disk_image Version="1.0">
    <Disk_Parameters><Disk_size>2048</Disk_size></Disk_Parameters>
    <StorageData><Storage><Start>0</Start><End>2048</End><Blocksize>2048</Blocksize>
    <Image><GUID>{1}</GUID><Type>Compressed</Type><File>disk.hds</File></Image></Storage></StorageData>
</Parallels_disk_image>
END
}

furnish_vpc() {
    "$IMG" convert -O vpc disk.raw disk.vhd
    cp disk.vhd p.vhd
    "$IMG" create -q -f vpc -b p.vhd -F vpc x.vhd
}

furnish_luks() {
    "$IMG" create -q --object secret,id=s,file=passphrase -f luks -o key-secret=s,iter-time=10 disk.luks 1M
}

furnish_wrappers() {
    gzip -k disk.raw
    xz -k disk.qcow2
    "$IMG" convert -O vmdk disk.raw disk1.vmdk
    tar -cf appliance.ova disk1.vmdk
    cp disk1.vmdk disk2.vmdk
    tar -cf disks.ova disk1.vmdk disk2.vmdk
}

psk() {
    printf 'qemu:%064d\n' 1 > keys.psk
}

furnish_serve() {
    psk
    cp disk.qcow2 system.qcow2
    cp disk.raw data.raw
    "$IMG" convert -O vmdk disk.raw disk.vmdk
    "$IMG" convert -O vhdx disk.raw disk.vhdx
}

furnish_qemu-nbd() {
    "$IMG" bitmap --add disk.qcow2 changed
}

furnish_nbd() {
    psk
    truncate -s 16M far.raw
    "${IMG%/*}/img-serve" -t -b 127.0.0.1 -p "$PLAIN" -x disk -r -f raw disk.raw > /dev/null 2>&1 3>&- &
    remember $!
    "${IMG%/*}/img-serve" -t -b 127.0.0.1 -p "$SEALED" --tls-psk keys.psk -x disk -r -f raw disk.raw \
        > /dev/null 2>&1 3>&- &
    remember $!
    "${IMG%/*}/img-serve" -t -k "$PWD/disk.sock" -f raw far.raw > /dev/null 2>&1 3>&- &
    remember $!
    wait_until listens "$PLAIN"
    wait_until listens "$SEALED"
    wait_until listening disk.sock
}

# ---- the pages

# Servers that are real: tests/drivers has them.
elsewhere() {
    case $1 in
    docs/drivers/ssh.md | docs/drivers/nfs.md | docs/drivers/iscsi.md | docs/drivers/sheepdog.md) ;;
    *) return 1 ;;
    esac
}

@test "examples: the tools" {
    for page in "$ROOT"/docs/applets/*.md; do
        case $page in
        */serve.md | */qemu-nbd.md) continue ;;
        esac
        examples_of "${page#"$ROOT/"}"
    done
}

@test "examples: formats, storages and filters" {
    for page in "$ROOT"/docs/drivers/*.md; do
        page=${page#"$ROOT/"}
        case $page in
        docs/drivers/nbd.md | docs/drivers/curl.md) continue ;;
        esac
        elsewhere "$page" || examples_of "$page"
    done
}

@test "examples: the other pages" {
    for page in README.md "$ROOT"/docs/*.md; do
        examples_of "${page#"$ROOT/"}"
    done
}

@test "examples: NBD" {
    "$IMG" info nbd:unix:none 2>&1 | grep -q 'Failed to connect' || skip 'nbd is not built in'
    need_tls_module
    PLAIN=$(free_port)
    SEALED=$(free_port)
    examples_of docs/drivers/nbd.md \
        "s|nbd://server/|nbd://127.0.0.1:$PLAIN/|; s|nbds://server/|nbds://127.0.0.1:$SEALED/|"
}

@test "examples: the web" {
    "$IMG" --help | grep -q '\<https\>' || skip 'http is not built in'
    mkdir root
    cp "$BATS_FILE_TMPDIR"/example-files/disk.qcow2 root
    cp "$BATS_FILE_TMPDIR"/example-files/disk.raw root/disk.img
    python3 "$ROOT/tests/interop/lib/web_server.py" root port > web.log 2>&1 3>&- &
    remember $!
    wait_until test -s port
    # (the server of FTP is in curl.bats)
    examples_of docs/drivers/curl.md "s|https://server/|http://127.0.0.1:$(< port)/ok/|; s|=https|=http|; /ftp:/d"
}

need_tls_module() {
    [ -e "${IMG%/bin/*}/modules/img-tls.so" ] || skip 'no TLS'
}

# A network of its own, for port 10809.
alone() {
    unshare -n sh -c 'ip link set lo up && exec "$@"' sh "$@"
}

# A server that goes on: it answers, then it is ended.  One that is asked for a list has to be there.
server_of_example() {
    cat << 'END'
set -eu
ask() {
    case $(cat .line) in
    *.sock*) img-serve -L -k disk.sock ;;
    *--tls-psk*) img-serve -L -b localhost --tls-psk keys.psk ;;
    *) img-serve -L -b 127.0.0.1 ;;
    esac > list 2>&1
}
case $(cat .line) in
*' -L '*)
    img-serve -t -k disk.sock disk.qcow2 &
    until ask; do sleep 0.05; done
    sh .line ;;
*--fork*)
    sh .line
    ask
    kill "$(cat serve.pid)" ;;
nbd*)
    sh .line ;;
*)
    { printf 'exec '; cat .line; } > .server
    sh .server &
    for _ in $(seq 600); do ! ask || break; sleep 0.05; done
    ask
    cat list ;;
esac
[ -z "${!-}" ] || { kill $! && wait $!; }
END
}

@test "examples: servers" {
    need_root
    need_tls_module
    need ip
    alone true 2> /dev/null || skip 'no networks of their own'
    server_of_example > server
    stand_ins
    for page in serve qemu-nbd; do
        python3 "$ROOT/tests/examples.py" "$ROOT/docs/applets/$page.md" "scripts-$page"
        for script in "$PWD/scripts-$page"/*; do
            one_server "$page" "$script"
        done
    done
}

# one_server PAGE SCRIPT
one_server() {
    rm -rf world
    mkdir world
    pushd world > /dev/null || return 1
    furnish "$1" "$2"
    sed -E "$HERE; s|disk\.sock|$PWD/&|" "$2" > .line
    case $(cat .line) in
    nbdcopy* | nbdsh*)
        if ! command -v "$(sed 's/ .*//' .line)" > /dev/null; then
            popd > /dev/null || return 1
            return
        fi ;;
    esac
    # (nbdsh is of the python3 of the system)
    PATH=$BATS_TEST_TMPDIR/stand-ins:/usr/bin:$PATH alone timeout 100 sh ../server > "$OUT" 2> "$ERR" < /dev/null ||
        { cat .line; show; return 1; }
    popd > /dev/null || return 1
}

@test "examples: pages of servers have tests with the server" {
    for page in "$ROOT"/docs/drivers/*.md; do
        page=${page#"$ROOT/"}
        ! elsewhere "$page" || grep -q "^ *examples_of $page" "$ROOT"/tests/drivers/*.bats
    done
}
