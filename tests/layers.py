#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check that the arrows between the rooms run one way.

usage: layers.py [OBJ]     OBJ: folder of the object files (default build/obj)

Read from the sources: what each file includes.  Read from the object files with nm: which room defines what another
one calls.  Rooms further down in ROOMS may use those above them, never the other way round.  And no applet names a
driver.  Prints a TAP line for each rule and each arrow that breaks it; exit 1 then.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OBJ = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build/obj")

# Each room may use itself and the rooms named here.
CORE = ["util", "text", "codec", "node", "net", "io", "graph", "copy", "serve"]
MAY_USE = {f"libimg/{room}": {f"libimg/{lower}" for lower in CORE[:i]} for i, room in enumerate(CORE)}
MAY_USE["libimg/object"] = {"libimg/util", "libimg/text", "libimg/codec"}
for above in ("libimg/node", "libimg/net", "libimg/io", "libimg/graph", "libimg/copy", "libimg/serve"):
    MAY_USE[above].add("libimg/object")
LIBIMG = set(MAY_USE)
MAY_USE["compat"] = {"libimg/util"}
MAY_USE["drivers"] = set(LIBIMG) - {"libimg/copy", "libimg/serve"}
MAY_USE["applets"] = LIBIMG | {"compat"}

# Headers that anybody may include: the interface.  That of the drivers, with struct img in it, is not for applets.
PUBLIC = {"libimg/img.h", "libimg/driver.h", "libimg/copy.h", "libimg/digest.h", "libimg/support.h", "libimg/net.h",
          "libimg/serve.h"}
NOT_FOR_APPLETS = {"libimg/driver.h"}
APPLETS_INCLUDE = {"applets", "compat"}
# Rooms whose headers are for their own files.
PRIVATE = {"libimg/graph"}


def room_of(path):
    """libimg/io/map.c: libimg/io.  drivers/qcow2/check/x.c: drivers."""
    parts = path.split("/")
    if parts[0] == "libimg" and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def sources():
    for top in ("applets", "compat", "drivers", "libimg"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def included(path, name):
    """The file that #include "name" in `path` means, as make's -I options find it."""
    for base in (os.path.dirname(path), "", "libimg"):
        found = os.path.normpath(os.path.join(base, name))
        if os.path.exists(os.path.join(ROOT, found)):
            return found
    return None


def driver_of(path):
    return path.split("/")[1] if path.startswith("drivers/") else None


def include_arrows():
    for path in sources():
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
        for name in re.findall(r'^#include "([^"]+)"', text, re.M):
            target = included(path, name)
            if target is None or path in PUBLIC or target in PUBLIC - NOT_FOR_APPLETS:
                continue
            yield path, target


def symbols(path):
    """What the object file defines for others, and what it needs of them."""
    out = subprocess.run(["nm", "-g", path], capture_output=True, text=True, check=True).stdout
    defined, needed = set(), set()
    for line in out.splitlines():
        kind, name = line.split()[-2:]
        (needed if kind == "U" else defined).add(name)
    return defined, needed


def link_arrows():
    home, needs = {}, []
    for folder, _, names in os.walk(OBJ):
        for name in names:
            if not name.endswith(".o"):
                continue
            path = os.path.relpath(os.path.join(folder, name), OBJ)
            if path.split("/")[0] not in ("applets", "compat", "drivers", "libimg"):
                continue
            source = path[:-2] + ".c"
            if not os.path.exists(os.path.join(ROOT, source)):
                continue
            defined, needed = symbols(os.path.join(OBJ, path))
            home.update({symbol: source for symbol in defined})
            needs.append((source, needed))
    if not home:
        print(f"not ok - no object files in {OBJ}: run make first")
        sys.exit(1)
    for source, needed in needs:
        for symbol in sorted(needed & home.keys()):
            yield source, home[symbol], symbol


def forbidden(source, target):
    here, there = room_of(source), room_of(target)
    if driver_of(source) and driver_of(target):
        return driver_of(source) != driver_of(target)
    return here != there and there not in MAY_USE[here]


# Words that are more than the name of a driver: of options, of the encoding of a secret.
WORDS = {"file", "compress", "throttle"}
MEANT_OTHERWISE = {("applets/object.c", "raw")}


def named_drivers():
    """Names of drivers as texts in applets, which ask what a driver can do instead."""
    names = set()
    for path in sources():
        if driver_of(path):
            for name in re.findall(r"^const struct img_driver img_driver_(\w+) = {",
                                   open(os.path.join(ROOT, path), encoding="utf-8").read(), re.M):
                names |= {name, name.replace("_", "-")}
    if not {"raw", "qcow2"} <= names:
        yield "the names of the drivers were not found"
    for path in sources():
        if room_of(path) != "applets":
            continue
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
        for name in sorted(set(re.findall(r'"([^"\n]+)"', text)) & (names - WORDS)):
            if (path, name) not in MEANT_OTHERWISE:
                yield f"{path} names the driver {name}"


def forbidden_include(source, target):
    here, there = room_of(source), room_of(target)
    if here == "applets":
        return there not in APPLETS_INCLUDE
    if target in PUBLIC:
        return False
    return forbidden(source, target) or (there in PRIVATE and here != there)


def report(rule, broken):
    print(f"{'not ok' if broken else 'ok'} - {rule}")
    for line in sorted(broken):
        print(f"#   {line}")
    return bool(broken)


def main():
    includes = {f"{a} includes {b}" for a, b in include_arrows() if forbidden_include(a, b)}
    failed = report("no include runs back", includes)
    failed |= report("no call runs back", {f"{a} -> {b}: {s}" for a, b, s in link_arrows() if forbidden(a, b)})
    failed |= report("no applet names a driver", set(named_drivers()))
    return 1 if failed else 0


sys.exit(main())
