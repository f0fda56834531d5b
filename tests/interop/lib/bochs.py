# SPDX-License-Identifier: MIT
"""Makes growing Bochs images, versions 1 and 2."""
import struct

UNALLOCATED = 0xffffffff


def header(version=2, subtype=b'Growing', magic=b'Bochs Virtual HD Image', kind=b'Redolog', header_size=512,
           catalog=8, bitmap=1, extent=4096, disk=32768, timestamp=0):
    head = magic.ljust(32, b'\0') + kind.ljust(16, b'\0') + subtype.ljust(16, b'\0')
    head += struct.pack('<5I', version << 16, header_size, catalog, bitmap, extent)
    head += struct.pack('<IQ', timestamp, disk) if version == 2 else struct.pack('<Q', disk)
    return head.ljust(512, b'\0')


def image(entries, extents, **given):
    """The bytes; `entries` is the catalog, `extents` a list of (bitmap, sectors), the first padded to whole sectors."""
    given.setdefault('catalog', len(entries))
    head = header(**given)
    made = head.ljust(min(given.get('header_size', 512), 1 << 16), b'\0')
    made += struct.pack('<%dI' % len(entries), *entries)
    for bitmap, sectors in extents:
        made += bitmap.ljust(-(-len(bitmap) // 512) * 512, b'\0') + sectors
    return made
