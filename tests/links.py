#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Find dead links in pages of Markdown: files that are not there, headings that no page has.

usage: links.py PAGE...

Prints a line for each, and ends with 1 if there is one.  Addresses of the web are not looked up.
"""
import os
import re
import sys

LINK = re.compile(r"\[[^][]*\]\(([^() ]+)\)")


def text_of(path):
    """The lines of a page without blocks of code, and without code within lines."""
    fenced = False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("```"):
                fenced = not fenced
            elif not fenced and not line.startswith("    "):
                yield number, line


def headings(path):
    """The names that the headings of a page have in links, as web sites with Git make them."""
    for _, line in text_of(path):
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower()
            yield re.sub(r"[^\w\- ]", "", title).replace(" ", "-")


def main():
    dead = 0
    for page in sys.argv[1:]:
        for number, line in text_of(page):
            # (code: a pair of brackets there is no link)
            for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, heading = target.partition("#")
                path = os.path.join(os.path.dirname(page), name) if name else page
                if not os.path.exists(path):
                    print(f"{page}:{number}: there is no {target}")
                    dead += 1
                elif heading and heading not in headings(path):
                    print(f"{page}:{number}: there is no heading {target}")
                    dead += 1
    return 1 if dead else 0


sys.exit(main())
