#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random amends by ours and by the reference tool, on two copies of one image.

Compared after each step: messages, exit code, info, the guest's content with that of all snapshots; and the reference tool's check
has to be clean.

environment: see lib/harness.py
"""
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, PEER_IO, each, run  # noqa: E402

MEGA = 1024 * 1024
KINDS = ['', '', 'cluster_size=512', 'cluster_size=1k,refcount_bits=64', 'cluster_size=4k', 'cluster_size=2M',
         'extended_l2=on', 'compat=0.10', 'compat=0.10,cluster_size=1k', 'lazy_refcounts=on', 'refcount_bits=1',
         'refcount_bits=2,cluster_size=4k', 'refcount_bits=32', 'data_file=d.raw', 'data_file=d.raw,data_file_raw=on',
         'preallocation=metadata,cluster_size=4k', 'preallocation=falloc,cluster_size=512', 'compression_type=zstd']
OPTIONS = [['compat=0.10', 'compat=1.1', 'compat=v2', 'compat=v3', 'compat=0.10', 'compat=1.2'],
           ['lazy_refcounts=on', 'lazy_refcounts=off'],
           [f'refcount_bits={bits}' for bits in (1, 2, 4, 8, 16, 16, 16, 16, 32, 64, 3)],
           ['backing_file=base.img', 'backing_fmt=raw', 'backing_file='],
           ['size=1M', 'size=4M', 'size=6000128', 'size=1001', 'size=0', 'size=2T'],
           ['data_file=d.raw', 'data_file=e.raw'], ['data_file_raw=on', 'data_file_raw=off'],
           ['encrypt.iter-time=1', 'encrypt.new-secret=x', 'encrypt.state=active', 'encrypt.keyslot=1'],
           ['cluster_size=4k', 'preallocation=off', 'extended_l2=off', 'foo=1', 'nocow=on']]
WEIGHTS = [40, 15, 40, 2, 20, 3, 5, 2, 3]


def prepare(rng, folder, journal):
    """The image t.img; the words that describe it."""
    options = rng.choice(KINDS)
    size = rng.choice([rng.randrange(1, 32) * 512, rng.randrange(1, 8) * MEGA, rng.randrange(1, 12000) * 512])
    words = ['create', '-q', '-f', 'qcow2'] + (['-o', options] if options else [])

    def do(tool, arguments):
        journal.add('.', tool, arguments)
        return run(tool, arguments, folder)

    def write(count):
        steps = []
        for _ in range(count):
            at = rng.randrange(0, size // 512) * 512
            length = min(rng.choice([512, 4096, 65536, 300000, 2 * MEGA]) // 512 * 512, size - at)
            kind = rng.choice(['write -P 7', 'write -P 8', 'write -z', 'write -z', 'write -z -u', 'discard'])
            steps += ['-c', f'{kind} {at} {length}']
        if steps:
            do(PEER_IO, ['-f', 'qcow2'] + steps + ['t.img'])

    if 'raw' not in options and 'prealloc' not in options and rng.random() < 0.4:
        do(PEER, ['create', '-q', '-f', 'qcow2', 'base.img', str(size)])
        do(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 9 0 {size}', 'base.img'])
        words += ['-b', 'base.img', '-F', 'qcow2']
    do(PEER, words + ['t.img', str(size)])
    write(rng.randrange(0, 6))
    if 'data_file' not in options:
        if size >= 65536 and rng.random() < 0.3:
            do(PEER_IO, ['-f', 'qcow2', '-c', f"write -c -P 5 0 {65536 if '2M' not in options else min(size, 2 * MEGA)}",
                         't.img'])
        for number in range(rng.choice([0, 0, 1, 2, 5])):
            do(PEER, ['snapshot', '-c', f's{number}', 't.img'])
            write(rng.randrange(0, 3))
    return words + [str(size)]


def change(rng, slow):
    # (the reference tool needs seconds for another width with clusters of 64 KiB, minutes with larger ones)
    chosen = [rng.choice(group) for group, weight in zip(OPTIONS, WEIGHTS) if rng.random() * 100 < weight]
    if rng.random() < slow:
        chosen = [option for option in chosen if not option.startswith('refcount_bits')]
    rng.shuffle(chosen)
    words = [] if rng.random() < 0.8 else [rng.choice(['-q', '--force', '-t'])]
    if words == ['-t']:
        words = ['-t', rng.choice(['none', 'unsafe', 'writethrough'])]
    return ['amend', '-f', 'qcow2'] + words + ['-o', ','.join(chosen or ['compat=1.1']), 't.img']


def info(folder):
    result = run(PEER, ['info', '--output=json', '-f', 'qcow2', 't.img'], folder)
    if not result.out:
        return result, {}
    document = json.loads(result.out)
    document.pop('children', None)
    result.out = json.dumps(document, indent=1)
    return result, document


def content(folder, snapshot=None):
    """Of the disk or of one snapshot, by the reference tool."""
    words = ['convert', '-f', 'qcow2', '-O', 'raw'] + (['-l', snapshot] if snapshot else [])
    done = run(PEER, words + ['t.img', 'guest'], folder)
    with open(os.path.join(folder, 'guest'), 'rb') as file:
        return done.code, file.read()


def compare(made, a, b, problems):
    (left, _), (right, document) = info(a), info(b)
    text = left.differs(right)
    if text:
        problems.append(f'info: {text}')
    ours, peer = (run(PEER, ['check', '-f', 'qcow2', 't.img'], folder) for folder in (a, b))
    if ours.code not in (0, peer.code):
        problems.append(f'check: exit {ours.code} {ours.out} {ours.err}')
    if document.get('virtual-size', 0) > 64 * MEGA:
        return
    if document and content(a) != content(b):
        problems.append('contents differ')
    # Snapshots never change.  (Those of the reference tool may: it writes zeroes into clusters that they share.)
    # They are shown with the size that the disk has now.
    for entry in document.get('snapshots', []):
        (_, now), (_, before) = (content(folder, entry['name']) for folder in (a, made))
        length = min(len(now), len(before))
        if now[:length] != before[:length]:
            problems.append(f"contents of {entry['name']} differ from before")


def one(seed, folder):
    rng = random.Random(seed)
    journal, problems = Journal(), []
    made, a, b = (os.path.join(folder, name) for name in ('made', 'ours', 'peer'))
    os.mkdir(made)
    words = prepare(rng, made, journal)
    for copy in a, b:
        subprocess.run(['cp', '-a', '--sparse=always', made, copy], check=True)
    slow = 1 if '=2M' in ' '.join(words) else 0 if 'cluster_size' in ' '.join(words) else 0.8
    for _ in range(rng.randrange(1, 5)):
        arguments = change(rng, slow)
        journal.add('.', IMG, arguments)
        ours, peer = run(IMG, arguments, a), run(PEER, arguments, b)
        text = ours.differs(peer)
        if text:
            problems.append(f"{' '.join(arguments)}: {text}")
        compare(made, a, b, problems)
        if problems:
            break
    return ' '.join(words[2:]), problems, journal.lines


def main():
    each('amend-random', 18, one)


if __name__ == '__main__':
    main()
