#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""VDI against the reference tool, at random: conversions both ways, images that it has written, crafted ones.

made     convert into new images of all options: contents, block map, length of the file, check; read back by us, by
         the reference tool, and by 7zz where it is installed
written  an image that qemu-io wrote to: every command says the same of it; then -n writes over it
crafted  headers and block maps as VirtualBox makes them or as nobody should: the same words of both tools

environment: see lib/harness.py
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, Result  # noqa: E402
from imagecase import ImageCase  # noqa: E402
import vdi  # noqa: E402

Result.may_be_truncated = True

MOST = 9 << 20


def metadata(path):
    """Header without the identifiers, and the block map."""
    with open(path, 'rb') as file:
        head = file.read(512)
        return head[:0x188] + head[0x1a8:] + file.read(4 * int.from_bytes(head[0x180:0x184], 'little'))


def made(case):
    rng = case.rng
    case.raw('source', MOST)
    options = rng.choice([[], [], ['-o', 'static=on'], ['-o', 'static=off'], ['-o', 'preallocation=full,static=on']])
    how = rng.choice([[], ['-m', '1'], ['-m', '16'], ['-S', '0'], ['-S', '64k'], ['-W', '-m', '8']])
    cache = ['-t', rng.choice(['writeback', 'unsafe', 'none', 'writethrough'])]
    words = ['convert', '-f', 'raw', '-O', 'vdi'] + options + how + cache + ['source']
    if case.expect(IMG, words + ['ours']) and case.expect(PEER, words + ['peer']):
        if os.path.getsize(case.path('ours')) != os.path.getsize(case.path('peer')):
            case.problems.append('the files have another length')
        if '-W' not in how and metadata(case.path('ours')) != metadata(case.path('peer')):
            case.problems.append('header or block map differ')
        for name in 'ours', 'peer':
            case.views(name)
            case.expect(PEER, ['check', name])
            case.expect(PEER, ['compare', '-f', 'vdi', '-F', 'raw', name, 'source'])
            case.expect(IMG, ['convert', '-f', 'vdi', '-O', 'raw', name, 'back'])
            case.equal('back', 'source')
            case.read_by_7zz(name, 'source', 'vdi')
    return ' '.join(words)


def written(case):
    rng = case.rng
    size = rng.randrange(512, MOST) // 512 * 512
    options = ['-o', 'static=on'] if rng.random() < 0.3 else []
    case.expect(PEER, ['create', '-q', '-f', 'vdi'] + options + ['x', str(size)])
    case.write_by_io('x', size, vdi.BLOCK,
                     [f'write -P {rng.randrange(256)}' for _ in range(2)] + ['write -z', 'discard'])
    case.views('x')
    case.same(['dd', '-f', 'vdi', '-O', 'raw', 'if=x', 'of=part', 'bs=3000', 'skip=1', 'count=99'])
    case.write_over('x', size)
    case.raw('source', MOST, size)
    if case.expect(IMG, ['convert', '-n', '-f', 'raw', '-O', 'vdi'] + rng.choice([[], ['-W'], ['-S', '0']]) +
                   ['source', 'x']):
        case.expect(PEER, ['check', 'x'])
        case.expect(PEER, ['compare', '-f', 'vdi', '-F', 'raw', 'x', 'source'])
        case.views('x')
    return f'written by qemu-io {options} {size}'


# What a field of the header is in images that are not plain.
ODD = dict(signature=[0, 0xbeda107e], version=[0, 0x10000, 0x10002, 0x20001, 0xffffffff],
           header_size=[0, 0x180, 1 << 31], kind=[0, 2, 2, 3, 4, 99], flags=[1, 2, 0x100],
           map_offset=[0, 1, 0x300, 0x400, 0x1000, 0xfffffe00],
           data_offset=[0, 1, 0x200, 0x600, 0x10000, 0xfffffe00], cylinders=[1024], heads=[255], sectors=[63],
           sector_size=[0, 511, 4096], unused=[7], block_size=[0, 512, 1 << 19, 1 << 21, 3 << 20], extra=[1, 512],
           link=[b'\3' * 16, bytes(15) + b'\1'], parent=[b'\4' * 16, b'\1' + bytes(15)],
           disk=[0, 1, 511, 513, (1 << 20) - 1, 1 << 62, (1 << 64) - 1, 0x1fffff8000000, 0x1fffff8000001])


def crafted(case):
    rng = case.rng
    blocks = rng.randrange(1, 9)
    entries = list(range(blocks))
    rng.shuffle(entries)
    for index in range(blocks):
        if rng.random() < 0.3:
            entries[index] = rng.choice([vdi.UNALLOCATED, vdi.UNALLOCATED, vdi.DISCARDED])
        elif rng.random() < 0.06:
            entries[index] = rng.choice([0, blocks - 1, blocks, blocks + 5, 0xfffffffd, 0x7fffffff])
    room = blocks << 20
    disk = rng.choice([room, room, room - rng.randrange(1 << 20), rng.randrange(room)])
    given = dict(disk=disk, allocated=sum(e < vdi.DISCARDED for e in entries) + (rng.random() < 0.1))
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        field = rng.choice(sorted(ODD))
        given[field] = rng.choice(ODD[field])
    if given.get('kind') == 4:
        given.pop('link', None)         # (a differencing image: those are in differencing-random)
    data = b'Z' * rng.randrange(3 << 20)
    if rng.random() < 0.5:
        data = b''.join(bytes([1 + number]) * (1 << 18) + bytes(3 << 18) for number in range(blocks))
    made_up = vdi.image(entries, data, **given)
    if rng.random() < 0.15:
        made_up = made_up[:rng.choice([rng.randrange(600), rng.randrange(len(made_up))])]
    if rng.random() < 0.15:
        made_up = bytearray(made_up)
        for _ in range(min(3, len(made_up))):
            # (not the number of blocks: the reference tool prints a line for each)
            at = rng.randrange(min(len(made_up), 600))
            made_up[at] = rng.randrange(256) if at < 0x180 or at >= 0x184 else made_up[at]
    case.write('x', made_up, f'entries {entries} {given}')
    fine = case.same(['info', '-f', 'vdi', 'x'])
    case.views('x', contents=fine and given['disk'] <= 64 << 20)
    entries = struct.unpack_from(f'<{blocks}I', made_up.ljust(512 + 4 * blocks, b'\0'), 512)
    if fine and is_sound(entries, blocks) and 'map_offset' not in given and 'data_offset' not in given and \
            given['disk'] <= room and len(made_up) > 600:
        case.write_over('x', (given['disk'] + 511) // 512 * 512)
    return f'crafted {sorted(given)}'


def is_sound(entries, blocks):
    places = [entry for entry in entries if entry < vdi.DISCARDED]
    return len(set(places)) == len(places) and all(place < blocks for place in places)


def one(seed, folder):
    case = ImageCase('vdi', seed, folder)
    return case.report(case.rng.choice([made, written, crafted, crafted])(case))


if __name__ == '__main__':
    each('vdi-random', 25, one)
