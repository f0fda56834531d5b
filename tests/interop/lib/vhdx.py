# SPDX-License-Identifier: MIT
"""Reads and writes the structures of VHDX images ([MS-VHDX], section 2).

A File wraps a path; everything is read and written in place, so that sparse files stay sparse.
"""
import struct
import uuid

KILO, MEGA = 1024, 1024 * 1024
HEADERS = (64 * KILO, 128 * KILO)
REGION_TABLES = (192 * KILO, 256 * KILO)
REGION_TABLE_SIZE = 64 * KILO
BAT = uuid.UUID('2DC27766-F623-4200-9D64-115E9BFD4A08')
METADATA = uuid.UUID('8B7CA206-4790-4B9A-B8FE-575F050F886E')
FILE_PARAMETERS = uuid.UUID('CAA16737-FA36-4D43-B3B6-33F0AA44E76B')
DISK_SIZE = uuid.UUID('2FA54224-CD1B-4876-B211-5DBED83BF4B8')
PAGE83 = uuid.UUID('BECA12AB-B2E6-4523-93EF-C309E000C746')
LOGICAL = uuid.UUID('8141BF1D-A96F-4709-BA47-F233A8FAAB5F')
PHYSICAL = uuid.UUID('CDA348C7-445D-4471-9CC9-E9885251C556')
LOCATOR = uuid.UUID('A8D35F2D-B30B-454D-ABF7-D3D84834AB0C')


def make_table():
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82f63b78 if number & 1 else 0)
        table.append(number)
    return table


TABLE = make_table()


def crc32c(data):
    value = 0xffffffff
    for byte in data:
        value = TABLE[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xffffffff


def seal(block):
    """Set the checksum at offset 4."""
    block = bytearray(block)
    struct.pack_into('<I', block, 4, 0)
    struct.pack_into('<I', block, 4, crc32c(block))
    return bytes(block)


def sealed(block):
    return seal(block) == bytes(block)


class File:
    def __init__(self, path):
        self.path = path
        self.file = open(path, 'r+b')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def read(self, offset, length):
        self.file.seek(offset)
        data = self.file.read(length)
        return data + bytes(length - len(data))

    def write(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)

    def size(self):
        return self.file.seek(0, 2)

    def get(self, offset, form='<Q'):
        return struct.unpack(form, self.read(offset, struct.calcsize(form)))[0]

    def put(self, offset, value, form='<Q'):
        self.write(offset, struct.pack(form, value))

    # ---- headers

    def header(self, which):
        """Fields of header 0 or 1 as a dict, with `valid`."""
        raw = self.read(HEADERS[which], 4096)
        names = ('signature', 'checksum', 'sequence', 'file_id', 'data_id', 'log_id', 'log_version', 'version',
                 'log_length', 'log_offset')
        header = dict(zip(names, struct.unpack_from('<4sIQ16s16s16sHHIQ', raw)))
        header['valid'] = header['signature'] == b'head' and sealed(raw)
        return header

    def current(self):
        valid = [n for n in (0, 1) if self.header(n)['valid']]
        return max(valid, key=lambda n: self.header(n)['sequence']) if valid else None

    def change_header(self, which, place, value, form='<Q', valid=True):
        raw = bytearray(self.read(HEADERS[which], 4096))
        struct.pack_into(form, raw, place, value)
        self.write(HEADERS[which], seal(raw) if valid else raw)

    # ---- regions and metadata

    def regions(self, which=0):
        raw = self.read(REGION_TABLES[which], REGION_TABLE_SIZE)
        count = struct.unpack_from('<I', raw, 8)[0]
        found = {}
        for number in range(min(count, 2047)):
            guid, offset, length, required = struct.unpack_from('<16sQII', raw, 16 + 32 * number)
            found[uuid.UUID(bytes_le=guid)] = (offset, length, required)
        return found

    def change_regions(self, change, which=(0, 1), valid=True):
        """change(bytearray of the table)"""
        for number in which:
            raw = bytearray(self.read(REGION_TABLES[number], REGION_TABLE_SIZE))
            change(raw)
            self.write(REGION_TABLES[number], seal(raw) if valid else raw)

    def metadata(self):
        """Items: offset of the entry, offset and length in the file, flags."""
        start = self.regions()[METADATA][0]
        count = self.get(start + 10, '<H')
        found = {}
        for number in range(min(count, 2047)):
            place = start + 32 + 32 * number
            guid, offset, length, flags = struct.unpack('<16sIII', self.read(place, 28))
            found[uuid.UUID(bytes_le=guid)] = (place, start + offset, length, flags)
        return found

    def item(self, guid, form='<I'):
        return self.get(self.metadata()[guid][1], form)

    def change_item(self, guid, value, form='<I', at=0):
        self.put(self.metadata()[guid][1] + at, value, form)

    # ---- BAT

    def block_size(self):
        return self.item(FILE_PARAMETERS)

    def chunk_ratio(self):
        return (1 << 23) * self.item(LOGICAL) // self.block_size()

    def bat_place(self, block):
        """Offset in the file of the entry of a payload block."""
        return self.regions()[BAT][0] + 8 * (block + block // self.chunk_ratio())

    def blocks(self):
        return -(-self.item(DISK_SIZE, '<Q') // self.block_size())

    def entry(self, block):
        """State and offset."""
        value = self.get(self.bat_place(block))
        return value & 7, value >> 20 << 20

    def put_entry(self, block, state, offset=0):
        self.put(self.bat_place(block), state | offset)


def log_entry(guid, sequence, tail, steps, flushed, last, length=None):
    """Bytes of a log entry.  A step: (offset, 4096 bytes), or (offset, length) for zeroes."""
    descriptors, sectors = b'', b''
    for offset, what in steps:
        if isinstance(what, int):
            descriptors += struct.pack('<4sIQQQ', b'zero', 0, what, offset, sequence)
            continue
        descriptors += struct.pack('<4s4s8sQQ', b'desc', what[4092:], what[:8], offset, sequence)
        sectors += struct.pack('<4sI', b'data', sequence >> 32) + what[8:4092]
        sectors += struct.pack('<I', sequence & 0xffffffff)
    area = -(-(64 + len(descriptors)) // 4096) * 4096
    total = length or area + len(sectors)
    head = struct.pack('<4sIIIQII16sQQ', b'loge', 0, total, tail, sequence, len(steps), 0, guid, flushed, last)
    entry = bytearray((head + descriptors).ljust(area, b'\0') + sectors)
    return seal(entry)
