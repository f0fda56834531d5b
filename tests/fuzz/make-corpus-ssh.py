#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds for fuzz-ssh: names, and what a server sends.

usage: make-corpus-ssh.py [FOLDER]
"""
import os
import struct
import sys

VERSION, STATUS, HANDLE, DATA, ATTRS = 2, 101, 102, 103, 105


def string(data):
    return struct.pack('>I', len(data)) + data


def message(kind, body):
    return string(bytes([kind]) + body)


def pieces(stream, length):
    return b''.join(bytes([length - 1]) + stream[at:at + length] for at in range(0, len(stream), length))


def number(value):
    return struct.pack('>I', value)


version = number(3) + string(b'fsync@openssh.com') + string(b'1') + string(b'posix-rename@openssh.com') + string(b'1')
status = number(2) + string(b'No such file') + string(b'en')
attributes = struct.pack('>IQIII', 7, 1 << 20, 0, 0, 0o100644)
stream = message(VERSION, version) + message(HANDLE, number(1) + string(b'\0\0\0\0')) + \
    message(ATTRS, number(2) + attributes) + message(DATA, number(3) + string(bytes(range(100)))) + \
    message(STATUS, number(4) + status)
seeds = {
    'name': b'\0ssh://user@host:22/a/./b/../c%20d?host_key_check=sha256:00&x=y#z',
    'name-6': b'\0ssh://[::1]:022/%2e%2e/',
    'version': b'\1' + version, 'status': b'\1' + status, 'attributes': b'\1' + attributes,
    'handle': b'\1' + string(b'handle'),
    'stream': b'\2' + pieces(stream, 256), 'stream-1': b'\2' + pieces(stream, 1), 'stream-7': b'\2' + pieces(stream, 7),
    'empty': b'\2' + pieces(message(DATA, number(1) + string(b'')) + message(STATUS, b''), 64),
    'long': b'\2' + pieces(message(STATUS, number(1) + number(4) + string(bytes(15000))), 200),
}
folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus/ssh')
for name, seed in seeds.items():
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(seed)
