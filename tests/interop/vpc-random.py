#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""VHD against the reference tool, at random: new images, conversions both ways, images it has written, crafted ones.

created  empty images of any size and all options: the bytes are the same but for time, UUID and checksum
made     convert into new images: bytes as above, contents; read back by both, by 7zz and vhdiinfo where installed
written  an image that qemu-io wrote to: every command says the same of it; then it is written to by us
crafted  footers, headers and tables as other programs make them or as nobody should: the same words of both tools

environment: see lib/harness.py
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, Result  # noqa: E402
from imagecase import ImageCase  # noqa: E402
import vpc  # noqa: E402

Result.may_be_truncated = True

MEGA, GIGA = 1 << 20, 1 << 30
MOST = 9 * MEGA
OPTIONS = [[], [], ['-o', 'subformat=fixed'], ['-o', 'force_size=on'], ['-o', 'subformat=fixed,force_size=on'],
           ['-o', 'subformat=dynamic,force_size=off']]


def created(case):
    rng = case.rng
    options = rng.choice(OPTIONS)
    edge = rng.choice([0, 1, 512, 17 * 4 * 512, 1 << 20, 504 << 20, 65535 * 16 * 63 * 512, 65535 * 16 * 255 * 512,
                       127 * GIGA, 2040 * GIGA, rng.randrange(10 * MEGA), rng.randrange(4 * GIGA),
                       rng.randrange(200 * GIGA), rng.randrange(2050 * GIGA)])
    size = max(0, edge + rng.choice([0, 0, 1, -1, 512, -512, rng.randrange(100000)]))
    words = ['create', '-q', '-f', 'vpc'] + options
    if not case.same(words + ['x', str(size)]):
        return f'create {size} {options}'
    case.expect(IMG, words + ['ours', str(size)])
    case.expect(PEER, words + ['peer', str(size)])
    for name in 'ours', 'peer':
        case.same(['info', '-f', 'vpc', name])
    if not same_ends(case):
        case.problems.append('the bytes are not the same')
    return f'create {size} {options}'


def same_ends(case):
    """Images of the same length, that begin and end in the same way; what lies between is a hole in both."""
    ours, peer = case.path('ours'), case.path('peer')
    size = os.path.getsize(ours)
    if size != os.path.getsize(peer):
        return False
    if size <= 8 * MEGA:
        return vpc.plain(case.read('ours')) == vpc.plain(case.read('peer'))
    ends = []
    for path in ours, peer:
        with open(path, 'rb') as file:
            file.seek(-512, os.SEEK_END)
            ends.append(vpc.plain(file.read()))
            if file.seek(0, os.SEEK_DATA) < 4096:
                file.seek(0)
                if file.read(4096).strip(b'\0'):
                    return False
    return ends[0] == ends[1]


def made(case):
    rng = case.rng
    case.raw('source', MOST)
    options = rng.choice(OPTIONS)
    how = rng.choice([[], ['-m', '1'], ['-m', '16'], ['-S', '0'], ['-S', '64k'], ['-W', '-m', '8']])
    cache = ['-t', rng.choice(['writeback', 'unsafe', 'none', 'writethrough', 'directsync'])]
    words = ['convert', '-f', 'raw', '-O', 'vpc'] + options + how + cache + ['source']
    if case.expect(IMG, words + ['ours']) and case.expect(PEER, words + ['peer']):
        ours, peer = case.read('ours'), case.read('peer')
        if len(ours) != len(peer):
            case.problems.append('the files have another length')
        elif '-W' not in how and vpc.plain(ours) != vpc.plain(peer):
            case.problems.append('the bytes are not the same')
        for name in 'ours', 'peer':
            case.views(name, contents=False)
            case.expect(PEER, ['compare', '-f', 'vpc', '-F', 'raw', name, 'source'])
            case.expect(IMG, ['convert', '-f', 'vpc', '-O', 'raw', name, f'{name}.raw'])
        case.equal('ours.raw', 'peer.raw')
        read_by_others(case, 'ours')
    return ' '.join(words)


def read_by_others(case, name):
    case.read_by_7zz(name, 'source', 'VHD')
    if not shutil.which('vhdiinfo'):
        return
    out = subprocess.run(['vhdiinfo', case.path(name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if out.returncode or b'(version 1)' not in out.stdout:
        case.problems.append(f'vhdiinfo: {out.stdout!r} {out.stderr!r}')


def written(case):
    rng = case.rng
    size = rng.randrange(512, MOST) // 512 * 512
    options = rng.choice(OPTIONS[3:5])
    case.expect(PEER, ['create', '-q', '-f', 'vpc'] + options + ['x', str(size)])
    case.write_by_io('x', size, vpc.BLOCK, ['write -P 7', 'write -P 8', 'write -z', 'write -z -u', 'discard'])
    case.views('x')
    case.same(['dd', '-f', 'vpc', '-O', 'raw', 'if=x', 'of=part', 'bs=3000', 'skip=1', 'count=99'])
    case.write_over('x', size)
    ends_with_footer(case, 'x')
    case.raw('source', MOST, size)
    if case.expect(IMG, ['convert', '-n', '-f', 'raw', '-O', 'vpc'] + rng.choice([[], ['-W'], ['-S', '0']]) +
                   ['source', 'x']):
        case.expect(PEER, ['compare', '-f', 'vpc', '-F', 'raw', 'x', 'source'])
        case.views('x')
        ends_with_footer(case, 'x')
    return f'written by qemu-io {options} {size}'


def ends_with_footer(case, name):
    data = case.read(name)
    if not data[-512:].startswith(b'conectix') or (data.startswith(b'conectix') and data[:512] != data[-512:]):
        case.problems.append('the file does not end in the footer')


# What a field is in images that are not plain.
ODD = dict(
    cookie=[b'conectiX', bytes(8), b'cxsparse'], features=[0, 3], version=[0, 0x20000], creator=vpc.CREATORS,
    data_offset=[0, 511, 513, 1024, 1536, 1 << 40, (1 << 63) - 1, (1 << 63), (1 << 64) - 1, 0x7fffffffbffffc00],
    size=[512, 513, 3 * MEGA, 2040 * GIGA, 2040 * GIGA + 512, (1 << 64) - 1], kind=[0, 1, 2, 2, 5, 99],
    geometry=[(1, 4, 17), (121, 4, 17), (65535, 16, 254), (65535, 255, 255), (65535, 16, 255)],
    checksum=[0, 1, 0xffffffff])
ODD_HEADER = dict(
    cookie=[b'cxsparsE', bytes(8), b'conectix'], following=[0, 512], version=[0, 0x20000], checksum=[0, 7],
    table_offset=[0, 1, 512, 1535, 1537, 2048, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 512, 0x7fffffffbffffc00],
    entries=[0, 1, 3, 128, 129, 0x1fffff80, 0x1fffff81, 0x20000000, 0x7fffffff, 0x80000000, 0xffffffff],
    block_size=[0, 1, 256, 511, 512, 1000, 2048, 4096, 1 << 19, 1 << 20, 3 << 20, 1 << 22, 1 << 28, 0xffffffff])


def odd(rng, fields, among):
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        field = rng.choice(sorted(among))
        fields[field] = rng.choice(among[field])
    return fields


def crafted(case):
    rng = case.rng
    front, head = odd(rng, dict(creator=rng.choice(vpc.CREATORS)), ODD), odd(rng, {}, ODD_HEADER)
    size, block = front.get('size', 4 * MEGA), head.get('block_size', vpc.BLOCK)
    blocks = min(max(2, -(-size // max(block, 512))), 20000)
    head.setdefault('entries', blocks)
    if rng.random() < 0.25:
        data, notes = crafted_fixed(rng, front), f'fixed {front}'
    else:
        data, notes = crafted_dynamic(rng, front, head, blocks, min(block, vpc.BLOCK)), f'{front} {head}'
    if rng.random() < 0.15:
        data = data[:rng.choice([rng.randrange(2600), rng.randrange(len(data) + 1)])]
        notes += f' cut at {len(data)}'
    case.write('x', data, notes)
    fine = case.same(['info', '-f', 'vpc', 'x'])
    case.same(['info', 'x'])
    case.same(['info', '--image-opts', 'driver=vpc,file.filename=x,force_size_calc=' +
               rng.choice(['chs', 'current_size', 'CHS', ''])])
    if fine:
        case.views('x', contents=small(case))
    return f'crafted {notes}'


def small(case):
    ours = case.run(IMG, ['info', '-f', 'vpc', '--output=json', 'x']).out
    if '"virtual-size"' not in ours:
        return False
    return int(ours.split('"virtual-size": ')[2 if ours.count('"virtual-size"') > 1 else 1].split(',')[0]) <= 64 * MEGA


def crafted_dynamic(rng, front, head, blocks, block):
    """Some blocks in any order, with bits of their sectors; now and then two at one place, or where none can be."""
    place, stride = 1536 + len(vpc.table([0] * blocks)), vpc.bitmap_bytes(block) + block
    present = rng.sample(range(min(blocks, 4)), rng.randrange(0, min(blocks, 4) + 1))
    entries, body = [vpc.UNUSED] * blocks, b''
    for index in present:
        entries[index] = (place + len(body)) // 512
        body += bytes(rng.randrange(256) for _ in range(8)).ljust(stride - block, b'\xff') + bytes([index + 1]) * block
    if rng.random() < 0.15:
        entries[rng.randrange(min(blocks, 6))] = rng.choice([0, 1, place // 512, place // 512 + 1, 1 << 20, 0xfffffffe])
    if rng.random() < 0.2:
        body += b'Z' * rng.randrange(1, stride)     # of a process that was killed
    end = dict(front)
    if rng.random() < 0.3:
        odd(rng, end, ODD)
    return vpc.footer(**front) + vpc.header(**head) + vpc.table(entries) + body + vpc.footer(**end)


def crafted_fixed(rng, front):
    front.setdefault('kind', 2)
    front.setdefault('data_offset', (1 << 64) - 1)
    length = rng.choice([0, 512, front.get('size', 4 * MEGA), 3 * MEGA, 5 * MEGA + 1])
    return b'F' * min(length, 8 * MEGA) + vpc.footer(**front)[:rng.choice([512, 512, 512, 511])]


def one(seed, folder):
    case = ImageCase('vpc', seed, folder)
    return case.report(case.rng.choice([created, made, written, crafted, crafted])(case))


if __name__ == '__main__':
    each('vpc-random', 25, one)
