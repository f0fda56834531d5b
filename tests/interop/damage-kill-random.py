#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 in the middle of check -r all: nothing gets lost, and a second repair ends as well as the first would have.

A damaged image is repaired once without disturbance, to know what comes out and how many times the file is written
to.  Then the same repair is killed at one of these writes (with strace; where there is none,
after a random time).  What a guest and the snapshots read must be what they read before the repair or after it;
and check -r all on what is left must end with the exit code and the contents of the undisturbed one.

environment: see lib/harness.py
"""
import os
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from damage import DAMAGES, Image, Skip  # noqa: E402
from harness import cases, Folder, guest_bytes, IMG, killed, make_qcow2, PEER, Result, run  # noqa: E402

Result.may_be_truncated = True

NAME = 'image.qcow2'
CALLS = 'pwrite64,ftruncate,fallocate,fdatasync'
WRITES = ['write -P 1 0 300k', 'write -P 2 400k 130k', 'write -z 560k 16k', 'write -P 3 700k 4k']
SNAPSHOTS = ['one', 'two']
BASES = ['cluster_size=512', 'cluster_size=512,refcount_bits=1', 'cluster_size=1k,refcount_bits=8',
         'cluster_size=4k', 'cluster_size=4k,lazy_refcounts=on', 'cluster_size=64k', 'compat=0.10',
         'cluster_size=16k,extended_l2=on']
REPAIR = ['check', '-q', '-r', 'all', NAME]


def make(options, folder):
    steps = []
    for index, write in enumerate(WRITES):
        steps.append(write)
        if index < len(SNAPSHOTS) and 'refcount_bits=1' not in options:
            steps.append('snapshot ' + SNAPSHOTS[index])
    return make_qcow2(folder, NAME, options, '1M', steps)


def damaged(rng, bases):
    while True:
        options = rng.choice(BASES)
        image, names = Image(bases(options)), []
        try:
            for _ in range(rng.randrange(1, 4)):
                _, name, function = rng.choice(DAMAGES)
                function(rng, image)
                names.append(name)
        except Skip:
            continue
        return f'{options}: {", ".join(names)}', bytes(image.data)


def store(folder, data):
    with open(os.path.join(folder, NAME), 'wb') as file:
        file.write(data)


def contents(folder):
    """What the disk and the snapshots read as; None where that fails."""
    found = []
    for snapshot in [None] + SNAPSHOTS:
        words = ['-l', 'snapshot.name=' + snapshot] if snapshot else []
        found.append(guest_bytes(PEER, ['-q', '-U', '-f', 'qcow2'] + words + [NAME], folder)[0])
    return found


def count_writes(folder):
    """How many calls of the repair change the file; None without strace."""
    if not shutil.which('strace'):
        return None
    subprocess.run(['strace', '-f', '-o', 'trace', '-e', 'trace=' + CALLS, IMG] + REPAIR, cwd=folder, check=False,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(folder, 'trace'), encoding='utf-8', errors='replace') as file:
        return len(re.findall(r'^\d+ +\w+\(', file.read(), re.M))


def kill_at(folder, rng, writes, span):
    """One repair that does not come to its end; a word on where it was killed."""
    if writes:
        # The calls are counted one kind after the other; so it is some write, seldom the same number.
        number = rng.randrange(1, writes + 1)
        subprocess.run(['strace', '-f', '-o', '/dev/null', '-e', 'trace=' + CALLS,
                        '-e', f'inject={CALLS}:signal=KILL:when={number}', IMG] + REPAIR, cwd=folder, check=False,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return f'write {number} of {writes}'
    delay = rng.random() * span
    killed(REPAIR, folder, delay)
    return f'{delay:.4f} s'


def one(seed, folder, bases):
    rng = random.Random(seed)
    title, image = damaged(rng, bases)
    store(folder, image)
    before = contents(folder)
    start = time.time()
    whole = run(IMG, REPAIR, folder)
    span = time.time() - start
    after = contents(folder)
    store(folder, image)
    writes = count_writes(folder)
    problems = []
    store(folder, image)
    where = kill_at(folder, rng, writes, span)
    for name, now, old, new in zip(['disk'] + SNAPSHOTS, contents(folder), before, after):
        if old is not None and now not in (old, new):
            problems.append(f'{name} reads something else after the kill')
    again = run(IMG, REPAIR, folder)
    if again.code != whole.code and again.code not in (0, 3):
        problems.append(f'second repair: exit {again.code}, undisturbed {whole.code}\n  {again.err[:600]}')
    for name, now, new in zip(['disk'] + SNAPSHOTS, contents(folder), after):
        if new is not None and now != new:
            problems.append(f'{name} reads something else after the second repair')
    return f'seed {seed}, {title}, killed at {where}', problems


def main():
    seeds, tap = cases('damage-kill-random', 15)
    made = {}
    with Folder('damage-kill') as folder:
        def bases(options):
            if options not in made:
                made[options] = make(options, folder.path)
            return made[options]

        for seed in seeds:
            title, problems = one(seed, folder.path, bases)
            tap.result(title, problems)
    tap.end()


if __name__ == '__main__':
    main()
