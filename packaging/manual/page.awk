# SPDX-License-Identifier: MIT
# Make of a page of docs/ the Markdown of a manual page, for lowdown: the sections in the order of manuals, tables of
# options as lists of terms, links as names of manuals.
#
# usage: awk -v manual=NAME -v section=N -v links=FILE [-v synopses=FILE] -f page.awk PAGE [PART...]
#
# FILE `links` has lines "PATH MANUAL(N)" for each page of docs/, with paths from there; `synopses` replaces the line
# <!-- synopses -->.  Each PART becomes a section behind those of PAGE.  What the pages hold for this alone stands
# in comments, which do not show:
#
#     <!-- manual: NAME(N): what it does -->    the line of NAME, if the first sentence does not say it
#     <!-- parts -->                            the rest of the page is the list of its parts

BEGIN {
    while ((getline line < links) > 0) {
        split(line, word, " ")
        manual_of[word[1]] = word[2]
    }
    self = manual "(" section ")"
    order = split("NAME SYNOPSIS DESCRIPTION OPTIONS OPERANDS OTHER STATUS EXAMPLES DIFFERENCES PARTS", place, " ")
    in_place = "DESCRIPTION"
    # Who reads one of them, looks for the others.
    also["qemu-img(1)"] = also["imgbox(1)"] = 1
}

# ---- Words --------------------------------------------------------------------------------------

# The path of a link in the page FILENAME, from docs/.
function path_of(target,   folder) {
    sub(/#.*/, "", target)
    folder = FILENAME
    sub(/^.*docs\//, "", folder)
    if (!sub(/\/[^\/]*$/, "", folder))
        folder = ""
    while (target ~ /^\.\.\//) {
        sub(/^\.\.\//, "", target)
        folder = ""
    }
    return folder == "" ? target : folder "/" target
}

function bold_name(name) {
    sub(/\(.*/, "**&", name)
    return "**" name
}

# A link: its text, and the manual where the rest stands.
function link(text, target, inside,   name, plain) {
    if (target ~ /^[a-z]+:/)
        return text " (" target ")"
    name = target ~ /^#/ ? "" : manual_of[path_of(target)]
    if (name == "" || name == self)
        return text == "page" || text == "details" ? "see below" : text
    also[name] = 1
    plain = text
    gsub(/[`*]/, "", plain)
    if (plain == "page" || plain == "details" || index(name, plain "(") == 1 || index(name, "img-" plain "(") == 1)
        return bold_name(name)
    if (path_of(target) ~ /^drivers\//)
        return text " in " bold_name(name)
    return text (inside ? ", see " : " (see ") bold_name(name) (inside ? "" : ")")
}

# How many parentheses are open at the end of the text?
function depth(text,   open, closed) {
    open = gsub(/\(/, "(", text)
    closed = gsub(/\)/, ")", text)
    return open - closed
}

function links_of(text,   done, at, target) {
    done = ""
    while (match(text, /\[[^][]*\]\([^() ]*\)/)) {
        at = substr(text, RSTART, RLENGTH)
        target = at
        sub(/^.*\]\(/, "", target)
        sub(/\)$/, "", target)
        sub(/^\[/, "", at)
        sub(/\]\([^()]*\)$/, "", at)
        done = done substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        done = done link(at, target, depth(done) > 0)
    }
    return done text
}

# Code is bold, and what stands for something else slanted.
function code(text,   option) {
    if (text ~ /^[A-Z][A-Z_0-9]*[A-Z]$/ && text in placeholder)
        return "*" text "*"
    if (match(text, /^-[-a-zA-Z]+[ =]/)) {
        option = substr(text, 1, RLENGTH)
        text = substr(text, RLENGTH + 1)
        if (text ~ /^[A-Z_]+$/) {
            placeholder[text] = 1
            sub(/ $/, "", option)
            return "`" option "` *" text "*"
        }
        text = option text
    }
    return "`" text "`"
}

function codes_of(text,   part, count, i, done) {
    count = split(text, part, "`")
    if (count % 2 == 0)
        return text
    done = part[1]
    for (i = 2; i < count; i += 2)
        done = done code(part[i]) part[i + 1]
    return done
}

function inline(text) {
    gsub(/ +/, " ", text)
    return codes_of(links_of(text))
}

# In capitals, but for code.
function shout(text,   part, count, i, done) {
    count = split(text, part, "`")
    done = ""
    for (i = 1; i <= count; i++)
        done = done (i > 1 ? "`" : "") (i % 2 ? toupper(part[i]) : part[i])
    return done
}

# ---- Output, by section --------------------------------------------------------------------------

function put(text) {
    if (!dropped)
        body[in_place] = body[in_place] text "\n"
}

function flush_paragraph() {
    if (paragraph == "")
        return
    # (the head of the page says what it is in its first sentence)
    if (in_place == "DESCRIPTION" && body["NAME"] == "")
        take_name(paragraph)
    put(lead inline(paragraph))
    put("")
    paragraph = lead = ""
}

function take_name(text) {
    text = inline(text)
    gsub(/[`*]/, "", text)
    sub(/[.:]( .*)?$/, "", text)
    sub(/, whatever.*/, "", text)
    if (said_name != "")
        text = said_name
    body["NAME"] = manual " - " tolower(substr(text, 1, 1)) substr(text, 2) "\n\n"
}

# A synopsis is one paragraph a command: post.awk makes it hang.  Spaces within brackets do not break if it is short.
function put_synopsis(lines, count,   i, all) {
    for (i = 1; i <= count; i++) {
        if (lines[i] ~ /^[^ ]/) {
            if (all != "")
                put_command(all)
            all = lines[i]
        } else {
            sub(/^ +/, "", lines[i])
            all = all " " lines[i]
        }
    }
    if (all != "")
        put_command(all)
}

function put_command(text,   word, count, i, done, level, glue) {
    if (text ~ /^qemu-img [a-z]/)
        sub(/ /, "\302\240", text)
    count = split(text, word, " ")
    done = "`" word[1] "`"
    level = 0
    for (i = 2; i <= count; i++) {
        glue = level > 0 && bracket_length(word, i, count) ? "\302\240" : " "
        if (word[i - 1] ~ /^[[(]*-/ && word[i] ~ /^[A-Z]/)
            glue = "\302\240"
        done = done glue marked(word[i])
        level += gsub(/\[/, "[", word[i]) - gsub(/\]/, "]", word[i])
    }
    body["SYNOPSIS"] = body["SYNOPSIS"] done "\n\n"
}

# Is what follows to the closing bracket short?
function bracket_length(word, from, count,   i, length_) {
    length_ = 0
    for (i = from; i <= count; i++) {
        length_ += length(word[i]) + 1
        if (word[i] ~ /\]/)
            return length_ <= 30
    }
    return 0
}

function marked(token,   out, piece) {
    out = ""
    while (token != "") {
        if (match(token, /^[A-Z][A-Z_0-9]*/)) {
            piece = substr(token, 1, RLENGTH)
            placeholder[piece] = 1
            out = out "*" piece "*"
        } else if (match(token, /^[-a-z0-9=,:]+/)) {
            piece = substr(token, 1, RLENGTH)
            out = out "`" piece "`"
        } else {
            RLENGTH = 1
            piece = substr(token, 1, 1)
            out = out (piece ~ /[[\]()|.]/ ? "\\" piece : piece)
        }
        token = substr(token, RLENGTH + 1)
    }
    gsub(/\\[.]/, ".", out)
    gsub(/\\[|]/, "|", out)
    return out
}

# ---- Tables ------------------------------------------------------------------------------------------

function cells(line, cell,   count, i) {
    gsub(/\\[|]/, "\001", line)
    sub(/^[|] */, "", line)
    sub(/ *[|] *$/, "", line)
    count = split(line, cell, / *[|] ?/)
    for (i = 1; i <= count; i++)
        gsub(/\001/, "|", cell[i])
    return count
}

# Rows 1 (the head), 3 and on are in table[].
function put_table(rows,   head, cell, columns, i, j, line, terms) {
    columns = cells(table[1], head)
    terms = head[columns] == "" || columns == 1
    # (several tables of options have heads)
    if (terms && head[1] != "" && head[1] != "Option" && in_place == "OPTIONS" && columns == 2)
        put("### " inline(head[1]) "\n")
    for (i = 3; i <= rows; i++) {
        cells(table[i], cell)
        if (terms) {
            put_term(head, cell, columns)
            continue
        }
        if (i == 3) {
            line = "|"
            for (j = 1; j <= columns; j++)
                line = line " " inline(head[j]) " |"
            put(line)
            line = "|"
            for (j = 1; j <= columns; j++)
                line = line "---|"
            put(line)
        }
        line = "|"
        for (j = 1; j <= columns; j++) {
            cell[j] = inline(cell[j])
            gsub(/[|]/, "\\|", cell[j])
            line = line " " cell[j] " |"
        }
        put(line)
    }
    put("")
}

# The text of a term is the last column; what the others say of it follows in parentheses.
function put_term(head, cell, columns,   text, extra, i) {
    text = columns > 1 ? cell[columns] : ""
    extra = ""
    for (i = 2; i < columns; i++)
        if (cell[i] != "")
            extra = extra (extra == "" ? "" : "; ") (head[i] == "Values" ? "" : tolower(head[i]) ": ") cell[i]
    if (extra != "" && text ~ /: *$/)
        text = "(" extra ") " text
    else if (extra != "")
        text = text == "" ? extra : text " (" extra ")"
    put(inline(cell[1]))
    put(": " (text == "" ? "\302\240" : inline(text)))
    put("")
}

# ---- Lines -----------------------------------------------------------------------------------------------

function end_block() {
    flush_paragraph()
    if (rows > 0)
        put_table(rows)
    rows = 0
}

function end_synopsis() {
    if (synopsis_lines)
        put_synopsis(synopsis, synopsis_lines)
    if (synopsis_lines || shown)
        first_code = 0
    synopsis_lines = 0
}

# Sections that every manual has, under their names there.
function heading(level, text,   title) {
    dropped = 0
    if (part) {
        if (level == 2 && (text == "Code and tests" || text == "In the code")) {
            dropped = 1
            return
        }
        if (level == 1)
            put("# " shout(inline(text)) "\n")
        else
            put((level == 2 ? "## " : "### ") inline(text) "\n")
        return
    }
    if (level == 1) {
        in_place = "DESCRIPTION"
        return
    }
    if (level > 2) {
        put((level == 3 ? "## " : "### ") inline(text) "\n")
        return
    }
    title = ""
    if (text == "Code and tests" || text == "In the code") {
        dropped = 1
    } else if (text ~ /^([A-Za-z]+ )?[Oo]ptions$/) {
        in_place = "OPTIONS"
        title = text == "Options" ? "" : "## " text
    } else if (text == "Operands") {
        in_place = "OPERANDS"
    } else if (text == "Exit code") {
        in_place = "STATUS"
    } else if (text == "Examples") {
        in_place = "EXAMPLES"
    } else if (text == "Differences from qemu-img" || text == "Differences") {
        in_place = "DIFFERENCES"
    } else {
        in_place = "OTHER"
        title = "# " shout(inline(text))
    }
    if (title != "")
        put(title "\n")
}

FNR == 1 {
    end_block()
    part = NR > 1
    listing = fenced = comment = dropped = parts_follow = 0
    previous = ""
    first_code = !part
    if (part)
        in_place = "PARTS"
}

# (the mark of an example, for the tests, is one, too)
comment || /^ *<!--/ {
    if (match($0, /^<!-- manual: [^:]*: .* -->/)) {
        said_name = $0
        sub(/^<!-- manual: [^:]*: /, "", said_name)
        sub(/ -->.*/, "", said_name)
    } else if ($0 == "<!-- synopses -->") {
        end_synopsis()
        count = 0
        while ((getline line < synopses) > 0)
            lines[++count] = line
        put_synopsis(lines, count)
    } else if ($0 == "<!-- parts -->") {
        end_block()
        parts_follow = 1
    }
    comment = $0 !~ /-->/
    next
}

# Code of a language.  That of the head (#include) stands in the synopsis.
/^```/ {
    end_block()
    fenced = !fenced
    if (fenced && first_code && in_place == "DESCRIPTION") {
        shown = 1
        in_place = "SYNOPSIS"
    }
    put($0)
    if (!fenced) {
        put("")
        if (in_place == "SYNOPSIS")
            in_place = "DESCRIPTION"
    }
    next
}
fenced { put($0); next }

# A block of code.  That of the head is the synopsis.
(/^    / && (previous == "" || in_code)) && !(listing && /^ {4,5}[^ ]/) {
    end_block()
    in_code = 1
    previous = $0
    if (first_code && in_place == "DESCRIPTION")
        synopsis[++synopsis_lines] = substr($0, 5)
    else
        put($0)
    next
}
in_code && $0 != "" {
    put("")
}
in_code && $0 != "" || /^#/ {
    end_synopsis()
    in_code = 0
}

# (a line for those who read the source)
/^Code: `/ { next }

parts_follow { next }

/^#+ / {
    end_block()
    listing = 0
    level = index($0, " ") - 1
    heading(level, substr($0, level + 2))
    previous = ""
    next
}

/^[|]/ {
    flush_paragraph()
    table[++rows] = $0
    previous = $0
    next
}

/^$/ {
    if (in_code)
        put("")
    end_block()
    previous = ""
    next
}

/^ *(-|[0-9]+\.) / {
    end_block()
    match($0, /^ *(-|[0-9]+\.) /)
    lead = substr($0, 1, RLENGTH)
    paragraph = substr($0, RLENGTH + 1)
    listing = 1
    previous = $0
    next
}

{
    if (paragraph == "") {
        if (/^[^ ]/) {
            listing = 0
        } else {
            match($0, /^ */)
            lead = substr($0, 1, RLENGTH)
        }
    }
    text = $0
    sub(/^ +/, "", text)
    paragraph = paragraph (paragraph == "" ? "" : " ") text
    previous = $0
}

# ---- All of it ---------------------------------------------------------------------------------------------

function put_also(   name, names, count, i, j, text) {
    delete also[self]
    count = 0
    for (name in also)
        names[++count] = name
    # by section, then by name
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && key(names[j]) < key(names[j - 1]); j--) {
            text = names[j]; names[j] = names[j - 1]; names[j - 1] = text
        }
    text = ""
    for (i = 1; i <= count; i++)
        text = text (i > 1 ? ", " : "") bold_name(names[i])
    printf "# SEE ALSO\n\n%s\n", text
}

function key(name) {
    return substr(name, index(name, "(")) name
}

END {
    end_block()
    title["STATUS"] = "EXIT STATUS"
    title["DIFFERENCES"] = section == 8 ? "DIFFERENCES FROM QEMU-NBD" : "DIFFERENCES FROM QEMU-IMG"
    for (i = 1; i <= order; i++) {
        if (body[place[i]] == "")
            continue
        if (place[i] != "OTHER" && place[i] != "PARTS")
            printf "# %s\n\n", place[i] in title ? title[place[i]] : place[i]
        printf "%s", body[place[i]]
    }
    put_also()
}
