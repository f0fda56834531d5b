#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-sheepdog anew: what a server sends, or the script of its answers, behind three bytes that
choose the disk and its use (fuzz-sheepdog.c, wrong-sheep.h).

usage: make-corpus-sheepdog.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

FREE, ONE, SEVERAL = range(3)
POLITE, READ_ONLY, TWO, THREE, SNAPSHOTS, GO_BACK, AT_SNAPSHOT, GROW = (1 << bit for bit in range(8))
WELL, FAIL, LENGTH, NUMBER, RAW, CLOSE, SPOIL, TWICE, GATHER = range(9)
VID = 0x021707


def head(mode, disk, features):
    return bytes([mode, disk, features])


def answer(number, body=b'', result=0, vid=0):
    head = struct.pack('<BBHIIII', 1, 2, 0, 1, number, len(body), result)
    return head + struct.pack('<II', 0, vid).ljust(28, b'\0') + body


def inode(vid=VID, size=1 << 20, shift=20, store=0):
    return struct.pack('<256s256sQQQQQBBBBIII', b'x', b'', 1, 0, 0, size, 0, 0, store, 2, shift, 1, vid, 0)


def opened(**more):
    """What leads to an open disk that is read only: the id, the header, the owners."""
    return answer(1, vid=VID) + answer(2, inode(**more)) + answer(3, struct.pack('<I', VID))


# At the start of a script: the id, the header, the owners; once more, with the lock, if it can be written.
OPEN, OPEN_RDWR = bytes([WELL]) * 3, bytes([WELL]) * 6

save('sheepdog', {
    'free-read': head(FREE, 0, READ_ONLY) + opened() + answer(4, b'd' * (12 << 10)) + answer(5, b'd' * (12 << 10)),
    'free-short': head(FREE, 0, READ_ONLY) + opened() + answer(4, b'd' * 700),
    'free-errors': head(FREE, 0, READ_ONLY) + opened() + answer(4, result=2) + answer(5, result=0x15),
    'free-none': head(FREE, 0, READ_ONLY) + answer(1, result=8),
    'free-hyper': head(FREE, 0, READ_ONLY) + opened(store=1),
    'free-large': head(FREE, 0, READ_ONLY) + opened(size=1 << 62),
    'free-shift': head(FREE, 0, READ_ONLY) + opened(shift=63),
    'free-other': head(FREE, 0, READ_ONLY) + opened(vid=5),
    'well': head(ONE, 0, POLITE | TWO | THREE), 'well-mixed': head(ONE, 0b01110000, POLITE | TWO),
    'well-holes': head(ONE, 0b00001001, POLITE), 'well-tail': head(ONE, 2, POLITE | READ_ONLY),
    'well-empty': head(ONE, 3, POLITE | GROW), 'well-large': head(ONE, 7, POLITE | READ_ONLY),
    'well-snapshots': head(ONE, 0, POLITE | SNAPSHOTS), 'well-back': head(ONE, 16, POLITE | SNAPSHOTS | GO_BACK),
    'well-at': head(ONE, 0, POLITE | AT_SNAPSHOT), 'well-grow': head(ONE, 24, POLITE | GROW | SNAPSHOTS),
    'fail': head(ONE, 0, POLITE) + OPEN_RDWR + bytes([FAIL, 2, FAIL, 0x15, FAIL, 0x1a, WELL, FAIL, 5, FAIL, 0x77]),
    'busy': head(ONE, 0, POLITE) + bytes([FAIL, 0x0f]) + OPEN_RDWR + bytes([FAIL, 0x8f, WELL]),
    'length': head(ONE, 0, READ_ONLY) + OPEN + bytes([LENGTH, 255, 24]),
    'length-small': head(ONE, 0, READ_ONLY) + OPEN + bytes([LENGTH, 1, 3]),
    'number': head(ONE, 0, READ_ONLY | TWO) + OPEN + bytes([NUMBER, 1, NUMBER, 0]),
    'raw': head(ONE, 0, READ_ONLY) + OPEN + bytes([RAW, 48]) + answer(4),
    'close': head(ONE, 0, TWO) + OPEN_RDWR + bytes([WELL, CLOSE]),
    'spoil': head(ONE, 0, POLITE) + bytes([WELL, SPOIL, 0, 2, 0x5b, 0x07, WELL, SPOIL, 1, 0, 40, 3, 0, 50, 7]),
    'twice': head(ONE, 0, POLITE) + OPEN_RDWR + bytes([TWICE]),
    'many': head(ONE, 0, TWO | THREE) + OPEN_RDWR + bytes([GATHER, 0x20, 0x10, 0x00, GATHER, 0x20, 0x10]) * 3,
    'several': head(SEVERAL, 0, TWO | THREE) + OPEN_RDWR + bytes([GATHER, 0x10]) * 4,
    'lost': head(SEVERAL, 0, TWO) + OPEN_RDWR + bytes([WELL, CLOSE, WELL, CLOSE, WELL, WELL, CLOSE]),
    'lost-read': head(SEVERAL, 16, READ_ONLY | THREE) + OPEN + bytes([WELL, CLOSE, WELL, WELL, CLOSE]),
    'other': head(SEVERAL, 0, READ_ONLY) + OPEN + bytes([CLOSE, SPOIL, 0, 0, 24, 1]),
})
