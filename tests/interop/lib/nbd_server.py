# SPDX-License-Identifier: MIT
"""An NBD server for tests that does what a good one never does.

usage: nbd_server.py SOCKET SIZE [key=value...]

It answers one connection after the other, from memory, whose content it writes to the file `dump` when it ends
(SIGTERM).  Specification: doc/proto.md of the NBD project.

    fill=N          the byte that the disk is full of (0)
    file=NAME       or the content of this file
    sr=0            refuse structured replies
    multi=1         say that several connections are fine
    delay=N         after the first request, collect N before one is answered, and answer the last first
    hangup=N,M...   close all connections at the Nth request (counted over all of them), without an answer
    then=SIZE       have this size after a hangup, as another disk would
    forget=1        lose on a hangup what was written and not flushed, as a server does that is killed
    log=FILE        a line for each connection, request and end
    wrong=WHAT      answer the third request wrongly: magic, cookie, short, long, type, unknown, none, huge, hole,
                    silence, offset, count, twice, overlap
"""
import os
import socket
import struct
import sys
import threading

from ending import at_end
from sockets import listener_at
from wire import take

SIMPLE, CHUNK, OPTION = 0x67446698, 0x668e33ef, 0x0003e889045565a9
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)


class Server:
    def __init__(self, size, options):
        self.options = options
        self.disk = bytearray([int(options.get('fill', 0))]) * size
        if 'file' in options:
            with open(options['file'], 'rb') as file:
                self.disk[:] = file.read()
        self.durable = bytes(self.disk)
        self.hangups = [int(n) for n in options.get('hangup', '').split(',') if n]
        self.count = 0
        self.clients = []
        self.lock = threading.Lock()
        self.out = open(options['log'], 'w', buffering=1) if 'log' in options else None

    def log(self, text):
        if self.out:
            self.out.write(text + '\n')

    # ---- handshake

    def reply(self, client, option, kind, data=b''):
        client.sendall(struct.pack('>QIII', OPTION, option, kind, len(data)) + data)

    def shake_hands(self, client):
        """Returns whether replies are structured, and whether the map was asked for."""
        structured = mapped = False
        client.sendall(b'NBDMAGICIHAVEOPT' + struct.pack('>H', 3))
        take(client, 4)
        flags = 0x1 | 0x4 | 0x8 | 0x20 | 0x40 | (0x100 if self.options.get('multi') else 0)
        while True:
            _, option, length = struct.unpack('>QII', take(client, 16))
            data = take(client, length)
            if option == 8 and self.options.get('sr') != '0':
                structured = True
                self.reply(client, option, 1)
            elif option == 10 and structured:
                mapped = True
                self.reply(client, option, 4, struct.pack('>I', 1) + b'base:allocation')
                self.reply(client, option, 1)
            elif option in (6, 7):
                self.reply(client, option, 3, struct.pack('>HQH', 0, len(self.disk), flags))
                self.reply(client, option, 1)
                if option == 7:
                    return structured, mapped
            elif option == 2:
                self.reply(client, option, 1)
                raise EOFError
            else:
                self.reply(client, option, 0x80000001, data[:0])

    # ---- requests

    def act(self, command, flags, offset, length, data):
        """Carry it out; returns an errno and the bytes of an answer."""
        if command != FLUSH and offset + length > len(self.disk):
            return 28 if command in (WRITE, ZEROES) else 22, b''
        if command == READ:
            return 0, bytes(self.disk[offset:offset + length])
        if command == WRITE:
            self.disk[offset:offset + length] = data
        elif command in (ZEROES, TRIM):
            self.disk[offset:offset + length] = bytes(length)
        if command == FLUSH or flags & 1:
            self.durable = bytes(self.disk)
        return 0, b''

    def chunk(self, cookie, kind, data=b'', done=True):
        return struct.pack('>IHHQI', CHUNK, 1 if done else 0, kind, cookie, len(data)) + data

    def status(self, cookie, offset, length):
        """Zero and data in runs of whole sectors."""
        runs = []
        for at in range(offset, offset + length, 4096):
            end = min(at + 4096, offset + length)
            kind = 0 if any(self.disk[at:end]) else 3
            if runs and runs[-1][1] == kind:
                runs[-1][0] += end - at
            else:
                runs.append([end - at, kind])
        data = struct.pack('>I', 1) + b''.join(struct.pack('>II', *run) for run in runs[:64])
        return self.chunk(cookie, 5, data)

    def answer(self, cookie, structured, command, offset, length, error, data):
        if structured and command == STATUS and not error:
            return self.status(cookie, offset, length)
        if not structured or command not in (READ, STATUS):
            return struct.pack('>IIQ', SIMPLE, error, cookie) + data
        if error:
            return self.chunk(cookie, 0x8001, struct.pack('>IH', error, 0))
        half = len(data) // 2       # in two chunks, the second first
        return (self.chunk(cookie, 1, struct.pack('>Q', offset + half) + data[half:], done=half == 0) +
                (self.chunk(cookie, 1, struct.pack('>Q', offset) + data[:half]) if half else b''))

    def answer_wrongly(self, cookie, offset, length, data):
        wrong = self.options['wrong']
        part = struct.pack('>Q', offset)
        half = len(data) // 2
        first = self.chunk(cookie, 1, part + data[:half], done=False)
        return {
            'magic': struct.pack('>IIQ', 0x12345678, 0, cookie) + data,
            'cookie': struct.pack('>IIQ', SIMPLE, 0, cookie ^ 0x5555) + data,
            'short': self.chunk(cookie, 1, part + data[:-512]),
            'twice': first + self.chunk(cookie, 1, part + data[:half]),
            'overlap': first + self.chunk(cookie, 1, struct.pack('>Q', offset + 512) + data[:half]),
            'none': self.chunk(cookie, 0),
            'long': self.chunk(cookie, 1, part + data + bytes(512)),
            'type': self.chunk(cookie, 77, b'12345678'),
            'unknown': self.chunk(cookie, 0x8077, struct.pack('>IH', 5, 0)),
            'offset': self.chunk(cookie, 1, struct.pack('>Q', offset + length) + data),
            'count': self.chunk(cookie, 1, b'123'),
            'hole': self.chunk(cookie, 2, struct.pack('>QI', offset, 0xffffffff)),
            'huge': struct.pack('>IHHQI', CHUNK, 1, 1, cookie, 0xfffffff0) + part,
        }[wrong]

    def serve(self, client):
        structured, _ = self.shake_hands(client)
        self.log('open')
        kept, patience = [], int(self.options.get('delay', 0))
        while True:
            _, flags, command, cookie, offset, length = struct.unpack('>IHHQQI', take(client, 28))
            data = take(client, length) if command == WRITE else b''
            if command == DISC:
                raise EOFError
            with self.lock:
                self.count += 1
                self.log('%s %d %d' % (('read', 'write', '', 'flush', 'trim', 'cache', 'zero', 'map')[command],
                                       offset, length))
                if self.count in self.hangups:
                    self.hang_up()
                if client not in self.clients:
                    raise EOFError
                error, answer = self.act(command, flags, offset, length, data)
            if self.count == 3 and 'wrong' in self.options:
                if self.options['wrong'] == 'silence':
                    continue
                client.sendall(self.answer_wrongly(cookie, offset, length, answer))
                continue
            kept.append(self.answer(cookie, structured, command, offset, length, error, answer))
            if self.count == 1 or len(kept) > patience:
                patience = 0 if self.count > 1 else patience
                client.sendall(b''.join(reversed(kept)))
                kept = []

    def hang_up(self):
        for other in self.clients:
            other.shutdown(socket.SHUT_RDWR)
        self.clients = []
        if self.options.get('forget'):
            self.disk[:] = self.durable
        if 'then' in self.options:
            size = int(self.options['then'])
            self.disk[:] = self.disk[:size].ljust(size, b'\0')

    def talk(self, client):
        with self.lock:
            self.clients.append(client)
        try:
            self.serve(client)
        except (EOFError, OSError):
            pass
        with self.lock:
            if client in self.clients:
                self.clients.remove(client)
        client.close()
        self.log('close')


def main():
    path, size = sys.argv[1], int(sys.argv[2])
    server = Server(size, dict(option.split('=', 1) for option in sys.argv[3:]))

    def end():
        if 'dump' in server.options:
            with open(server.options['dump'], 'wb') as file:
                file.write(server.durable if server.options.get('forget') else server.disk)
        os._exit(0)

    at_end(end)
    listener = listener_at(path)
    while True:
        client, _ = listener.accept()
        if server.options.get('multi'):
            threading.Thread(target=server.talk, args=(client,), daemon=True).start()
        else:
            server.talk(client)


if __name__ == '__main__':
    main()
