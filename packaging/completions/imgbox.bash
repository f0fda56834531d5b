# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion for imgbox, img-*, qemu-img and qemu-nbd: the program itself says what fits (applets/complete.h).
# Install as bash-completion/completions/imgbox, with links of the other names.

# The words of the line; bash has split them at = and : too.  Sets words and index.
_imgbox_words() {
    local line=$COMP_LINE i last=-1
    words=()
    for ((i = 0; i <= COMP_CWORD || i < ${#COMP_WORDS[@]}; i++)); do
        if [ "$last" -lt 0 ] || [[ $line == [[:blank:]]* ]]; then
            last=$((last + 1))
            words[last]=${COMP_WORDS[i]}
            line=${line#"${line%%[![:blank:]]*}"}
        else
            words[last]+=${COMP_WORDS[i]}
        fi
        line=${line#"${COMP_WORDS[i]}"}
        [ "$i" -ne "$COMP_CWORD" ] || index=$last
    done
}

_imgbox() {
    local program=$1 words index answer kind lead word current
    COMPREPLY=()
    _imgbox_words
    [[ $program != \~/* ]] || program=$HOME/${program#*/}
    answer=$("$program" --complete bash "$index" "${words[@]}" 2> /dev/null) || answer='files 0'
    kind=${answer%% *}
    # Names of files are readline's work, if there is no other candidate.
    [ "$kind" != files ] || return 0
    compopt +o default 2> /dev/null
    [ "$kind" != part ] || compopt -o nospace 2> /dev/null
    # Bash replaces what stands behind the last = or :, but not inside of quotes.
    current=${words[index]} lead=''
    if [[ $current != [\"\']* ]]; then
        case $COMP_WORDBREAKS in
            *[=:]*) lead=${current%"${current##*[=:]}"} ;;
        esac
    fi
    while IFS= read -r word; do
        word=${word%%$'\t'*}
        word=${word#"$lead"}
        if [[ $current != [\"\']* && $word == *[!A-Za-z0-9_.,:/=+@%-]* ]]; then
            printf -v word %q "$word"
        fi
        COMPREPLY+=("$word")
    done < <(tail -n +2 <<< "$answer")
}

complete -o default -F _imgbox imgbox qemu-img qemu-nbd img-amend img-bench img-bitmap img-check img-commit img-compare \
    img-convert img-create img-dd img-digest img-info img-map img-measure img-rebase img-resize img-serve img-snapshot
