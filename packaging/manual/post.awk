# SPDX-License-Identifier: MIT
# Tidy the roff of lowdown 1.0 (Debian 12) and 2.0 (Debian 13), so that both give the same page, which mandoc -T lint
# finds nothing wrong with.

# Heads stand on the line of their macro; no paragraph is begun right after one.
/^\.S[HS]$/ { macro = $0; next }
macro != "" { $0 = macro " " $0; macro = "" }

# Fonts: a terminal has no other face for code than bold.
{ gsub(/\\f(C|\(C[RWB]|\[C[RWB]?\])/, "\\fB"); gsub(/\302\240/, "\\ ") }

# What is typed has the minus of ASCII, which does not end a line either.
function minus(text,   done, at) {
    done = ""
    while (match(text, /\\fB[^\\]*(\\[^f][^\\]*)*/)) {
        at = substr(text, RSTART, RLENGTH)
        gsub(/\\?-/, "\\-", at)
        done = done substr(text, 1, RSTART - 1) at
        text = substr(text, RSTART + RLENGTH)
    }
    return done text
}
/^\.E[XE]/ { literal = /X/ }
literal { gsub(/\\?-/, "\\-") }
!literal { $0 = minus($0) }

# A term and its text, as 1.0 writes them: ".LP", the term, ".if n \", ".sp -1v", ".if t \", ".sp ...", ".IP ...".
/^\.if [nt] \\$/ { skip = 1; next }
skip { skip = 0; next }

{ line[++count] = $0 }

function paragraph(text) {
    return text ~ /^\.(LP|PP|P)$/
}

# A table from line `at`, whose widest column takes the room that is left.  Returns the number of its last line.
function put_table(at,   i, column, width, most, widest, columns, format) {
    columns = split(line[at + 2], format, " ")
    most = 0
    for (i = at + 4; line[i] != ".TE"; i++) {
        if (line[i] == "T{")
            column = 1
        else if (line[i] == "T}|T{")
            column++
        else if (line[i] != "T}" && length(line[i]) > most) {
            most = length(line[i])
            widest = column
        }
    }
    print listed ? ".PP\n.TS" : ".TS"
    print "tab(|);"
    for (column = 1; column <= columns; column++)
        printf "lb%s%s", column == widest ? "x" : "", column < columns ? " " : "\n"
    for (column = 1; column <= columns; column++)
        printf "l%s%s", column == widest ? "x" : "", column < columns ? " " : ".\n"
    for (at += 4; at <= i; at++)
        print line[at]
    return i
}

END {
    for (i = 1; i <= count; i++) {
        text = line[i]
        # (a term of 1.0)
        if (paragraph(text) && line[i + 2] == ".IP \"\" 5n") {
            print ".TP"
            print line[i + 1]
            i += 2
            before = ""
            continue
        }
        if (text ~ /^\.TP/)
            text = ".TP"
        if (text ~ /^\.IP "\\\(bu"/)
            text = ".IP \\(bu 3"
        if (text ~ /^\.IP "[0-9]+\. *"/) {
            sub(/\. *".*/, ".\" 4", text)
        }
        if (text ~ /^\.TH "/)
            text = ".\\\" Made from a page of docs/ of imgbox.\n" text "\n.nr HY 0\n.nh\n.ad l"
        # Code is told from text by its margin.
        if (text == ".EX")
            text = ".RS 4\n.EX"
        if (text == ".EE")
            text = ".EE\n.RE"
        if (text == ".TS") {
            i = put_table(i)
            before = ".TE"
            continue
        }
        if (paragraph(text)) {
            if (before ~ /^\.S[HS] / || paragraph(line[i + 1]) || line[i + 1] ~ /^\.S[HS] / || i == count)
                continue
            text = ".PP"
        }
        if (text ~ /^\.SH /)
            in_synopsis = text == ".SH SYNOPSIS"
        if (in_synopsis && text ~ /^\\fB/) {
            at = index(text, "\\fR")
            name = substr(text, 4, at - 4)
            rest = substr(text, at + 3)
            sub(/^ */, "", rest)
            print ".SY \"" name "\""
            print rest
            print ".YS"
            before = text
            continue
        }
        if (in_synopsis && text == ".PP")
            continue
        print text
        before = text
        if (text ~ /^\.(PP|SH|SS|IP|TP)/)
            listed = text ~ /^\.[IT]P/
    }
}
