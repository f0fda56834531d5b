#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the examples of a page of docs/ as shell scripts.

usage: examples.py PAGE FOLDER

An example is a block of code in which one of our tools is called; the synopsis of a tool, the first block of its page,
is none.
FOLDER/LINE is the script of the block at that line.  FOLDER/LINE.want is what it should print, if the block shows
that: then the lines that begin with "$ " are the commands, and a line "..." stands for any number of lines.

A comment above a block, which does not show, says more:

    <!-- not run: REASON -->    FOLDER/LINE.reason holds the reason, and there is no script
    <!-- each alone -->         the commands are alternatives: FOLDER/LINE.N is the script of the Nth
    <!-- fails -->              the last command fails, and its standard error is shown, too
"""
import os
import re
import sys

CALL = re.compile(r"(^|[ |(\[$'])([^ ]*/)?(qemu-img|img-[a-z]+|imgbox|qemu-nbd)( |$|')")
MARK = re.compile(r"^ *<!-- (not run: .*|each alone|fails) -->$")


def blocks(lines):
    """(number of the first line, mark, lines) of each block of code, fenced or indented."""
    number, mark, indent = 0, "", 0
    while number < len(lines):
        line = lines[number]
        start = number
        if line.startswith("```"):
            number += 1
            while not lines[number].startswith("```"):
                number += 1
            # (what is in a language of its own is tested elsewhere)
            if line in ("```", "```sh"):
                yield start + 1, mark, lines[start + 1:number]
        elif re.match(r" {4,}[^ ]", line) and begins(lines, number):
            indent = len(line) - len(line.lstrip())
            if indent < 6 and in_list(lines, number):
                number += 1
                continue
            while number < len(lines) and (lines[number].startswith(" " * indent) or
                                           (not lines[number].strip() and number + 1 < len(lines) and
                                            lines[number + 1].startswith(" " * indent))):
                number += 1
            yield start + 1, mark, [text[indent:] for text in lines[start:number]]
            number -= 1
        found = MARK.match(line)
        mark = found.group(1) if found else (mark if not lines[start].strip() else "")
        number += 1


def begins(lines, number):
    """May a block of code begin at this line?"""
    return number == 0 or not lines[number - 1].strip() or MARK.match(lines[number - 1])


def in_list(lines, number):
    """Does this line of four or five spaces go on with an item of a list?"""
    for line in reversed(lines[:number]):
        if re.match(r" *([-*]|[0-9]+\.) ", line):
            return True
        if line.strip() and not line.startswith(" "):
            return False
    return False


def is_synopsis(page, first, lines):
    return first and (("/applets/" in page) or any(line.startswith("<!-- manual: ") for line in lines))


def commands(lines):
    """The commands of a block, each with its lines behind a backslash."""
    found = []
    for line in lines:
        if found and found[-1].endswith("\\"):
            found[-1] += "\n" + line
        elif line.strip() and not line.startswith("#"):
            found.append(line)
    return found


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    page, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    with open(page, encoding="utf-8") as file:
        lines = file.read().split("\n")
    first = True
    for number, mark, block in blocks(lines):
        synopsis = is_synopsis(page, first, lines)
        first = False
        if synopsis or not any(CALL.search(line) for line in block):
            continue
        path = f"{folder}/{number:04}"
        if mark.startswith("not run: "):
            write(path + ".reason", [mark[len("not run: "):]])
        elif mark == "each alone":
            for index, command in enumerate(commands(block), 1):
                write(f"{path}.{index}", [command])
        elif any(line.startswith("$ ") for line in block):
            write(path, [line[2:] for line in block if line.startswith("$ ")])
            write(path + ".want", [line for line in block if not line.startswith("$ ")])
            if mark == "fails":
                write(path + ".fails", [])
        else:
            write(path, block)


main()
