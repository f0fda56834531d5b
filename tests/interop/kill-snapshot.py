#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 in the middle of snapshot -c, -a, -d: no corruption, and nothing between before and after.

Afterwards the reference tool's check finds leaks at worst, the list of snapshots and the disk are those of before
or of after, and the contents of each snapshot are what they were.  Where strace is there, most cases are
killed at a given system call that writes instead of at a given time.

environment: see lib/harness.py
"""
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, killed, run  # noqa: E402

MEGA = 1024 * 1024
SIZE = 24 * MEGA
OPTIONS = ['cluster_size=512', 'cluster_size=1k,refcount_bits=64', 'cluster_size=4k', 'cluster_size=64k',
           'cluster_size=4k,compat=0.10', 'cluster_size=512,compat=0.10', 'cluster_size=4k,lazy_refcounts=on',
           'cluster_size=16k,extended_l2=on', 'cluster_size=4k,refcount_bits=4', 'cluster_size=2k,refcount_bits=2']
WRITES = 'pwrite64,pwritev,ftruncate,fdatasync,fallocate'
STRACE = shutil.which('strace')


def build(folder, rng):
    """An image with two snapshots and changes after each; its options."""
    options = rng.choice(OPTIONS)
    run(PEER, ['create', '-q', '-f', 'qcow2', '-o', options, 't.img', str(SIZE)], folder)
    for name in 'one', 'two', None:
        words = ['-f', 'qcow2']
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(0, SIZE - MEGA) // 512 * 512
            length = 512 * rng.randrange(1, rng.choice([20, 2000, 20000]))
            what = rng.choice(['write -P 1', 'write -P 2', 'write -P 3', 'write -z', 'discard'])
            words += ['-c', f'{what} {at} {min(length, SIZE - at)}']
        if rng.random() < 0.3 and 'refcount_bits=' not in options:
            words += ['-c', f'write -c -P 5 {16 * MEGA} {MEGA}']
        run(PEER_IO, words + ['t.img'], folder)
        if name and 'refcount_bits=2' not in options or name == 'one':
            run(PEER, ['snapshot', '-c', name, 't.img'], folder)
            if rng.random() < 0.3 and 'compat=0.10' not in options:
                run(PEER, ['resize', '-q', 't.img', str(SIZE + MEGA)], folder)
                run(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 9 {SIZE} 64k', 't.img'], folder)
    return options


def digest(folder, snapshot=None):
    """Of what all sizes of the disk have: a snapshot is shown in the size that the disk has now."""
    words = ['convert', '-f', 'qcow2', '-O', 'raw'] + (['-l', snapshot] if snapshot else [])
    result = run(PEER, words + ['t.img', 'out.raw'], folder)
    path = os.path.join(folder, 'out.raw')
    if result.code != 0:
        return result.err
    with open(path, 'rb') as file:
        found = hashlib.sha1(file.read(SIZE)).hexdigest()
    os.unlink(path)
    return found


def names(folder):
    result = run(PEER, ['snapshot', '-l', 't.img'], folder)
    return [line.split()[1] for line in result.out.splitlines()[2:]] if result.code == 0 else [result.err]


def writes(words, folder):
    """The system calls that write, in their order."""
    shutil.copy(os.path.join(folder, 't.img'), os.path.join(folder, 'copy.img'))
    log = os.path.join(folder, 'strace.log')
    subprocess.run([STRACE, '-f', '-o', log, '-e', 'trace=' + WRITES, IMG] + words[:-1] + ['copy.img'], cwd=folder,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    with open(log) as file:
        return re.findall(r'^\d+ +(' + WRITES.replace(',', '|') + r')\(', file.read(), re.M)


def kill_by_call(words, folder, calls, number):
    """Before the call of that number (strace counts those of each name by themselves)."""
    name = calls[number]
    when = calls[:number + 1].count(name)
    done = subprocess.run([STRACE, '-f', '-o', '/dev/null', '-e', 'trace=' + WRITES, '-e',
                           f'inject={name}:signal=KILL:when={when}', IMG] + words, cwd=folder,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode != 0


def one(seed, folder, span):
    rng = random.Random(seed)
    options = build(folder, rng)
    disk, listed = digest(folder), names(folder)
    contents = {name: digest(folder, name) for name in listed}
    letter = rng.choice('cad')
    name = 'new' if letter == 'c' else rng.choice(listed)
    words = ['snapshot', '-' + letter, name, 't.img']
    if STRACE and rng.random() < 0.7:
        calls = writes(words, folder)
        # the short end of a long row of writes is where it is decided
        number = rng.choice([rng.randrange(len(calls)), max(0, len(calls) - 1 - rng.randrange(12))])
        running, how = kill_by_call(words, folder, calls, number), f'call {number} of {len(calls)}'
    else:
        delay = rng.random() * span[0]
        running, how = killed(words, folder, delay), f'{delay:.4f} s'
        span[0] = min(1.0, span[0] * 1.1) if running else max(0.004, span[0] * 0.9)
    title = f"{options} {' '.join(words[:3])} killed at {how}{'' if running else ' (too late)'}"

    problems = []
    check = run(PEER, ['check', '-f', 'qcow2', 't.img'], folder)
    if check.code not in (0, 3):
        problems.append(f'check: exit {check.code}\n  {check.out[:600]}\n  {check.err[:600]}')
    after = {'c': listed + ['new'], 'a': listed, 'd': [other for other in listed if other != name]}[letter]
    found = names(folder)
    if found not in (listed, after):
        problems.append(f'snapshots: {found}')
    if digest(folder) not in ([disk, contents[name]] if letter == 'a' else [disk]):
        problems.append('contents of the disk')
    problems += [f'contents of {other}' for other in found if digest(folder, other) != contents.get(other, disk)]
    if not problems and check.code == 3:
        run(IMG, ['check', '-q', '-r', 'leaks', 't.img'], folder)
        again = run(PEER, ['check', '-f', 'qcow2', 't.img'], folder)
        if again.code != 0:
            problems.append(f'after check -r leaks: {again.out[:300]}{again.err[:300]}')
    return title, problems


def main():
    each('kill-snapshot', 8, one, [0.03])


if __name__ == '__main__':
    main()
