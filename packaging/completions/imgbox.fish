# SPDX-License-Identifier: MIT
# Completion of fish for imgbox, img-*, qemu-img and qemu-nbd: the program itself says what fits (applets/complete.h).

function __imgbox_complete
    # The words before the cursor, and those behind it.
    set -l words (commandline -opc) (commandline -ct)
    set -l index (math (count $words) - 1)
    set -l all (commandline -o)
    if test (count $all) -gt (count $words)
        set words $words $all[(math (count $words) + 1)..-1]
    end
    set -l answer ($words[1] --complete $index $words 2>/dev/null)
    set -l typed $words[(math $index + 1)]
    set -l head (string split ' ' -- $answer[1])
    if test (count $head) -ne 2; or test "$head[1]" = files
        set -q head[2]; or set head files 0
        set -l lead (string sub -l $head[2] -- "$typed")
        for name in (__fish_complete_path (string sub -s (math $head[2] + 1) -- "$typed"))
            echo $lead$name
        end
        return
    end
    printf '%s\n' $answer[2..-1]
end

for name in imgbox qemu-img qemu-nbd img-amend img-bench img-bitmap img-check img-commit img-compare img-convert \
        img-create img-dd img-digest img-info img-map img-measure img-rebase img-resize img-serve img-snapshot
    complete -c $name -f -a '(__imgbox_complete)'
end
