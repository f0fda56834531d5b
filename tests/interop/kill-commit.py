#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of commit and rebase: the top image reads as before, nothing is corrupt.

environment: see lib/harness.py
"""
import hashlib
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import PEER, PEER_IO, each, killed, run  # noqa: E402

MEGA = 1024 * 1024
SIZE = 32 * MEGA
OPTIONS = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'cluster_size=2M', 'lazy_refcounts=on',
           'extended_l2=on,cluster_size=16k', 'compat=0.10', 'refcount_bits=1', 'cluster_size=4k,refcount_bits=64',
           'data_file=DATA']


def fill(rng, folder, name, fmt):
    steps = []
    for _ in range(rng.randrange(4, 24)):
        at = rng.randrange(0, SIZE - 3 * MEGA) // 512 * 512
        kind = rng.choice(['write -P 7', 'write -P 8', 'write -P 9', 'write -z', 'discard'])
        steps += ['-c', f'{kind} {at} {512 * rng.randrange(1, 6000)}']
    run(PEER_IO, ['-f', fmt] + steps + [name], folder)


def make(rng, folder):
    """A base, a stranger and three images over the base, each with data; what they are made of."""
    made = []
    for number in range(4):
        name, raw = f'i{number}', number == 0 and rng.random() < 0.3
        words = ['create', '-q', '-f', 'raw' if raw else 'qcow2']
        if not raw:
            words += ['-o', rng.choice(OPTIONS).replace('DATA', name + '.data')]
        if number > 1:
            words += ['-b', f'i{number - 1 if number > 2 else 0}', '-F', 'raw' if number == 2 and made[0] else 'qcow2']
        made.append(raw)
        run(PEER, words + [name, str(SIZE - (number == 0) * MEGA)], folder)
        fill(rng, folder, name, 'raw' if raw else 'qcow2')
    if rng.random() < 0.2:
        run(PEER, ['snapshot', '-c', 's', 'i3'], folder)
    return made


def content(folder):
    result = run(PEER, ['convert', '-f', 'qcow2', '-O', 'raw', 'i3', 'content'], folder)
    if result.code != 0:
        return result.err
    with open(os.path.join(folder, 'content'), 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


def command(rng, raw):
    cache = ['-t', rng.choice(['writeback', 'unsafe', 'none'])]
    if rng.random() < 0.6:
        base = rng.choice([[], [], ['-b', 'i0'], ['-d']])
        return ['commit', '-f', 'qcow2'] + cache + base + ['i3']
    backing = rng.choice([['-b', ''], ['-b', 'i1', '-F', 'qcow2'], ['-b', 'i0', '-F', 'raw' if raw else 'qcow2']])
    return ['rebase', '-f', 'qcow2'] + cache + rng.choice([[], [], ['-c']]) + backing + ['i3']


def is_dirty(path):
    with open(path, 'rb') as file:
        header = file.read(80)
    return header[7] == 3 and header[79] & 1


def verdict(folder, name):
    """The check of the reference tool; an image that says it is dirty is repaired by opening it for writing."""
    result = run(PEER, ['check', '-f', 'qcow2', name], folder)
    if result.code not in (0, 3) and is_dirty(os.path.join(folder, name)):
        run(PEER_IO, ['-f', 'qcow2', '-c', 'write 0 0', name], folder)
        result = run(PEER, ['check', '-f', 'qcow2', name], folder)
    return result


def one(seed, folder, span):
    rng = random.Random(seed)
    first = os.path.join(folder, 'first')
    shutil.rmtree(first, ignore_errors=True)
    os.mkdir(first)
    made = make(rng, first)
    words = command(rng, made[0])
    before = content(first)
    delay = rng.random() * span[0]
    work = os.path.join(folder, 'work')
    for _ in range(5):
        shutil.rmtree(work, ignore_errors=True)
        subprocess.run(['cp', '-r', '--sparse=always', first, work], check=True)
        running = killed(words, work, delay)
        span[0] = min(3.0, span[0] * 1.1) if running else max(0.01, span[0] * 0.9)
        if running:
            break
        delay /= 2
    title = f"{' '.join(words)} killed after {delay:.3f} s{'' if running else ' (too late)'}"
    problems = []
    if content(work) != before:
        problems.append('the content of the top image changed')
    for number, raw in enumerate(made):
        result = None if raw else verdict(work, f'i{number}')
        if result and result.code not in (0, 3):
            problems.append(f'i{number}: check: exit {result.code}\n  {result.out[:600]}\n  {result.err[:600]}')
    if content(work) != before:
        problems.append('the content of the top image changed by the repair')
    return title, problems


def main():
    each('kill-commit', 12, one, [0.2])


if __name__ == '__main__':
    main()
