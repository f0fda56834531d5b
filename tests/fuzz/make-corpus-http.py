#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-http anew: for each way to be wrong, a server that is wrong so at once, and one later.

usage: make-corpus-http.py [DIRECTORY]
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

KINDS = ['right', 'no-ranges', 'shifted', 'longer', 'shorter', 'redirect', 'forbidden', 'empty', 'changed', 'cut', 'words']
NO_TAG, NO_LENGTH, SMALL_CHUNKS = 0x10, 0x40, 0x80
THREE, AHEAD = 8, 16


def more(kind):
    """What follows the byte of such a reply."""
    text = b'bytes 0-32767/300000'
    return {'redirect': b'\1', 'changed': b'\1', 'words': bytes([len(text)]) + text}.get(kind, b'')


seeds = {'small-file': bytes([2, 0]), 'no-file': bytes([1, 0]), 'in-order': bytes([0, 1]),
         'in-order-no-length': bytes([0, 1, NO_LENGTH | SMALL_CHUNKS])}
for number, kind in enumerate(KINDS):
    seeds[kind + '-first'] = bytes([0, 0, number]) + more(kind)
    seeds[kind + '-later'] = bytes([THREE | AHEAD, 0, 0, 0, number]) + more(kind) + bytes([number | NO_TAG]) + more(kind)
    seeds[kind + '-in-order'] = bytes([0, 1, number]) + more(kind)
save('http', seeds)
