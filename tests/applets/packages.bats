#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What packaging/ has for other systems: a container image, initramfs images, packages.  Those that must be built and
# installed in a system of their own are left to `make check-long`.

load ../helper
load ../servers

static=$BUILD/static/imgbox

setup() {
    beyond
    no_asan
    fresh_folder
    unset MAKEFLAGS MAKELEVEL MFLAGS
}

long() {
    [ "${TIMES:-1}" -ge 2 ] || skip 'left to make check-long'
}

# committed: a clone of this project with all that is not committed yet
committed() {
    git clone -q "$ROOT" clone 2> /dev/null || skip 'this is no clone'
    (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar -c --null -T -) | tar -x -C clone
    git -C clone add -A
    git -C clone -c user.name=test -c user.email=test@example.org commit -q -m test --allow-empty
}

@test "container: what the recipe puts together works with nothing else" {
    need_root
    [ -x "$static" ] || skip 'no static build'
    local recipe=$ROOT/packaging/container/Dockerfile
    sed '1,/^FROM scratch/d' "$recipe" > last
    mkdir -p root/bin root/work
    # COPY and RUN, as a builder does them
    [ "$(grep '^COPY' last)" = 'COPY --from=build /src/build/static/imgbox /bin/imgbox' ]
    cp "$static" root/bin/imgbox
    python3 -c '
import json, shlex, sys
for line in open(sys.argv[1]):
    if line.startswith("RUN "):
        print(shlex.join(json.loads(line[4:])))' last > run
    [ -s run ]
    while read -r -a words; do chroot root "${words[@]}" < /dev/null; done < run
    head -c 1M /dev/urandom > root/work/disk.raw
    grep -q '^ENTRYPOINT \["/bin/qemu-img"\]$' last
    (cd root/work && chroot .. /bin/qemu-img convert -O qcow2 /work/disk.raw /work/disk.qcow2)
    img 0 compare root/work/disk.raw root/work/disk.qcow2
}

@test "initramfs: busybox and imgbox in a machine" {
    [ -x "$static" ] || skip 'no static build'
    need qemu-system-x86_64
    local kernel=${PEERS:-/opt/peers}/lio/vmlinuz box
    [ -e "$kernel" ] || skip 'no kernel: packaging/lio.sh'
    box=$(command -v busybox) && ! ldd "$box" > /dev/null 2>&1 || skip 'no static busybox'
    head -c 3M /dev/urandom > disk.raw
    truncate -s 20M disk.raw
    cat > script << 'EOF'
qemu-img convert -c -O qcow2 /disk.raw /disk.qcow2 && qemu-img check -q /disk.qcow2 && img-digest /disk.qcow2
EOF
    sh "$ROOT/packaging/initramfs/make.sh" initrd "$box" "$static" script disk.raw
    timeout 300 qemu-system-x86_64 -accel tcg -cpu max -m 512 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$kernel" -initrd initrd -append 'console=ttyS0 quiet panic=-1' -serial stdio < /dev/null > console
    tr -d '\r' < console | grep -q "^$(sha256sum < disk.raw | cut -d ' ' -f 1)  /disk.qcow2$"
}

# in_system COMMAND: in the chroot `system`
in_system() {
    chroot system /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        sh -e -c "$1" < /dev/null
}

@test "Debian: packages are built, and installed beside qemu-utils and in its place" {
    long
    need_root
    need debootstrap dpkg-buildpackage dh lintian lowdown
    committed
    make -s -C clone deb > deb.log 2>&1
    lintian clone/build/deb/*.changes > lint 2>&1 || true
    [ -s lint ]
    [ "$(grep -c '^E:' lint)" -eq 0 ]
    debootstrap --variant=minbase --include=ca-certificates bookworm system > system.log 2>&1 || skip 'no archive'
    cp clone/build/deb/*.deb system/root/
    rm system/root/*-dbgsym_*
    in_system 'apt-get -q update && apt-get install -y -q --no-install-recommends qemu-utils' > apt.log 2>&1
    in_system 'qemu-img --version' > before
    in_system 'apt-get install -y -q --no-install-recommends /root/*.deb' >> apt.log 2>&1
    in_system 'qemu-img --version; qemu-img.qemu-utils --version; imgbox-static --list | head -n 1' > both
    grep -q 'imgbox' both
    grep -q -F -x "$(head -n 1 before)" both
    in_system 'cd /root && truncate -s 1M a && qemu-img convert -O qcow2 a b && qemu-img.qemu-utils check b'
    in_system 'qemu-img info nbd://127.0.0.1:1/x 2>&1' | grep -q 'Connection refused'
    # the library
    # shellcheck disable=SC2016
    in_system 'apt-get install -y -q --no-install-recommends gcc pkg-config libc6-dev && cd /root &&
        printf "%s\n" "#include <imgbox/img.h>" "int main(void) { return !img_driver_find(\"qcow2\"); }" > a.c &&
        gcc a.c $(pkg-config --cflags --libs --static imgbox) -o a && ./a' >> apt.log 2>&1
    # without us, what was there is back
    in_system 'apt-get remove -y -q imgbox-qemu-img' >> apt.log 2>&1
    in_system 'qemu-img --version' | cmp - before
    # in its place: what needs qemu-utils has it
    in_system 'apt-get install -y -q --no-install-recommends cloud-image-utils /root/imgbox-qemu-img_*.deb &&
        apt-get remove -y -q qemu-utils && dpkg -s cloud-image-utils' >> apt.log 2>&1
    in_system 'qemu-img --version' | grep -q imgbox
    # the initramfs of the system
    in_system 'apt-get install -y -q --no-install-recommends initramfs-tools' >> apt.log 2>&1
    install -m 755 "$ROOT/packaging/initramfs-tools/imgbox" system/etc/initramfs-tools/hooks/
    # shellcheck disable=SC2016
    in_system 'v=6.1.0-1; mkdir -p /lib/modules/$v; touch /lib/modules/$v/modules.order /lib/modules/$v/modules.builtin
        depmod $v; echo CONFIG_RD_GZIP=y > /boot/config-$v
        mkinitramfs -o /root/initrd $v && lsinitramfs /root/initrd' > list 2>> apt.log
    grep -q '^usr/bin/imgbox$' list
    grep -q '^usr/bin/img-convert$' list
}

@test "RPM: packages are built, and have what they name" {
    long
    need rpmbuild lowdown
    committed
    make -s -C clone rpm RPM_FLAGS=--nodeps > rpm.log 2>&1
    rpm -qlp clone/build/rpm/RPMS/*/imgbox-0*.rpm > list
    grep -q '^/usr/bin/img-convert$' list
    [ "$(grep -c 'qemu-img$' list)" -eq 0 ]
    rpm -qlp clone/build/rpm/RPMS/noarch/imgbox-qemu-img-*.rpm | grep -q '^/usr/bin/qemu-img$'
}

@test "recipes for other systems are sound shell" {
    for file in alpine/APKBUILD arch/PKGBUILD; do bash -n "$ROOT/packaging/$file"; done
}

@test "musl-gcc: an executable without the C library of the system, and without warnings" {
    long
    need musl-gcc
    make -C "$ROOT" -j 2 BUILD="$PWD/musl" CC=musl-gcc > log 2>&1
    [ "$(grep -c 'warning:' log)" -eq 0 ]
    ! grep -q 'libc[.]so[.]6' musl/imgbox || return 1
    head -c 3M /dev/urandom > disk.raw
    musl/bin/qemu-img convert -c -O qcow2 -o compression_type=zstd disk.raw disk.qcow2
    img 0 compare disk.raw disk.qcow2
    # a module
    musl/bin/qemu-img info blkdebug::disk.raw > "$OUT"
    has "$OUT" '^virtual size: 3 MiB'
}

# writes_all QEMU-IMG: a smaller one writes the formats of qemu-img, and the usual one reads them
writes_all() {
    local small=$1 secret=(--object 'secret,id=s,data=pass') format
    head -c 300000 /dev/urandom > disk.raw
    yes 'a line of text' | head -c 1M >> disk.raw
    truncate -s 4M disk.raw
    for format in qcow2 qcow qed vdi vhdx vmdk vpc parallels; do
        IMG=$small img 0 convert -f raw -O "$format" disk.raw "disk.$format"
        img 0 compare -f raw -F "$format" disk.raw "disk.$format"
        IMG=$small img 0 compare -f raw -F "$format" disk.raw "disk.$format"
    done
    IMG=$small img 0 convert -f raw -c -O qcow2 -o compression_type=zstd disk.raw zstd.qcow2
    img 0 compare -f raw disk.raw zstd.qcow2
    img 0 convert -f raw -c -O qcow2 -o compression_type=zstd disk.raw theirs.qcow2
    IMG=$small img 0 compare -f raw disk.raw theirs.qcow2
    IMG=$small img 0 convert -f raw -O luks "${secret[@]}" -o key-secret=s,iter-time=10 disk.raw disk.luks
    img 0 compare "${secret[@]}" --image-opts driver=raw,file.filename=disk.raw driver=luks,key-secret=s,file.filename=disk.luks
}

@test "choices: the smaller builds are as small as their page says, and do what they keep" {
    long
    need musl-gcc
    make -s -C "$ROOT" BUILD="$PWD/small" CONFIG="$ROOT/packaging/small.config" static > "$OUT" 2> "$ERR" || { show; false; }
    # (1.37 MB with the libraries of Debian 12; those of 13 are larger)
    [ "$(wc -c < small/static/imgbox)" -lt 1410000 ]
    writes_all "$PWD/small/static/bin/qemu-img"
    make -s -C "$ROOT" BUILD="$PWD/minimal" CONFIG="$ROOT/packaging/minimal.config" all > "$OUT" 2> "$ERR" || { show; false; }
    IMG=$PWD/minimal/bin/qemu-img img 0 convert -f raw -O qcow2 disk.raw minimal.qcow2
    img 0 compare -f raw disk.raw minimal.qcow2
}

@test "choices: with zstd built for size, the small build stays below 1.2 MB" {
    long
    need musl-gcc
    (cat "$ROOT/packaging/small.config"; echo zstd-small=on) > small.config
    if ! make -s -C "$ROOT" BUILD="$PWD/small" CONFIG="$PWD/small.config" static > "$OUT" 2> "$ERR"; then
        reason=$(sed -n -E 's/^sources.sh: ((cannot fetch|knows the|needs|no ).*)/\1/p' "$ERR")
        [ -z "$reason" ] || skip "$reason"
        show
        false
    fi
    [ "$(wc -c < small/static/imgbox)" -lt 1200000 ]
    writes_all "$PWD/small/static/bin/qemu-img"
    # the distribution's again
    make -s -C "$ROOT" BUILD="$PWD/small" CONFIG="$ROOT/packaging/small.config" static > "$OUT" 2> "$ERR" || { show; false; }
    [ "$(wc -c < small/static/imgbox)" -gt 1200000 ]
}

@test "other processors: builds without warnings, and images that this one reads" {
    long
    local machine format run=()
    head -c 3M /dev/urandom > disk.raw
    for machine in aarch64 i686; do
        need "$machine-linux-gnu-gcc"
        make -C "$ROOT" -j 2 BUILD="$PWD/$machine" CC="$machine-linux-gnu-gcc" \
            PKG_CONFIG="$machine-linux-gnu-pkg-config" all static > log 2>&1
        # (glibc has a word about names of machines in a static executable)
        [ "$(grep 'warning:' log | grep -vc 'statically linked')" -eq 0 ]
        run=("$PWD/$machine/imgbox")
        [ "$machine" = i686 ] || run=(qemu-aarch64-static -L /usr/aarch64-linux-gnu "${run[@]}")
        "${run[@]}" --version > /dev/null 2>&1 || skip "nothing runs programs of $machine"
        for format in qcow2 vmdk vhdx; do
            "${run[@]}" convert -O "$format" disk.raw "disk.$format"
            img 0 compare disk.raw "disk.$format"
        done
        "${run[@]}" convert -O raw disk.qcow2 copy
        cmp disk.raw copy
        run[-1]=$PWD/$machine/static/imgbox
        "${run[@]}" convert -O qcow2 disk.raw disk.qcow2
        img 0 compare disk.raw disk.qcow2
    done
}
