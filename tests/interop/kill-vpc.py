#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment while a VHD is written: the image opens, and ends in a footer at every moment.

Every sector is the old one or the new one.  Blocks that the table does not name yet are lost, and what they left in
the file does not show when the place is used again.

environment: see lib/harness.py
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, run  # noqa: E402
from killcase import MEGA, KillCase, contents, neither  # noqa: E402
import vpc  # noqa: E402

SIZE = 25 * MEGA + 1536


class Vpc(KillCase):
    form, size, new_options, stride = 'vpc', SIZE, ['-o', 'force_size=on'], 8000

    def old_options(self, rng):
        return f"force_size=on,subformat={'fixed' if rng.random() < 0.2 else 'dynamic'}"

    def complete(self, path):
        """Header and table of a new image have been written."""
        with open(path, 'rb') as file:
            head = file.read(1536)
            if not head.startswith(b'conectix') and os.path.getsize(path) > SIZE:
                file.seek(-512, os.SEEK_END)
                return file.read().startswith(b'conectix')
        return len(head) == 1536 and os.path.getsize(path) >= 1536 + len(vpc.table([0] * (SIZE // vpc.BLOCK + 1))) + 512

    def judge(self, folder, old, new):
        problems = neither(contents(PEER, 'vpc', folder, 't.img'), old, new)
        if not ends_in_footer(os.path.join(folder, 't.img')):
            problems.append('the file does not end in a footer')
        return problems or go_on(folder)


def ends_in_footer(path):
    with open(path, 'rb') as file:
        file.seek(-512, os.SEEK_END)
        return file.read(8) == b'conectix'


def go_on(folder):
    """Use the image: one sector of each block is written, all others stay."""
    with open(os.path.join(folder, 'now.raw'), 'r+b') as file:
        for at in range(0, SIZE, vpc.BLOCK):
            file.seek(at)
            file.write(b'\x77' * 512)
    problems = []
    words = ['bench', '-w', '-f', 'vpc', '-c', str(-(-SIZE // vpc.BLOCK)), '-d', '1', '-s', '512', '-S', str(vpc.BLOCK),
             '--pattern=119', 't.img']
    for tool, command in (IMG, words), (PEER, ['compare', '-f', 'vpc', '-F', 'raw', 't.img', 'now.raw']):
        result = run(tool, command, folder)
        if result.code:
            problems.append(f"after that, {' '.join(command)}: {result.out} {result.err}")
    if not ends_in_footer(os.path.join(folder, 't.img')):
        problems.append('after that, no footer')
    return problems


if __name__ == '__main__':
    each('kill-vpc', 12, Vpc().one, [0.1])
