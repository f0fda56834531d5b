#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment while a parallels image is written: the table comes after the data.

What may be wrong afterwards is that the image was not closed, and bytes behind the last cluster; the repair leaves
nothing.  Every sector is the old one or the new one, before the repair and after it, and the reference tool repairs it
too.

environment: see lib/harness.py
"""
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, run  # noqa: E402
from killcase import MEGA, KillCase, contents, neither  # noqa: E402


class Parallels(KillCase):
    form, size = 'parallels', 40 * MEGA + 1536

    def old_options(self, rng):
        return 'cluster_size=' + rng.choice(['512', '4k', '64k', '256k', '1M', '1M'])

    def complete(self, path):
        """The header of a new image has been written."""
        with open(path, 'rb') as file:
            head = file.read(64)
        return head[:16] == b'WithouFreSpacExt' and os.path.getsize(path) >= 512 * struct.unpack_from('<I', head, 48)[0]

    def judge(self, folder, old, new):
        shutil.copy(os.path.join(folder, 't.img'), os.path.join(folder, 'p.img'))

        def compare(tool, name, when):
            found = contents(tool, 'parallels', folder, name)
            return [f'{when}: {problem}' for problem in neither(found, old, new)]

        problems = compare(IMG, 't.img', 'killed') + check(folder, IMG, 't.img')
        problems += compare(IMG, 't.img', 'repaired')
        return problems + check(folder, PEER, 'p.img') + compare(PEER, 'p.img', 'repaired by qemu-img')


def check(folder, tool, name):
    """What is wrong besides the mark of use and a leak; then the repair."""
    problems = []
    result = run(tool, ['check', '-f', 'parallels', name], folder)
    lines = [line for line in result.err.split('\n') if line]
    if result.code not in (0, 2, 3) or any('not closed' not in line and 'space leaked' not in line for line in lines):
        problems.append(f'check: exit {result.code}\n  {result.err[:600]}')
    run(tool, ['check', '-r', 'all', '-f', 'parallels', name], folder)
    result = run(tool, ['check', '-f', 'parallels', name], folder)
    if result.code:
        problems.append(f'after the repair: exit {result.code}\n  {result.err[:600]}')
    return problems


if __name__ == '__main__':
    each('kill-parallels', 10, Parallels().one, [0.1])
