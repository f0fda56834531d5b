#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment while a VHDX image is written: convert into a new one, over one that holds data, and
bench with flushes, which sends much through the log.

Afterwards, before anything was mended, each sector of the image reads as it did before or as it was to become; what
the reference tool reads once it has replayed the log is the same, and its check and ours are clean.

environment: see lib/harness.py
"""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, must, run  # noqa: E402
from killcase import contents, kill, mixed_source, neither, read, write_some  # noqa: E402
from vhdx import File, MEGA  # noqa: E402

SIZE = 24 * MEGA
NEW = [[], ['-o', 'block_size=1M'], ['-o', 'subformat=fixed'], ['-o', 'block_size=1M,subformat=fixed'],
       ['-o', 'block_size=1M,block_state_zero=off'], ['-o', 'log_size=2M,block_size=2M']]


def target(folder, rng):
    """An image with data, zeroes and gaps; the words that made it, and its contents."""
    words = ['-o', rng.choice(['block_size=1M', 'block_size=1M,subformat=fixed', 'block_size=4M',
                               'block_size=1M,block_state_zero=off'])]
    must(PEER, ['create', '-q', '-f', 'vhdx'] + words + ['t.img', str(SIZE)], folder)
    write_some('vhdx', folder, 't.img', SIZE, rng)
    return words, contents(PEER, 'vhdx', folder, 't.img', 'old.raw')


def judge(folder, old, new):
    subprocess.run(['cp', '--sparse=always', 't.img', 'p.img'], cwd=folder, check=True)
    got = contents(IMG, 'vhdx', folder, 't.img')
    problems = neither(got, old, new)
    if isinstance(got, str):
        return problems
    for tool, name in (PEER, 'p.img'), (IMG, 't.img'):
        for words in ['check', '-r', 'all'], ['check']:
            result = run(tool, words + ['-f', 'vhdx', name], folder)
            if result.code:
                problems.append(f'{name}: {words}: exit {result.code}: {result.out}{result.err}')
    for who, tool, name in ('mended by qemu-img', PEER, 'p.img'), ('mended by us', IMG, 't.img'), \
            ('mended by us, in qemu-img', PEER, 't.img'):
        if contents(tool, 'vhdx', folder, name) != got:
            problems.append(f'{who}: not the same contents as before')
    return problems


def one(seed, folder, span):
    rng = random.Random(seed)
    kind = rng.choice(['new', 'over', 'over', 'bench', 'bench', 'bench'])
    path = os.path.join(folder, 't.img')
    mixed_source(os.path.join(folder, 'source'), SIZE)
    new = read(folder, 'source')
    if kind == 'bench':
        words = ['bench', '-w', '-f', 'vhdx', '--pattern=165', '--flush-interval=1', '-d', '1', '-c', '40',
                 '-s', '64k', '-S', rng.choice(['640k', '1M', '1472k'])] + ['t.img']
        new = b'\xa5' * SIZE
    else:
        words = ['convert', '-f', 'raw', '-O', 'vhdx'] + (rng.choice(NEW) if kind == 'new' else ['-n'])
        words += rng.choice([[], ['-t', 'none'], ['-W'], ['-m', '1'], ['-S', '0']]) + ['source', 't.img']
    (made, old), moment = kill(words, folder, rng, span[kind], lambda:
                               ([], bytes(SIZE)) if kind == 'new' else target(folder, random.Random(seed)))
    title = f"{' '.join(made + ['|'] if made else [])} {' '.join(words)} {moment}"
    # a new one that has no signature yet is no image
    if not os.path.exists(path):
        return title + ' (nothing there yet)', []
    with File(path) as image:
        if image.read(0, 8) != b'vhdxfile':
            return title + ' (nothing there yet)', []
        current = image.current()
        if current is not None and any(image.header(current)['log_id']):
            title += ' (log in use)'
    return title, judge(folder, old, new)


if __name__ == '__main__':
    each('kill-vhdx', 6, one, {'new': [0.2], 'over': [0.2], 'bench': [0.2]})
