#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-vhdx anew: images of 4 MiB, packed as that target says.

usage: make-corpus-vhdx.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402
from differencing import LOCATOR_TYPE  # noqa: E402
from vhdx import (BAT, DISK_SIZE, FILE_PARAMETERS, HEADERS, KILO, LOCATOR, LOGICAL, MEGA,  # noqa: E402
                  METADATA, PAGE83, PHYSICAL, REGION_TABLES, log_entry)

BAT_PLACE, METADATA_PLACE, PAYLOAD = 2 * MEGA, 384 * KILO, 3 * MEGA
GUID = bytes(range(16))


def headers(log_id=bytes(16)):
    return [(place, struct.pack('<4sIQ16s16s16sHHIQ', b'head', 0, 7 + number, b'f' * 16, b'd' * 16, log_id, 0, 1,
                                MEGA, MEGA)) for number, place in enumerate(HEADERS)]


def regions(*more):
    entries = [(BAT.bytes_le, BAT_PLACE, MEGA, 1), (METADATA.bytes_le, METADATA_PLACE, 128 * KILO, 1), *more]
    table = struct.pack('<4sIII', b'regi', 0, len(entries), 0)
    for entry in entries:
        table += struct.pack('<16sQII', *entry)
    return [(REGION_TABLES[0], table)]


def metadata(size=MEGA, block=MEGA, bits=0, sector=512, more=()):
    items = [(FILE_PARAMETERS.bytes_le, struct.pack('<II', block, bits), 4),
             (DISK_SIZE.bytes_le, struct.pack('<Q', size), 6),
             (PAGE83.bytes_le, GUID, 6), (LOGICAL.bytes_le, struct.pack('<I', sector), 6),
             (PHYSICAL.bytes_le, struct.pack('<I', 4096), 6), *more]
    table, values = struct.pack('<8sHH20x', b'metadata', 0, len(items)), b''
    for guid, value, flags in items:
        table += struct.pack('<16sIIII', guid, 64 * KILO + len(values), len(value), flags, 0)
        values += value
    return [(METADATA_PLACE, table), (METADATA_PLACE + 64 * KILO, values)]


def locator(*pairs):
    head, texts = LOCATOR_TYPE.bytes_le + struct.pack('<HH', 0, len(pairs)), b''
    for pair in pairs:
        key, value = (text.encode('utf-16-le') for text in pair)
        at = 20 + 12 * len(pairs) + len(texts)
        head += struct.pack('<IIHH', at, at + len(key), len(key), len(value))
        texts += key + value
    return (LOCATOR.bytes_le, head + texts, 4)


def bat(*entries):
    return [(BAT_PLACE, struct.pack('<%dQ' % len(entries), *entries))]


def log(*entries):
    found, at = [], 0
    for entry in entries:
        found += [(MEGA + at + place, entry[place:place + 64]) for place in range(0, len(entry), 64)]
        at += len(entry)
    return found


LINKAGE = ('parent_linkage', '{00112233-4455-6677-8899-aabbccddeeff}')
PAGE = struct.pack('<Q', 6 | PAYLOAD).ljust(4096, b'\0')
STEP = [(BAT_PLACE, PAGE)]
SEEDS = {
    'data': headers() + regions() + metadata() + bat(6 | PAYLOAD) + [(PAYLOAD, b'guest')],
    'copy': headers() + [(REGION_TABLES[1], table) for _, table in regions()] + metadata() + bat(2),
    'zero': headers() + regions() + metadata(2 * MEGA) + bat(2, 0),
    'states': headers() + regions() + metadata(8 * MEGA) + bat(*range(8)),
    'fixed': headers() + regions() + metadata(MEGA, bits=1) + bat(6 | PAYLOAD),
    'sector': headers() + regions() + metadata(sector=4096) + bat(6 | PAYLOAD),
    'blocks': headers() + regions() + metadata(1 << 40, 256 * MEGA) + bat(2, 6 | PAYLOAD),
    'parent': headers() + regions() + metadata(bits=2, more=[(LOCATOR.bytes_le, bytes(20), 4)]) + bat(7 | PAYLOAD),
    'partial': headers() + regions() + metadata(bits=2, more=[
        locator(LINKAGE, ('relative_path', '.\\base.vhdx'))]) + bat(7 | PAYLOAD) + [
            (BAT_PLACE + 8 * 4096, struct.pack('<Q', 6 | PAYLOAD)), (PAYLOAD, b'\x55\xaa\xff')],
    'locator': headers() + regions() + metadata(bits=2, more=[locator(
        ('parent_linkage2', LINKAGE[1]), LINKAGE, ('absolute_win32_path', 'C:\\a.vhdx'), ('volume_path', '\\\\?\\b'),
        ('relative_path', '\U0001f4be'))]) + bat(0),
    'unknown': headers() + regions((b'u' * 16, 3 * MEGA, MEGA, 0)) + metadata(more=[(b'u' * 16, GUID, 1)]) + bat(2),
    'twice': headers() + regions() + metadata(2 * MEGA) + bat(6 | PAYLOAD, 6 | PAYLOAD),
    'log': headers(GUID) + regions() + metadata() + bat(2) + log(
        log_entry(GUID, 9, 0, STEP, 4 * MEGA, 4 * MEGA)),
    'logs': headers(GUID) + regions() + metadata() + bat(2) + log(
        log_entry(GUID, 8, 0, [], 4 * MEGA, 4 * MEGA), log_entry(GUID, 9, 4096, STEP, 4 * MEGA, 4 * MEGA),
        log_entry(GUID, 10, 4096, [(BAT_PLACE + 4096, 8192)] + STEP, 4 * MEGA, 5 * MEGA)),
}


def pack(records):
    """(only the bytes that are not zero at either end)"""
    packed = b'\0'
    for place, data in [(0, b'vhdxfile')] + records:
        body = data.lstrip(b'\0')
        place, body = place + len(data) - len(body), body.rstrip(b'\0')
        if body:
            packed += struct.pack('<IH', place, len(body)) + body
    return packed


if __name__ == '__main__':
    save('vhdx', {name: pack(records) for name, records in SEEDS.items()})
