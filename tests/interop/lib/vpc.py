# SPDX-License-Identifier: MIT
"""Makes VHD images like those of other programs, and invalid ones."""
import struct

SECTOR, BLOCK = 512, 2 << 20
UNUSED = 0xffffffff
CREATORS = [b'qemu', b'qem2', b'vpc ', b'vs  ', b'win ', b'd2v ', b'tap\0', b'conv', b'vbox', b'wa\0\0', b'cath',
            b'\0\0\0\0']


def with_checksum(data, at, given=None):
    data = bytearray(data)
    struct.pack_into('>I', data, at, ~sum(data) & 0xffffffff if given is None else given)
    return bytes(data)


def footer(cookie=b'conectix', features=2, version=0x10000, data_offset=512, time=0, creator=b'qem2',
           creator_version=0x50003, system=b'Wi2k', original=None, size=4 << 20, geometry=(65535, 16, 255), kind=3,
           uuid=b'\1' * 16, saved=0, checksum=None):
    data = struct.pack('>8sIIQI4sI4sQQHBBII16sB', cookie, features, version, data_offset, time, creator,
                       creator_version, system, size if original is None else original, size, *geometry, kind, 0,
                       uuid, saved)
    return with_checksum(data.ljust(512, b'\0'), 64, checksum)


def header(cookie=b'cxsparse', following=(1 << 64) - 1, table_offset=1536, version=0x10000, entries=2, block_size=BLOCK,
           checksum=None):
    data = struct.pack('>8sQQIII', cookie, following, table_offset, version, entries, block_size)
    return with_checksum(data.ljust(1024, b'\0'), 36, checksum)


def table(entries):
    """A BAT, padded to whole sectors."""
    data = struct.pack(f'>{len(entries)}I', *entries)
    return data.ljust(-(-len(data) // SECTOR) * SECTOR, b'\xff')


def bitmap_bytes(block_size):
    return -(-(block_size // 4096) // SECTOR) * SECTOR


def plain(data):
    """An image without the fields that always differ: time, checksum and UUID of each footer."""
    data = bytearray(data)
    at = data.find(b'conectix')
    while at >= 0:
        if at % SECTOR == 0:
            data[at + 24:at + 28] = bytes(4)
            data[at + 64:at + 84] = bytes(20)
        at = data.find(b'conectix', at + 1)
    return bytes(data)
