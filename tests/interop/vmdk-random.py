#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random vmdk images: created, converted, written, damaged, by both tools, and everything compared.

A case is one of: an empty image with random options, byte for byte but for the content id; a conversion in each
direction, whose contents and descriptions have to be the same; an image (with backing files) that the reference
tools wrote; writes into images of the reference tool; damage in headers, tables and descriptors.

environment: see lib/harness.py
"""
import os
import random
import re
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, PEER_IO, Result, run  # noqa: E402
import images  # noqa: E402
import vmdk  # noqa: E402

Result.may_be_truncated = True

SUBFORMATS = ['monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat', 'streamOptimized']
GRAIN = 65536
SECTOR = 512


def masked(data):
    """Bytes of a file that a descriptor is in, without its content id.  Where that became shorter, the reference tool
    leaves the end of the text before behind the text."""
    short = re.search(rb'\bCID=[0-9a-f]{1,7}\b', data)
    if short:
        data = re.sub(rb'(ddb\.toolsVersion = "\d+"\n)\0[^\0]{1,7}(?=\0|$)', rb'\1', data)
    return re.sub(rb'\bCID=[0-9a-f]{1,8}', b'CID=N', data)


def blob(path):
    with open(path, 'rb') as file:
        return file.read()


def text_only(data):
    return masked(data).replace(b'\0', b'')


# ---- what both tools say of one file

def compare_views(folder, name, problems, more=()):
    """info, map, check of both tools on the same file."""
    views = [['info', name], ['info', '--output=json', name], ['map', '--output=json', name], ['check', name],
             ['measure', '-O', 'raw', name], ['map', name]] + list(more)
    for words in views:
        ours, peer = run(IMG, words, folder), run(PEER, words, folder)
        if peer.code in (-6, -8, -11):
            continue        # it died of the image
        if words[0] == 'map' and 'json' in words[1]:
            ours.out, peer.out = joined(ours.out), joined(peer.out)
        difference = ours.differs(peer)
        if difference:
            problems.append(f'{" ".join(words)}: {difference}')


def joined(text):
    """Compressed grains in a row are one entry or several."""
    entries = re.findall(r'\{[^{}]*\}', text)
    result = []
    for entry in entries:
        start = int(re.search(r'"start": (\d+)', entry).group(1))
        length = int(re.search(r'"length": (\d+)', entry).group(1))
        rest = re.sub(r'"(start|length)": \d+, ', '', entry)
        if result and result[-1][2] == rest and '"compressed": true' in rest and sum(result[-1][:2]) == start:
            result[-1][1] += length
        else:
            result.append([start, length, rest])
    return str(result)


def same_contents(folder, a, b, problems):
    result = run(PEER, ['compare', '-f', a[1], '-F', b[1], a[0], b[0]], folder)
    if result.code:
        problems.append(f'peer compare {a[0]} {b[0]}: {result.out} {result.err}')
    result = run(IMG, ['compare', '-f', a[1], '-F', b[1], a[0], b[0]], folder)
    if result.code:
        problems.append(f'our compare {a[0]} {b[0]}: {result.out} {result.err}')


# ---- creation

def random_options(rng, sane):
    options = []
    subformat = rng.choice(SUBFORMATS)
    if rng.random() < 0.8:
        options.append('subformat=' + subformat)
    else:
        subformat = SUBFORMATS[0]
    if rng.random() < 0.3:
        options.append('adapter_type=' + rng.choice(['ide', 'lsilogic', 'buslogic', 'legacyESX'] +
                                                    ([] if sane else ['scsi', '', 'IDE'])))
    if rng.random() < 0.2:
        options.append('compat6' + rng.choice(['', '=on', '=off']))
    if rng.random() < (0.2 if not sane or not any(o.startswith('compat6') for o in options) else 0):
        options.append('hwversion=' + rng.choice(['4', '7', '21', 'undefined', 'x y']))
    if rng.random() < 0.2:
        options.append('toolsversion=' + rng.choice(['0', '10240', '2147483647', '']))
    if rng.random() < 0.3 and not (sane and 'Flat' in subformat):
        options.append('zeroed_grain' + rng.choice(['', '=on', '=off']))
    rng.shuffle(options)
    return options, subformat


def creation(rng, folder):
    options, _ = random_options(rng, False)
    words = ['create', '-f', 'vmdk']
    base = None
    if rng.random() < 0.3:
        base = rng.choice(['base.vmdk', 'base.vmdk', 'base.raw', 'missing'])
        words += ['-b', base, '-F', rng.choice(['vmdk', 'vmdk', 'raw'])]
        if rng.random() < 0.2:
            words.insert(1, '-u')
    if options:
        words += ['-o', ','.join(options)]
    words.append(rng.choice(['x.vmdk', 'x.vmdk', 'x', 'sub/x.vmdk', './x.y.img', 'x.raw']))
    if not base or rng.random() < 0.7:
        words.append(str(rng.choice([0, 512, 1000, 65536, 65537, 1 << 20, 100 << 20, 33554944, (2 << 30) + 512, 5 << 30,
                                     9 << 40])))
    problems = []
    for side in 'ours', 'peer':
        os.makedirs(os.path.join(folder, side, 'sub'))
    run(PEER, ['create', '-q', '-f', 'vmdk', 'ours/base.vmdk', '3M'], folder)
    run(PEER, ['create', '-q', '-f', 'raw', 'ours/base.raw', '2M'], folder)
    for name in 'base.vmdk', 'base.raw':
        shutil.copy(os.path.join(folder, 'ours', name), os.path.join(folder, 'peer', name))
    ours, peer = run(IMG, words, folder + '/ours'), run(PEER, words, folder + '/peer')
    difference = ours.differs(peer)
    if difference:
        problems.append(difference)
    if peer.code == 0 and not problems:
        compare_files(folder, problems)
    return ' '.join(words), problems


def first_error(result):
    """The reference tool tells of several requests that failed at once."""
    result.err = '\n'.join(result.err.split('\n')[:1])
    return result


def compare_files(folder, problems):
    found = [sorted(os.path.join(where[len(folder) + 6:], name) for where, _, names in os.walk(folder + '/' + side)
                    for name in names) for side in ('ours', 'peer')]
    if found[0] != found[1]:
        problems.append(f'files: {found}')
        return
    for name in found[0]:
        ours, peer = (os.path.join(folder, side, name.lstrip('/')) for side in ('ours', 'peer'))
        if os.path.getsize(ours) > 64 << 20:
            if os.path.getsize(ours) != os.path.getsize(peer):
                problems.append(f'{name}: other length')
        elif text_only(blob(ours)) != text_only(blob(peer)):
            problems.append(f'{name}: other bytes')


# ---- conversions

def raw_source(rng, folder):
    image = images.raw_image(rng, 'source', rng.choice([300000, 2 << 20, 9 << 20]))
    image['size'] = max(image['size'], 1)
    images.fill_raw(os.path.join(folder, 'source'), image)


def conversion(rng, folder):
    raw_source(rng, folder)
    options, subformat = random_options(rng, True)
    words = ['convert', '-f', 'raw', '-O', 'vmdk']
    words += rng.choice([[], [], ['-S', '0'], ['-S', '4k'], ['-S', '128k'], ['-c']])
    if options:
        words += ['-o', ','.join(options)]
    ours_only = rng.choice([[], [], ['-m', '1'], ['-W', '-m', '4'], ['-t', 'writeback'], ['-t', 'none']])
    problems = []
    ours = run(IMG, words + ours_only + ['source', 'ours.vmdk'], folder)
    peer = run(PEER, words + ['source', 'peer.vmdk'], folder)
    difference = ours.differs(peer)
    if difference:
        problems.append(difference)
    if peer.code or ours.code:
        return ' '.join(words), problems
    for name in 'ours.vmdk', 'peer.vmdk':
        compare_views(folder, name, problems)
        same_contents(folder, ('source', 'raw'), (name, 'vmdk'), problems)
    if '-W' not in ours_only and '-c' not in words and subformat != 'streamOptimized':
        mine, theirs = (text_only(blob(os.path.join(folder, name)).replace(side, b'NAME'))
                        for name, side in (('ours.vmdk', b'ours'), ('peer.vmdk', b'peer')))
        if mine != theirs:
            problems.append('the files differ')
    return ' '.join(words + ours_only), problems


# ---- images that the reference tools write

def io_steps(rng, size, whole):
    steps = []
    for _ in range(rng.randrange(1, 9)):
        offset, length = images.pick_range(rng, size, GRAIN)
        if whole:
            offset = offset // GRAIN * GRAIN
            length = min(GRAIN * rng.randrange(1, 3), size - offset)
            steps.append(f'write -P {rng.randrange(256)} {offset} {length}')
            continue
        steps.append(rng.choice([f'write -P {rng.randrange(1, 256)} {offset} {length}',
                                 f'write -P {rng.randrange(1, 256)} {offset} {length}',
                                 f'write -z {offset} {length}', f'write -z -u {offset} {length}',
                                 f'discard {offset} {length}', f'write -P 0 {offset} {length}']))
    return steps


def peer_image(rng, folder, name, size, backing=None, subformat=None):
    options, subformat = random_options(rng, True) if not subformat else (['subformat=' + subformat], subformat)
    while backing and 'Flat' in subformat:
        options, subformat = random_options(rng, True)
    words = ['create', '-q', '-f', 'vmdk', '-o', ','.join(options)] if options else ['create', '-q', '-f', 'vmdk']
    if backing:
        words += ['-b', backing, '-F', 'vmdk']
    run(PEER, words + [name, str(size)], folder)
    steps = io_steps(rng, size, subformat == 'streamOptimized')
    arguments = ['-f', 'vmdk']
    for step in steps:
        arguments += ['-c', step]
    run(PEER_IO, arguments + [name], folder)
    return ' '.join(options), steps


def written_by_peer(rng, folder):
    size = rng.choice([512 * rng.randrange(1, 300), 65536 * rng.randrange(1, 60), 3 << 20, (3 << 20) + 1536])
    title = [peer_image(rng, folder, 'base.vmdk', size)]
    name = 'base.vmdk'
    if rng.random() < 0.5:
        larger = max(SECTOR, size + SECTOR * rng.choice([0, 0, 7, -3, 200]))
        title.append(peer_image(rng, folder, 'top.vmdk', larger, 'base.vmdk'))
        name = 'top.vmdk'
        if rng.random() < 0.15:
            run(PEER_IO, ['-f', 'vmdk', '-c', 'write -P 77 0 512', 'base.vmdk'], folder)
    problems = []
    compare_views(folder, name, problems, [['info', '--backing-chain', name], ['measure', '-O', 'qcow2', name]])
    ours = run(IMG, ['convert', '-O', 'raw', name, 'ours.raw'], folder)
    peer = run(PEER, ['convert', '-O', 'raw', name, 'peer.raw'], folder)
    if ours.code != peer.code:
        problems.append(f'convert: {ours.differs(peer)}')
    elif ours.code == 0 and blob(folder + '/ours.raw') != blob(folder + '/peer.raw'):
        problems.append('contents differ')
    return str(title), problems


# ---- writes into them

def written_by_us(rng, folder):
    size = rng.choice([65536 * rng.randrange(1, 60), 3 << 20, (3 << 20) + 1536])
    subformat = rng.choice(SUBFORMATS[:4])
    for side in 'ours', 'peer':
        os.mkdir(os.path.join(folder, side))
    title = [peer_image(rng, folder + '/peer', 'base.vmdk', size, None, subformat)]
    kind = rng.choice(['convert', 'convert', 'commit', 'rebase', 'dd'])
    if kind in ('commit', 'rebase'):
        title.append(peer_image(rng, folder + '/peer', 'top.vmdk', size, 'base.vmdk'))
    if kind == 'rebase':
        run(PEER, ['convert', '-f', 'vmdk', '-O', 'vmdk', 'base.vmdk', 'other.vmdk'], folder + '/peer')
    raw_source(rng, folder)
    os.truncate(folder + '/source', size)
    for name in os.listdir(folder + '/peer'):
        shutil.copy(f'{folder}/peer/{name}', f'{folder}/ours/{name}')
    words = {'convert': ['convert', '-n', '-f', 'raw', '-O', 'vmdk', '../source', 'base.vmdk'],
             'commit': ['commit', '-f', 'vmdk', 'top.vmdk'],
             'rebase': ['rebase', '-f', 'vmdk', '-b', 'other.vmdk', '-F', 'vmdk', 'top.vmdk'],
             'dd': ['dd', '-f', 'raw', '-O', 'vmdk', 'bs=64k', 'if=../source', 'of=base.vmdk']}[kind]
    ours, peer = run(IMG, words, folder + '/ours'), run(PEER, words, folder + '/peer')
    problems = []
    if ours.differs(peer):
        problems.append(f'{" ".join(words)}: {ours.differs(peer)}')
    for name in 'base.vmdk', 'top.vmdk':
        if not os.path.exists(f'{folder}/peer/{name}') or (name == 'top.vmdk' and kind == 'commit'):
            continue
        result = run(PEER, ['compare', '-f', 'vmdk', '-F', 'vmdk', f'ours/{name}', f'peer/{name}'], folder)
        if result.code:
            problems.append(f'{name} after {" ".join(words)}: {result.out} {result.err}')
        result = run(PEER, ['check', '-f', 'vmdk', f'ours/{name}'], folder)
        if result.code:
            problems.append(f'check {name}: {result.out} {result.err}')
        redundant_in_step(f'{folder}/ours/{name}', problems)
    return f'{kind} {title}', problems


def redundant_in_step(path, problems):
    """Both directories lead to the same grains."""
    data = blob(path)
    if data[:4] != b'KDMV':
        return
    flags, = struct.unpack_from('<I', data, 8)
    capacity, grain = struct.unpack_from('<QQ', data, 12)
    again, directory = struct.unpack_from('<QQ', data, 48)
    if not flags & 2 or directory == 0xffffffffffffffff:
        return
    for index in range(-(-capacity // (grain * 512))):
        tables = [struct.unpack_from('<I', data, where * SECTOR + index * 4)[0] for where in (again, directory)]
        if data[tables[0] * SECTOR:tables[0] * SECTOR + 2048] != data[tables[1] * SECTOR:tables[1] * SECTOR + 2048]:
            problems.append(f'redundant table {index} differs')


# ---- damage

FIELDS = {'version': (4, 4), 'flags': (8, 4), 'capacity': (12, 8), 'grain': (20, 8), 'entries': (44, 4),
          'redundant': (48, 8), 'directory': (56, 8), 'overhead': (64, 8), 'unclean': (72, 1), 'newline': (73, 4),
          'compression': (77, 2), 'magic': (0, 4)}
NUMBERS = [0, 1, 2, 3, 5, 7, 8, 21, 26, 64, 127, 128, 129, 255, 256, 512, 513, 1000, 4096, 65536, 1 << 21, (1 << 21) + 1,
           1 << 24, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40]
TEXTS = [('createType="', 'createType="x'), ('createType=', 'createtype='), ('createType="', 'createType=" '),
         ('parentCID=ffffffff', 'parentCID='), ('parentCID', 'parentcid'), ('CID=', 'cid='), ('\n', '\r\n'),
         ('CID=', 'CID= '), ('CID=', 'CID=0x'), ('CID=', 'CID=12345678'), ('version=1', 'version=3'),
         ('RW ', '\tRW  '), ('" 0', '" 16'), ('" 0', '" -1'), ('" 0', '"'), (' 0\n', ' 99999999999\n'), ('FLAT', 'SPARSE'),
         ('SPARSE', 'SESPARSE'), ('SPARSE', 'VMFSSPARSE'), ('FLAT "', 'VMFS "'), ('SPARSE "', 'SPARSE "no'),
         ('FLAT "', 'FLAT "no'), ('.vmdk"', '.vmdk'), ('# Extent', 'parentFileNameHint="base"\n# Extent'),
         ('# Extent', 'parentFileNameHint="\n# Extent'), ('# Extent', 'parentFileNameHint=""\n# Extent'),
         ('#DDB', '\0#DDB'), ('# Disk', '\0# Disk'), ('monolithicFlat', 'vmfs'), ('twoGbMaxExtentSparse', 'vmfsSparse')]


def damage(rng, folder):
    subformat = rng.choice(SUBFORMATS)
    size = rng.choice([1 << 20, (1 << 20) + 512, 40 << 20])
    title, _ = peer_image(rng, folder, 'x.vmdk', size, None, subformat)
    done = []
    name = 'x.vmdk' if 'twoGb' not in subformat or rng.random() < 0.5 else \
        'x-s001.vmdk' if 'Sparse' in subformat else 'x-f001.vmdk'
    for _ in range(rng.choice([1, 1, 1, 2])):
        data = bytearray(blob(f'{folder}/{name}'))
        if data[:4] == b'KDMV' and rng.random() < 0.75:
            done.append(damage_binary(rng, data))
        elif name.startswith('x-'):
            done.append('cut')
            del data[rng.randrange(len(data)):]
        else:
            done.append(damage_text(rng, data))
        with open(f'{folder}/{name}', 'wb') as file:
            file.write(data)
    problems = []
    compare_views(folder, 'x.vmdk', problems)
    ours = run(IMG, ['convert', '-f', 'vmdk', '-O', 'raw', 'x.vmdk', 'ours.raw'], folder)
    peer = run(PEER, ['convert', '-f', 'vmdk', '-O', 'raw', 'x.vmdk', 'peer.raw'], folder)
    if peer.code in (0, 1) and first_error(ours).differs(first_error(peer)):
        problems.append(f'convert: {ours.differs(peer)}')
    elif peer.code == 0 and ours.code == 0 and os.path.getsize(folder + '/ours.raw') < 1 << 27 and \
            blob(folder + '/ours.raw') != blob(folder + '/peer.raw'):
        problems.append('contents differ')
    return f'{title} {name} {done}', problems


def damage_binary(rng, data):
    kind = rng.random()
    if kind < 0.55:
        field = rng.choice(list(FIELDS))
        at, width = FIELDS[field]
        value = rng.choice(NUMBERS) & ((1 << 8 * width) - 1)
        if field == 'grain' and value and value & (value - 1):
            value = 64
        if field == 'capacity':
            value = min(value, 1 << 32)
        data[at:at + width] = value.to_bytes(width, 'little')
        return f'{field}={value}'
    directory, = struct.unpack_from('<Q', data, 56)
    if kind < 0.7:
        at = directory * SECTOR
    else:
        at = (directory + 1) * SECTOR + 4 * rng.randrange(0, 16)
    if kind < 0.9 and at + 4 <= len(data):
        value = rng.choice(NUMBERS) & 0xffffffff
        struct.pack_into('<I', data, at, value)
        return f'entry at {at}={value}'
    length = rng.choice([rng.randrange(len(data)), 512, 511, 65535, 65536, len(data) - 1])
    del data[length:]
    return f'cut at {length}'


def damage_text(rng, data):
    start = SECTOR if data[:4] == b'KDMV' else 0
    end = data.index(b'\0', start) if b'\0' in data[start:] else len(data)
    old, new = rng.choice(TEXTS)
    text = bytes(data[start:end]).replace(old.encode(), new.encode(), rng.choice([1, 1, 99]))
    if start:
        data[start:start + len(text)] = text
    else:
        data[:] = text
    return f'{old!r} -> {new!r}'


# ---- images that only other products write

def crafted_extent(rng, folder, name, last):
    """One extent in a file; its line.  Before others qemu-img is wrong about the end of a last grain that is cut."""
    grain, count = rng.choice([8, 8, 16, 128]), rng.randrange(1, 12)
    data = b''.join(bytes([rng.randrange(256)]) * 4096 for _ in range(rng.randrange(0, 20)))
    kind = rng.choice(['SPARSE', 'SPARSE', 'SPARSE', 'VMFSSPARSE', 'SESPARSE', 'FLAT', 'VMFS', 'stream'])
    places = [0, 0, 0, 8, 16, 8 + grain, 8 + 2 * grain, 99, 200]
    if kind == 'SPARSE':
        blob_ = vmdk.hosted([rng.choice(places + [1]) for _ in range(count)], data, grain, version=rng.choice([1, 2, 3]),
                            flags=rng.choice([1, 3, 5, 7]), redundant=3, entries=rng.choice([512, 512, 100]),
                            capacity=grain * count - (rng.choice([0, 0, 3]) if last else 0))
    elif kind == 'VMFSSPARSE':
        blob_ = vmdk.cowd([rng.choice(places) for _ in range(count)], data, grain * count, grain,
                          version=rng.choice([1, 3]), count=rng.choice([1, 1, 2]))
    elif kind == 'SESPARSE':
        blob_ = vmdk.sesparse([rng.choice([0, 0, 1 << 60, 2 << 60, 3 << 60, 3 << 60 | 1 << 48, 3 << 60 | 2 << 48, 3 << 60 | 1,
                                           3 << 60 | 0xfff << 48, 3 << 60 | 7 << 48, rng.choice([0, 5]) << 60])
                               for _ in range(count)], data)
    elif kind == 'stream':
        kind = 'SPARSE'
        plain = {n: bytes([n + 1]) * (grain * SECTOR) for n in range(count) if rng.random() < 0.6}
        blob_ = vmdk.stream(plain, count, grain, capacity=grain * count - (rng.choice([0, 0, 0, 5]) if last else 0))
    else:
        blob_ = data
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(blob_)
    end = {'FLAT': f' {rng.choice([0, 0, 3, 8])}'}.get(kind, '')
    sectors = max(1, len(data) // SECTOR + rng.choice([0, 0, 9, -8]))
    # Before another one, an extent of another length than its line says is refused here.
    if not last and kind not in ('FLAT', 'VMFS'):
        sectors = count * (8 if kind == 'SESPARSE' else grain)
    return f'RW {sectors} {kind} "{name}"{end}'


def crafted(rng, folder):
    count = rng.choice([1, 1, 2, 3])
    lines = [crafted_extent(rng, folder, f'e{number}', number == count - 1) for number in range(count)]
    text = vmdk.descriptor(rng.choice(['vmfsSparse', 'seSparse', 'twoGbMaxExtentSparse', 'vmfs', 'monolithicFlat']), lines)
    with open(os.path.join(folder, 'd.vmdk'), 'wb') as file:
        file.write(text)
    problems = []
    if 'Extents with compressed grains must' in run(IMG, ['info', 'd.vmdk'], folder).err:
        return f'{lines} refused', problems
    # It looks for the footer of an extent where that of the descriptor would be.
    if 'footer' in run(PEER, ['info', 'd.vmdk'], folder).err:
        return f'{lines} not read by qemu-img', problems
    compare_views(folder, 'd.vmdk', problems)
    ours = run(IMG, ['convert', '-f', 'vmdk', '-O', 'raw', 'd.vmdk', 'ours.raw'], folder)
    peer = run(PEER, ['convert', '-f', 'vmdk', '-O', 'raw', 'd.vmdk', 'peer.raw'], folder)
    if first_error(ours).differs(first_error(peer)):
        problems.append(f'convert: {ours.differs(peer)}')
    elif ours.code == 0 and blob(folder + '/ours.raw') != blob(folder + '/peer.raw'):
        problems.append('contents differ')
    return str(lines), problems


CASES = [creation, creation, conversion, conversion, written_by_peer, written_by_peer, written_by_us, damage, damage,
         damage, crafted]


def one(seed, folder):
    rng = random.Random(seed)
    case = rng.choice(CASES)
    title, problems = case(rng, folder)
    return f'{case.__name__} {title}', problems


if __name__ == '__main__':
    each('vmdk-random', 40, one)
