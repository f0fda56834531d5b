#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images of every format and subformat, cut at random places: a reader fails, or reads the right content.

check must not find such an image sound if something is missing.  One cut cannot be seen: in the last cluster of a qcow2
file, at the end of a sector; what is missing there reads as zeroes.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, each, must, run  # noqa: E402

MEGA = 1 << 20
# format, options of convert, the file to cut
KINDS = [('qcow2', ['-o', 'cluster_size=512'], 't'), ('qcow2', [], 't'), ('qcow2', ['-c'], 't'),
         ('qcow2', ['-c', '-o', 'compression_type=zstd,cluster_size=4k'], 't'), ('qcow2', ['-o', 'extended_l2=on'], 't'),
         ('qcow2', ['-o', 'compat=0.10'], 't'), ('qcow2', ['-o', 'preallocation=full'], 't'),
         ('qcow2', ['-o', 'data_file=d.raw'], 'd.raw'), ('qcow2', ['-o', 'data_file=d.raw,data_file_raw=on'], 'd.raw'),
         ('qcow', [], 't'), ('qcow', ['-c'], 't'), ('qed', [], 't'), ('qed', ['-o', 'cluster_size=4k'], 't'),
         ('vdi', [], 't'), ('vdi', ['-o', 'static=on'], 't'), ('parallels', [], 't'),
         ('parallels', ['-o', 'cluster_size=65536'], 't'), ('vhdx', [], 't'), ('vhdx', ['-o', 'subformat=fixed'], 't'),
         ('vpc', [], 't'), ('vpc', ['-o', 'subformat=fixed,force_size=on'], 't'), ('vmdk', [], 't'),
         ('vmdk', ['-o', 'subformat=streamOptimized'], 't'), ('vmdk', ['-o', 'subformat=monolithicFlat'], 't-flat.vmdk'),
         ('vmdk', ['-o', 'subformat=twoGbMaxExtentSparse'], 't-s001.vmdk'),
         ('vmdk', ['-o', 'subformat=twoGbMaxExtentFlat'], 't-f001.vmdk')]


def make_disk(path, rng):
    size = rng.choice([rng.randrange(1, 12) * MEGA, rng.randrange(1, 20000) * 512])
    with open(path, 'wb') as file:
        for _ in range(rng.randrange(1, 12)):
            length = min(rng.choice([512, 5000, 65536, 300000]), size)
            start = rng.randrange(0, size - length + 1)
            file.seek(start - start % rng.choice([1, 512, 65536]))
            file.write(rng.randbytes(length) if rng.random() < 0.7 else rng.randbytes(64) * (length // 64))
        file.truncate(size)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def unseen(kind, options, cut, want, got):
    """Is the difference the zeroes of one cluster that a qcow2 file may end in?"""
    unit = 2 * MEGA if kind != 'qcow2' else 512 if 'cluster_size=512' in options else 65536
    if kind != 'qcow2' or cut % 512 or len(want) != len(got):
        return False
    wrong = [at for at in range(0, len(want), 512) if want[at:at + 512] != got[at:at + 512]]
    return wrong[-1] // unit == wrong[0] // unit and all(not got[at:at + 512].strip(b'\0') for at in wrong)


def one(seed, folder):
    rng = random.Random(seed)
    journal, problems = Journal(), []
    kind, options, name = rng.choice(KINDS)
    make_disk(f'{folder}/disk', rng)
    words = ['convert', '-f', 'raw', '-O', kind] + options + ['disk', 't' if kind != 'vmdk' else 't.vmdk']
    image = words[-1]
    name = image if name == 't' else name
    journal.add('.', IMG, words)
    must(IMG, words, folder)
    want, whole = read(f'{folder}/disk'), os.path.getsize(f'{folder}/{name}')
    want += bytes(-len(want) % 512)
    ranges = [(0, whole), (0, whole), (max(0, whole - 70000), whole), (max(0, whole - 2000), whole)]
    cuts = [rng.randrange(*rng.choice(ranges)) for _ in range(6)]
    for cut in sorted((cut - cut % rng.choice([1, 1, 512, 65536]) for cut in cuts), reverse=True):
        os.truncate(f'{folder}/{name}', cut)
        result = run(IMG, ['convert', '-f', kind, '-O', 'raw', image, 'out'], folder)
        checked = run(IMG, ['check', '-f', kind, image], folder)
        if result.code == 0:
            got = read(f'{folder}/out')
            # (a vpc disk of whole cylinders is larger)
            if got[:len(want)] != want or got[len(want):].strip(b'\0'):
                if not unseen(kind, options, cut, want, got):
                    problems.append(f'cut at {cut} of {whole}: read with exit 0, and the content differs')
        elif result.code != 1 or not result.err:
            problems.append(f'cut at {cut} of {whole}: exit {result.code} {result.err}')
        elif checked.code == 0:
            problems.append(f'cut at {cut} of {whole}: check finds nothing, but convert: {result.err}')
        for words in ['info', '-f', kind, image], ['map', '-f', kind, image]:
            shown = run(IMG, words, folder)
            if shown.code not in (0, 1):
                problems.append(f"{' '.join(words)}: exit {shown.code} {shown.err}")
        if os.path.exists(f'{folder}/out'):
            os.remove(f'{folder}/out')
    return f"{kind} {' '.join(options)}", problems, journal.lines


def main():
    each('truncate-random', 40, one)


if __name__ == '__main__':
    main()
