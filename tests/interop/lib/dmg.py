# SPDX-License-Identifier: MIT
"""Makes Apple disk images (UDIF) with any kind of chunk, valid or not.

A chunk is (type, sector, sectors, offset, length), as in its table entry.  Written from the description of
the format at https://keramics.github.io (udif, adc).
"""
import base64
import bz2
import lzma
import struct
import zlib

import lzfse

ZERO, RAW, IGNORE = 0, 1, 2
ADC, ZLIB, BZIP2, LZFSE, XZ = 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008
COMMENT, END = 0x7ffffffe, 0xffffffff
SECTOR = 512


def adc(data):
    """Apple Data Compression: greedy, with matches of both lengths."""
    out = bytearray()
    for run, length, distance in lzfse.matches(data, 0, 65536, 1 << 20, 4):
        for at in range(0, len(run), 128):
            part = run[at:at + 128]
            out += bytes([0x80 | (len(part) - 1)]) + part
        while length:
            part = length if length <= 67 else min(67, length - 4)
            if part <= 18 and distance <= 1024:
                out += bytes([(part - 3) << 2 | (distance - 1) >> 8, (distance - 1) & 255])
            else:
                out += bytes([0x40 | (part - 4)]) + struct.pack('>H', distance - 1)
            length -= part
    return bytes(out)


def encode(kind, data):
    if kind == ZLIB:
        return zlib.compress(data)
    if kind == BZIP2:
        return bz2.compress(data)
    if kind == XZ:
        return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, preset=1)
    if kind == LZFSE:
        return lzfse.encode(data)
    return adc(data) if kind == ADC else data


# ---- Tables --------------------------------------------------------------------------------

def mish(chunks, start=0, sectors=None, data_offset=0, **head):
    """The block table of one partition; `head` replaces fields."""
    if sectors is None:
        sectors = sum(chunk[2] for chunk in chunks if chunk[0] not in (COMMENT, END))
    table = struct.pack('>4sIQQQII24xII128xI', head.get('magic', b'mish'), 1, start, sectors, data_offset,
                        head.get('buffers', 520), head.get('descriptors', 0), head.get('checksum', 0), 32,
                        head.get('count', len(chunks)))
    return table + b''.join(struct.pack('>IIQQQQ', chunk[0], 0, *chunk[1:]) for chunk in chunks)


def plist(tables, data='Data'):
    """The property list with these tables."""
    text = ['<?xml version="1.0" encoding="UTF-8"?>',
            '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
            '<plist version="1.0">', '<dict>', '\t<key>resource-fork</key>', '\t<dict>', '\t\t<key>blkx</key>',
            '\t\t<array>']
    for number, table in enumerate(tables):
        text += ['\t\t\t<dict>', '\t\t\t\t<key>Attributes</key>', '\t\t\t\t<string>0x0050</string>',
                 '\t\t\t\t<key>CFName</key>', '\t\t\t\t<string>part %d</string>' % number,
                 '\t\t\t\t<key>%s</key>' % data, '\t\t\t\t<data>']
        code = base64.b64encode(table).decode()
        text += ['\t\t\t\t' + code[at:at + 44] for at in range(0, len(code), 44)]
        text += ['\t\t\t\t</data>', '\t\t\t\t<key>ID</key>', '\t\t\t\t<string>%d</string>' % number,
                 '\t\t\t\t<key>Name</key>', '\t\t\t\t<string>part %d</string>' % number, '\t\t\t</dict>']
    text += ['\t\t</array>', '\t</dict>', '</dict>', '</plist>', '']
    return '\n'.join(text).encode()


def resource_fork(tables):
    """A resource fork with a "blkx" resource for each."""
    data = b''
    references = b''
    for number, table in enumerate(tables):
        references += struct.pack('>hhII', number, -1, len(data), 0)
        data += struct.pack('>I', len(table)) + table
    types = struct.pack('>h4shh', 0, b'blkx', len(tables) - 1, 10)
    table_map = struct.pack('>16xIHHHH', 0, 0, 0, 28, 28 + len(types) + len(references)) + types + references
    head = struct.pack('>IIII', 256, 256 + len(data), len(data), len(table_map))
    return head + bytes(256 - len(head)) + data + table_map


def koly(**fields):
    """The footer; the arguments are its fields."""
    get = fields.get
    trailer = struct.pack('>4sIIIQQQQQII16sII128xQQ120xII128xIQ12x', get('magic', b'koly'), 4, 512, get('flags', 1), 0,
                          get('data_offset', 0), get('data_length', 0), get('rsrc_offset', 0), get('rsrc_length', 0),
                          1, 1, bytes(16), 2, 32, get('xml_offset', 0), get('xml_length', 0), 2, 32, 1,
                          get('sectors', 0))
    assert len(trailer) == 512
    return trailer


def image(data, tables, how='xml', sectors=0, **fields):
    """A whole file: the data fork, the tables, the footer."""
    if how == 'xml':
        text = plist(tables)
        fields = dict(dict(xml_offset=len(data), xml_length=len(text)), **fields)
    else:
        text = resource_fork(tables)
        fields = dict(dict(rsrc_offset=len(data), rsrc_length=len(text)), **fields)
    return data + text + koly(**dict(dict(data_length=len(data), sectors=sectors), **fields))


def convert(disk, kinds, chunk_sectors=512, partitions=1, how='xml', prefix=b''):
    """An image of `disk`; `kinds(number)` says how each chunk is stored.  Zeroes become chunks of zeroes."""
    assert len(disk) % SECTOR == 0
    data, tables, number = bytearray(prefix), [], 0
    total = len(disk) // SECTOR
    cuts = [total * part // partitions for part in range(partitions + 1)]
    for first, last in zip(cuts, cuts[1:]):
        chunks = []
        for sector in range(first, last, chunk_sectors):
            count = min(chunk_sectors, last - sector)
            plain = disk[sector * SECTOR:(sector + count) * SECTOR]
            kind = kinds(number)
            number += 1
            if kind in (ZERO, IGNORE):
                assert not any(plain)
                chunks.append((kind, sector - first, count, len(data), 0))
                continue
            coded = encode(kind, plain)
            chunks.append((kind, sector - first, count, len(data), len(coded)))
            data += coded
        chunks.append((END, last - first, 0, len(data), 0))
        tables.append(mish(chunks, first))
    return image(bytes(data), tables, how, total)
