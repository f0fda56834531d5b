#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random vmdk images as other programs write them, which qemu-img does not read; the content is known.

A case is one of: a disk of plain files (fullDevice, partitionedDevice, vmfs, ...), with more words than needed and in
every form of the text; a stream with padding behind its end, or with a part of its end missing; an overlay whose parent
has a path of another machine; names in another encoding; a descriptor that does not describe the whole disk.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, each, guest_bytes, run  # noqa: E402
import vmdk  # noqa: E402

SECTOR = 512


def put(folder, name, data):
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(data)


def noise(rng, sectors):
    """Random sectors, some of zeroes."""
    return b''.join(bytes(SECTOR) if rng.random() < 0.2 else rng.randbytes(SECTOR) for _ in range(sectors))


def expect(folder, name, want, problems):
    """Opened by its content, it has this; info and map do not fail."""
    found, error = guest_bytes(IMG, [name], folder)
    if found != want:
        problems.append(f'{name}: ' + (error.strip() if found is None else f'other content, {len(found)} bytes'))
    elif error:
        problems.append(f'{name}: {error.strip()}')
    for words in (['info', name], ['map', '--output=json', name]):
        result = run(IMG, words, folder)
        if result.code or result.err:
            problems.append(f'{words}: {result.code} {result.err.strip()}')


def refuse(folder, name, words, problems):
    """One line says why, with these words in it; nothing is written."""
    result = run(IMG, ['convert', '-f', 'vmdk', '-O', 'raw', name, 'refused.raw'], folder)
    if result.code != 1 or words not in result.err or result.err.count('\n') != 1:
        problems.append(f'{name}: {result.code} {result.err.strip()!r} instead of {words!r}')
    if os.path.exists(os.path.join(folder, 'refused.raw')):
        problems.append(f'{name}: a file was written')


# ---- texts

def text_of(create_type, lines, parent='ffffffff', more='', encoding=None):
    settings = ([f'encoding="{encoding}"'] if encoding else []) + ['CID=12345678', f'parentCID={parent}',
                                                                   f'createType="{create_type}"']
    return '\n'.join(['# Disk DescriptorFile', 'version=1'] + settings + more.splitlines() +
                     ['# Extent description'] + lines + ['# The Disk Data Base', '#DDB', 'ddb.adapterType = "ide"', ''])


def random_form(rng, text):
    """The same text in another form, and in bytes."""
    done = []

    def maybe(name):
        if rng.random() < 0.25:
            done.append(name)
            return True
        return False
    if maybe('blanks'):
        text = '\n'.join(line if '"' in line.split('=')[0] or line.startswith('#') else
                         line.replace('=', rng.choice([' =', '= ', ' = ', '\t=  '])) for line in text.split('\n'))
    if maybe('comments'):
        lines = text.split('\n')
        for _ in range(rng.randrange(1, 4)):
            lines.insert(rng.randrange(1, len(lines)), '#' + 'c' * rng.randrange(900))
        text = '\n'.join(lines)
    if maybe('trailing'):
        text = text.replace('\n', rng.choice([' ', '\t', '  \t']) + '\n')
    if maybe('double'):
        text = text.replace('\n', '\n\n')
    if maybe('first'):
        text = rng.choice(['\n', '  \n', '\t\n\n']) + text
    if maybe('dos'):
        text = text.replace('\n', '\r\n') + rng.choice(['', '\x1a'])
    form = rng.choice(['utf-8', 'utf-8', 'utf-8-sig', 'utf-16-le', 'utf-16-be'])
    done.append(form)
    return ('\ufeff' + text if 'utf-16' in form else text).encode(form), done


def plain_disk(rng, folder):
    """Extents in files, at random places; what a guest reads, and the lines."""
    want, lines = b'', []
    for number in range(rng.randrange(1, 6)):
        sectors = rng.randrange(1, 130)
        kind = rng.choice(['FLAT', 'FLAT', 'FLAT', 'VMFS', 'ZERO'])
        access = rng.choice(['RW', 'RW', 'RDONLY'])
        more = rng.choice(['', '', ' partitionUUID "dev" 11111111-2222-3333-4444-555555555555', ' a b c'])
        if kind == 'ZERO':
            lines.append(f'{access} {sectors} ZERO' + rng.choice(['', ' "part"', ' "part" 0']))
            want += bytes(sectors * SECTOR)
            continue
        name = rng.choice([f'part{number}', f'a part {number}.bin', f'Gr\u00f6\u00dfe-{number}'])
        offset = rng.choice([0, 0, rng.randrange(200)])
        data = noise(rng, sectors)
        put(folder, name, noise(rng, offset) + data + noise(rng, rng.randrange(3)))
        if rng.random() < 0.3:
            name = os.path.join(os.path.abspath(folder), name)
        where = '' if kind == 'VMFS' and offset == 0 and rng.random() < 0.5 else f' {offset}'
        lines.append(f'{access} {sectors} {kind} "{name}"{where}{more if where else ""}')
        want += data
    return want, lines


def plain(rng, folder):
    want, lines = plain_disk(rng, folder)
    kind = rng.choice(['fullDevice', 'partitionedDevice', 'monolithicFlat', 'vmfs', 'twoGbMaxExtentFlat'])
    text, form = random_form(rng, text_of(kind, lines))
    put(folder, 'd.vmdk', text)
    problems = []
    expect(folder, 'd.vmdk', want, problems)
    return f'{kind} {form} {lines}', problems


# ---- streams

def stream(rng, folder):
    grain, entries = rng.choice([1, 2, 8]), rng.choice([4, 16, 512])
    count = rng.randrange(1, 6 * entries if entries < 512 else 1200)
    last = rng.random() < 0.5       # so that the last table is there, and a stream without its directory is complete
    grains = {i: noise(rng, grain) for i in range(count) if rng.random() < 0.3 or (last and i == count - 1)}
    data, marks = vmdk.long_stream(grains, count, grain, entries)
    want = b''.join(grains.get(i, bytes(grain * SECTOR)) for i in range(count))
    directory = marks['directory']
    # From here on nothing but metadata is missing.  (Of a last sector a part may be missing, so it does not count.)
    whole = directory + SECTOR + 1
    if grains and max(grains) // entries == -(-count // entries) - 1:
        whole = directory + 1
    how = rng.choice(['padded', 'padded', 'behind', 'cut', 'cut', 'cut', 'short'])
    if how == 'padded':
        data += bytes(rng.choice([1, 511, 512, 513, 65536, rng.randrange(1, 200000)]))
    elif how == 'behind':
        data += rng.randbytes(rng.randrange(1, 5000))
    elif how == 'cut':
        end = len(data)
        data = data[:rng.choice([end - 512, end - 1, end - 1024, marks['footer'], rng.randrange(whole, end), whole])]
    else:
        data = data[:rng.choice([whole - 1, rng.randrange(3 * SECTOR, whole)])]
    put(folder, 's.vmdk', data)
    problems = []
    if how == 'short':
        refuse(folder, 's.vmdk', 'footer', problems)
    else:
        expect(folder, 's.vmdk', want, problems)
    return f'{how} grain {grain} entries {entries} count {count} grains {len(grains)} length {len(data)}', problems


# ---- chains

def chain(rng, folder):
    sectors = rng.randrange(1, 40) * 8
    base = noise(rng, sectors)
    grains = {i: noise(rng, 8) for i in range(sectors // 8) if rng.random() < 0.3}
    table, data = [0] * (sectors // 8), b''
    for index, plain_bytes in grains.items():
        table[index] = 8 + len(data) // SECTOR
        data += plain_bytes
    name = rng.choice(['vm.vmdk', 'my disk.vmdk', 'a:b.vmdk', 'Gr\u00f6\u00dfe.vmdk'])
    folders = rng.choice(['/vmfs/volumes/4f/vm/', 'C:\\vms\\', '\\\\server\\share\\', 'gone/', '..\\', 'c:\\a/b\\',
                          './' if ':' in name else ''])
    own, known = rng.choice(['aabbccdd', 'aabbccdd', '00000001']), 'aabbccdd'
    put(folder, 'flat', base)
    put(folder, name, vmdk.descriptor('vmfs', [f'RW {sectors} VMFS "flat"'], cid=own))
    put(folder, 'delta', vmdk.cowd(table, data, sectors))
    text, form = random_form(rng, text_of('vmfsSparse', [f'RW {sectors} VMFSSPARSE "delta"'], known,
                                          f'parentFileNameHint="{folders}{name}"\n'))
    put(folder, 'd.vmdk', text)
    want = bytearray(base)
    for index, plain_bytes in grains.items():
        want[index * 4096:(index + 1) * 4096] = plain_bytes
    problems = []
    if own == known:
        expect(folder, 'd.vmdk', bytes(want), problems)
    elif folders in ('', './'):
        found, error = guest_bytes(IMG, ['d.vmdk'], folder)
        if len(grains) < len(table) and (found is not None or '00000001, not aabbccdd' not in error):
            problems.append(f'changed parent: {error!r}')
    else:
        refuse(folder, 'd.vmdk', 'Could not open backing file', problems)
    return f'{folders}{name} {own} {form}', problems


# ---- encodings

def encoded(rng, folder):
    encoding, letters = rng.choice([('windows-1252', '\u00e4\u00df\u20ac'), ('GBK', '\u8054\u901a\u8868'),
                                    ('Shift_JIS', '\u8868\u793a\u30bd'), ('Big5', '\u529f\u80fd'),
                                    ('windows-1251', '\u0434\u0438\u0441\u043a'), ('EUC-KR', '\ud55c\uae00')])
    name = ''.join(rng.choice(letters) for _ in range(rng.randrange(1, 9))) + rng.choice(['', '.vmdk', ' x'])
    data = noise(rng, 4)
    put(folder, name, data)
    put(folder, 'd.vmdk', text_of('vmfs', [f'RW 4 VMFS "{name}"'], encoding=encoding).encode(encoding))
    problems = []
    expect(folder, 'd.vmdk', data, problems)
    return f'{encoding} {name!r}', problems


# ---- what is not a whole disk

def partial(rng, folder):
    _, lines = plain_disk(rng, folder)
    at = rng.randrange(len(lines) + 1)
    what = rng.choice(['line', 'access', 'none', 'gap', 'parent', 'length'])
    problems = []
    if what == 'line':
        bad = rng.choice(['rw 8 FLAT "part0" 0', 'RW\u00a08 FLAT "part0" 0', '8 FLAT "part0" 0', 'RO 8 ZERO', 'x y',
                          '"RW" 1 ZERO'])
        text, form = text_of('fullDevice', lines[:at] + [bad] + lines[at:]), bad
    elif what == 'access':
        bad = rng.choice(['NOACCESS 8 FLAT "gone" 0', 'NOACCESS 3 ZERO'])
        put(folder, 'd.vmdk', text_of('vmfs', lines[:at] + [bad] + lines[at:]).encode())
        result = run(IMG, ['convert', '-O', 'raw', 'd.vmdk', 'o.raw'], folder)
        if result.code != 1 or 'NOACCESS' not in result.err or run(IMG, ['info', 'd.vmdk'], folder).code:
            problems.append(f'no access: {result.code} {result.err}')
        return f'{what} {lines}', problems
    elif what == 'none':
        text, form = text_of('vmfs', rng.choice([[], ['RW 0 ZERO']])), 'lists no extent'
    elif what == 'gap':
        count = rng.randrange(2, 9)
        names = [f'x-{rng.choice("sf")}{n:03}.vmdk' for n in range(1, count + 1)]
        names = [name.replace('-s', '-f') for name in names]
        for name in names:
            put(folder, name, bytes(SECTOR))
        lost = names.pop(rng.randrange(len(names) - 1))
        text, form = text_of('twoGbMaxExtentFlat', [f'RW 1 FLAT "{name}" 0' for name in names]), 'missing'
        what += ' ' + lost
    elif what == 'parent':
        text, form = text_of('vmfs', lines, parent='1234abcd'), '1234abcd'
    else:
        put(folder, 's', vmdk.hosted([8, 0], b'd' * 4096))
        text = text_of('vmfs', [f'RW {rng.choice([1, 15, 17])} SPARSE "s"'] + lines)
        form = "Extent 's' has 16 sectors"
    put(folder, 'd.vmdk', text.encode())
    refuse(folder, 'd.vmdk', form, problems)
    return f'{what} {lines}', problems


CASES = [plain, plain, stream, stream, stream, chain, chain, encoded, partial, partial]


def one(seed, folder):
    rng = random.Random(seed)
    case = rng.choice(CASES)
    title, problems = case(rng, folder)
    return f'{case.__name__} {title}', problems


if __name__ == '__main__':
    each('vmdk-real-random', 60, one)
