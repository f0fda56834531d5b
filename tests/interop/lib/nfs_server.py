#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An NFS server that lies.

usage: nfs_server.py READY-FILE

It speaks of NFS version 3 (RFC 1813), MOUNT and the port mapper (RFC 1833) what a client needs, on port 111, and makes
READY-FILE when it listens.  The file /export/WAY is one MiB of bytes in memory, the same at each start, and behaves as
its name says:

ok       as it should
short    reads and writes half of what it is asked for, at least a byte
huge     says that it is longer than any file can be
nohandle has a file handle without bytes
nothing  reads no bytes, and says that this is not the end
long     reads more than it was asked for
count    reads fewer bytes than it says
wnothing, wlong   the same of writes
async    writes without making it durable, although it was asked to
forget   has a new verifier with each answer, as after a new start
restart  has a new verifier with the first COMMIT
silent   does not answer READ
drop     closes the connection instead of every 20th READ or WRITE
dropall  closes the connection instead of each READ
stale    refuses READ: stale handle
full     refuses WRITE: no space
reject   does not accept READ as a call
"""
import random
import socket
import struct
import sys
import threading

SIZE = 1 << 20
PORT = 111
PORTMAP, NFS, MOUNT = 100000, 100003, 100005
STALE, NOSPC = 70, 28
UNSTABLE, FILE_SYNC = 0, 2


class Close(Exception):
    pass


class File:
    def __init__(self, way):
        self.way, self.data = way, bytearray(random.Random(7).randbytes(SIZE))
        self.calls, self.epoch = 0, 0

    def verifier(self):
        if self.way == 'forget':
            self.epoch += 1
        return struct.pack('>Q', self.epoch)


files = {}
lock = threading.Lock()


def file_of(name):
    return files.setdefault(name, File(name))


def opaque(data):
    return struct.pack('>I', len(data)) + data + bytes(-len(data) % 4)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def int(self):
        self.at += 4
        return struct.unpack_from('>I', self.data, self.at - 4)[0]

    def long(self):
        self.at += 8
        return struct.unpack_from('>Q', self.data, self.at - 8)[0]

    def opaque(self):
        length = self.int()
        data = self.data[self.at:self.at + length]
        self.at += length + -length % 4
        return data


def attributes(name):
    if name == '/':
        kind, size = 2, 4096
    else:
        file = file_of(name)
        kind, size = 1, (1 << 64) - 1 if file.way == 'huge' else len(file.data)
    return struct.pack('>IIIIIQQIIQQ6I', kind, 0o777, 1, 0, 0, size, size, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0)


NO_WCC = struct.pack('>II', 0, 0)


def read(args, name):
    file, offset, count = file_of(name), args.long(), args.int()
    file.calls += 1
    if file.way == 'silent':
        return None
    if file.way == 'dropall' or (file.way == 'drop' and file.calls % 20 == 0):
        raise Close
    if file.way == 'stale':
        return struct.pack('>II', STALE, 0)
    if file.way == 'short':
        count = (count + 1) // 2
    data = bytes(file.data[offset:offset + count])
    end = offset + len(data) >= len(file.data)
    if file.way == 'nothing':
        data, end = b'', False
    if file.way == 'long':
        data += bytes(512)
    return struct.pack('>IIII', 0, 0, len(data) + (512 if file.way == 'count' else 0), end) + opaque(data)


def write(args, name):
    file, offset, count, stable, data = file_of(name), args.long(), args.int(), args.int(), args.opaque()
    file.calls += 1
    if file.way == 'drop' and file.calls % 20 == 0:
        raise Close
    if file.way == 'full':
        return struct.pack('>I', NOSPC) + NO_WCC
    if file.way == 'short':
        data = data[:(count + 1) // 2]
    if offset > len(file.data):
        file.data += bytes(offset - len(file.data))
    file.data[offset:offset + len(data)] = data
    count = {'wnothing': 0, 'wlong': count + 1}.get(file.way, len(data))
    if file.way == 'async':
        stable = UNSTABLE
    return struct.pack('>I', 0) + NO_WCC + struct.pack('>II', count, stable) + file.verifier()


def set_attributes(args, name):
    for _ in range(3):
        if args.int():
            args.int()
    if args.int():
        file, size = file_of(name), args.long()
        file.data[size:] = bytes(max(0, size - len(file.data)))
    return struct.pack('>I', 0) + NO_WCC


def commit(_, name):
    file = file_of(name)
    if file.way == 'restart' and file.epoch == 0:
        file.epoch = 1
    return struct.pack('>I', 0) + NO_WCC + file.verifier()


def found(name):
    return opaque(name.encode())


def lookup(args, _):
    name = args.opaque().decode()
    handle = opaque(b'') if name == 'nohandle' else found(name)
    return struct.pack('>I', 0) + handle + struct.pack('>I', 1) + attributes(name) + struct.pack('>I', 0)


def create(args, _):
    name = args.opaque().decode()
    file_of(name).data = bytearray()
    return (struct.pack('>II', 0, 1) + found(name) + struct.pack('>I', 1) + attributes(name) + NO_WCC)


def information(_, __):
    most = 64 << 10
    return struct.pack('>II', 0, 0) + struct.pack('>7IQIII', most, most, 512, most, most, 512, 4096, 1 << 62, 0, 1, 8)


NFS_CALLS = {
    1: lambda args, name: struct.pack('>I', 0) + attributes(name),
    2: set_attributes, 3: lookup, 6: read, 7: write, 8: create, 19: information, 21: commit,
    4: lambda args, name: struct.pack('>III', 0, 0, args.int()),
}


def answer(program, procedure, args):
    if procedure == 0:
        return b''
    if program == PORTMAP:
        return struct.pack('>I', PORT)
    if program == MOUNT:
        mounted = struct.pack('>I', 0) + found('/') + struct.pack('>II', 1, 1)
        return {1: mounted, 5: struct.pack('>I', 0)}.get(procedure, b'')
    name = args.opaque().decode()
    return NFS_CALLS[procedure](args, name)


def call(message):
    args = Reader(message)
    xid, _, _, program, _, procedure = [args.int() for _ in range(6)]
    for _ in range(2):
        args.int()
        args.opaque()
    if program == NFS and procedure == 6 and b'reject' in message:
        return struct.pack('>IIIII', xid, 1, 1, 1, 1)
    result = answer(program, procedure, args)
    return None if result is None else \
        struct.pack('>IIIIII', xid, 1, 0, 0, 0, 0) + result


def exactly(connection, length):
    data = b''
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise Close
        data += piece
    return data


def talk(connection):
    try:
        while True:
            length = struct.unpack('>I', exactly(connection, 4))[0] & 0x7fffffff
            message = exactly(connection, length)
            with lock:
                reply = call(message)
            if reply is not None:
                connection.sendall(struct.pack('>I', 0x80000000 | len(reply)) + reply)
    except (Close, OSError):
        connection.close()


def main():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('127.0.0.1', PORT))
    server.listen(64)
    with open(sys.argv[1], 'w', encoding='ascii'):
        pass
    while True:
        connection = server.accept()[0]
        threading.Thread(target=talk, args=(connection,), daemon=True).start()


main()
