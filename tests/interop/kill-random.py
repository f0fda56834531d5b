#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of a convert: the reference tool's check may find leaks, no corruption.

Half of the cases convert into a new qcow2 with random options; a new file may be cut before its
header stands, then there is nothing to check.  The others write with -n over an existing
qcow2 that holds data, some of them over a backing file.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import PEER, PEER_IO, each, run  # noqa: E402
from killcase import MEGA, kill, mixed_source, ways_to_copy  # noqa: E402

SIZE = 48 * MEGA
NEW = [[], ['-o', 'cluster_size=4k'], ['-o', 'cluster_size=512'], ['-o', 'cluster_size=2M'],
       ['-o', 'refcount_bits=1'], ['-o', 'lazy_refcounts=on'], ['-o', 'extended_l2=on,cluster_size=16k'],
       ['-o', 'compat=0.10'], ['-o', 'preallocation=metadata'], ['-c'], ['-c', '-o', 'compression_type=zstd'],
       ['-c', '-o', 'cluster_size=4k'], ['-o', 'cluster_size=1k,refcount_bits=64']]
OLD = ['cluster_size=4k', 'cluster_size=512', 'cluster_size=64k', 'cluster_size=2M', 'lazy_refcounts=on',
       'extended_l2=on,cluster_size=16k', 'compat=0.10', 'refcount_bits=1', 'cluster_size=4k,refcount_bits=64']


def target(folder, rng):
    """An existing qcow2 with data in it; the words that describe it."""
    words = ['-o', rng.choice(OLD)]
    backed = rng.random() < 0.4
    if backed:
        run(PEER, ['create', '-q', '-f', 'qcow2', 'base.img', str(SIZE)], folder)
        run(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 9 1M {8 * MEGA}', 'base.img'], folder)
        words += ['-b', 'base.img', '-F', 'qcow2']
    run(PEER, ['create', '-q', '-f', 'qcow2'] + words + ['t.img', str(SIZE)], folder)
    steps = []
    for _ in range(rng.randrange(0, 12)):
        at = rng.randrange(0, SIZE - 2 * MEGA) // 512 * 512
        steps += ['-c', f"{rng.choice(['write -P 7', 'write -P 8', 'write -z', 'discard'])} {at} "
                        f"{512 * rng.randrange(1, 3000)}"]
    if rng.random() < 0.3:
        steps += ['-c', f'write -c -P 5 {32 * MEGA} {2 * MEGA}']
    if steps:
        run(PEER_IO, ['-f', 'qcow2'] + steps + ['t.img'], folder)
    if rng.random() < 0.2:
        run(PEER, ['snapshot', '-c', 's', 't.img'], folder)
    return words


def one(seed, folder, span):
    rng = random.Random(seed)
    new = rng.random() < 0.5
    path = os.path.join(folder, 't.img')
    mixed_source(os.path.join(folder, 'source'), SIZE)
    words = ['convert', '-f', 'raw', '-O', 'qcow2']
    words += rng.choice(NEW) if new else ['-n'] + rng.choice([[], [], ['-c'], ['-S', '0']])
    words += ways_to_copy(rng) + ['source', 't.img']
    made, moment = kill(words, folder, rng, span, lambda: [] if new else target(folder, random.Random(seed)))
    title = f"{' '.join(made + ['|'] if made else [])} {' '.join(words)} {moment}"
    problems = []
    if os.path.exists(path) and (made or os.path.getsize(path) >= 104 and is_qcow2(path)):
        result = run(PEER, ['check', '-f', 'qcow2', 't.img'], folder)
        # 3: leaks.  An image with lazy refcounts is repaired when it is opened, that is what the bit is for.
        if result.code not in (0, 3) and not ('lazy' in title and repaired(folder)):
            problems.append(f'check: exit {result.code}\n  {result.out[:600]}\n  {result.err[:600]}')
    return title, problems


def is_qcow2(path):
    with open(path, 'rb') as file:
        return file.read(4) == b'QFI\xfb'


def repaired(folder):
    run(PEER_IO, ['-f', 'qcow2', '-c', 'write 0 0', 't.img'], folder)
    return run(PEER, ['check', '-f', 'qcow2', 't.img'], folder).code in (0, 3)


if __name__ == '__main__':
    each('kill-random', 30, one, [0.2])
