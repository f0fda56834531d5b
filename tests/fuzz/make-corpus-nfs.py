#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-nfs anew: scripts of a server's answers, and names.

usage: make-corpus-nfs.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

# mounting, opening (and the handle), closing, the longest transfers; then each answer, and which question it is for
OPENED = bytes(6)
WELL, REFUSED, OTHER, NOT_ACCEPTED, LOST = (bytes([way]) for way in range(5))
LOOKED = WELL + b'\0'


def server(script, opened=OPENED, looked=LOOKED):
    return b'\1' + opened + looked + script


def refused(status):
    return REFUSED + b'\0' + struct.pack('>H', status - 1)


def size(length):
    return OTHER + b'\0' + struct.pack('>QQ', length, length)


def read(length, count=None, other_end=False):
    return OTHER + b'\0' + length.to_bytes(3, 'big') + \
        (b'\0' if count is None else b'\1' + struct.pack('>I', count)) + bytes([other_end])


def written(length, stable=0, verifier=0):
    return OTHER + b'\0' + length.to_bytes(3, 'big') + bytes([stable, verifier])


READS = LOOKED * 9                  # the questions of the two reads that come first
WRITES = LOOKED * 12
save('nfs', {
    'well': server(b''),
    'handle': server(b'', opened=bytes(2) + b'\1\0' + bytes(3)),
    'no-mount': server(b'', opened=b'\xff'),
    'large-parts': server(b'', opened=bytes(4) + b'\1' + b'\xff' * 8 + b'\1' + bytes(8)),
    'huge': server(b'', looked=size((1 << 64) - 1)),
    'empty': server(b'', looked=size(0)),
    'odd': server(b'', looked=size(70001)),
    'stale': server(refused(70)),
    'strange': server(refused(12345)),
    'read-short': server(read(1000) * 4 + read(1)),
    'read-nothing': server(read(0)),
    'read-end': server(read(0, other_end=True) + read(512, other_end=True)),
    'read-long': server(read(4500)),
    'read-count': server(read(4096, 5000)),
    'read-order': server(b'\0\5\0\3\0\2\0\1' * 3),
    'not-accepted': server(NOT_ACCEPTED + b'\0'),
    'lost': server((LOST + b'\0' + OPENED) * 3),
    'lost-often': server((LOST + b'\0' + OPENED) * 12),
    'write-short': server(READS + written(100) + written(0)),
    'write-long': server(READS + written(1 << 20)),
    'verifier': server(READS + written(4096, 0, 1) + written(4096, 0, 2)),
    'commit': server(READS + WRITES + OTHER + b'\0\7'),
    'full': server(READS + refused(28)),
    'name': b'\0' + b'//h/export/file',
    'name-numbers': b'\0' + b'//h/export/file?uid=0x10&gid=7&tcp-syncnt=2&readahead=4096&pagecache=4&debug=1',
    'name-escaped': b'\0' + b'//[::1]:2049/%65xport/a%20b?uid=1',
    'name-wrong': b'\0' + b'//h/a?uid=-1',
    'name-none': b'\0' + b'///a',
})
