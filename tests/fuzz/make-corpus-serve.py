#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-serve anew: what clients send, after a byte that chooses the handshake before it.

usage: make-corpus-serve.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

NONE, FLAGS, SIMPLE, STRUCTURED, EXTENDED = range(5)    # the handshakes of fuzz-serve.c


def text(value):
    return struct.pack('>I', len(value)) + value


def option(number, data=b''):
    return b'IHAVEOPT' + struct.pack('>II', number, len(data)) + data


def go(name=b'', number=7, infos=()):
    return option(number, text(name) + struct.pack(f'>H{len(infos)}H', len(infos), *infos))


def contexts(number, *queries, name=b''):
    return option(number, text(name) + struct.pack('>I', len(queries)) + b''.join(map(text, queries)))


def request(command, start=0, length=0, flags=0, data=b''):
    return struct.pack('>IHHQQI', 0x25609513, flags, command, 1, start, length) + data


def extended(command, start=0, length=0, flags=0, data=b''):
    return struct.pack('>IHHQQQ', 0x21e41c71, flags, command, 1, start, length) + data


def all_commands(make, payload):
    return b''.join([
        make(0, 100, 5000), make(0, 500000, 50000, 4), make(1, 7, 20, 1 | payload, b'w' * 20), make(3),
        make(4, 0, 70000), make(5, 0, 1 << 20), make(6, 4096, 9000, 2), make(6, 0, 65536, 16), make(7, 0, 1 << 20),
        make(7, 5, 100, 8), make(8), make(0, 1 << 20, 1), make(1, 0, 600, 512 | payload, b'x' * 600), make(2)])


save('serve', {
    'list': bytes([NONE]) + struct.pack('>I', 3) + option(3) + option(2),
    'name': bytes([NONE]) + struct.pack('>I', 1) + option(1) + request(0, 0, 16) + request(2),
    'info': bytes([FLAGS]) + go(number=6, infos=(1, 2, 3)) + go(b'nope', 6) + go(b'two') + request(1, 0, 4, 0, b'four'),
    'options': bytes([FLAGS]) + option(8) + option(11) + option(8) + option(5) + option(99, b'abc') + option(3, b'x'),
    'contexts': bytes([FLAGS]) + option(8) + contexts(9) + contexts(9, b'base:', b'qemu:') + contexts(
        10, b'base:allocation', b'qemu:allocation-depth', b'qemu:dirty-bitmap:x') + go() + request(7, 0, 4096),
    'simple': bytes([SIMPLE]) + all_commands(request, 0),
    'structured': bytes([STRUCTURED]) + all_commands(request, 0),
    'extended': bytes([EXTENDED]) + all_commands(extended, 32),
    'filter': bytes([EXTENDED]) + extended(7, 0, 12, 32, struct.pack('>QI', 1 << 20, 0)) +
    extended(7, 0, 16, 40, struct.pack('>QII', 512, 0, 1)) + extended(4, 0, 4, 32, b'junk') + extended(3),
})
