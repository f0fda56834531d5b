# SPDX-License-Identifier: MIT
"""Makes VDI images like those of VirtualBox and other programs, and invalid ones."""
import struct

BLOCK = 1 << 20
DISCARDED, UNALLOCATED = 0xfffffffe, 0xffffffff
FIELDS = dict(signature=0xbeda107f, version=0x10001, header_size=0x190, kind=1, flags=0, map_offset=0x200,
              data_offset=0x400, cylinders=0, heads=0, sectors=0, sector_size=512, unused=0, disk=3 * BLOCK,
              block_size=BLOCK, extra=0, blocks=3, allocated=0, uuid=b'\1' * 16, modified=b'\2' * 16,
              link=bytes(16), parent=bytes(16))


def header(**given):
    f = dict(FIELDS, **given)
    text = b'<<< Oracle VM VirtualBox Disk Image >>>\n'.ljust(64, b'\0')
    body = struct.pack('<5I256x7IQ4I', f['signature'], f['version'], f['header_size'], f['kind'], f['flags'],
                       f['map_offset'], f['data_offset'], f['cylinders'], f['heads'], f['sectors'],
                       f['sector_size'], f['unused'], f['disk'], f['block_size'], f['extra'], f['blocks'],
                       f['allocated'])
    return (text + body + f['uuid'] + f['modified'] + f['link'] + f['parent']).ljust(512, b'\0')


def image(entries, data=b'', length=None, **given):
    """The bytes; `entries` is the block map, `data` the bytes at data_offset."""
    f = dict(FIELDS, blocks=len(entries), **given)
    head = header(**f)
    at = min(f['map_offset'], 1 << 16)
    made = bytearray(max(at + 4 * len(entries), min(f['data_offset'], 1 << 17)))
    made[:512] = head
    made[at:at + 4 * len(entries)] = struct.pack('<%dI' % len(entries), *entries)
    made += data
    if length is not None:
        made = made[:length].ljust(length, b'\0')
    return bytes(made)
