#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what was built, or remove it; `make install` and its kin call this with their variables in the environment.
#
# usage: install.sh box | single | qemu-img | uninstall
#
# box:       imgbox of BUILT, its links, the modules, the library (if LIBRARY is set), manuals, completion, documents
# single:    one executable a tool from BUILT instead of imgbox
# qemu-img:  the links of COMMANDS, in the place of what is there, which is kept beside them
# uninstall: all of these
set -eu

bin=$DESTDIR$PREFIX/bin
man=$DESTDIR$MANDIR
doc=$DESTDIR$DOCDIR
modules=$DESTDIR$LIBDIR/imgbox
include=$DESTDIR$INCLUDEDIR/imgbox
pkgconfig=$DESTDIR$LIBDIR/pkgconfig
bash=$DESTDIR$PREFIX/share/bash-completion/completions
zsh=$DESTDIR$PREFIX/share/zsh/site-functions
fish=$DESTDIR$PREFIX/share/fish/vendor_completions.d

strip_it() {  # file, option...
    [ "$INSTALL_STRIP" != yes ] || $STRIP "$@"
}

# An executable or a module under its name.
put_program() {  # source, target
    install -m 755 "$1" "$2.new"
    strip_it "$2.new"
    mv -f "$2.new" "$2"
}

put_file() {  # source, target
    install -m 644 "$1" "$2"
}

# ---- The commands that other packages have, too

# What another one installed is kept under this name.
backup_of() {
    echo "$1.before-imgbox"
}

is_ours() {
    [ -L "$1" ] && [ "$(readlink "$1")" = imgbox ]
}

exists() {
    [ -e "$1" ] || [ -L "$1" ]
}

put_commands() {  # replace?
    for name in $COMMANDS; do
        if exists "$bin/$name" && ! is_ours "$bin/$name"; then
            if [ "$1" = no ]; then
                echo "install: $bin/$name is of somebody else, and stays; 'make install-qemu-img' replaces it" >&2
                continue
            fi
            mv -f "$bin/$name" "$(backup_of "$bin/$name")"
            echo "install: $bin/$name is kept as $(backup_of "$bin/$name")" >&2
        fi
        ln -sf imgbox "$bin/$name"
    done
}

remove_commands() {
    for name in $COMMANDS; do
        is_ours "$bin/$name" || continue
        rm -f "$bin/$name"
        ! exists "$(backup_of "$bin/$name")" || mv -f "$(backup_of "$bin/$name")" "$bin/$name"
    done
}

# ---- Parts

# A link, unless there is a file.
put_link() {  # target, link
    if [ -L "$2" ] || [ ! -e "$2" ]; then
        ln -sf "$1" "$2"
    fi
}

# Remove a link if it is this one.
remove_link() {  # target, link
    if [ -L "$2" ] && [ "$(readlink "$2")" = "$1" ]; then
        rm -f "$2"
    fi
}

put_manuals() {
    [ -n "$MANUALS" ] || return 0
    for page in "$MANUALS"/man[1-8]/*; do
        folder=${page%/*}
        folder=$man/${folder##*/}
        name=${page##*/}
        # (the page of qemu-img goes with its command)
        case " $COMMANDS " in
        *" ${name%.*} "*)
            is_ours "$bin/${name%.*}" || continue ;;
        esac
        install -d "$folder"
        if exists "$folder/$name" && ! is_our_manual "$folder/$name"; then
            mv -f "$folder/$name" "$(backup_of "$folder/$name")"
        fi
        put_file "$page" "$folder/$name"
    done
}

is_our_manual() {
    [ -e "$1" ] && grep -q '^\.TH .*"imgbox manual"' "$1"
}

remove_manual() {
    is_our_manual "$1" || return 0
    rm -f "$1"
    ! exists "$(backup_of "$1")" || mv -f "$(backup_of "$1")" "$1"
}

put_documents() {
    install -d "$doc/docs/applets" "$doc/docs/drivers"
    # (the links of README.md lead to docs/)
    install -m 644 README.md LICENSE "$doc"
    install -m 644 docs/*.md "$doc/docs"
    for part in applets drivers; do
        install -m 644 docs/$part/*.md "$doc/docs/$part"
    done
}

# bash and fish look for a file with the name of the command.
put_completion() {
    if [ -e packaging/completions/imgbox.bash ]; then
        install -d "$bash"
        put_file packaging/completions/imgbox.bash "$bash/imgbox"
        for name in $TOOLS $COMMANDS; do
            put_link imgbox "$bash/$name"
        done
    fi
    for file in packaging/completions/_imgbox packaging/completions/imgbox.zsh; do
        [ -e "$file" ] || continue
        install -d "$zsh"
        put_file "$file" "$zsh/_imgbox"
    done
    if [ -e packaging/completions/imgbox.fish ]; then
        install -d "$fish"
        put_file packaging/completions/imgbox.fish "$fish/imgbox.fish"
        for name in $TOOLS $COMMANDS; do
            put_link imgbox.fish "$fish/$name.fish"
        done
    fi
}

put_library() {
    [ -n "$LIBRARY" ] || return 0
    install -d "$include" "$pkgconfig"
    for header in img.h copy.h digest.h; do
        put_file "libimg/$header" "$include/$header"
    done
    put_file "$LIBRARY" "$DESTDIR$LIBDIR/libimg.a"
    strip_it "$DESTDIR$LIBDIR/libimg.a" --strip-debug
    put_file "$BUILT/imgbox.pc" "$pkgconfig/imgbox.pc"
}

put_modules() {
    [ -n "$MODULES" ] || return 0
    install -d "$modules"
    for module in $MODULES; do
        put_program "$MODULES_FROM/img-$module.so" "$modules/img-$module.so"
    done
}

put_common() {
    put_modules
    put_completion
    put_documents
    put_manuals
}

remove_all() {
    remove_commands
    for name in imgbox $TOOLS; do
        rm -f "$bin/$name"
    done
    for name in $TOOLS $COMMANDS; do
        remove_link imgbox "$bash/$name"
        remove_link imgbox.fish "$fish/$name.fish"
        remove_manual "$man/man1/$name.1"
        remove_manual "$man/man8/$name.8"
    done
    for page in man1/imgbox.1 man3/libimg.3 man5/imgbox-formats.5 man7/imgbox-drivers.7; do
        remove_manual "$man/$page"
    done
    rm -f "$bash/imgbox" "$zsh/_imgbox" "$fish/imgbox.fish"
    rm -f "$include/img.h" "$include/copy.h" "$include/digest.h" "$DESTDIR$LIBDIR/libimg.a" "$pkgconfig/imgbox.pc"
    rm -f "$modules"/img-*.so
    for folder in "$modules" "$include"; do
        [ ! -d "$folder" ] || rmdir "$folder" || :
    done
    rm -rf "$doc"
}

case $QEMU_IMG in
yes | no | auto) ;;
*)
    echo "install: QEMU_IMG is yes, no or auto, not '$QEMU_IMG'" >&2
    exit 1 ;;
esac
case $1 in
box)
    install -d "$bin"
    put_program "$BUILT/imgbox" "$bin/imgbox"
    for name in $TOOLS; do
        ln -sf imgbox "$bin/$name"
    done
    case $QEMU_IMG in
    yes) put_commands yes ;;
    auto) put_commands no ;;
    esac
    put_common
    put_library ;;
single)
    install -d "$bin"
    for name in $TOOLS; do
        put_program "$BUILT/$name" "$bin/$name"
    done
    put_common ;;
qemu-img)
    [ -x "$bin/imgbox" ] || {
        echo "install: there is no $bin/imgbox; 'make install' first" >&2
        exit 1
    }
    put_commands yes
    put_manuals ;;
uninstall)
    remove_all ;;
esac
