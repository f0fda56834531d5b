#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""VHDX images with random options, contents, damage and logs, in both tools.

A case is one of
  create   the same options: the same messages, and files that are the same but for identifiers
  convert  raw to vhdx: contents, info and check of both results in both tools
  peer     an image that the reference tool writes piece by piece, then written over by ours
  damage   one field that is wrong: the same words about it
  log      a log that is to be replayed: what we show of it, what both make of the file

environment: see lib/harness.py
"""
import hashlib
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, PEER_IO, Result, SEVEN_ZIP, without  # noqa: E402
from imagecase import ImageCase  # noqa: E402
import images  # noqa: E402
import vhdx  # noqa: E402
from vhdx import BAT, File, KILO, MEGA, METADATA  # noqa: E402

Result.may_be_truncated = True


def digest(path):
    """Of the bytes of a sparse file that are not zero, and where they are."""
    whole, size, at = hashlib.sha256(), os.path.getsize(path), 0
    with open(path, 'rb') as file:
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // 65536 * 65536
            except OSError:
                break
            file.seek(at)
            data = file.read(65536)
            if any(data):
                whole.update(at.to_bytes(8, 'big') + data)
            at += 65536
    return f'{size} bytes, {whole.hexdigest()}'


class Case(ImageCase):
    def problem(self, title, text=''):
        self.problems.append(f'{title}\n  {text}')

    def copy(self, name, to):
        self.journal.lines.append(f'cp {name} {to}')
        subprocess.run(['cp', '--sparse=always', name, to], cwd=self.folder, check=True)

    def contents(self, tool, name, fmt='vhdx'):
        result = self.run(tool, ['convert', '-f', fmt, '-O', 'raw', name, 'out.raw'])
        if result.code:
            return f'exit {result.code}: {result.err}'
        found = digest(self.path('out.raw'))
        os.unlink(self.path('out.raw'))
        return found

    def views(self, name):
        for words in (['info', name], ['info', '--output=json', '-f', 'vhdx', name], ['check', name],
                      ['check', '--output=json', '-f', 'vhdx', name], ['map', name],
                      ['map', '--output=json', name], ['measure', '-O', 'qcow2', name],
                      ['measure', '-O', 'raw', name], ['snapshot', '-l', name]):
            self.same(words)


def options(rng):
    """Words for -o."""
    found = []
    if rng.random() < 0.6:
        found.append('block_size=' + rng.choice(['1M', '1M', '2M', '4M', '8M', '32M', '256M', '0', '1', '3M', '1500k',
                                                 '512M', '999999']))
    if rng.random() < 0.3:
        found.append('log_size=' + rng.choice(['1M', '2M', '3M', '1', '0', '1500000', '5G', '4095M']))
    if rng.random() < 0.35:
        found.append('subformat=' + rng.choice(['fixed', 'fixed', 'dynamic', 'x']))
    if rng.random() < 0.3:
        found.append('block_state_zero=' + rng.choice(['on', 'off', 'off']))
    rng.shuffle(found)
    return ['-o', ','.join(found)] if found else []


# ---- create

def without_identifiers(path):
    """Size and bytes up to the end of the metadata, less what differs lawfully."""
    with File(path) as file:
        end = sum(file.regions()[METADATA][:2])
        size, page83 = file.size(), file.metadata()[vhdx.PAGE83][1]
        headers = [file.header(number) for number in (0, 1)]
        data = file.read(0, end) if end < 64 * MEGA else file.read(0, 32 * MEGA) + file.read(end - MEGA, MEGA)
    data = bytearray(data)
    shift = 0 if end < 64 * MEGA else end - 33 * MEGA
    data[8:520] = bytes(512)                            # the creator
    data[page83 - shift:page83 - shift + 16] = bytes(16)
    for place in vhdx.HEADERS:
        data[place + 4:place + 48] = bytes(44)
    rest = [header['valid'] for header in headers] + [headers[1]['sequence'] - headers[0]['sequence']]
    return size, rest, hashlib.sha256(data).hexdigest()


def create(case):
    rng = case.rng
    size = rng.choice([0, 1, 511, 512, 1000, rng.randrange(1 << 20), rng.randrange(1 << 30), 1 << 30, (1 << 30) + 1,
                       100 << 30, (100 << 30) + 1, rng.randrange(1 << 40), 32 << 40, (32 << 40) + 512, 64 << 40,
                       (64 << 40) + 1, rng.randrange(1 << 45)])
    words = options(rng)
    text = ' '.join(words)
    if size == 0 and ('256M' in text or '512M' in text or '32M' in text):
        size = 512                                      # tables of gigabytes, and qemu-img writes all of them
    if size > 1 << 40 and ('fixed' in text or 'block_size=1' in text or '999999' in text or '=2M' in text):
        size = 1 << 34
    results = []
    for tool, name in (IMG, 'ours.vhdx'), (PEER, 'peer.vhdx'):
        result = case.run(tool, ['create', '-f', 'vhdx'] + words + [name, str(size)])
        result.out, result.err = result.out.replace(name, 'x'), result.err.replace(name, 'x')
        results.append(result)
    difference = results[0].differs(results[1])
    if difference:
        case.problem('create', difference)
    elif results[0].code == 0:
        ours, peer = (without_identifiers(case.path(name)) for name in ('ours.vhdx', 'peer.vhdx'))
        if ours != peer:
            case.problem('new image', f'ours {ours}\n  peer {peer}')
        for name in 'ours.vhdx', 'peer.vhdx':
            case.same(['info', name])
            case.same(['check', name])
    return f"create {size} {' '.join(words)}"


# ---- convert

def good_options(rng):
    found = ['block_size=' + rng.choice(['1M', '1M', '2M', '8M', '0'])]
    if rng.random() < 0.2:
        found.append('log_size=2M')
    if rng.random() < 0.35:
        found.append('subformat=fixed')
    if rng.random() < 0.3:
        found.append('block_state_zero=off')
    return ['-o', ','.join(found)]


def by_7zz(case, name):
    with open(case.path('out.raw'), 'wb') as out:
        result = subprocess.run([SEVEN_ZIP, 'x', '-so', '-tvhdx', name], cwd=case.folder, stdout=out,
                                stderr=subprocess.DEVNULL)
    return digest(case.path('out.raw')) if result.returncode == 0 else f'exit {result.returncode}'


def convert(case):
    rng = case.rng
    source = images.chain(rng, 's', 6 * MEGA, 1)[0]
    if rng.random() < 0.5:
        source = images.raw_image(rng, 's0.img', 12 * MEGA)
    with open(case.path('random'), 'wb') as file:
        file.write(random.Random(7).randbytes(65536))
    if not images.make(source, case.folder, case.journal):
        return 'convert (nothing to convert)'
    words = ['-O', 'vhdx'] + good_options(rng)
    words += rng.choice([[], [], ['-W'], ['-m', '1'], ['-m', '16'], ['-S', '0'], ['-S', '64k'], ['-t', 'none']])
    for tool, name in (IMG, 'ours.vhdx'), (PEER, 'peer.vhdx'):
        result = case.run(tool, ['convert', '-f', source['format']] + words + ['s0.img', name])
        if result.code or result.err:
            case.problem(f'convert to {name}', result.err)
            return 'convert'
    right = case.contents(PEER, 'peer.vhdx')
    for who, tool, name in ('we read qemu-img', IMG, 'peer.vhdx'), ('qemu-img reads ours', PEER, 'ours.vhdx'), \
            ('we read ours', IMG, 'ours.vhdx'):
        got = case.contents(tool, name)
        if got != right:
            case.problem(f'contents, {who}', f'{got}\n  instead of {right}')
    if SEVEN_ZIP and right.startswith(f'{source["size"]} '):
        got = [by_7zz(case, name) for name in ('ours.vhdx', 'peer.vhdx')]
        if got[0] not in (right, got[1]):       # it does not open every one of qemu-img's
            case.problem('contents, 7zz reads ours', f'{got}\n  instead of {right}')
    texts = []
    for name in 'ours.vhdx', 'peer.vhdx':
        case.views(name)
        text = case.run(PEER, ['info', name]).out.replace(name, 'x')
        texts.append(without(text, r'(file length: ).*'))
        result = case.run(PEER, ['check', name])
        if result.code:
            case.problem(f'check of {name}', result.out + result.err)
    if texts[0] != texts[1]:
        case.problem('info of the results', f'ours {texts[0]}\n  peer {texts[1]}')
    if os.path.getsize(case.path('ours.vhdx')) > os.path.getsize(case.path('peer.vhdx')):
        case.problem('length of the file', 'ours is longer')
    case.same(['compare', 'ours.vhdx', 'peer.vhdx'])
    case.same(['dd', '-f', 'vhdx', '-O', 'raw', 'bs=4k', 'skip=3', 'count=100', 'if=ours.vhdx', 'of=out.raw'])
    return f"convert {' '.join(words)}"


# ---- what qemu-img writes

def peer_image(case, name, size):
    rng = case.rng
    words = good_options(rng)
    case.run(PEER, ['create', '-q', '-f', 'vhdx'] + words + [name, str(size)])
    case.write_by_io(name, size, MEGA, [f'write -P {rng.randrange(1, 256)}' for _ in range(4)] +
                     ['write -z', 'write -z -u', 'discard'], 10)
    return words


def peer(case):
    rng = case.rng
    size = images.pick_size(rng, 10 * MEGA)
    size = -(-size // 512) * 512
    words = peer_image(case, 'x', size)
    case.views('x')
    case.copy('x', 'y')
    ours, theirs = case.contents(IMG, 'x'), case.contents(PEER, 'x')
    if ours != theirs:
        case.problem('contents', f'{ours}\n  instead of {theirs}')
    over = images.raw_image(rng, 'over', size + 1)
    over['size'] = size
    images.fill_raw(case.path('over'), over)
    more = rng.choice([[], ['-W'], ['-S', '0'], ['-m', '16'], ['-t', 'none']])
    for tool, name in (IMG, 'x'), (PEER, 'y'):
        result = case.run(tool, ['convert', '-n', '-f', 'raw', '-O', 'vhdx'] + more + ['over', name])
        if result.code or result.err:
            case.problem(f'writing over {name}', result.err)
    right = case.contents(PEER, 'over', 'raw')
    for tool, name in (IMG, 'x'), (PEER, 'x'), (IMG, 'y'):
        got = case.contents(tool, name)
        if got != right:
            case.problem(f'contents of {name}', f'{got}\n  instead of {right}')
    case.views('x')
    result = case.run(PEER, ['check', 'x'])
    if result.code:
        case.problem('check', result.out + result.err)
    return f"peer {size} {' '.join(words)}"


# ---- damage

def in_headers(place, form, *values):
    def change(rng, file):
        value = rng.choice(values)
        for number in rng.choice([(0, 1), (0, 1), (0,), (1,)]):
            file.change_header(number, place, value, form)
    return change


def in_regions(place, form, *values):
    def change(rng, file):
        value = rng.choice(values)
        file.change_regions(lambda raw: struct.pack_into(form, raw, place, value))
    return change


def region(rng, file):
    """One more, of which nothing is known."""
    offset = rng.choice([1, 2, 3, 4, 5, 8, 9, 100]) * MEGA
    length = rng.choice([1, 1, 2, 4]) * MEGA
    guid = rng.choice([b'\x11' * 16, b'\x11' * 16, BAT.bytes_le, METADATA.bytes_le])

    def change(raw):
        struct.pack_into('<I', raw, 8, 3)
        struct.pack_into('<16sQII', raw, 16 + 64, guid, offset, length, rng.choice([0, 0, 1]))
    file.change_regions(change)


def in_metadata(place, form, *values):
    return lambda rng, file: file.put(file.regions()[METADATA][0] + place, rng.choice(values), form)


def item(rng, file):
    start = file.regions()[METADATA][0]
    count = file.get(start + 10, '<H')
    file.put(start + 10, count + 1, '<H')
    guid = rng.choice([b'\x11' * 16, b'\x11' * 16, vhdx.DISK_SIZE.bytes_le, vhdx.LOGICAL.bytes_le])
    file.write(start + 32 + 32 * count, struct.pack('<16sIIII', guid, 0x10100, 8, rng.choice([0, 1, 2, 4, 5]), 0))


def no_item(rng, file):
    guid = rng.choice([vhdx.FILE_PARAMETERS, vhdx.DISK_SIZE, vhdx.PAGE83, vhdx.LOGICAL, vhdx.PHYSICAL])
    file.write(file.metadata()[guid][0], b'\x22' * 16)


def value(guid, form, *values):
    return lambda rng, file: file.change_item(guid, rng.choice(values), form)


def entries(rng, file):
    """Blocks somewhere else, but never two in one place."""
    far = [100 * MEGA, 1 << 40, 1 << 62, 0xffffffffffe00000, 0xfffffffffff00000, 1 * MEGA, 2 * MEGA, 3 * MEGA]
    for place in rng.sample(far, rng.choice([1, 1, 3])):
        file.put_entry(rng.randrange(file.blocks()), 6, place)


def shorter(rng, file):
    file.file.truncate(rng.choice([600, 100000, 500 * KILO, 3 * MEGA // 2, 5 * MEGA // 2, 7 * MEGA // 2, 9 * MEGA,
                                   9 * MEGA + 4096, file.size() - 4096, file.size() - MEGA]))


DAMAGES = [
    in_headers(0, '4s', b'haed'), in_headers(66, '<H', 0, 2), in_headers(64, '<H', 1),
    in_headers(68, '<I', 0, 4096, 2 * MEGA, 0xfff00000),
    in_headers(72, '<Q', 0, 512 * KILO, 2 * MEGA, 1 << 62, 1 << 40),
    in_regions(8, '<I', 0, 1, 3, 2047, 2048), in_regions(16 + 16, '<Q', MEGA, 3 * MEGA, 100 * MEGA, 2 * MEGA + 4096),
    in_regions(16 + 24, '<I', 0, 8, 4096, 2 * MEGA, 0xfff00000), in_regions(48 + 16, '<Q', MEGA, 100 * MEGA),
    in_regions(48 + 24, '<I', 0, 65536, 0xfff00000), region, region,
    in_metadata(0, '<Q', 0), in_metadata(10, '<H', 0, 1, 4, 2047, 2048), item, no_item,
    value(vhdx.FILE_PARAMETERS, '<I', 0, 1, 512 * KILO, 3 * MEGA, MEGA + 1, 512 * MEGA, 1 << 31),
    value(vhdx.DISK_SIZE, '<Q', 0, 1, 511, 513, 9 * MEGA, 1 << 40, (64 << 40) + 512, 1 << 63),
    value(vhdx.LOGICAL, '<I', 0, 1, 256, 1024, 8192), value(vhdx.PHYSICAL, '<I', 0, 1, 4096),
    entries, entries, entries, shorter, shorter,
]


def damage(case):
    rng = case.rng
    case.run(PEER, ['create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', 'base', '10M'])
    case.run(PEER_IO, ['-f', 'vhdx', '-c', 'write -P 5 0 64k', '-c', 'write -P 6 3M 1M', '-c', 'write -P 7 5M 2M',
                        'base'])
    case.copy('base', 'x')
    number = rng.randrange(len(DAMAGES))
    with File(case.path('x')) as file:
        DAMAGES[number](rng, file)
    case.copy('x', 'y')
    for words in (['info', '-f', 'vhdx'], ['info', '--output=json', '-f', 'vhdx'], ['check', '-f', 'vhdx'],
                  ['check', '--output=json', '-f', 'vhdx'], ['map', '--output=json', '-f', 'vhdx'],
                  ['measure', '-O', 'qcow2', '-f', 'vhdx']):
        case.same(words + ['x'])
    ours, theirs = case.contents(IMG, 'x'), case.contents(PEER, 'x')
    if ours != theirs:
        case.problem('contents', f'{ours}\n  instead of {theirs}')
    case.same(['check', '-r', 'all', '-f', 'vhdx', 'x'])
    return f'damage {number}'


# ---- logs

def log(case):
    """Entries with random pages of the BAT, as other programs may have left them."""
    rng = case.rng
    size = rng.choice([64, 64, 520]) * MEGA
    case.run(PEER, ['create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', 'x', str(size)])
    case.run(PEER_IO, ['-f', 'vhdx', '-c', 'write -P 5 0 20M', 'x'])
    guid = rng.randbytes(16)
    with File(case.path('x')) as file:
        for number in 0, 1:
            file.change_header(number, 48, guid, '16s')
        bat, blocks = file.regions()[BAT][0], file.blocks()
        places = [place for state, place in (file.entry(n) for n in range(20))]
        waiting = []
        at, tail, sequence, length = rng.randrange(8) * 4096, None, rng.randrange(1, 1 << 40), file.size()
        for _ in range(rng.randrange(1, 8)):
            rng.shuffle(places)
            # what was there goes; some of it comes back elsewhere
            page = bytearray(4096)
            for block in range(min(blocks, 512)):
                struct.pack_into('<Q', page, 8 * block, rng.choice([0, 2, 3]))
            for place in places[:rng.randrange(len(places))]:
                struct.pack_into('<Q', page, 8 * rng.randrange(min(blocks, 500)), 6 | place)
            steps = [(bat, bytes(page))] if rng.random() < 0.9 else []
            if rng.random() < 0.3:
                steps.insert(0, (bat + 4096, 4096 * rng.randrange(1, 4)))
            if tail is None or rng.random() < 0.4:
                tail = at               # all that came before is in its place
                for offset, what in waiting:
                    file.write(offset, bytes(what))
                waiting = []
            entry = vhdx.log_entry(guid, sequence, tail, steps, length, length)
            file.write(MEGA + at, entry)
            waiting += steps
            at, sequence = at + len(entry), sequence + 1
    case.copy('x', 'y')
    case.copy('x', 'z')
    shown = case.contents(IMG, 'x')
    case.same(['check', 'x'])
    if digest(case.path('x')) != digest(case.path('z')):
        case.problem('reading has changed the file')
    ours, theirs = (case.run(tool, ['check', '-r', 'all', name]) for tool, name in ((IMG, 'x'), (PEER, 'y')))
    if ours.code != theirs.code and 'overlaps with another block' not in ours.err:
        case.problem('check -r all', ours.differs(theirs))
    right = case.contents(PEER, 'y')
    for who, tool, name in ('before', None, ''), ('ours in ours', IMG, 'x'), ('ours in qemu-img', PEER, 'x'), \
            ("qemu-img's in ours", IMG, 'y'):
        got = case.contents(tool, name) if tool else shown
        if got != right:
            case.problem(f'contents, {who}', f'{got}\n  instead of {right}')
    return f'log of {size}'


KINDS = [create, convert, convert, peer, damage, damage, log]


def one(seed, folder):
    case = Case('vhdx', seed, folder)
    title = KINDS[seed % len(KINDS)](case)
    return title, [text[:3000] for text in case.problems[:4]], ['commands:'] + case.journal.lines


if __name__ == '__main__':
    each('vhdx-random', 14, one)
