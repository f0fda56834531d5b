#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random growth of vdi, vpc and vhdx images, which the reference tool cannot resize.

The reference tool made the image and wrote to it.  After each resize it has to read the old content and zeroes behind it,
and to find no error; and it goes on writing to the larger disk.

environment: see lib/harness.py
"""
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, PEER_IO, each, must, run  # noqa: E402

MEGA = 1 << 20
KINDS = [['vdi', ''], ['vdi', ''], ['vdi', 'static=on'], ['vpc', ''], ['vpc', 'force_size=on'], ['vpc', 'subformat=fixed'],
         ['vpc', 'subformat=fixed,force_size=on'], ['vhdx', ''], ['vhdx', 'subformat=fixed'], ['vhdx', 'block_size=1M'],
         ['vhdx', 'block_size=2M,log_size=2M']]


def virtual_size(kind, folder):
    return json.loads(run(PEER, ['info', '--output=json', '-f', kind, 't.img'], folder).out)['virtual-size']


def write(rng, kind, size, folder, journal):
    steps = []
    for _ in range(rng.randrange(1, 6)):
        at = rng.choice([rng.randrange(0, size // 512), max(0, size // 512 - rng.randrange(1, 300))]) * 512
        length = min(rng.choice([512, 4096, 65536, 300032, 2 * MEGA]), size - at)
        steps += ['-c', f'write -P {rng.randrange(1, 255)} {at} {length}']
    journal.add('.', PEER_IO, ['-f', kind] + steps + ['t.img'])
    must(PEER_IO, ['-f', kind] + steps + ['t.img'], folder)


def one(seed, folder):
    rng = random.Random(seed)
    journal, problems = Journal(), []
    kind, options = rng.choice(KINDS)
    size = rng.choice([rng.randrange(1, 200) * 512, rng.randrange(1, 40) * MEGA, rng.randrange(1, 40000) * 512])
    words = ['create', '-q', '-f', kind] + (['-o', options] if options else []) + ['t.img', str(size)]
    journal.add('.', PEER, words)
    must(PEER, words, folder)
    size = virtual_size(kind, folder)
    for _ in range(rng.randrange(1, 4)):
        if size:
            write(rng, kind, size, folder, journal)
        must(PEER, ['convert', '-f', kind, '-O', 'raw', 't.img', 'old'], folder)
        more = rng.choice([512, MEGA, rng.randrange(1, 5000) * 512, rng.randrange(1, 100) * MEGA])
        if 'fixed' not in options and 'static' not in options and rng.random() < 0.3:
            more = rng.choice([1 << 30, 33 << 30, 600 << 30])
        words = ['resize', '-q', '-f', kind, 't.img', f'+{more}']
        journal.add('.', IMG, words)
        result = run(IMG, words, folder)
        if result.code or result.err or result.out:
            problems.append(f'resize: {result.code} {result.out} {result.err}')
            break
        now = virtual_size(kind, folder)
        # (a disk of whole cylinders becomes a little larger)
        if now < size + more or now > size + more and (kind != 'vpc' or 'force' in options):
            problems.append(f'size {now} instead of {size} + {more}')
        if os.path.getsize(f'{folder}/old') < size:
            problems.append('the old disk')
        for tool in PEER, IMG:
            result = run(tool, ['compare', '-f', kind, '-F', 'raw', 't.img', 'old'], folder)
            if result.code:
                problems.append(f'{tool}: compare {result.code} {result.out} {result.err}')
            result = run(tool, ['check', '-f', kind, 't.img'], folder)
            if result.code not in (0, 63):
                problems.append(f'{tool}: check {result.code} {result.out} {result.err}')
        if problems:
            break
        size = now
        # (the reference tool takes long to compare more)
        if size > 40 << 30:
            write(rng, kind, size, folder, journal)
            break
    subprocess.run(['rm', '-f', f'{folder}/old'], check=True)
    return f'{kind} {options} {size}', problems, journal.lines


def main():
    each('grow-random', 4, one)


if __name__ == '__main__':
    main()
