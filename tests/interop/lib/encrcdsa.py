# SPDX-License-Identifier: MIT
"""Encrypted disk images of macOS (encrcdsa, version 2), made with openssl(1).

As a program: encrcdsa.py PLAIN ENCRYPTED PASSWORD BITS BLOCK, with 3DES around the key if BITS is 128, else AES.
"""
import hashlib
import hmac
import os
import struct
import subprocess
import sys

HEADER, RECORD, START = 76, 96, 4096


def openssl(cipher, key, iv, data, pad=False):
    words = ['openssl', 'enc', '-' + cipher, '-K', key.hex(), '-iv', iv.hex()] + ([] if pad else ['-nopad'])
    return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout


def wrap(password, keys, triple):
    """The keys under a password: a record of 104 bytes and the blob."""
    salt, iv, bits = os.urandom(20), os.urandom(8 if triple else 16), 192 if triple else 256
    key = hashlib.pbkdf2_hmac('sha1', password, salt, 1000, bits // 8)
    blob = openssl('des-ede3-cbc' if triple else 'aes-256-cbc', key, iv, keys + b'CKIE\0', pad=True)
    return struct.pack('>IIII32sI32sIIIII', 103, 0, 1000, len(salt), salt, len(iv), iv, bits,
                       17 if triple else 0x80000001, 7, 6, len(blob)) + blob


def encrypt(plain, password, bits, block):
    key, iv_key = os.urandom(bits // 8), os.urandom(20)
    head = struct.pack('>8sIIIIIII16sIQQI', b'encrcdsa', 2, 16, 5, 0x80000001, bits, 91, 160, os.urandom(16), block,
                       len(plain), START, 2)
    # A key that is not wrapped by a password comes first.
    record = wrap(password, key + iv_key, bits == 128)
    head += struct.pack('>IQQ', 2, 2048, 512) + struct.pack('>IQQ', 1, RECORD + 64, len(record))
    head += bytes(RECORD + 64 - len(head)) + record
    out = head + bytes(START - len(head))
    for number in range(0, (len(plain) + block - 1) // block):
        piece = plain[number * block:(number + 1) * block]
        iv = hmac.new(iv_key, struct.pack('>I', number), hashlib.sha1).digest()[:16]
        out += openssl(f'aes-{bits}-cbc', key, iv, piece + bytes(block - len(piece)))
    return out


if __name__ == '__main__':
    with open(sys.argv[1], 'rb') as file:
        data = encrypt(file.read(), sys.argv[3].encode(), int(sys.argv[4]), int(sys.argv[5]))
    with open(sys.argv[2], 'wb') as file:
        file.write(data)
