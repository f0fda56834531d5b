# SPDX-License-Identifier: MIT
"""A client of NBD servers that sends what it is told to, right or wrong, and a server to talk to."""
import os
import socket
import struct
import subprocess
import time

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, ONE, FAST, PAYLOAD = (1 << bit for bit in range(6))
ACK, INFO = 1, 3
OPTION, OPTION_REPLY = 0x49484156454f5054, 0x3e889045565a9
SIMPLE, STRUCTURED, EXTENDED = range(3)
PATIENCE = 60           # seconds, on a busy machine


def text(value):
    return struct.pack('>I', len(value)) + value


def option(number, data=b'', length=None):
    return struct.pack('>QII', OPTION, number, len(data) if length is None else length) + data


def go(name=b'', number=7, infos=()):
    return option(number, text(name) + struct.pack(f'>H{len(infos)}H', len(infos), *infos))


def contexts(number, *queries, name=b''):
    return option(number, text(name) + struct.pack('>I', len(queries)) + b''.join(map(text, queries)))


class Server:
    """A server as a child process, listening on a Unix socket; `words` are those before the name of the socket,
    `more` is added to its environment."""

    def __init__(self, tool, words, path, image, log=subprocess.DEVNULL, more=()):
        self.path = path
        if os.path.exists(path):
            os.unlink(path)
        self.process = subprocess.Popen(['qemu-nbd'] + words + ['-k', path, image], executable=tool,
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=dict(os.environ, **dict(more)))
        for _ in range(PATIENCE * 100):
            try:
                Client(path).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.01)
        self.end()
        raise RuntimeError(f'{tool} does not listen')

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait()


class Client:
    """One connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.mode, self.cookie = SIMPLE, 0

    def close(self):
        self.socket.close()

    def send(self, data):
        """False: the server has hung up."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self, length):
        """Less than that at the end."""
        data = b''
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ConnectionResetError:
                break
            if not part:
                break
            data += part
        return data

    def greet(self, flags=3):
        greeting = self.receive(18)
        self.send(struct.pack('>I', flags))
        return greeting

    def option_replies(self):
        """The replies to one option, up to the last: (type, data) each; (None, rest) at the end."""
        replies = []
        while True:
            head = self.receive(20)
            if len(head) < 20:
                return replies + [(None, head)]
            magic, number, kind, length = struct.unpack('>QIII', head)
            if magic != OPTION_REPLY:
                return replies + [(None, head)]
            replies.append((number, kind, self.receive(length)))
            if kind == ACK or kind >> 31:
                return replies

    def open(self, mode, *queries):
        """The whole handshake."""
        self.mode = mode
        self.greet()
        for data in ([], [option(8)], [option(11)])[mode] + ([contexts(10, *queries)] if queries else []) + [go()]:
            self.send(data)
            replies = self.option_replies()
            if replies[-1][:2] != (struct.unpack('>I', data[8:12])[0], ACK):
                raise RuntimeError(f'handshake: {replies}')
        return self

    def request(self, command, start=0, length=0, flags=0, data=b'', magic=None):
        """Send it; returns its cookie."""
        self.cookie += 1
        head = struct.pack('>IHHQQ', magic or (0x21e41c71 if self.mode == EXTENDED else 0x25609513), flags, command,
                           self.cookie, start)
        self.send(head + struct.pack('>Q' if self.mode == EXTENDED else '>I', length) + data)
        return self.cookie

    def reply(self, length=0):
        """One reply or chunk: (kind, last, cookie, data).  `length` bytes follow a simple reply without an error."""
        head = self.receive(16)
        if len(head) < 16:
            return None, True, 0, head
        magic, first, second, cookie = struct.unpack('>IHHQ', head)
        if magic == 0x67446698:
            error = first << 16 | second
            return 'simple', True, cookie, struct.pack('>I', error) + (b'' if error else self.receive(length))
        size = struct.unpack('>I', self.receive(4))[0] if magic == 0x668e33ef else \
            struct.unpack('>QQ', self.receive(16))[1]
        return second, bool(first & 1), cookie, self.receive(size)

    def replies(self, start=0, length=0):
        """All of the reply to the one request in flight.  What a read returns is put together: how a server cuts it
        into chunks is its own affair."""
        found, content = [], {}
        while True:
            kind, last, cookie, data = self.reply(length)
            if kind == 1:
                content[struct.unpack('>Q', data[:8])[0] - start] = data[8:]
            elif kind == 2:
                at, size = struct.unpack('>QI', data)
                content[at - start] = bytes(size)
            else:
                found.append((kind, cookie, data))
            if last:
                break
        if content:
            found.append(('read', b''.join(content[at] for at in sorted(content))))
        return found

    def error(self):
        """The error number of the reply to a request that returns no data."""
        kind, data = self.replies()[-1][::2]
        if kind == 'simple' or kind == 0x8001:
            return struct.unpack('>I', data[:4])[0]
        return 0 if kind is not None else -1
