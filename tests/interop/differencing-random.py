#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Differencing disks of VHD, VHDX and VDI, at random.  They are made from the specifications, without any tool.

chain    parents and differencing disks with random sectors, to a random depth, found by names of all kinds: what every
         command says of the disk, and its content; 7zz reads the same where it finds the parents
refused  a parent with another identifier, one that is not there, a disk that is its own parent
written  our writes into the last disk: its content, and that no parent changes; for VHD and VDI also commit
killed   a writer that is killed leaves the old sectors or the new ones
created  disks of create -b: chains of them, written to

environment: see lib/harness.py
"""
import hashlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, SEVEN_ZIP, each, killed  # noqa: E402
from imagecase import ImageCase  # noqa: E402
import differencing  # noqa: E402

MEGA = 1 << 20
NAMES = ['base.img', 'b a s e.vhd', 'größe.vhd', '磁盘.vhdx', 'a:b.disk', 'x%20y.vhd', '\U0001f4be.avhdx']


def runs(rng, size, unit, most):
    """What a layer owns: whole units at random places, without overlaps; some of them are zeroes."""
    found, at = [], 0
    for _ in range(rng.randrange(most + 1)):
        at += rng.choice([0, 0, 1, 3, rng.randrange(1 + size // unit // 2)]) * unit
        length = rng.choice([1, 1, 2, 7, 8, 9, 64, 300, rng.randrange(1, 5000)]) * unit if unit < MEGA else unit
        length = min(length, 4 * MEGA, size - at)
        if length <= 0:
            break
        data = bytes(length) if rng.random() < 0.2 else rng.randbytes(min(length, 997)) * (length // 997 + 1)
        found.append((at, data[:length]))
        at += length
    return found


def where(case, number, form):
    """Folder and name of the file of a layer."""
    rng = case.rng
    folder = rng.choice(['.', '.', '.', 'one', 'one/two', 'other'])
    if form == 'vdi':
        folder = 'machine/Snapshots' if number else rng.choice(['machine', 'machine/Snapshots'])
    os.makedirs(case.path(folder), exist_ok=True)
    return folder, f'{number}-{rng.choice(NAMES)}' + ('.vdi' if form == 'vdi' else '')


def names_for(case, folder, parent):
    """Names under which a disk in `folder` finds the parent: one or more that hold, and some that do not."""
    rng = case.rng
    beside = os.path.dirname(parent['path']) == case.path(folder)
    relative = os.path.relpath(parent['path'], case.path(folder))
    last = os.path.basename(relative)
    kinds = ['relative', 'absolute'] + (['moved', 'header'] if beside and ':' not in last else [])
    kind = rng.choice(kinds)
    if kind == 'relative':
        return dict(relative=relative, absolute=rng.choice([None, 'C:\\gone\\' + last, '\\\\host\\share\\gone.vhd']),
                    header=rng.choice(['', last, 'D:\\x\\' + last])), relative
    if kind == 'absolute':
        return dict(absolute=parent['path'], relative=rng.choice([None, 'gone\\none.vhd']), header=last), None
    if kind == 'moved':
        return dict(absolute=rng.choice(['C:\\images\\', '\\\\host\\share\\', '\\\\?\\Volume{1}\\']) + last,
                    relative=rng.choice([None, '..\\old\\' + last])), None
    if parent['form'] == 'vhdx':
        return dict(relative=relative), relative
    return dict(header=rng.choice([last, 'C:\\images\\' + last])), None


def chain(case, form, depth=None):
    """Make it; the last layer is returned, and `want` is what a guest reads."""
    rng = case.rng
    sector = rng.choice([512, 512, 4096])
    big = form == 'vhdx' and sector == 512 and rng.random() < 0.2
    size = 9 << 30 if big else rng.randrange(1, 9 * MEGA // 4096) * 4096
    layers, plain = [], True
    with open(case.path('want'), 'wb') as want:
        want.truncate(size)
        for number in range(1 + (depth or rng.choice([1, 1, 2, 3, 6]))):
            folder, name = where(case, number, form)
            parent = layers[-1] if layers else None
            more, relative = names_for(case, folder, parent) if parent and form != 'vdi' else ({}, None)
            plain = plain and (not parent or relative is not None and relative == os.path.basename(relative))
            extra = {}
            if form == 'vpc':
                extra = dict(fixed=not parent and rng.random() < 0.3)
            elif form == 'vhdx':
                extra = dict(sector=sector, block=256 * MEGA if big else None)
            unit = {'vpc': 512, 'vhdx': sector, 'vdi': MEGA}[form]
            owned = runs(rng, size, unit, 6)
            layer = differencing.MAKERS[form](rng, case.path(os.path.join(folder, name)), size, owned, parent, more,
                                              **extra)
            if form == 'vdi' and rng.random() < 0.5:
                layer['path'] = os.path.join(os.path.dirname(layer['path']), differencing.vdi_name(layer))
                os.rename(case.path(os.path.join(folder, name)), layer['path'])
            layer['names'] = more
            case.journal.lines.append(f"# {layer['path']}: {more} {[(at, len(data)) for at, data in owned]}")
            layers.append(layer)
            for offset, data in owned:
                want.seek(offset)
                want.write(data)
    return layers, plain


def name_of(case, layer):
    name = os.path.relpath(layer['path'], case.folder)
    return './' + name if ':' in name.split('/')[0] else name


def says(case, words, text, code=1):
    result = case.run(IMG, words)
    if result.code != code or text not in result.err:
        case.problems.append(f"{' '.join(words)}: exit {result.code}, {result.err!r} instead of {text!r}")


def reads_as(case, form, name):
    case.expect(IMG, ['compare', '-f', form, '-F', 'raw', name, 'want'])


def sums(layers):
    found = []
    for layer in layers:
        with open(layer['path'], 'rb') as file:
            found.append(hashlib.sha256(file.read()).digest())
    return found


def whole_chain(case, form):
    layers, plain = chain(case, form)
    name = name_of(case, layers[-1])
    if layers[-1]['size'] < 64 * MEGA:
        if case.expect(IMG, ['convert', '-f', form, '-O', 'raw', name, 'back']):
            case.equal('back', 'want')
        for words in ['measure', '-O', 'qcow2'], ['map'], ['map', '--output=json']:
            case.expect(IMG, words + ['-f', form, name])
    reads_as(case, form, name)
    info = case.run(IMG, ['info', '--backing-chain', '-f', form, name])
    if info.code or info.out.count('virtual size:') != len(layers):
        case.problems.append(f'info --backing-chain: {info.out} {info.err}')
    if form != 'vpc':
        case.expect(IMG, ['check', '-f', form, name])
    if form == 'vpc' and plain and layers[-1]['size'] < 64 * MEGA and all(ord(c) < 128 for layer in layers for c in
                                                                          layer['path']):
        read_by_7zz(case, layers[-1])
    return f"chain {form} of {len(layers)}"


def read_by_7zz(case, layer):
    """It refuses some disks that it does not know well; what it reads must be right."""
    if not SEVEN_ZIP:
        return
    out = subprocess.run([SEVEN_ZIP, 'x', '-so', '-tVHD', layer['path']], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if out.returncode == 0 and out.stdout != case.read('want'):
        case.problems.append('7zz reads other contents')


def refused(case, form):
    layers, _ = chain(case, form, 1)
    base, last = layers
    name, kind = name_of(case, last), case.rng.choice(['identity', 'gone', 'itself'])
    if kind == 'identity':
        differencing.change_identity(base)
        named = form != 'vdi' or base['path'].endswith('}.vdi')
        says(case, ['convert', '-f', form, '-O', 'raw', name, 'back'],
             'is not its parent' if named else 'Could not find the parent')
        says(case, ['info', '-f', form, name], '', 0)
    elif kind == 'gone':
        os.unlink(base['path'])
        says(case, ['convert', '-f', form, '-O', 'raw', name, 'back'], 'Could not find the parent')
        says(case, ['compare', '-f', form, '-F', 'raw', name, 'want'], 'Could not find the parent', 2)
    else:
        again = dict(base, path=last['path'], identity=case.rng.randbytes(16))
        own = os.path.basename(last['path'])
        made = differencing.MAKERS[form](FixedBytes(case.rng, again['identity']), last['path'], last['size'], [], again,
                                         dict(relative=own, header=own))
        says(case, ['convert', '-f', form, '-O', 'raw', name_of(case, made), 'back'],
             'Could not open backing file')
        says(case, ['info', '--backing-chain', '-f', form, name_of(case, made)],
             '' if form == 'vdi' else 'it is the disk itself')
    return f'refused {form} {kind}'


class FixedBytes:
    """A source of random choices whose random bytes are always the same."""

    def __init__(self, rng, data):
        self.rng, self.data = rng, data

    def __getattr__(self, name):
        return getattr(self.rng, name)

    def randbytes(self, length):
        return self.data[:length]


def write_pieces(case, form, name, size):
    """Small writes into the disk, and into `want`."""
    rng = case.rng
    for _ in range(rng.randrange(1, 5)):
        length = 512 * rng.randrange(1, max(2, min(size // 512, rng.choice([3, 300, 3000]))))
        offset = rng.randrange(size - length + 1) // 512 * 512
        fill = rng.randrange(256)
        case.expect(IMG, ['bench', '-w', '-f', form, '-c', '1', '-d', '1', '-s', str(length), '-o', str(offset),
                          f'--pattern={fill}', name])
        with open(case.path('want'), 'r+b') as file:
            file.seek(offset)
            file.write(bytes([fill]) * length)


def write_over(case, form, name, size):
    write_pieces(case, form, name, size)
    reads_as(case, form, name)
    if case.rng.random() < 0.5:
        case.raw('want', MEGA, size)
        case.expect(IMG, ['convert', '-n', '-f', 'raw', '-O', form] + case.rng.choice([[], ['-W'], ['-S', '0']]) +
                    ['want', name])
        reads_as(case, form, name)


def written(case, form):
    layers, _ = chain(case, form)
    name, before = name_of(case, layers[-1]), sums(layers[:-1])
    if layers[-1]['size'] > 64 * MEGA:
        return f'{form}: too large to be written'
    write_over(case, form, name, layers[-1]['size'])
    if sums(layers[:-1]) != before:
        case.problems.append('a parent has changed')
    if form != 'vpc':
        case.expect(IMG, ['check', '-f', form, name])
    if form == 'vhdx':
        says(case, ['commit', '-d', '-f', form, name], 'cannot be written to')
    elif case.expect(IMG, ['commit', '-d', '-f', form, name]):
        reads_as(case, form, name)
        reads_as(case, form, name_of(case, layers[-2]))
    return f'written {form} of {len(layers)}'


def cut_short(case, form):
    layers, _ = chain(case, form, 1)
    name, size, rng = name_of(case, layers[-1]), layers[-1]['size'], case.rng
    if size > 64 * MEGA:
        return f'{form}: too large to be written'
    old = case.read('want')
    case.raw('source', 9 * MEGA, size)
    words = ['convert', '-n', '-f', 'raw', '-O', form] + rng.choice([[], ['-W'], ['-t', 'writethrough']])
    running = killed(words + ['source', name], case.folder, rng.choice([0, 1, 2, 3, 5, 8, 13]) / 500)
    new = case.read('source')
    if case.expect(IMG, ['convert', '-f', form, '-O', 'raw', name, 'back']):
        back = case.read('back')
        for at in range(0, size, 512):
            if back[at:at + 512] not in (old[at:at + 512], new[at:at + 512]):
                case.problems.append(f'the sector at {at} is neither old nor new')
                break
    if form == 'vhdx':
        case.expect(IMG, ['check', '-r', 'all', '-f', form, name])
    if case.expect(IMG, ['convert', '-n', '-f', 'raw', '-O', form, 'want', name]):
        write_over(case, form, name, size)
    return f'killed {form} {running}'


def created(case):
    rng = case.rng
    form = rng.choice(['vpc', 'vhdx'])
    size = rng.randrange(1, 9 * MEGA // 512) * 512
    options = ['-o', 'force_size=on' + rng.choice([',subformat=fixed', ''])] if form == 'vpc' else rng.choice(
        [[], ['-o', 'block_size=1M'], ['-o', 'block_state_zero=off']])
    os.makedirs(case.path('sub'))
    names = ['base.img']
    case.expect(IMG, ['create', '-q', '-f', form] + options + ['base.img', str(size)])
    case.raw('want', 9 * MEGA, size)
    case.expect(IMG, ['convert', '-n', '-f', 'raw', '-O', form, 'want', 'base.img'])
    for number in range(rng.randrange(1, 5)):
        name = rng.choice(['', 'sub/']) + f'{number}.img'
        to = os.path.relpath(names[-1], os.path.dirname(name) or '.')
        to = rng.choice([to, case.path(names[-1])])
        case.expect(IMG, ['create', '-q', '-f', form, '-b', to, '-F', form, name])
        reads_as(case, form, name)
        names.append(name)
        write_pieces(case, form, name, size)
        reads_as(case, form, name)
    case.expect(IMG, ['info', '--backing-chain', '-f', form, names[-1]])
    if form == 'vpc' and not any('/' in name for name in names):
        read_by_7zz(case, dict(path=case.path(names[-1])))
    return f'created {form} {names}'


def one(seed, folder):
    case = ImageCase('', seed, folder)
    kind = case.rng.choice([whole_chain, whole_chain, refused, written, cut_short, created])
    return case.report(created(case) if kind is created else kind(case, case.rng.choice(['vpc', 'vhdx', 'vdi'])))


if __name__ == '__main__':
    each('differencing-random', 40, one)
