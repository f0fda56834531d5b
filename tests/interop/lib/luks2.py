# SPDX-License-Identifier: MIT
"""The header of LUKS version 2: read its JSON text, change it, and write both copies with right checksums.

As a program: luks2.py FILE CODE, where CODE changes the object `h`, as in "h['config']['flags'] = ['x']".
"""
import hashlib
import json
import struct
import sys

BINARY = 4096


def header_size(data):
    return struct.unpack_from('>Q', data, 8)[0]


def load(data):
    return json.loads(data[BINARY:header_size(data)].split(b'\0')[0])


def seal(copy):
    """Right the checksum of one copy."""
    copy[448:512] = bytes(64)
    copy[448:480] = hashlib.sha256(copy).digest()
    return copy


def store(data, header, sequence=None):
    """Put it into both copies of `data`, a bytearray."""
    size = header_size(data)
    text = json.dumps(header).encode()
    for at in 0, size:
        copy = bytearray(data[at:at + size])
        copy[BINARY:] = text + bytes(size - BINARY - len(text))
        if sequence is not None:
            struct.pack_into('>Q', copy, 16, sequence)
        data[at:at + size] = seal(copy)


def main():
    with open(sys.argv[1], 'rb') as file:
        data = bytearray(file.read())
    header = load(data)
    exec(sys.argv[2], {'h': header})
    store(data, header)
    with open(sys.argv[1], 'wb') as file:
        file.write(data)


if __name__ == '__main__':
    main()
