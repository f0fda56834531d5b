#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of resize and amend: the image stays sound, the guest's content is that before or after.

The reference tool's check may find leaks, no corruption; the disk and each snapshot read as they did before the command or
as they do when it is let run to its end.

environment: see lib/harness.py
"""
import hashlib
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, killed, run  # noqa: E402

MEGA = 1024 * 1024
SIZE = 24 * MEGA
KINDS = ['cluster_size=512', 'cluster_size=1k', 'cluster_size=4k', 'cluster_size=4k,refcount_bits=64', '',
         'cluster_size=4k,lazy_refcounts=on', 'cluster_size=512,refcount_bits=8', 'cluster_size=1k,refcount_bits=32']
COMMANDS = [['resize', '{}', str(5 * SIZE)], ['resize', '{}', '+512G'], ['resize', '--shrink', '{}', '700k'],
            ['resize', '--shrink', '{}', str(SIZE // 2)], ['resize', '--preallocation', 'metadata', '{}', '+64M'],
            ['resize', '--preallocation', 'falloc', '{}', '+64M'], ['resize', '--preallocation', 'full', '{}', '+64M'],
            ['amend', '-o', 'refcount_bits=16,compat=0.10', '{}'], ['amend', '-o', 'compat=0.10,refcount_bits=16', '{}'],
            ['amend', '-o', 'refcount_bits=4', '{}'], ['amend', '-o', 'refcount_bits=64', '{}'],
            ['amend', '-o', 'refcount_bits=16', '{}'], ['amend', '-o', 'lazy_refcounts=on,refcount_bits=8', '{}']]


def prepare(rng, folder):
    """The image made.img; the words that describe it, and its snapshots."""
    options = rng.choice(KINDS)
    words = ['-o', options] if options else []
    if rng.random() < 0.5:
        run(PEER, ['create', '-q', '-f', 'qcow2', 'base.img', str(8 * SIZE)], folder)
        run(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 9 1M {8 * SIZE - MEGA}', 'base.img'], folder)
        words += ['-b', 'base.img', '-F', 'qcow2']
    run(PEER, ['create', '-q', '-f', 'qcow2'] + words + ['made.img', str(SIZE)], folder)
    snapshots = []
    for number in range(rng.choice([1, 1, 2, 3])):
        steps = []
        for _ in range(rng.randrange(2, 16)):
            at = rng.randrange(0, SIZE - 2 * MEGA) // 512 * 512
            kind = rng.choice(['write -P 7', 'write -P 8', 'write -z', 'write -z -u', 'discard'])
            steps += ['-c', f'{kind} {at} {512 * rng.randrange(1, 3000)}']
        run(PEER_IO, ['-f', 'qcow2'] + steps + ['made.img'], folder)
        if number:
            run(PEER, ['snapshot', '-c', f's{number}', 'made.img'], folder)
            snapshots.append(f's{number}')
    return words, snapshots


def state(folder, name, snapshots):
    """What the guest sees, of the disk and of the snapshots; zeroes at the end count as nothing."""
    seen = []
    for snapshot in [None] + snapshots:
        words = ['convert', '-f', 'qcow2', '-O', 'raw'] + (['-l', snapshot] if snapshot else [])
        done = run(PEER, words + [name, 'guest'], folder)
        digest = hashlib.sha256()
        with open(os.path.join(folder, 'guest'), 'rb') as file:
            # at most the part that can hold something
            digest.update(file.read(12 * SIZE))
        seen.append((done.code, os.path.getsize(os.path.join(folder, 'guest')), digest.hexdigest()))
    return seen


def one(seed, folder):
    rng = random.Random(seed)
    made, snapshots = prepare(rng, folder)
    template = rng.choice(COMMANDS)
    words = [word.format('t.img') for word in template]
    path, after = (os.path.join(folder, name) for name in ('t.img', 'after.img'))

    shutil.copyfile(os.path.join(folder, 'made.img'), after)
    start = time.monotonic()
    done = run(IMG, [word.format('after.img') for word in template], folder)
    span = time.monotonic() - start
    big = '+512G' in words
    allowed = [] if big else [state(folder, name, snapshots) for name in ('made.img', 'after.img')]
    problems, hits, delay = [], 0, rng.random() * span
    for _ in range(6):
        shutil.copyfile(os.path.join(folder, 'made.img'), path)
        running = killed(words, folder, delay)
        delay *= 0.8
        if not running:
            continue
        hits += 1
        result = run(PEER, ['check', '-f', 'qcow2', 't.img'], folder)
        # An image with lazy refcounts is repaired when it is opened; that is what the bit is for.
        if result.code not in (0, 3) and not ('lazy' in ' '.join(made + words) and repaired(folder)):
            problems.append(f'check: exit {result.code}\n  {result.out[:600]}\n  {result.err[:600]}')
        if not big and state(folder, 't.img', snapshots) not in allowed:
            problems.append('content is neither that before nor that after')
        if hits == 2 or problems:
            break
    return f"{' '.join(made)} | {' '.join(words)} killed {hits} times" \
           f"{'' if done.code == 0 else ' (refused)'}", problems


def repaired(folder):
    run(PEER_IO, ['-f', 'qcow2', '-c', 'write 0 0', 't.img'], folder)
    return run(PEER, ['check', '-f', 'qcow2', 't.img'], folder).code in (0, 3)


def main():
    each('kill-amend', 8, one)


if __name__ == '__main__':
    main()
