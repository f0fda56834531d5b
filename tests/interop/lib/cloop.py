# SPDX-License-Identifier: MIT
"""Makes compressed loop device images of version 2.0, valid or not."""
import struct
import zlib

SCRIPT = b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\nexit $?\n'


def image(blocks, block_size, count=None, offsets=None, script=SCRIPT, gap=0):
    """`blocks` are the compressed blocks; `offsets` changes the table, `count` the number in the header."""
    at, table = 136 + 8 * (len(blocks) + 1) + gap, []
    for block in blocks + [b'']:
        table.append(at)
        at += len(block)
    if offsets:
        table = offsets(table)
    head = script.ljust(128, b'\0') + struct.pack('>II', block_size, len(blocks) if count is None else count)
    return head + b''.join(struct.pack('>Q', entry & (1 << 64) - 1) for entry in table) + bytes(gap) + b''.join(blocks)


def convert(disk, block_size, level=6, gap=0):
    """An image of `disk`, padded to whole blocks."""
    blocks = [zlib.compress(disk[at:at + block_size].ljust(block_size, b'\0'), level)
              for at in range(0, len(disk), block_size)]
    return image(blocks, block_size, gap=gap)
