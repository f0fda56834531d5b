#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Apple disk images against the reference tool, at random: chunks of all kinds, partitions, both places for tables,
sound and damaged.  What the reference tool does not decode is compared with what was put in, and with other readers.

environment: see lib/harness.py
"""
import os
import random
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, read, Result, run, SEVEN_ZIP, write  # noqa: E402
import dmg  # noqa: E402
from images import some_disk  # noqa: E402
import lzfse  # noqa: E402

Result.may_be_truncated = True

LARGE = 64 << 20
VIEWS = [['info', '-f', 'dmg', 'x'], ['info', '-f', 'dmg', '--output=json', 'x'], ['map', '-f', 'dmg', 'x'],
         ['map', '-f', 'dmg', '--output=json', 'x'], ['check', '-f', 'dmg', 'x'],
         ['measure', '-f', 'dmg', '-O', 'qcow2', 'x'], ['resize', '-f', 'dmg', 'x', '1M'],
         ['convert', '-f', 'dmg', '-O', 'dmg', 'x', 'y'], ['snapshot', '-l', '-f', 'dmg', 'x']]
PEERS = [dmg.ZLIB, dmg.ZLIB, dmg.ZLIB, dmg.RAW]
OURS = [dmg.ZLIB, dmg.RAW, dmg.ADC, dmg.BZIP2, dmg.LZFSE, dmg.XZ]


def encode(rng, kind, plain):
    if kind != dmg.LZFSE:
        return dmg.encode(kind, plain)
    return lzfse.encode(plain, rng.choice(['bvx-', 'bvxn', 'bvx1', 'bvx2', 'bvx2']))


def make(rng, disk, kinds):
    """Data fork and tables of a disk: partitions, chunks of different lengths, comments, gaps in the data fork."""
    data, tables = bytearray(rng.randbytes(rng.choice([0, 0, 77]))), []
    total = len(disk) // 512
    cuts = sorted({0, total, *(rng.randrange(total + 1) for _ in range(rng.choice([0, 0, 1, 4])))})
    most = rng.choice([1, 8, 64, 512, 2048])
    shift = rng.choice([0, 0, 0, len(data)])
    for first, last in zip(cuts, cuts[1:]):
        chunks, sector = [], first
        while sector < last:
            count = min(rng.choice([most, rng.randrange(1, most + 1)]), last - sector)
            plain = disk[sector * 512:(sector + count) * 512]
            kind = rng.choice(kinds)
            if not any(plain) and rng.random() < 0.8:
                kind = rng.choice([dmg.ZERO, dmg.IGNORE])
            coded = b'' if kind in (dmg.ZERO, dmg.IGNORE) else encode(rng, kind, plain)
            chunks.append((kind, sector - first, count, len(data) - shift, len(coded)))
            if rng.random() < 0.1:
                chunks.append((dmg.COMMENT, 0, 0, len(data) - shift, 0))
            data += coded + rng.randbytes(rng.choice([0, 0, 0, 5]))
            sector += count
        chunks.append((dmg.END, last - first, 0, len(data), 0))
        tables.append(dmg.mish(chunks, first, data_offset=shift))
    return bytes(data), tables, total


def damaged(rng, data, tables, total, how):
    """One field of a table or of the trailer, a byte of the data, or the end of the file."""
    kind = rng.choice(['entry', 'entry', 'head', 'koly', 'data', 'text', 'cut'])
    number = rng.choice([0, 1, 2, 511, 1 << 17, (1 << 17) + 1, 1 << 26, (1 << 26) + 1, 1 << 40, (1 << 63) + 1,
                         (1 << 64) - 1, rng.randrange(1 << 16)])
    table = bytearray(tables[0])
    if kind == 'entry' and len(table) > 244:
        at = 204 + 40 * rng.randrange((len(table) - 204) // 40) + rng.choice([16, 24, 32])
        table[at:at + 8] = struct.pack('>Q', number)
    elif kind == 'head':
        table[rng.randrange(204)] = rng.randrange(256)
    tables = [bytes(table)] + tables[1:]
    if kind == 'data' and data:
        data = bytearray(data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    made = bytearray(dmg.image(bytes(data), tables, how, total))
    if kind == 'koly':
        at = len(made) - 512 + rng.choice([24, 40, 48, 216, 224])
        made[at:at + 8] = struct.pack('>Q', number)
    elif kind == 'text':
        at = rng.randrange(len(data), len(made) - 512)
        made[at] = rng.choice([0, 60, 61, rng.randrange(256)])
    elif kind == 'cut':
        del made[rng.randrange(max(0, len(made) - 1500), len(made)):]
    return bytes(made), f'{kind} {number}'


def one(seed, folder):
    rng = random.Random(seed)
    kinds = rng.choice([PEERS, PEERS, OURS, [rng.choice(OURS)]])
    disk = some_disk(rng, 512 * rng.choice([1, 7, rng.randrange(1, 300), rng.randrange(1, 3000)]), 60000)
    how = rng.choice(['xml', 'xml', 'rsrc'])
    data, tables, total = make(rng, disk, kinds)
    harm = ''
    if kinds is PEERS and rng.random() < 0.6:
        made, harm = damaged(rng, data, tables, total, how)
    else:
        # (the reference tool does not read an image whose trailer counts no sectors)
        made = dmg.image(data, tables, how, 0 if kinds is not PEERS and rng.random() < 0.3 else total)
        if rng.random() < 0.3:
            made += bytes(-len(made) % 512)
    write(os.path.join(folder, 'x'), made)
    title = f'{len(disk)} bytes, {len(tables)} tables ({how}), {"peer" if kinds is PEERS else "any"} kinds {harm}'
    if kinds is not PEERS:
        return title, contents(rng, folder, disk) + others(rng, folder, disk, kinds, how)
    problems = compare_views(rng, folder, total, harm)
    if not problems:
        problems = compare_contents(rng, folder, harm)
    return title, problems


def compare_views(rng, folder, total, harm):
    problems = []
    views = VIEWS + [['dd', '-f', 'dmg', '-O', 'raw', 'if=x', 'of=part', 'bs=700', f'skip={rng.randrange(total)}',
                      'count=3000']]
    for words in views:
        results = []
        for tool in IMG, PEER:
            result = run(tool, words, folder)
            part = os.path.join(folder, 'part')
            results.append((result, read(part) if result.code == 0 and os.path.exists(part) else None))
        (ours, content), (peers, peers_content) = results
        if peers.code < 0 and ours.code in (0, 1):
            continue
        # What is read where damaged tables contradict each other is chance.
        if harm and 'dd' in words and 'Input/output' in ours.err + peers.err:
            continue
        if ours.differs(peers) or content != peers_content:
            problems.append(f'{" ".join(words)}\n  {ours.differs(peers) or "contents"}')
    return problems


def compare_contents(rng, folder, harm):
    info = run(IMG, ['info', '-f', 'dmg', '--output=json', 'x'], folder)
    if info.code or int(info.out.split('"virtual-size": ')[-1].split(',')[0]) > LARGE:
        return []
    more = rng.choice([[], ['-m', '1'], ['-m', '8', '-W'], ['-t', 'none', '-T', 'none']])
    ours = run(IMG, ['convert', '-f', 'dmg', '-O', 'raw'] + more + ['x', 'a'], folder)
    peers = run(PEER, ['convert', '-f', 'dmg', '-O', 'raw', 'x', 'b'], folder)
    if peers.code < 0 and ours.code in (0, 1):
        return []
    if ours.code != peers.code:
        # Damaged tables may be out of order, which is put right here, or contradict each other.
        return [] if harm and 'Input/output' in ours.err + peers.err else ['convert\n  ' + ours.differs(peers)]
    if ours.code:
        return [] if 'Input/output error' in ours.err else [ours.err]
    return [] if read(os.path.join(folder, 'a')) == read(os.path.join(folder, 'b')) else ['contents differ']


def contents(rng, folder, disk):
    """All of it, and a part from the middle of a chunk, as they were put in."""
    problems = []
    more = rng.choice([[], ['-m', '1'], ['-m', '8', '-W']])
    ours = run(IMG, ['convert', '-f', 'dmg', '-O', 'raw'] + more + ['x', 'a'], folder)
    if ours.code or ours.err or read(os.path.join(folder, 'a')) != disk:
        problems.append('convert: ' + (ours.err or 'contents'))
    skip = rng.randrange(len(disk)) // 100
    ours = run(IMG, ['dd', '-f', 'dmg', '-O', 'raw', 'bs=100', f'skip={skip}', 'if=x', 'of=part'], folder)
    if ours.code or read(os.path.join(folder, 'part'))[:len(disk) - 100 * skip] != disk[100 * skip:]:
        problems.append('dd: ' + (ours.err or 'contents'))
    return problems


def others(rng, folder, disk, kinds, how):
    """dmg2img and 7zz read the same of a plain layout, where they are installed and know the kinds."""
    problems = []
    write(os.path.join(folder, 'plain'), dmg.convert(disk, lambda _: rng.choice(kinds), 512, rng.choice([1, 3]), how))
    ours = run(IMG, ['convert', '-f', 'dmg', '-O', 'raw', 'plain', 'a'], folder)
    if ours.code or ours.err or read(os.path.join(folder, 'a')) != disk:
        problems.append('convert, plain layout: ' + (ours.err or 'contents'))
    if shutil.which('dmg2img') and not {dmg.XZ, dmg.LZFSE} & set(kinds):
        subprocess.run(['dmg2img', '-i', 'plain', '-o', 'other'], cwd=folder, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        if read(os.path.join(folder, 'other')) != disk:
            problems.append('dmg2img reads something else')
    if SEVEN_ZIP and how == 'xml' and dmg.LZFSE not in kinds:
        seven = subprocess.run([SEVEN_ZIP, 'e', '-so', '-tdmg', 'plain'], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, check=False)
        if seven.stdout != disk:
            problems.append('7zz reads something else')
    return problems


if __name__ == '__main__':
    each('dmg', 25, one)
