# SPDX-License-Identifier: MIT
"""Makes vmdk images: sparse extents of each kind, streams, descriptors.  Offsets are in sectors, as in the format."""
import struct
import zlib

SECTOR = 512
AT_END = (1 << 64) - 1


def descriptor(create_type, lines, cid='12345678', parent='ffffffff', more=''):
    return (f'# Disk DescriptorFile\nversion=1\nCID={cid}\nparentCID={parent}\ncreateType="{create_type}"\n{more}\n'
            '# Extent description\n' + ''.join(line + '\n' for line in lines) + '\n# The Disk Data Base\n#DDB\n').encode()


def header(capacity, grain=128, version=1, flags=3, descriptor_at=1, descriptor_size=2, entries=512, redundant=0,
           directory=AT_END, overhead=0, unclean=0, newlines=b'\n \r\n', compression=0, magic=b'KDMV'):
    return (magic + struct.pack('<IIQQQQIQQQB', version, flags, capacity, grain, descriptor_at, descriptor_size, entries,
                                redundant, directory, overhead, unclean) +
            newlines + struct.pack('<H', compression)).ljust(SECTOR, b'\0')


def pad(data, sectors=1):
    return data + bytes(-len(data) % (SECTOR * sectors))


def entries(values, width='I'):
    return pad(struct.pack(f'<{len(values)}{width}', *values))


def entries_32(values):
    return entries(values)


def hosted(table, data=b'', grain=8, text=None, **fields):
    """A sparse extent: header, text in sectors 1 and 2, directory at 3, one table at 4, `data` from sector 8 on."""
    fields.setdefault('capacity', len(table) * grain)
    text = descriptor('monolithicSparse', [f'RW {fields["capacity"]} SPARSE "x"']) if text is None else text
    fields.setdefault('directory', 3)
    fields.setdefault('flags', 1)
    body = header(grain=grain, **fields) + text.ljust(2 * SECTOR, b'\0')
    body += entries([4]) + entries(table)
    return body.ljust(8 * SECTOR, b'\0') + data


def marker(kind, sectors):
    return struct.pack('<QII', sectors, 0, kind).ljust(SECTOR, b'\0')


def stream(grains, count, grain=8, text=None, footer=True, **fields):
    """A streamOptimized extent as VMware products write it; grains: {number: bytes}."""
    capacity = fields.pop('capacity', count * grain)
    text = descriptor('streamOptimized', [f'RW {capacity} SPARSE "x"']) if text is None else text
    fields = dict(dict(version=3, flags=0x30001, compression=1, overhead=3), **fields)
    body = header(capacity, grain, **fields) + text.ljust(2 * SECTOR, b'\0')
    table = [0] * 512
    for number, plain in grains.items():
        coded = zlib.compress(plain)
        table[number] = len(body) // SECTOR
        body += pad(struct.pack('<QI', number * grain, len(coded)) + coded)
    body += marker(1, 4)
    place = len(body) // SECTOR
    body += entries(table) + marker(2, 1)
    directory = len(body) // SECTOR
    body += entries([place])
    if footer:
        body += marker(3, 1) + header(capacity, grain, **dict(fields, directory=directory)) + marker(0, 0)
    return body


def cowd(table, data=b'', sectors=None, grain=8, version=1, directory=4, count=1, geometry=(0, 0, 0)):
    """An ESX sparse extent: header, directory at 4, one table at 5, `data` from sector 8 on."""
    sectors = len(table) * grain if sectors is None else sectors
    body = b'COWD' + struct.pack('<7I3I', version, 3, sectors, grain, directory, count, 40, *geometry)
    body = body.ljust(directory * SECTOR, b'\0') + entries([5])
    return (body + entries(table)).ljust(8 * SECTOR, b'\0') + data


def sesparse(table, data=b'', capacity=None, directory=(1 << 60,), replay=0, **fields):
    """A seSparse extent: headers, directory at 2, a table at 4, `data` (grains) from sector 8 on."""
    words = [0] * 64
    words[0:5] = [0xcafebabe, 0x200000001, len(table) * 8 if capacity is None else capacity, 8, 64]
    words[10:12] = [1, 1]
    words[16:20] = [2, 1, 4, 64]
    words[24:26] = [8, 1024]
    for name, value in fields.items():
        words[int(name[1:])] = value
    body = entries(words, 'Q') + entries([0xcafecafe, 0, 0, replay] + [0] * 60, 'Q')
    body += entries(list(directory), 'Q').ljust(2 * SECTOR, b'\0')
    return (body + entries(table, 'Q')).ljust(8 * SECTOR, b'\0') + data


def long_stream(grains, count, grain=8, entries=512, text=None, capacity=None):
    """A streamOptimized extent with a table behind the grains of each, as VMware products write it.  Returns the bytes,
    and where the markers are of what is behind the grains: {'tables': [...], 'directory': , 'footer': }."""
    capacity = count * grain if capacity is None else capacity
    text = descriptor('streamOptimized', [f'RW {capacity} SPARSE "x"']) if text is None else text
    fields = dict(version=3, flags=0x30001, compression=1, overhead=3, entries=entries)
    body = header(capacity, grain, **fields) + text.ljust(2 * SECTOR, b'\0')
    places, marks = [], dict(tables=[])
    size = -(-entries * 4 // SECTOR)
    for number in range(-(-count // entries)):
        table = [0] * entries
        for index in range(number * entries, min(count, (number + 1) * entries)):
            if index in grains:
                coded = zlib.compress(grains[index], 1)
                table[index % entries] = len(body) // SECTOR
                body += pad(struct.pack('<QI', index * grain, len(coded)) + coded)
        places.append(0)
        if any(table):
            marks['tables'].append(len(body))
            body += marker(1, size)
            places[-1] = len(body) // SECTOR
            body += entries_32(table)
    marks['directory'] = len(body)
    directory = entries_32(places)
    body += marker(2, len(directory) // SECTOR)
    at = len(body) // SECTOR
    body += directory
    marks['footer'] = len(body)
    return body + marker(3, 1) + header(capacity, grain, **dict(fields, directory=at)) + marker(0, 0), marks
