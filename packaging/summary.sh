#!/bin/sh
# Say in five lines what a build has, what it lacks, and what that costs.
#
# usage: summary.sh CONFIG.MK [static]
#
# It reads the comment lines that config.sh wrote.  A static executable has no modules, and no drivers whose libraries
# are shared ones only.
set -eu

awk -v static="${2-}" '
function add(list, word) { return list (list == "" ? "" : ", ") word }
function or_none(list) { return list == "" ? "nothing" : list }
function about(line) { sub(/^[^(]*\(/, "", line); sub(/\)$/, "", line); return line }

/^# pkg-config: not found/ { lost = "pkg-config (most others are not looked for without it)" }
/^# driver / {
    name = $3
    sub(/:$/, "", name)
    if ($0 ~ /: off/) {
        why = $0
        out = add(out, name (sub(/.*\(needs /, "", why) ? " (needs " why : ""))
    } else if (static != "" && $0 ~ /not in the static file/)
        out = add(out, name " (its library is a shared one)")
    else if (static == "" && $0 ~ /: module/)
        modules++
    else
        drivers++
    next
}
/^# [a-z0-9]+: yes/ { name = $2; sub(/:$/, "", name); have = have (have == "" ? "" : " ") name }
/^# [a-z0-9]+: not found/ { name = $2; sub(/:$/, "", name); lost = add(lost, name " (" about($0) ")") }
/^# [a-z0-9]+: off by choice/ { name = $2; sub(/:$/, "", name); off = add(off, name " (" about($0) ")") }

END {
    print "libraries:    " or_none(have)
    print "not found:    " or_none(lost)
    print "switched off: " or_none(off)
    print "drivers:      " drivers + 0 " built in" (modules ? ", " modules " in modules" : "") "; left out: " or_none(out)
    print (lost out == "" ? "all is there; " : "install what is missing, then make clean and make; ") \
          "make config shows more, make help what to do next"
}' "$1"
