# SPDX-License-Identifier: MIT
"""Makes parents and differencing disks of VHD, VHDX and VDI from their specifications, without any tool.

A layer is a dict: path, size, unit (smallest piece that it can own), identity, and what it was made of.  Each maker
gets what the layer owns as a list of (offset, bytes), whole units in ascending order, and the parent layer or None.
"""
import functools
import os
import struct
import uuid

import vdi
import vhdx
import vpc

MEGA = 1 << 20


def windows(name):
    return name.replace('/', '\\')


def pieces(runs, size):
    """Runs by blocks of `size`: {block: [(offset in it, bytes)]}."""
    found = {}
    for offset, data in runs:
        while data:
            inside = offset % size
            part = data[:size - inside]
            found.setdefault(offset // size, []).append((inside, part))
            offset, data = offset + len(part), data[len(part):]
    return found


# ---- VHD

def vpc_names(rng, names):
    """Locators: (code, bytes).  names: relative, absolute; each may be None."""
    found = [(b'MacX', names['url'].encode())] if names.get('url') else []
    if names.get('relative'):
        text = rng.choice(['.\\', '']) + windows(names['relative'])
        found.append((b'W2ru', text.encode('utf-16-le')) if rng.random() < 0.7 or not text.isascii() else
                     (b'Wi2r', text.encode()))
    if names.get('absolute'):
        if rng.random() < 0.5 and names['absolute'].startswith('/'):
            quoted = ''.join(f'%{byte:02X}' if byte > 126 or byte in b' %"' else chr(byte)
                             for byte in names['absolute'].encode())
            found.append((b'MacX', ('file://localhost' + quoted).encode()))
        else:
            found.append((b'W2ku', names['absolute'].encode('utf-16-le')))
    rng.shuffle(found)
    return found


def make_vpc(rng, path, size, runs, parent=None, names=None, fixed=False):
    identity = rng.randbytes(16)
    kind = 2 if fixed else 4 if parent else 3
    footer = vpc.footer(creator=rng.choice([b'qem2', b'win ', b'vbox']), size=size, kind=kind, uuid=identity,
                        data_offset=(1 << 64) - 1 if fixed else 512)
    layer = dict(form='vpc', path=path, size=size, unit=512, identity=identity)
    with open(path, 'wb') as file:
        if fixed:
            for offset, data in runs:
                file.seek(offset)
                file.write(data)
            file.seek(size)
            file.write(footer)
            return layer
        block = rng.choice([4096, 64 << 10, 512 << 10, 2 * MEGA])
        while size // block > 4000:
            block *= 2
        count, place = -(-size // block), 1536
        table_first = rng.random() < 0.5
        table_place = place if table_first else 0
        if table_first:
            place += len(vpc.table([0] * count))
        fields = bytearray(vpc.header(entries=count, block_size=block))
        for number, (code, text) in enumerate(vpc_names(rng, names or {})):
            room = rng.choice([512, 4096]) + len(text) // 512 * 512
            struct.pack_into('>4sIIIQ', fields, 576 + 24 * number, code, room, len(text), 0, place)
            file.seek(place)
            file.write(text.ljust(room, b'\0'))
            place += room
        if not table_first:
            table_place = place
            place += len(vpc.table([0] * count))
        if parent:
            fields[40:56] = parent['identity']
            name = (names.get('header') or '').encode('utf-16-be')
            fields[64:64 + len(name)] = name
        struct.pack_into('>Q', fields, 16, table_place)
        struct.pack_into('>I', fields, 36, 0)
        entries = [vpc.UNUSED] * count
        owned = list(pieces(runs, block).items())
        rng.shuffle(owned)
        for index, parts in owned:
            bits = bytearray(block // 4096)
            for inside, data in parts:
                for sector in range(inside // 512, (inside + len(data)) // 512):
                    bits[sector // 8] |= 128 >> sector % 8
            entries[index] = place // 512
            file.seek(place)
            file.write((bytes(bits) if parent else b'\xff' * len(bits)).ljust(vpc.bitmap_bytes(block), b'\0'))
            start = file.tell()
            if parent:                              # what is not owned must not show
                file.write(b'#' * block)
            for inside, data in parts:
                file.seek(start + inside)
                file.write(data)
            place = start + block
        file.seek(place)
        file.write(footer)
        file.seek(table_place)
        file.write(vpc.table(entries))
        file.seek(0)
        file.write(footer + vpc.with_checksum(fields, 36))
    return layer


# ---- VHDX

LOCATOR_TYPE = uuid.UUID('B04AEFB7-D19E-4A81-B789-25B8E9445913')


def locator(rng, parent, names):
    linkage = '{%s}' % uuid.UUID(bytes_le=parent['identity'])
    pairs = [('parent_linkage', linkage)]
    if rng.random() < 0.3:          # the second one may be the one that holds
        other = '{%s}' % uuid.UUID(bytes_le=rng.randbytes(16))
        pairs = [('parent_linkage', other), ('parent_linkage2', linkage.upper())]
    elif rng.random() < 0.3:
        pairs.append(('parent_linkage2', '{%s}' % uuid.UUID(int=0)))
    if names.get('relative'):
        pairs.append(('relative_path', rng.choice(['.\\', '']) + windows(names['relative'])))
    if names.get('absolute'):
        pairs.append((rng.choice(['absolute_win32_path', 'volume_path']), names['absolute']))
    if rng.random() < 0.2:
        pairs.append(('something_else', 'x'))
    rng.shuffle(pairs)
    head, texts = struct.pack('<16sHH', LOCATOR_TYPE.bytes_le, 0, len(pairs)), b''
    start = 20 + 12 * len(pairs)
    for key, value in pairs:
        key, value = key.encode('utf-16-le'), value.encode('utf-16-le')
        head += struct.pack('<IIHH', start + len(texts), start + len(texts) + len(key), len(key), len(value))
        texts += key + value
    return head + texts


@functools.lru_cache
def sealed_table(table):
    return vhdx.seal(table.ljust(64 << 10, b'\0'))


def make_vhdx(rng, path, size, runs, parent=None, names=None, sector=512, block=None):
    identity, file_id = rng.randbytes(16), rng.randbytes(16)
    block = block or rng.choice([MEGA, MEGA, 2 * MEGA, 8 * MEGA])
    ratio, count = (sector << 23) // block, -(-size // block)
    chunks = -(-count // ratio)
    layer = dict(form='vhdx', path=path, size=size, unit=sector, identity=identity, sector=sector)
    entries = [0] * (chunks * (ratio + 1) if parent else count + (count - 1) // ratio)
    bat_place, bat_length = 2 * MEGA, -(-len(entries) * 8 // MEGA) * MEGA
    metadata_place, place = bat_place + bat_length, bat_place + bat_length + MEGA
    items = [(vhdx.FILE_PARAMETERS, struct.pack('<II', block, 2 if parent else 0), 4),
             (vhdx.DISK_SIZE, struct.pack('<Q', size), 6), (vhdx.PAGE83, b'\x83' * 16, 6),
             (vhdx.LOGICAL, struct.pack('<I', sector), 6), (vhdx.PHYSICAL, struct.pack('<I', 4096), 6)]
    if parent:
        items.append((vhdx.LOCATOR, locator(rng, parent, names), 4))
    with open(path, 'wb') as file:
        def put(at, data):
            file.seek(at)
            file.write(data)

        put(0, b'vhdxfile')
        first = rng.choice([0, 1, 77])
        numbers = rng.choice([(first, first + 1), (first + 1, first), (first, first)])
        for at, number in zip(vhdx.HEADERS, numbers):
            put(at, vhdx.seal(struct.pack('<4sIQ16s16s16sHHIQ', b'head', 0, number, file_id, identity, bytes(16), 0, 1,
                                          MEGA, MEGA).ljust(4096, b'\0')))
        table = struct.pack('<4sIII', b'regi', 0, 2, 0)
        for guid, at, length in (vhdx.BAT, bat_place, bat_length), (vhdx.METADATA, metadata_place, MEGA):
            table += struct.pack('<16sQII', guid.bytes_le, at, length, 1)
        table = sealed_table(table)
        for at in vhdx.REGION_TABLES:
            put(at, table)
        head, values = struct.pack('<8sHH20x', b'metadata', 0, len(items)), b''
        for guid, value, flags in items:
            head += struct.pack('<16sIIII', guid.bytes_le, (64 << 10) + len(values), len(value), flags, 0)
            values += value
        put(metadata_place, head)
        put(metadata_place + (64 << 10), values)
        bitmaps = {}
        for index, parts in pieces(runs, block).items():
            owned, room = sum(len(data) for _, data in parts), min(block, size - index * block)
            at = index + index // ratio
            if parent and owned == room and rng.random() < 0.3 and not any(any(data) for _, data in parts):
                entries[at] = rng.choice([1, 2, 3])
                continue
            entries[at] = place | (7 if parent and (owned < room or rng.random() < 0.5) else 6)
            if entries[at] & 7 == 7:
                if index // ratio not in bitmaps:
                    bitmaps[index // ratio] = place + block
                    entries[index // ratio * (ratio + 1) + ratio] = place + block | 6
                for inside, data in parts:
                    set_bits(file, bitmaps[index // ratio], (index % ratio * block + inside) // sector,
                             len(data) // sector)
                for inside in range(0, min(room, 4 * MEGA), 64 << 10):      # what is not owned must not show
                    put(place + inside, b'#' * 4096)
            for inside, data in parts:
                put(place + inside, data)
            place += block
            if entries[at] & 7 == 7 and bitmaps[index // ratio] == place:
                place += MEGA
        file.truncate(place)
        put(bat_place, struct.pack(f'<{len(entries)}Q', *entries))
    return layer


def set_bits(file, at, first, count):
    low, high = first // 8, (first + count + 7) // 8
    file.flush()
    with open(file.name, 'rb') as again:
        again.seek(at + low)
        bits = bytearray(again.read(high - low).ljust(high - low, b'\0'))
    for bit in range(first, first + count):
        bits[bit // 8 - low] |= 1 << bit % 8
    file.seek(at + low)
    file.write(bits)
    file.flush()


# ---- VDI

def make_vdi(rng, path, size, runs, parent=None, names=None):
    identity, modified = rng.randbytes(16), rng.randbytes(16)
    count = -(-size // vdi.BLOCK)
    entries, body = [vdi.UNALLOCATED] * count, b''
    owned = list(pieces(runs, vdi.BLOCK).items())
    rng.shuffle(owned)
    for index, parts in owned:
        data = b''.join(part for _, part in parts)
        if not any(data) and rng.random() < 0.5:
            entries[index] = vdi.DISCARDED
            continue
        entries[index] = len(body) // vdi.BLOCK
        body += data.ljust(vdi.BLOCK, b'\0')
    given = dict(kind=4, link=parent['identity'],
                 parent=rng.choice([parent['modified'], parent['modified'], bytes(16)])) if parent else {}
    with open(path, 'wb') as file:
        file.write(vdi.image(entries, body, disk=size, allocated=len(body) // vdi.BLOCK, uuid=identity,
                             modified=modified, data_offset=512 + -(-4 * count // 512) * 512, **given))
    return dict(form='vdi', path=path, size=size, unit=vdi.BLOCK, identity=identity, modified=modified)


def vdi_name(layer):
    return '{%s}.vdi' % uuid.UUID(bytes_le=layer['identity'])


MAKERS = dict(vpc=make_vpc, vhdx=make_vhdx, vdi=make_vdi)


def change_identity(layer):
    """The parent is another disk from now on."""
    with open(layer['path'], 'r+b') as file:
        if layer['form'] == 'vdi':
            file.seek(0x188)
            file.write(os.urandom(16))
        elif layer['form'] == 'vpc':
            for at in 0, os.path.getsize(layer['path']) - 512:
                file.seek(at)
                footer = bytearray(file.read(512))
                if footer.startswith(b'conectix'):
                    footer[64:84] = bytes(4) + b'\7' * 16
                    file.seek(at)
                    file.write(vpc.with_checksum(footer, 64))
        else:
            for at in vhdx.HEADERS:
                file.seek(at)
                header = bytearray(file.read(4096))
                header[32:48] = b'\7' * 16
                file.seek(at)
                file.write(vhdx.seal(header))
