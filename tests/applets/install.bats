#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# `make install` and its kin, and `make uninstall`; the library that it installs; `make dist`.

load ../helper

# Whatever make finds out of date, it does not touch the tool that other tests run now.
copy_of_build() {  # [folder]
    mkdir -p "${1:-build}"
    cp -a "$BUILD"/{config.choice,config.drivers,config.mk,config.flags,gen,obj,libimg.a,imgbox,bin,modules} \
        "${1:-build}/"
}

# making ARGUMENT...: make of the copy, into root
making() {
    make -s -C "$ROOT" BUILD="$PWD/build" DESTDIR="$PWD/root" PREFIX=/usr "$@" > "$OUT" 2> "$ERR" || { show; false; }
}

# Nothing but folders is left.
all_gone() {
    [ -z "$(find "${1:-root}" -type f -o -type l)" ]
}

@test "install: DESTDIR and PREFIX, and uninstall leaves nothing" {
    beyond
    no_asan
    copy_of_build
    making install
    strip -o stripped build/installed/imgbox
    cmp stripped root/usr/bin/imgbox
    [ -x root/usr/bin/imgbox ]
    [ -x root/usr/bin/img-convert ]
    [ "$(readlink root/usr/bin/qemu-img)" = imgbox ]
    cmd 0 root/usr/bin/img-create -q a.raw 1M
    if [ -e "$BUILD/modules/img-blkdebug.so" ]; then
        # Where it was told to look, from the root of the system that this is to be, and nowhere else.
        cmd 1 root/usr/bin/img-info blkdebug::a.raw
        has "$ERR" "there is no '/usr/lib/imgbox/img-blkdebug.so'\$" || [ -e /usr/lib/imgbox ]
        IMGBOX_MODULES=root/usr/lib/imgbox cmd 0 root/usr/bin/img-info blkdebug::a.raw
    fi
    [ -s root/usr/share/bash-completion/completions/qemu-img ]
    # Links of the documents lead to documents that are installed, too.
    cmd 0 python3 "$ROOT/tests/links.py" root/usr/share/doc/imgbox/README.md root/usr/share/doc/imgbox/docs/{*,*/*}.md
    making uninstall
    all_gone
    making install INSTALL_STRIP=no QEMU_IMG=no
    cmp build/installed/imgbox root/usr/bin/imgbox
    [ ! -e root/usr/bin/qemu-img ]
    making uninstall
    all_gone
}

@test "install: a qemu-img of somebody else stays, unless it is told to replace it; uninstall brings it back" {
    beyond
    no_asan
    copy_of_build
    mkdir -p root/usr/bin root/usr/share/man/man1 build/man/man1
    printf '.TH "qemu-img" "1" "" "imgbox 1" "imgbox manual"\n' > build/man/man1/qemu-img.1
    echo theirs | tee root/usr/share/man/man1/qemu-img.1 > root/usr/bin/qemu-img
    ln -s nowhere root/usr/bin/qemu-nbd
    making install
    has "$ERR" "^install: .*/usr/bin/qemu-img is of somebody else, and stays; 'make install-qemu-img' replaces it\$"
    [ "$(cat root/usr/bin/qemu-img)" = theirs ]
    [ "$(cat root/usr/share/man/man1/qemu-img.1)" = theirs ]
    [ "$(readlink root/usr/bin/qemu-nbd)" = nowhere ]
    making install-qemu-img
    cmp build/man/man1/qemu-img.1 root/usr/share/man/man1/qemu-img.1
    has "$ERR" '/usr/bin/qemu-img is kept as .*/usr/bin/qemu-img.before-imgbox$'
    cmd 0 root/usr/bin/qemu-img --version
    # again: what is ours is no backup
    making install-qemu-img
    making install
    [ "$(cat root/usr/bin/qemu-img.before-imgbox)" = theirs ]
    making uninstall
    [ "$(cat root/usr/bin/qemu-img)" = theirs ]
    [ "$(cat root/usr/share/man/man1/qemu-img.1)" = theirs ]
    [ "$(readlink root/usr/bin/qemu-nbd)" = nowhere ]
    rm root/usr/bin/qemu-img root/usr/bin/qemu-nbd root/usr/share/man/man1/qemu-img.1
    all_gone
    # in one step
    echo theirs > root/usr/bin/qemu-img
    making install QEMU_IMG=yes
    cmd 0 root/usr/bin/qemu-img --version
    # a package puts a newer one in its place
    rm root/usr/bin/qemu-img
    echo newer > root/usr/bin/qemu-img
    making install
    [ "$(cat root/usr/bin/qemu-img)" = newer ]
    making install-qemu-img
    making uninstall
    [ "$(cat root/usr/bin/qemu-img)" = newer ]
}

@test "install: a choice that is none touches nothing" {
    beyond
    no_asan
    copy_of_build
    cmd 2 make -s -C "$ROOT" BUILD="$PWD/build" DESTDIR="$PWD/root" QEMU_IMG=maybe install
    has "$ERR" "^install: QEMU_IMG is yes, no or auto, not 'maybe'\$"
    [ ! -e root ]
}

@test "install: install-qemu-img needs an imgbox" {
    beyond
    cmd 2 make -s -C "$ROOT" BUILD="$PWD/build" DESTDIR="$PWD/root" install-qemu-img
    has "$ERR" "^install: there is no .*/usr/local/bin/imgbox; 'make install' first\$"
    [ ! -e root ]
}

@test "make -f from another folder builds there" {
    unset BUILD MAKEFLAGS MAKELEVEL MFLAGS
    make -f "$ROOT/GNUmakefile" "$PWD/build/obj/libimg/util/uuid.o" > log 2>&1
    [ -s build/obj/libimg/util/uuid.o ]
    make -f "$ROOT/GNUmakefile" help clean >> log 2>&1
    grep -q 'make check' log
    [ ! -e build ]
}

@test "install: folders with spaces" {
    beyond
    no_asan
    copy_of_build 'my build'
    with_spaces() {
        make -s -C "$ROOT" BUILD="$PWD/my build" DESTDIR="$PWD/my root" PREFIX='/opt/my box' "$@" > "$OUT" 2> "$ERR" ||
            { show; false; }
    }
    with_spaces install
    cmd 0 'my root/opt/my box/bin/qemu-img' create -q a.raw 1M
    if [ -e "$BUILD/modules/img-blkdebug.so" ]; then
        cmd 1 'my root/opt/my box/bin/img-info' blkdebug::a.raw
        has "$ERR" "there is no '/opt/my box/lib/imgbox/img-blkdebug.so'\$"
    fi
    with_spaces uninstall
    all_gone 'my root'
    with_spaces clean
    [ ! -e 'my build' ]
}

@test "install: modules are found in LIBDIR, from the root of the staged system" {
    beyond
    no_asan
    need_root
    [ -e "$BUILD/modules/img-blkdebug.so" ] || skip 'blkdebug is built in'
    copy_of_build
    making install PREFIX=/opt/box LIBDIR=/opt/lib64
    [ -e root/opt/lib64/imgbox/img-blkdebug.so ]
    ldd "$BUILD/imgbox" | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "root/$library"
    done
    truncate -s 1M root/x
    cmd 0 chroot root /opt/box/bin/img-info blkdebug::x
    has "$OUT" '^    file format: blkdebug$'
    rm -r root/opt/lib64/imgbox
    cmd 1 chroot root /opt/box/bin/img-info blkdebug::x
    has "$ERR" "there is no '/opt/lib64/imgbox/img-blkdebug.so'\$"
}

# The program of docs/libimg.md
example() {
    awk '/^```$/ { inside = 0 } inside { print } /^```c$/ { inside = 1; count++ } /^## Examples/ { on = 1 }' \
        "$ROOT/docs/libimg.md" | awk '/^#include <img.h>/ && seen++ { on = 1 } on'
}

@test "install: a program with the library, over pkg-config" {
    beyond
    no_asan
    command -v pkg-config > /dev/null || skip 'no pkg-config'
    copy_of_build
    making install DESTDIR= PREFIX="$PWD/the place"
    example > program.c
    has program.c 'int main'
    export PKG_CONFIG_PATH="$PWD/the place/lib/pkgconfig"
    local flags
    eval "flags=($(pkg-config --cflags --libs --static imgbox))"
    cmd 0 cc -std=c11 -Wall -Wextra -Werror program.c "${flags[@]}" -o program
    sample x.raw
    img 0 convert -O qcow2 x.raw x.qcow2
    cmd 0 ./program x.qcow2
    out 'qcow2: 8388608 bytes' "$(sum x.raw)"
    cmd 1 ./program nosuch
    err "Could not open 'nosuch': Could not open 'nosuch': No such file or directory"
    if [ -e "$BUILD/modules/img-blkdebug.so" ]; then
        # (its modules are those that were installed)
        cmd 0 ./program blkdebug::x.raw
        out 'raw: 8388608 bytes' "$(sum x.raw)"
        rm -r 'the place/lib/imgbox'
        cmd 1 ./program blkdebug::x.raw
        has "$ERR" "there is no '$PWD/the place/lib/imgbox/img-blkdebug.so'\$"
    fi
    pkg-config --exists "imgbox = $(sed -n 's/^## \([0-9.]*\) (.*/\1/p' "$ROOT/docs/changelog.md" | head -n 1)"
}

@test "install: the static file" {
    beyond
    no_asan
    [ -e "$BUILD/static/imgbox" ] || skip 'no static file'
    mkdir -p build
    cp -a "$BUILD"/{config.choice,config.drivers,config.mk,config.flags,static} build/
    making install-static
    cmd 0 root/usr/bin/qemu-img create -q a.raw 1M
    [ ! -e root/usr/lib/imgbox ]
    [[ $(LC_ALL=C ldd root/usr/bin/imgbox 2>&1) == *'not a dynamic executable'* ]]
    making uninstall
    all_gone
}

@test "install: dist is the same twice, and has the manuals" {
    beyond
    no_asan
    command -v lowdown > /dev/null || skip 'no lowdown'
    git -C "$ROOT" rev-parse -q --verify HEAD > /dev/null 2>&1 || skip 'no clone'
    making dist
    mv build/imgbox-*.tar.gz first.tar.gz
    # whoever makes it, wherever
    (umask 077; TZ=Asia/Tokyo LC_ALL=C.UTF-8 making dist)
    cmp first.tar.gz build/imgbox-*.tar.gz
    tar -xzf first.tar.gz
    cd imgbox-*
    [ -s docs/man/man1/qemu-img.1 ]
    [ -s docs/man/man5/imgbox-formats.5 ]
    # whose manuals are installed without lowdown
    mkdir build
    cp -a "$BUILD"/{config.choice,config.drivers,config.mk,config.flags,gen,obj,libimg.a,imgbox,bin,modules} build/
    cmd 0 make -s install DESTDIR="$PWD/root" PREFIX=/usr
    cmp docs/man/man1/qemu-img.1 root/usr/share/man/man1/qemu-img.1
}
