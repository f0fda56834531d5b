#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An SFTP server that lies, for sshd to start.

usage: sftp_server.py WAY

It speaks SFTP version 3 (draft-ietf-secsh-filexfer-02) on standard input and output.  Its only file is one MiB of bytes
in memory, the same at each start, and behaves as the way says:

ok       as it should, without extensions, messages of 34,000 bytes at most
order    answers eight requests in a row backwards, if there are so many
small    reads at most 5,000 bytes at a time
few      reads half of what it is asked for
nothing  reads no bytes, and says that this is not the end
long     reads more than it was asked for
short    says EOF in the middle of the file
huge     says that the file is longer than any file can be
nosize   does not say how long the file is
id       answers with another id
twice    answers each READ twice
handle   calls the file by a name of 300 bytes
garbage  sends bytes that mean nothing instead of the tenth answer
gone     ends instead of the tenth answer
silent   does not answer READ
full     refuses WRITE
status   refuses OPEN with a text that a terminal would obey
version  has another version of the protocol, and extensions that are cut off
"""
import os
import random
import select
import struct
import sys

SIZE, MOST = 1 << 20, 34000
INIT, VERSION, OPEN, CLOSE, READ, WRITE, FSTAT = 1, 2, 3, 4, 5, 6, 8
STATUS, HANDLE, DATA, ATTRS = 101, 102, 103, 105
OK, EOF, FAILURE, UNSUPPORTED = 0, 1, 4, 8
WAY = sys.argv[1]
content = bytearray(random.Random(7).randbytes(SIZE))
answers, waiting = 0, []


def string(data):
    return struct.pack('>I', len(data)) + data


def send(kind, body):
    global answers
    answers += 1
    if answers == 10 and WAY == 'gone':
        sys.exit(0)
    message = string(bytes([kind]) + body)
    if answers == 10 and WAY == 'garbage':
        message = b'\xff' * len(message)
    while message:
        message = message[os.write(1, message):]


def exactly(length):
    data = b''
    while len(data) < length:
        piece = os.read(0, length - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def status(code, text=b'no'):
    return STATUS, struct.pack('>I', code) + string(text) + string(b'')


def read(offset, length):
    if WAY == 'nothing':
        return DATA, string(b'')
    if WAY == 'short' and offset >= SIZE // 2:
        return status(EOF)
    length = {'few': max(length // 2, 1), 'small': min(length, 5000), 'long': length + 512}.get(WAY, length)
    data = bytes(content[offset:offset + length])
    return (DATA, string(data)) if data else status(EOF)


def write(offset, data):
    if WAY == 'full':
        return status(FAILURE, b'no room')
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset:offset + len(data)] = data
    return status(OK)


def attributes():
    if WAY == 'nosize':
        return struct.pack('>II', 4, 0o100644)
    return struct.pack('>IQI', 5, (1 << 64) - 1 if WAY == 'huge' else len(content), 0o100644)


def answer(kind, body):
    if kind == OPEN:
        if WAY == 'status':
            return status(FAILURE, b'\x1b[31mred\x07\n')
        return HANDLE, string(b'h' * (300 if WAY == 'handle' else 1))
    handle = struct.unpack_from('>I', body)[0]
    rest = body[4 + handle:]
    if kind == READ:
        return read(*struct.unpack('>QI', rest))
    if kind == WRITE:
        return write(struct.unpack_from('>Q', rest)[0], rest[12:])
    if kind == FSTAT:
        return ATTRS, attributes()
    return status(OK if kind == CLOSE else UNSUPPORTED)


def flush():
    for kind, body in reversed(waiting):
        send(kind, body)
    waiting.clear()


def one():
    length = struct.unpack('>I', exactly(4))[0]
    if length > MOST:
        sys.exit(1)
    message = exactly(length)
    kind, number, body = message[0], message[1:5], message[5:]
    if kind == INIT:
        send(VERSION, struct.pack('>I', 6) + b'\0\0\0\x09abc' if WAY == 'version' else struct.pack('>I', 3))
        return
    if WAY == 'silent' and kind == READ:
        return
    said, text = answer(kind, body)
    if WAY == 'id':
        number = b'\x12\x34\x56\x78'
    waiting.append((said, number + text))
    if WAY == 'twice' and kind == READ:
        waiting.append((said, number + text))
    if WAY != 'order' or len(waiting) == 8 or not select.select([0], [], [], 0.05)[0]:
        flush()


while True:
    one()
