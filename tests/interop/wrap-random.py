#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compressed files and archives around images, at random: what is read through them is what the image holds.

The image is raw or of a format that the reference tool makes.  The compressors are those that are installed and
Python's, with random levels, blocks, members, frames and streams; sometimes several around each other.  Damaged files
end with an error or, where nothing that counts was hit, with the right bytes.

environment: see lib/harness.py
"""
import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, must, read, run, write  # noqa: E402
import wrap  # noqa: E402
from images import some_disk  # noqa: E402

FORMATS = [('raw', ''), ('raw', ''), ('qcow2', ''), ('qcow2', 'cluster_size=4k'), ('vmdk', ''),
           ('vmdk', 'subformat=streamOptimized'), ('vdi', ''), ('vhdx', ''), ('vpc', 'force_size=on'), ('qed', ''),
           ('parallels', '')]


def through(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def pieces(rng, data, most):
    """Random parts of the data, each perhaps empty."""
    count = rng.randrange(1, most)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(count - 1))
    return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]


def as_gzip(rng, data):
    kind = rng.randrange(5)
    if kind == 0:
        return gzip.compress(data, rng.randrange(0, 10)), 'gzip of python'
    if kind == 1:
        return wrap.bgzf(data, rng.choice([100, 4096, 65280, 65280]), rng.randrange(1, 10), rng.random() < 0.8), 'bgzf'
    if kind == 2:
        return b''.join(wrap.member(part, rng.randrange(0, 10), rng.choice([None, 5000, 200000]),
                                    rng.choice([None, b'', b'AB\2\0xx']), rng.choice([None, b'name']))
                        for part in pieces(rng, data, 6)), 'members'
    if kind == 3 and shutil.which('pigz'):
        return through(['pigz', '-c', '-b', '128', '-p', '4'], data), 'pigz'
    return through(['gzip', '-c', f'-{rng.randrange(1, 10)}'], data) + bytes(rng.choice([0, 0, 700])), 'gzip'


def as_xz(rng, data):
    check = rng.choice(['none', 'crc32', 'crc64', 'sha256'])
    block = rng.choice([0, 4096, 100000, 1 << 20, 3 << 20])
    streams = [through(['xz', '-c', f'-{rng.randrange(0, 4)}', '-T', rng.choice('012'), '-C', check] +
                       ([f'--block-size={block}'] if block else []), part) for part in pieces(rng, data, 4)]
    if rng.random() < 0.3:
        streams.append(lzma.compress(b'', check=lzma.CHECK_CRC64))
    return b''.join(stream + bytes(4 * rng.randrange(0, 3)) for stream in streams), f'xz in blocks of {block}'


def as_zstd(rng, data):
    level = f'-{rng.randrange(1, 8)}'
    size = rng.choice([5000, 300000, 3000000, 20000000])
    kind = rng.randrange(4)
    if kind == 0:
        return wrap.seekable(data, max(size, len(data) // 100 + 1), level, sums=rng.random() < 0.5), 'seekable zstd'
    if kind == 1 and shutil.which('pzstd'):
        return through(['pzstd', '-q', '-c', '-p', '4', level], data), 'pzstd'
    options = [level] + rng.choice([[], ['--no-check'], ['--long=27']])
    return wrap.zstd_frames(data, max(size, len(data) // 100 + 1), *options, sized=rng.random() < 0.5), 'zstd'


def as_bzip2(rng, data):
    level = rng.randrange(1, 10)
    if rng.random() < 0.5:
        return b''.join(bz2.compress(part, level) for part in pieces(rng, data, 8)), 'bzip2 streams'
    return through(['bzip2', '-c', f'-{level}'], data), 'bzip2'


def as_tar(rng, data):
    file = io.BytesIO()
    name = rng.choice(['disk.raw', 'a/b/disk.img', 'n' * 120 + '/disk.qcow2', 'disk.raw'])
    with tarfile.open(fileobj=file, mode='w', format=rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT,
                                                                 tarfile.PAX_FORMAT])) as archive:
        for index in range(rng.randrange(0, 4)):
            other = tarfile.TarInfo(f'text{index}.ovf')
            other.size = rng.randrange(0, 2000)
            archive.addfile(other, io.BytesIO(b'<' * other.size))
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue(), 'tar'


KINDS = [as_gzip, as_xz, as_bzip2, as_tar] + ([as_zstd] if wrap.has_zstd() else [])


def compare(rng, folder, want, name):
    """Read it in several ways."""
    problems = []
    more = rng.choice([[], ['-m', '1'], ['-m', '16', '-W'], ['-S', '0'], ['-t', 'none']])
    result = run(IMG, ['convert', '-O', 'raw'] + more + [name, 'back'], folder)
    if result.code or read(os.path.join(folder, 'back')) != want:
        problems.append(f'convert {more}: {result.code} {result.err or "contents differ"}')
    result = run(IMG, ['compare', name, 'want'], folder)
    if result.code:
        problems.append(f'compare: {result.out}{result.err}')
    for _ in range(3):
        start = rng.randrange(0, len(want) // 512)
        count = rng.randrange(1, 4000)
        result = run(IMG, ['dd', '-O', 'raw', f'if={name}', 'of=part', 'bs=512', f'skip={start}',
                           f'count={start + count}'], folder)
        part = read(os.path.join(folder, 'part')) if result.code == 0 else b''
        if part != want[start * 512:(start + count) * 512]:
            problems.append(f'dd from {start}, {count}: {result.code} {result.err or "contents differ"}')
    return problems


def damage(rng, folder, made, want):
    """A bit, or the end: the right bytes or an error, and never a crash."""
    bad = bytearray(made)
    if rng.random() < 0.5:
        bad[rng.randrange(6, len(bad))] ^= 1 << rng.randrange(8)
    else:
        del bad[rng.randrange(6, len(bad)):]
    write(os.path.join(folder, 'bad'), bytes(bad))
    result = run(IMG, ['convert', '-O', 'raw', 'bad', 'back'], folder, timeout=120)
    if result.code not in (0, 1):
        return [f'damaged: exit code {result.code} {result.err}']
    return []


def one(seed, folder):
    rng = random.Random(seed)
    form, options = rng.choice(FORMATS)
    size = rng.choice([512, 4096, 1 << 20, rng.randrange(1, 30000) * 512, rng.randrange(1, 60000) * 512])
    want = some_disk(rng, size, 2 << 20)
    want += bytes(-len(want) % 512)
    write(os.path.join(folder, 'want'), want)
    image = 'want'
    if form != 'raw':
        more = ['-o', options] if options else []
        must(PEER, ['convert', '-f', 'raw', '-O', form] + more + ['want', 'image'], folder)
        must(PEER, ['convert', '-f', form, '-O', 'raw', 'image', 'want'], folder)
        image, want = 'image', read(os.path.join(folder, 'want'))
    made, titles = read(os.path.join(folder, image)), []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        made, title = rng.choice(KINDS)(rng, made)
        titles.append(title)
    write(os.path.join(folder, 'wrapped'), made)
    problems = compare(rng, folder, want, 'wrapped')
    problems += damage(rng, folder, made, want)
    return f'{form} of {len(want)} in {", ".join(titles)}', problems


if __name__ == '__main__':
    each('wrap', 14, one)
