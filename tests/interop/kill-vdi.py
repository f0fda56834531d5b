#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment while a VDI is written: data come before the block map, the map after the count.

The image opens; every sector is the old one or the new one; and the reference tool's check finds nothing, or that the
header counts a block which no entry names yet, which is what its own order of writing leaves.

environment: see lib/harness.py
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import PEER, each, run  # noqa: E402
from killcase import MEGA, KillCase, contents, neither  # noqa: E402


class Vdi(KillCase):
    form, size = 'vdi', 40 * MEGA + 1536

    def old_options(self, rng):
        return f"static={'on' if rng.random() < 0.2 else 'off'}"

    def complete(self, path):
        """Header and block map of a new image have been written."""
        with open(path, 'rb') as file:
            head = file.read(512)
        if len(head) < 512 or head[0x40:0x44] != b'\x7f\x10\xda\xbe':
            return False
        return os.path.getsize(path) >= int.from_bytes(head[0x158:0x15c], 'little')

    def judge(self, folder, old, new):
        return check(folder) + neither(contents(PEER, 'vdi', folder, 't.img'), old, new)


def check(folder):
    result = run(PEER, ['check', '-f', 'vdi', 't.img'], folder)
    lines = result.err.strip().split('\n')
    if result.code == 0:
        return []
    counted = re.fullmatch(r'ERROR: allocated blocks mismatch, is (\d+), should be (\d+)', lines[0])
    if result.code == 2 and len(lines) == 1 and counted and int(counted[1]) < int(counted[2]):
        return []
    return [f'check: exit {result.code}\n  {result.err[:600]}']


if __name__ == '__main__':
    each('kill-vdi', 20, Vdi().one, [0.1])
