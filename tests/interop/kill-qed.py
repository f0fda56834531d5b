#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of a convert into qed (or qcow): no corruption, each sector old or new.

Half of the cases make a new image; it may be cut before its header stands, then there is nothing to see.  The others
write with -n over an image that holds data, some of them over a backing file.  The reference tool's check may find
lost clusters, no errors; opening for writing (which is what the flag in the header asks for) leaves the contents alone.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, must, run  # noqa: E402
from killcase import MEGA, contents, kill, mixed_source, neither, read, ways_to_copy, write_some  # noqa: E402

SIZE = 40 * MEGA
NEW = [[], ['-o', 'cluster_size=4k,table_size=2'], ['-o', 'cluster_size=4k'], ['-o', 'cluster_size=1M'],
       ['-o', 'table_size=16']]
MAGIC = {'qed': b'QED\0', 'qcow': b'QFI\xfb'}


def target(folder, rng, form):
    """An image with data in it; the words that describe it, and its contents."""
    words = rng.choice(NEW) if form == 'qed' else []
    if rng.random() < 0.4:
        run(PEER, ['create', '-q', '-f', 'qcow2', 'base.img', str(SIZE)], folder)
        run(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 9 1M {8 * MEGA}', 'base.img'], folder)
        words = words + ['-b', 'base.img', '-F', 'qcow2']
    must(PEER, ['create', '-q', '-f', form] + words + ['t.img', str(SIZE)], folder)
    write_some(form, folder, 't.img', SIZE, rng)
    return words, contents(PEER, form, folder, 't.img', 'old.raw')


def judge(folder, form, old, new):
    problems = []
    if form == 'qed':
        result = run(PEER, ['check', '-f', form, 't.img'], folder)
        if result.code not in (0, 3):
            problems.append(f'check: exit {result.code}\n  {result.out[:600]}\n  {result.err[:600]}')
    for step in 'as it was left', 'after opening for writing':
        problems += [f'{step}: {problem}' for problem in neither(contents(PEER, form, folder, 't.img'), old, new)]
        result = run(IMG, ['bench', '-q', '-w', '-f', form, '-c', '1', '-s', '512', '-o', str(SIZE - 512),
                           '--pattern', str(new[-1]), 't.img'], folder)
        if result.code:
            problems.append(f'opening for writing: {result.err}')
    return problems


def one(seed, folder, span):
    rng = random.Random(seed)
    fresh, form = rng.random() < 0.5, rng.choice(['qed', 'qed', 'qcow'])
    path = os.path.join(folder, 't.img')
    mixed_source(os.path.join(folder, 'source'), SIZE)
    words = ['convert', '-f', 'raw', '-O', form]
    words += (rng.choice(NEW) if form == 'qed' else rng.choice([[], ['-c']])) if fresh \
        else ['-n'] + rng.choice([[], [], ['-S', '0']])
    words += ways_to_copy(rng) + ['source', 't.img']
    (made, old), moment = kill(words, folder, rng, span, lambda:
                               ([], bytes(SIZE)) if fresh else target(folder, random.Random(seed), form))
    title = f"{' '.join(made + ['|'] if made else [])} {' '.join(words)} {moment}"
    if not os.path.exists(path) or os.path.getsize(path) < 65536:
        return title, []
    with open(path, 'rb') as file:
        if fresh and file.read(4) != MAGIC[form]:
            return title, []
    return title, judge(folder, form, old, read(folder, 'source'))


if __name__ == '__main__':
    each('kill-qed', 6, one, [0.2])
