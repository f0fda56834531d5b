# SPDX-License-Identifier: MIT
"""Makes compressed files and archives byte by byte, of kinds that the usual tools do not make or are not installed."""
import bz2 as bz2_module
import shutil
import struct
import subprocess
import zlib


def bz2(data, level=9):
    return bz2_module.compress(data, level)


# ---- gzip

def deflate(data, level=6, flush=None):
    """Raw deflate; with `flush`, a block ends after each so many bytes."""
    coder = zlib.compressobj(level, zlib.DEFLATED, -15)
    if not flush:
        return coder.compress(data) + coder.flush()
    parts = []
    for at in range(0, len(data), flush):
        parts.append(coder.compress(data[at:at + flush]) + coder.flush(zlib.Z_SYNC_FLUSH))
    return b''.join(parts) + coder.flush()


def member(data, level=6, flush=None, extra=None, name=None, comment=None, hcrc=False):
    flags = (4 if extra is not None else 0) | (8 if name else 0) | (16 if comment else 0) | (2 if hcrc else 0)
    head = struct.pack('<BBBBLBB', 31, 139, 8, flags, 0, 0, 255)
    if extra is not None:
        head += struct.pack('<H', len(extra)) + extra
    head += (name + b'\0' if name else b'') + (comment + b'\0' if comment else b'')
    if hcrc:
        head += struct.pack('<H', zlib.crc32(head) & 65535)
    return head + deflate(data, level, flush) + struct.pack('<LL', zlib.crc32(data), len(data) & 0xffffffff)


def bgzf(data, size=65280, level=6, end=True):
    blocks = []
    for at in list(range(0, len(data), size)) + ([len(data)] if end else []):
        part = data[at:at + size]
        whole = member(part, level, extra=b'BC\2\0\0\0')
        if len(whole) > 65536:
            whole = member(part, 0, extra=b'BC\2\0\0\0')
        blocks.append(whole[:16] + struct.pack('<H', len(whole) - 1) + whole[18:])
    return b''.join(blocks)


def gzip_zeroes(length):
    """So many zeroes, a multiple of 1 MiB, without making them: one block of deflate, repeated."""
    piece = bytes(1 << 20)
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = coder.compress(piece) + coder.flush(zlib.Z_FULL_FLUSH)
    times = length // len(piece)
    return (struct.pack('<BBBBLBB', 31, 139, 8, 0, 0, 0, 255) + first * times + b'\3\0' +
            struct.pack('<LL', crc_of_zeroes(length), length & 0xffffffff))


def crc_of_zeroes(length):
    """By squaring the matrix that one zero byte is, over GF(2)."""
    def times(matrix, vector):
        result, row = 0, 0
        while vector:
            if vector & 1:
                result ^= matrix[row]
            vector >>= 1
            row += 1
        return result
    bit = [0xedb88320] + [1 << n for n in range(31)]
    square = bit
    for _ in range(3):
        square = [times(square, column) for column in square]
    value = 0xffffffff
    while length:
        if length & 1:
            value = times(square, value)
        square = [times(square, column) for column in square]
        length >>= 1
    return value ^ 0xffffffff


# ---- zstd

def zstd(data, *options, sized=True):
    command = ['zstd', '-q', '-c', *options]
    if sized:
        command.append(f'--stream-size={len(data)}')
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def has_zstd():
    return shutil.which('zstd') is not None


def skipped(data, kind=0):
    return struct.pack('<LL', 0x184d2a50 + kind, len(data)) + data


def zstd_frames(data, size, *options, sized=True):
    return b''.join(zstd(data[at:at + size], *options, sized=sized) for at in range(0, len(data), size))


def seekable(data, size, *options, sums=False, lie=0):
    """zstd's seekable format; `lie` is added to the length of the first frame and taken from the second."""
    frames, entries = [], []
    for at in range(0, len(data), size):
        part = data[at:at + size]
        frames.append(zstd(part, *options, sized=False))
        length = len(part) + (lie if at == 0 else -lie if at == size else 0)
        entries.append(struct.pack('<LL', len(frames[-1]), length) + (b'sum.' if sums else b''))
    table = b''.join(entries) + struct.pack('<LBL', len(entries), 128 if sums else 0, 0x8f92eab1)
    return b''.join(frames) + skipped(table, 14)


# ---- tar

def header(name, size, kind=b'0', binary=False, wrong=0):
    length = struct.pack('>BxxxQ', 128, size) if binary else b'%011o\0' % size
    head = bytearray(struct.pack('100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x', name.encode(), b'0000644\0',
                                 b'0000000\0', b'0000000\0', length, b'00000000000\0', b' ' * 8, kind, b'', b'ustar\0',
                                 b'00', b'', b'', b'', b'', b''))
    head[148:156] = b'%06o\0 ' % (sum(head) + wrong)
    return bytes(head)


def padded(data):
    return data + bytes(-len(data) % 512)


def tar(members, binary=False, pax=None, wrong=0):
    parts = []
    for name, data in members:
        if pax:
            text = b''
            for key, value in pax.items():
                record = f' {key}={value}\n'.encode()
                length = len(record)
                while len(str(length)) + len(record) != length:
                    length = len(str(length)) + len(record)
                text += str(length).encode() + record
            parts += [header('pax', len(text), b'x'), padded(text)]
            parts += [header(name, 0 if 'size' in pax else len(data), binary=binary, wrong=wrong)]
        else:
            parts += [header(name, len(data), binary=binary, wrong=wrong)]
        parts += [padded(data)]
    return b''.join(parts) + bytes(1024)
