# SPDX-License-Identifier: MIT
"""A sheep for tests: one node of a Sheepdog cluster, all of it in memory.

usage: sheepdog_server.py ADDRESS [key=value...]        ADDRESS: a port of 127.0.0.1, or the path of a socket

It answers as a real one does (1.0): what it says of missing objects, of snapshots, names that are taken, locks.

    state=NAME      read this file at the start, if it is there, and write it at the end (SIGTERM, or stop=)
    shift=N         objects have 2^N bytes, unless a VDI has others (22)
    copies=N        copies of a VDI that does not say how many (2)
    locking=1       the cluster was formatted with locks
    flush=1         it knows the request to flush, as old servers do
    no=OP,OP        it does not know these requests (numbers)
    reorder=N       collect up to N requests that come together, and do and answer the last first
    hangup=N,M...   close all connections at the Nth request about data, without an answer; every other one of these
                    requests is done all the same
    stop=N          end at the Nth request about data, without an answer
    again=S         and start again S seconds later, with what it had
    then=NAME       or with this state
    stall=N         answer nothing from the Nth request about data on
    busy=N          answer the first N requests about data with "starting"
    fail=OP:RESULT  answer requests OP with this result (about data: not those about inodes); OP:RESULT:N from the Nth
                    of them on
    wrong=WHAT      answer the third request about data wrongly: id, long, short, body, garbage, drip (byte by byte)
    inode=WHAT      inodes are wrong: id, shift, size, hyper, owner
    log=NAME        a line for each request; one that begins with WRONG tells of what a client must not do
"""
import os
import pickle
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ending import at_end  # noqa: E402
from sockets import listener_at as unix_listener  # noqa: E402
from wire import take  # noqa: E402

MAKE, READ, WRITE, DISCARD = 1, 2, 3, 5
NEW, LOCK, RELEASE, FIND, VDIS, FLUSH, DELETE, DEFAULT = range(0x11, 0x19)
NO_OBJECT, EXISTS, INVALID, LOCKED, NO_VDI, NO_TAG, STARTUP, NOT_LOCKED, READONLY = 2, 4, 5, 7, 8, 0xe, 0xf, 0x10, 0x1a
INODE = 1 << 63
HEADER, MOST_ID = 4664, (1 << 24) - 1


def hash_of(name):
    value = 14695981039346656037
    for byte in name:
        value = (value ^ byte) * 1099511628211 & (1 << 64) - 1
    return value & MOST_ID


class Vdi:
    """An inode: what is in its header, and its owners."""

    def __init__(self, vid, name, size, copies, policy, shift, snap_id, parent, owners):
        self.vid, self.name, self.tag, self.size = vid, name, b'', size
        self.copies, self.policy, self.shift, self.snap_id, self.parent = copies, policy, shift, snap_id, parent
        self.owners = dict(owners)
        self.created, self.snapped, self.clock, self.state = time.time_ns(), 0, 0, 0

    def header(self):
        return struct.pack('<256s256sQQQQQBBBBIIII', self.name, self.tag, stamp(self.created), stamp(self.snapped),
                           self.clock, self.size, self.state, self.policy, 0, self.copies, self.shift, self.snap_id,
                           self.vid, self.parent, 0).ljust(HEADER, b'\0')

    def set_header(self, data):
        fields = struct.unpack('<256s256sQQQQQBBBBIIII', data[:572])
        self.tag, self.clock, self.size, self.state = fields[1].rstrip(b'\0'), fields[4], fields[5], fields[6]


def stamp(nanoseconds):
    return nanoseconds // 10 ** 9 << 32 | nanoseconds % 10 ** 9


class Cluster:
    """VDIs by id, data objects by (owner, index)."""

    def __init__(self, options):
        self.vdis, self.objects, self.locks = {}, {}, set()
        self.shift, self.copies = int(options.get('shift', 22)), int(options.get('copies', 2))
        self.locking = options.get('locking') == '1'

    # ---- VDIs

    def run(self, name):
        """The VDIs beside the place of a name."""
        vid = hash_of(name)
        while vid in self.vdis:
            yield self.vdis[vid]
            vid = vid + 1 & MOST_ID

    def find(self, name, tag=b'', snap_id=0):
        """The VDI, or a result."""
        known = [vdi for vdi in self.run(name) if vdi.name == name]
        if not known:
            return NO_VDI
        for vdi in known:
            if vdi.snapped and (snap_id and vdi.snap_id == snap_id or not snap_id and tag and vdi.tag == tag):
                return vdi
            if not vdi.snapped and not tag and not snap_id:
                return vdi
        return NO_TAG if tag or snap_id else NO_VDI

    def free_id(self, name):
        vid = hash_of(name)
        while vid in self.vdis:
            vid = vid + 1 & MOST_ID
        return vid

    def new(self, name, size, base, snapshot, copies, policy, shift):
        current = self.find(name)
        there = not isinstance(current, int)
        parent = self.vdis.get(base)
        if base and (parent is None or not parent.name):
            return INVALID
        if snapshot and not there:
            return NO_VDI
        if not snapshot and there:
            return EXISTS
        if snapshot and not base or not snapshot and base and not parent.snapped:
            return INVALID
        if snapshot:
            current.snapped = time.time_ns()
        number = max([vdi.snap_id for vdi in self.run(name) if vdi.name == name], default=0) + 1
        vdi = Vdi(self.free_id(name), name, size, copies or self.copies, policy, shift or self.shift, number, base,
                  parent.owners if base else {})
        self.vdis[vdi.vid] = vdi
        return vdi

    def delete(self, vdi):
        """Its id stays in use; objects stay as long as another VDI shows them."""
        vdi.name, owners, vdi.owners = b'', vdi.owners, {}
        shown = {(owner, index) for other in self.vdis.values() for index, owner in other.owners.items()}
        for index, owner in owners.items():
            if (owner, index) not in shown:
                self.objects.pop((owner, index), None)

    def vdi_request(self, op, words, data):
        size, base, copies, policy, _, shift, snap_id, _ = struct.unpack('<QIBBBBII', words[:24])
        name, tag = data[:256].rstrip(b'\0'), data[256:].rstrip(b'\0')
        if op == NEW:
            return self.new(name, size, base, snap_id, copies, policy, shift) if len(data) == 256 else INVALID
        if op == RELEASE:
            if self.locking and base not in self.locks:
                return NOT_LOCKED
            self.locks.discard(base)
            return 0
        vdi = self.find(name, tag, snap_id)
        if isinstance(vdi, int):
            return vdi
        if op == DELETE:
            self.delete(vdi)
            return 0
        if op == LOCK and self.locking:
            if vdi.vid in self.locks:
                return LOCKED
            self.locks.add(vdi.vid)
        return vdi

    def bitmap(self):
        bits = bytearray((MOST_ID + 1) // 8)
        for vid in self.vdis:
            bits[vid // 8] |= 1 << vid % 8
        return bytes(bits)

    # ---- objects

    def inode_request(self, op, vid, offset, data, length):
        vdi = self.vdis.get(vid)
        if vdi is None:
            return NO_OBJECT, b''
        if op == READ:
            end, header = offset + length, vdi.header()
            found = bytearray(header[offset:end].ljust(length, b'\0'))
            for index, owner in vdi.owners.items():
                at = HEADER + 4 * index
                if offset <= at and at + 4 <= end:
                    found[at - offset:at - offset + 4] = struct.pack('<I', owner)
            return 0, bytes(found)
        if offset < HEADER:
            header = bytearray(vdi.header())
            header[offset:offset + len(data)] = data
            vdi.set_header(bytes(header))
        else:
            for place, (owner,) in enumerate(struct.iter_unpack('<I', data)):
                index = (offset - HEADER) // 4 + place
                vdi.owners[index] = owner
                if owner and (owner, index) not in self.objects:
                    return 0, f'an entry for object {owner:06x}/{index}, which there is not'
                if not owner:
                    del vdi.owners[index]
        return 0, b''

    def data_request(self, op, flags, words, data, length):
        oid, copy_from, copies, policy, _, _, _, offset = struct.unpack('<QQBBBBII', words[:28])
        vid, index = oid >> 32 & MOST_ID, oid & 0xffffffff
        if oid & INODE:
            return self.inode_request(op, vid, offset, data, length)
        key, vdi = (vid, index), self.vdis.get(vid)
        if op == READ:
            if key not in self.objects:
                return NO_OBJECT, b''
            return 0, bytes(self.objects[key][offset:offset + length]).ljust(length, b'\0')
        if vdi is None or vdi.snapped:
            return READONLY, b''
        wrong = self.judge(op, vdi, index, offset + len(data), copies, policy)
        if op == MAKE:
            old = self.objects.get((copy_from >> 32 & MOST_ID, copy_from & 0xffffffff)) if flags & 2 else bytes()
            if old is None:
                return NO_OBJECT, 'a copy of an object that there is not'
            self.objects[key] = bytearray(old.ljust(1 << vdi.shift, b'\0'))
        elif key not in self.objects:
            return NO_OBJECT, b''
        if op == DISCARD:
            vdi.owners.pop(index, None)
            del self.objects[key]
        else:
            self.objects[key][offset:offset + len(data)] = data
        return 0, wrong

    def judge(self, op, vdi, index, end, copies, policy):
        if end > 1 << vdi.shift:
            return 'bytes behind the end of an object'
        if op == MAKE and vdi.owners.get(index) == vdi.vid:
            return f'object {vdi.vid:06x}/{index} is made while it is in use'
        if op in (MAKE, WRITE) and (copies, policy) != (vdi.copies, vdi.policy):
            return f'{copies} copies, policy {policy}'
        return b''

    # ---- for tests

    def content(self, vdi):
        """The bytes of the disk."""
        size = 1 << vdi.shift
        parts = [bytes(self.objects[(vdi.owners[index], index)]) if index in vdi.owners else bytes(size)
                 for index in range((vdi.size + size - 1) // size)]
        return b''.join(parts)[:vdi.size]


class Sheep:
    def __init__(self, cluster, options):
        self.cluster, self.options = cluster, options
        self.hangups = [int(n) for n in options.get('hangup', '').split(',') if n]
        self.unknown = [int(n, 0) for n in options.get('no', '').split(',') if n]
        self.count = self.failed = 0
        self.hung = 0
        self.clients = []
        self.lock = threading.Lock()
        self.out = open(options['log'], 'a', buffering=1) if 'log' in options else None

    def log(self, text):
        if self.out:
            self.out.write(text + '\n')

    def number(self, name):
        return int(self.options.get(name, 0))

    # ---- answers

    def do(self, op, flags, words, data, length):
        """A result, the rest of the answer's header, and the bytes behind it."""
        if op in self.unknown:
            return INVALID, b'', b''
        if op in (MAKE, READ, WRITE, DISCARD):
            result, more = self.cluster.data_request(op, flags, words, data, length)
            if isinstance(more, str):
                self.log('WRONG: ' + more)
                more = b''
            return result, b'', more
        if op == VDIS:
            return 0, b'', self.cluster.bitmap()[:length]
        if op == DEFAULT:
            return 0, bytes([self.cluster.copies, 0, self.cluster.shift]), b''
        if op == FLUSH:
            return (0 if self.options.get('flush') else INVALID), b'', b''
        if op in (NEW, LOCK, RELEASE, FIND, DELETE):
            found = self.cluster.vdi_request(op, words, data)
            if isinstance(found, int):
                return found, b'', b''
            return 0, struct.pack('<IIIBB', 0, found.vid, 0, found.copies, found.shift), b''
        return INVALID, b'', b''

    def spoil(self, oid, data):
        """An inode that is wrong."""
        what, data = self.options.get('inode'), bytearray(data)
        if not what or not oid & INODE:
            return bytes(data)
        if len(data) >= 568 and what != 'owner':
            at, value = {'id': (560, b'\x55'), 'shift': (555, b'\7'), 'size': (543, b'\x7f'),
                         'hyper': (553, b'\1')}[what]
            data[at:at + 1] = value
        elif what == 'owner' and len(data) < 568:
            data[3:4] = b'\1'
        return bytes(data)

    def answer(self, request):
        op, flags, number, words, data, length = request
        result, more, behind = self.do(op, flags, words, data, length)
        oid = struct.unpack('<Q', words[:8])[0]
        offset = struct.unpack('<I', words[24:28])[0]
        self.log(f'{op:#x} {flags} {oid:016x} {offset} {len(data) or length}: {result:#x}')
        if op == READ:
            behind = self.spoil(oid, behind)
        return self.pack(op, flags, number, result, more, behind)

    def pack(self, op, flags, number, result, more=b'', behind=b''):
        return struct.pack('<BBHIIII', 1, op, flags, 1, number, len(behind), result) + more.ljust(28, b'\0') + behind

    def wrong_answer(self, request, what):
        op, flags, number, words, data, length = request
        good = self.answer(request)
        if what == 'id':
            return self.pack(op, flags, number + 77, 0, b'', good[48:])
        if what == 'long':
            return self.pack(op, flags, number, 0, b'', bytes(length + 100 if not data else 100))
        if what == 'short':
            return self.pack(op, flags, number, 0, b'', good[48:-7])
        if what == 'body':
            return struct.pack('<BBHIIII', 1, op, flags, 1, number, 0xfffffff0, 0) + bytes(28) + good[48:]
        return b'\xa5' * 400

    # ---- what befalls a client

    def end_clients(self):
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.clients.clear()

    def befalls(self, client, request):
        """What is sent instead of an answer; None: a good answer.  Raises EOFError: nothing any more."""
        op, flags, number = request[:3]
        if op > 5:
            result = self.fails(op)
            return self.pack(op, flags, number, result) if result else None
        if struct.unpack('<Q', request[3][:8])[0] & INODE:
            return None
        self.count += 1
        if self.number('stop') and self.count >= self.number('stop'):
            finish(self)
        if self.number('stall') and self.count >= self.number('stall'):
            return b''
        if self.count in self.hangups:
            self.hung += 1
            if self.hung % 2:
                self.answer(request)
            self.end_clients()
            raise EOFError
        if self.count <= self.number('busy'):
            return self.pack(op, flags, number, STARTUP)
        result = self.fails(op)
        if result:
            return self.pack(op, flags, number, result)
        if 'wrong' in self.options and self.count == 3:
            return self.drip(client) if self.options['wrong'] == 'drip' else \
                self.wrong_answer(request, self.options['wrong'])
        return None

    def fails(self, op):
        which, result, *first = (int(n, 0) for n in self.options.get('fail', '0:0').split(':'))
        self.failed += op == which
        return result if op == which and self.failed >= (first or [0])[0] else 0

    def drip(self, client):
        for _ in range(48):
            client.sendall(b'\1')
            time.sleep(0.3)
        raise EOFError

    # ---- a client

    def receive(self, client):
        _, op, flags, _, number, length = struct.unpack('<BBHIII', take(client, 16))
        words = take(client, 32)
        data = take(client, length) if flags & 1 else b''
        return op, flags, number, words, data, length

    def gather(self, client):
        """A request, and those that come together with it."""
        requests = [self.receive(client)]
        client.settimeout(0.004)
        try:
            while len(requests) < self.number('reorder') and client.recv(1, socket.MSG_PEEK):
                client.settimeout(60)
                requests.append(self.receive(client))
                client.settimeout(0.004)
        except TimeoutError:
            pass
        client.settimeout(None)
        return requests[::-1]

    def serve(self, client):
        try:
            while True:
                for request in self.gather(client) if self.number('reorder') else [self.receive(client)]:
                    with self.lock:
                        given = self.befalls(client, request)
                        answer = self.answer(request) if given is None else given
                    client.sendall(answer)
        except (EOFError, OSError):
            pass
        client.close()


def save(sheep):
    if 'state' in sheep.options:
        with open(sheep.options['state'] + '.new', 'wb') as file:
            pickle.dump(sheep.cluster, file)
        os.rename(sheep.options['state'] + '.new', sheep.options['state'])


def finish(sheep):
    save(sheep)
    if 'again' in sheep.options:
        words = [word for word in sys.argv if word.split('=')[0] not in ('stop', 'again', 'then')]
        if 'then' in sheep.options:
            words = [word for word in words if not word.startswith('state=')] + ['state=' + sheep.options['then']]
        sheep.listener.shutdown(socket.SHUT_RDWR)
        sheep.listener.close()
        sheep.end_clients()
        time.sleep(float(sheep.options['again']))
        os.execv(sys.executable, [sys.executable] + words)
    os._exit(0)


def load(name):
    """The cluster in a state file."""
    with open(name, 'rb') as file:
        return pickle.load(file)


def listener_at(address):
    if address.isdigit():
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(('127.0.0.1', int(address)))
        listener.listen(50)
        return listener
    return unix_listener(address)


def main():
    options = dict(word.split('=', 1) for word in sys.argv[2:])
    there = 'state' in options and os.path.exists(options['state'])
    sheep = Sheep(load(options['state']) if there else Cluster(options), options)
    sheep.cluster.locks.clear()     # (they are nowhere but in memory)

    def end():
        with sheep.lock:
            sheep.options.pop('again', None)
            finish(sheep)
    at_end(end)
    listener = sheep.listener = listener_at(sys.argv[1])
    while True:
        try:
            client = listener.accept()[0]
        except OSError:             # it is about to start again
            time.sleep(60)
            continue
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sheep.lock:
            sheep.clients.append(client)
        threading.Thread(target=sheep.serve, args=(client,), daemon=True).start()


if __name__ == '__main__':
    # (a state names its classes by the module)
    from sheepdog_server import main as start
    start()
