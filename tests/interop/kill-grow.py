#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment while a vdi, vpc or vhdx image is made larger.

The disk has the old size or the new one, and its old content with zeroes behind it.  The reference tool's check finds
nothing, or what a vdi may have for a moment: a wrong count, and blocks numbered behind the old end.  Afterwards the same
resize works.

environment: see lib/harness.py
"""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, must, run  # noqa: E402
from killcase import MEGA, kill, write_some  # noqa: E402

KINDS = [('vdi', 'static=off', 40 * MEGA), ('vdi', 'static=on', 128 * MEGA), ('vdi', 'static=off', 128 * MEGA),
         ('vpc', 'force_size=on', 30 * MEGA), ('vpc', 'subformat=fixed,force_size=on', 30 * MEGA),
         ('vhdx', 'subformat=dynamic', 30 * MEGA), ('vhdx', 'subformat=fixed', 30 * MEGA),
         ('vhdx', 'block_size=1M', 30 * MEGA)]


def size_of(kind, folder):
    return json.loads(run(PEER, ['info', '--output=json', '-f', kind, 't.img'], folder).out)['virtual-size']


def judge(kind, fixed, folder, sizes, again):
    problems = []
    # (the reference tool replays a log only when it may write)
    if kind == 'vhdx':
        run(PEER, ['check', '-r', 'all', '-f', kind, 't.img'], folder)
    size = size_of(kind, folder)
    if size not in sizes:
        problems.append(f'size {size}, not one of {sizes}')
    for tool in PEER, IMG:
        result = run(tool, ['compare', '-f', kind, '-F', 'raw', 't.img', 'old.raw'], folder)
        # (between the two writes of a fixed disk the old footer is where the new area begins)
        if kind == 'vpc' and fixed and f'mismatch at offset {sizes[0]}!' in result.out:
            return None
        if result.code:
            problems.append(f'{tool}: compare {result.code} {result.out} {result.err}')
    result = run(PEER, ['check', '-f', kind, 't.img'], folder)
    lines = result.err.strip().split('\n')
    allowed = kind == 'vdi' and not again and all('mismatch' in line or 'too large' in line for line in lines)
    if result.code not in (0, 63) and not allowed:
        problems.append(f'check: {result.code} {result.err}')
    return problems


def one(seed, folder, span):
    rng = random.Random(seed)
    kind, options, size = rng.choice(KINDS)
    new = size + rng.choice([MEGA, 100 * MEGA] + ([] if 'fixed' in options else [200 << 30]))

    def prepare():
        again = random.Random(seed)
        must(PEER, ['create', '-q', '-f', kind, '-o', options, 't.img', str(size)], folder)
        if size == 128 * MEGA:
            must(PEER_IO, ['-f', kind, '-c', f'write -P 9 0 {size}', 't.img'], folder)
        write_some(kind, folder, 't.img', size, again)
        must(PEER, ['convert', '-f', kind, '-O', 'raw', 't.img', 'old.raw'], folder)

    words = ['resize', '-q', '-f', kind, 't.img', str(new)]
    moment = kill(words, folder, rng, span, prepare)[1]
    problems = judge(kind, 'fixed' in options, folder, (size, new), False)
    if problems is None:
        return f'{kind} {options} {moment}: the old footer', []
    if not problems:
        must(IMG, words, folder)
        problems = judge(kind, False, folder, (new,), True)
    return f"{kind} {options} {size} to {new}, {moment}", problems


if __name__ == '__main__':
    each('kill-grow', 7, one, [0.05])
