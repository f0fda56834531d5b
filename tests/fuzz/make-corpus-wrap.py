#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seed corpus of fuzz-wrap: small files of each kind, sound and hostile.

usage: make-corpus-wrap.py FOLDER
"""
import bz2
import lzma
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
import wrap  # noqa: E402

GZIP, XZ, ZSTD, BZIP2, TAR = range(5)
PLAIN = (b'a disk ' * 90)[:512] + bytes(1024)


def xz(data, **options):
    return lzma.compress(data, format=lzma.FORMAT_XZ, preset=0, **options)


def files():
    yield GZIP, 'gzip', wrap.member(PLAIN)
    yield GZIP, 'gzip-members', wrap.member(PLAIN, flush=100) + wrap.member(b'') + wrap.member(PLAIN) + bytes(600)
    yield GZIP, 'gzip-head', wrap.member(PLAIN, extra=b'AB\2\0xx', name=b'name', comment=b'more', hcrc=True)
    yield GZIP, 'bgzf', wrap.bgzf(PLAIN, 700)
    yield GZIP, 'bgzf-short', wrap.bgzf(PLAIN, 700)[:-40]
    yield GZIP, 'gzip-large', wrap.gzip_zeroes(8 << 20)
    yield XZ, 'xz', xz(PLAIN)
    yield XZ, 'xz-streams', xz(PLAIN) + bytes(8) + xz(b'', check=lzma.CHECK_SHA256) + xz(PLAIN, check=lzma.CHECK_NONE)
    yield XZ, 'xz-dictionary', xz(PLAIN).replace(b'\x21\x01\x0c', b'\x21\x01\x28')
    yield ZSTD, 'zstd', wrap.zstd(PLAIN)
    yield ZSTD, 'zstd-unsized', wrap.zstd(PLAIN, sized=False) + wrap.skipped(b'abc') + wrap.zstd(PLAIN, '--no-check')
    yield ZSTD, 'zstd-seekable', wrap.seekable(PLAIN, 700)
    yield ZSTD, 'zstd-lying', wrap.seekable(PLAIN, 700, sums=True, lie=600)
    # a frame of 2^63 bytes, of which there is one block
    yield ZSTD, 'zstd-huge', struct.pack('<LBQ', 0xfd2fb528, 0xe0, 1 << 63) + b'\3\0\0\0'
    yield ZSTD, 'zstd-repeated', struct.pack('<LBQ', 0xfd2fb528, 0xe0, 1 << 40) + b'\2\0\x10\0' * 50 + b'\3\0\0\0'
    yield BZIP2, 'bzip2', bz2.compress(PLAIN, 1)
    yield BZIP2, 'bzip2-streams', bz2.compress(PLAIN, 9) + bz2.compress(b'') + bz2.compress(PLAIN, 3)
    yield TAR, 'tar', wrap.tar([('a.ovf', b'<x/>'), ('disk.raw', PLAIN)])
    yield TAR, 'tar-pax', wrap.tar([('x', PLAIN)], pax={'path': 'disk.img', 'size': str(len(PLAIN)), 'mtime': '1'})
    yield TAR, 'tar-huge', wrap.header('disk.raw', (1 << 63) - 1, binary=True)
    yield TAR, 'tar-record', (wrap.header('x', 30, b'x') + wrap.padded(b'99999999 size=1\n' + b'6 a=b\n') +
                              wrap.tar([('a.raw', PLAIN)]))


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for kind, name, data in files():
        with open(os.path.join(sys.argv[1], name), 'wb') as file:
            file.write(bytes([kind]) + data)


if __name__ == '__main__':
    main()
