#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-nbd anew: what a server sends, or the script of its answers, behind six bytes that choose the
export and its use (fuzz-nbd.c, wrong-server.h).

usage: make-corpus-nbd.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

FREE, START, ONE, SEVERAL = range(4)
STRUCTURED, MAP, BLOCKS, POLITE, PATIENT, READ_ONLY, TWO, THREE = (1 << bit for bit in range(8))
ALL = STRUCTURED | MAP
LAST = 128
WELL, DATA, HOLE, NONE, ERROR, STATUS, CHUNK, LIE, RAW, SIMPLE, GATHER, CLOSE = range(12)
SIZE = 256 << 10


def head(mode, features, size=0, flags=0, blocks=0):
    return struct.pack('>BBHBB', mode, size, flags, blocks, features)


def step(what, which=0, *more):
    return bytes([what, which, *more])


def reply(option, kind, data=b''):
    return struct.pack('>QIII', 0x3e889045565a9, option, kind, len(data)) + data


def chunk(cookie, kind, data=b'', flags=1):
    return struct.pack('>IHHQI', 0x668e33ef, flags, kind, cookie, len(data)) + data


def simple(cookie, data=b'', error=0):
    return struct.pack('>IIQ', 0x67446698, error, cookie) + data


def info(size=SIZE, flags=0x16d):
    return reply(7, 3, struct.pack('>HQH', 0, size, flags))


GREETING = b'NBDMAGICIHAVEOPT\0\3'
REFUSED = reply(8, 0x80000001)
MAPPED = reply(8, 1) + reply(10, 4, b'\0\0\0\1base:allocation') + reply(10, 1)
GO = info() + reply(7, 1)
LIMITS = reply(7, 3, struct.pack('>HIII', 3, 512, 4096, 1 << 20))
# The first requests of one thread: a small read that is timed, a large read, the map.
READS = [(0, 512), (0, 12 << 10)]


def structured_answers():
    """To the first requests, and the others that change nothing, by their cookies."""
    data = b''.join(chunk(n, 1, struct.pack('>Q', start) + b'd' * length) for n, (start, length) in enumerate(READS, 1))
    status = struct.pack('>IIIII', 1, 4096, 0, SIZE - 4096, 3)
    return data + chunk(3, 5, status) + b''.join(chunk(n, 0) for n in range(4, 12))


def simple_answers():
    return b''.join(simple(n, b'd' * length) for n, (_, length) in enumerate(READS, 1)) + \
        b''.join(simple(n) for n in range(4, 12))


def halves(which=0):
    """A read in two parts, the second first, then a part with a hole."""
    return step(DATA, which, 64, 32) + step(DATA, which | LAST, 0, 32) + step(DATA, which, 0, 16) + \
        step(HOLE, which, 16, 24) + step(DATA, which | LAST, 28, 50)


save('nbd', {
    # (the large reads would fill a seed, so the disk of these two is small)
    'free-old': head(FREE, 0) + b'NBDMAGIC' + struct.pack('>QQI', 0x420281861253, 513, 0x6d) + bytes(124) +
    simple(1, b'a' * 512) + simple(2, b'b' * 513),
    'free-simple': head(FREE, 0) + GREETING + REFUSED + info(700) + reply(7, 1) + simple(1, b'a' * 512) +
    simple(2, b'b' * 700),
    'free-structured': head(FREE, 0) + GREETING + MAPPED + info(700) + LIMITS + reply(7, 1) +
    chunk(1, 1, bytes(8) + b'a' * 512) + chunk(2, 1, bytes(8) + b'b' * 700) +
    chunk(3, 5, b'\0\0\0\1\0\0\2\xbc\0\0\0\3'),
    'free-tls': head(FREE, 0) + GREETING + reply(8, 0x80000005, b'start TLS first') + reply(7, 0x80000005),
    'free-unknown': head(FREE, 0) + GREETING + MAPPED + reply(7, 0x80000006, b'no such export'),
    'free-shutdown': head(FREE, 0) + GREETING + MAPPED + info() + reply(7, 0x80000007),
    'start-simple': head(START, 0, 5) + simple(1, b'a' * 512) + simple(2, b'b' * 513) + simple(3, b'', 5),
    'start-structured': head(START, ALL, 5) + chunk(1, 1, bytes(8) + b'a' * 512) +
    chunk(2, 1, struct.pack('>Q', 500) + b'b' * 13, 0) + chunk(2, 2, struct.pack('>QI', 0, 500)) +
    chunk(3, 5, b'\0\0\0\1\0\0\2\0\0\0\0\1'),
    'start-errors': head(START, ALL, 5) + chunk(1, 0x8001, b'\0\0\0\5\0\3bad') +
    chunk(2, 0x8002, b'\0\0\0\5\0\0' + struct.pack('>Q', 7)) + chunk(3, 0x8001, b'\0\0\0\x1c\0\0'),
    'well': head(ONE, ALL | POLITE | TWO | THREE),
    'well-simple': head(ONE, POLITE | TWO),
    'well-blocks': head(ONE, ALL | BLOCKS | POLITE, 0, 0, 2),
    'well-small': head(ONE, ALL | BLOCKS | POLITE, 1, 0x800, 1 | 3 << 3),
    'well-odd': head(ONE, ALL | POLITE, 6),
    'halves': head(ONE, ALL | POLITE) + step(WELL) + halves() + step(STATUS, LAST, 3, 1, 0, 0, 2, 0, 3, 0, 1, 2),
    'twice': head(ONE, ALL | POLITE) + step(WELL) + step(DATA, 0, 0, 32) + step(DATA, LAST, 0, 32) + step(WELL),
    'overlap': head(ONE, ALL | POLITE) + step(WELL) + step(DATA, 0, 0, 40) + step(DATA, LAST, 16, 24),
    'nothing': head(ONE, ALL | POLITE) + step(WELL) + step(NONE, LAST) + step(NONE, LAST),
    'hole': head(ONE, ALL | POLITE) + step(HOLE, LAST, 0, 64) + step(HOLE, LAST, 0, 64) + step(STATUS, LAST, 0),
    'errors': head(ONE, ALL) + step(ERROR, LAST, 0, 3, *b'bad', 5) + step(ERROR, 0, 2, 0, 5) + step(DATA, LAST, 0, 64) +
    step(ERROR, LAST, 6, 2, *b'no', 22) + step(SIMPLE, 0, 28) * 6,
    'status': head(ONE, ALL | POLITE) + step(WELL) * 2 + step(STATUS, LAST, 7, *bytes([16, 0, 3] * 7)) +
    step(STATUS, LAST, 2, 0, 0, 0, 1, 0, 0) + step(STATUS, LAST, 1, 0xff, 0xff, 1) + step(STATUS, LAST, 0x29, 0, 1, 1),
    'chunks': head(ONE, ALL) + step(WELL) + step(CHUNK, 0, 0, 1, 0, 77, 4, *b'what') +
    step(CHUNK, 0, 0, 1, 0x80, 77, 6, 0, 0, 0, 5, 0, 0) + step(LIE, 0, 0, 1, 0, 1, 8, 0xff, 0xff, 16, *bytes(8)),
    'raw': head(ONE, ALL) + step(WELL) + step(RAW, 0, 16, *simple(3)),
    'many': head(ONE, ALL | TWO | THREE) + step(WELL) + (step(GATHER) * 2 + step(WELL, 2) + step(DATA, 1, 0, 32) +
                                                        step(DATA, 1 | LAST, 64, 32) + step(WELL, 0)) * 4,
    'lost': head(ONE, ALL | TWO) + step(WELL) * 2 + step(CLOSE),
    'several': head(SEVERAL, ALL | TWO | THREE) + step(WELL) + (step(GATHER) + step(WELL, 1)) * 4,
    'patient': head(SEVERAL, ALL | PATIENT) + step(WELL) * 3 + b'\0' + step(CLOSE) + b'\0' + step(WELL) * 2 +
    step(CLOSE),
    'patient-many': head(SEVERAL, ALL | PATIENT | TWO | THREE) + step(WELL) + b'\0' + step(GATHER) * 3 +
    step(CLOSE, 1) + b'\0' + step(WELL, 1) + step(CLOSE) + b'\0\0\0' + step(WELL) * 3 + step(CLOSE),
    'refused': head(SEVERAL, ALL | PATIENT) + step(WELL) * 2 + step(CLOSE) + b'\1',
    'other-size': head(SEVERAL, ALL | PATIENT) + step(WELL) * 2 + step(CLOSE) + b'\2',
    'other-flags': head(SEVERAL, ALL | PATIENT) + step(WELL) * 2 + step(CLOSE) + b'\3\1',
    'other-replies': head(SEVERAL, ALL | PATIENT) + step(WELL) * 2 + step(CLOSE) + b'\4',
    'read-only': head(SEVERAL, ALL | READ_ONLY | PATIENT | TWO, 0, 2) + step(WELL) + step(CLOSE),
})
