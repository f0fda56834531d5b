# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion for imgbox, img-*, qemu-img and qemu-nbd.  It asks the tools for their options, so that
# no list is kept twice.  Install as bash-completion/completions/imgbox.

# Long options of a tool, from its --help.
_imgbox_options() {
    "$@" --help 2> /dev/null | sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

_imgbox_tools() {
    case $1 in
    *qemu-img) "$1" --help 2> /dev/null | sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p' ;;
    *) "$1" --list 2> /dev/null ;;
    esac
}

_imgbox_formats() {
    "$1" --help 2> /dev/null | sed -n 's/^Supported formats: //p'
}

_imgbox() {
    local program=$1 current=$2 previous=$3 tool=()
    COMPREPLY=()
    case ${program##*/} in
    img-* | qemu-nbd) tool=("$program") ;;
    *)
        if [ "$COMP_CWORD" -eq 1 ]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_imgbox_tools "$program") --help --version" -- "$current")
            return
        fi
        tool=("$program" "${COMP_WORDS[1]}")
        ;;
    esac
    case $previous in
    -f | -F | -O | --format | --source-format | --target-format | --output-format | --backing-format | --a-format | --b-format)
        mapfile -t COMPREPLY < <(compgen -W "$(_imgbox_formats qemu-img)" -- "$current")
        return
        ;;
    -t | -T | --cache | --source-cache | --target-cache)
        mapfile -t COMPREPLY < <(compgen -W 'none writeback writethrough directsync unsafe' -- "$current")
        return
        ;;
    --output)
        mapfile -t COMPREPLY < <(compgen -W 'human json' -- "$current")
        return
        ;;
    -r | --repair)
        if [ "${tool[-1]##*img-}" = check ]; then
            mapfile -t COMPREPLY < <(compgen -W 'leaks all' -- "$current")
            return
        fi
        ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_imgbox_options "${tool[@]}")" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2> /dev/null
    fi
}

complete -F _imgbox imgbox qemu-img qemu-nbd img-serve img-check img-compare img-convert img-create img-info img-map
