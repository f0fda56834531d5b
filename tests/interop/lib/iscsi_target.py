#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An iSCSI target (RFC 7143), which does what real ones seldom do.

usage: iscsi_target.py PORT_FILE [KEY=VALUE ...]

Its disks are in memory: `disks` (1), each of `blocks` of `size` bytes.  The last one stands for all further numbers.
They take EXTENDED COPY.  The other keys are faults.  Where they say "reads and writes", at=OP,... names other commands (hex) instead:

    busy=N full=N attention=N aborted=N unready=N  the first N reads and writes get that answer
    sense=KEY,CODE          all reads and writes fail so (hex)
    conflict=1              all reads and writes: RESERVATION CONFLICT
    cut=N                   the connection ends at every Nth read or write
    silent=N                the Nth read or write, and all that follow, are not answered
    once=1                  ... only on the first session
    deaf=1                  not even the login is answered
    redirect=PORTAL         the login is answered with the address of another portal
    short=1                 half of what a read asks for, and a count of what is missing
    hidden=1                half of what a read asks for, without a count
    status=KIND             wrong answers to GET LBA STATUS: none empty far zero long count
    capacity=KIND           of READ CAPACITY(16): none short
    last=N                  the last block, whatever `blocks` is
    unknown=OP,...          these commands (hex) are not known
    noise=SEED              bytes of answers that describe the disk are changed, or missing
    readonly=1 thin=1 kind=N
    limit=N                 the longest transfer, in blocks
    resize=N,BLOCKS         at the Nth read or write all disks get another length
    copy=KIND               of EXTENDED COPY: none (not told of), refused, failed (when half is done), same (both disks
                            have one name), nameless, few (no descriptors), short (segments of 64 KiB), identified
    log=FILE                the commands, one a line: opcode, lba, blocks, "fua"; and "abort"
"""
import random
import socket
import struct
import sys
import threading

PORT_FILE = sys.argv[1]
GIVEN = dict(word.split('=', 1) for word in sys.argv[2:])
LOCK = threading.Lock()
GOOD, CHECK, BUSY, CONFLICT, FULL = 0, 2, 8, 0x18, 0x28
READS, WRITES = (0x28, 0x88), (0x2a, 0x8a)


def number(key, usual=0):
    return int(GIVEN.get(key, usual))


SIZE, BLOCKS = number('size', 512), number('blocks', 2048)
COPY = GIVEN.get('copy')
AT = [int(word, 16) for word in GIVEN['at'].split(',')] if 'at' in GIVEN else READS + WRITES
COUNT = {'moves': 0, 'sessions': 0}
NOISE = random.Random(number('noise'))
LEFT = {key: number(key) for key in ('busy', 'full', 'attention', 'aborted', 'unready')}
IDENTIFIERS = set()


class Disk:
    def __init__(self, index):
        self.data, self.mapped = bytearray(SIZE * BLOCKS), bytearray(BLOCKS)
        self.name = b'\x60\1\2\3' + bytes(11) + bytes([0 if COPY == 'same' else index])

    def blocks(self):
        return len(self.mapped)

    def resize(self, blocks):
        for bytes_of, length in (self.data, SIZE * blocks), (self.mapped, blocks):
            del bytes_of[length:]
            bytes_of += bytes(length - len(bytes_of))


DISKS = [Disk(index) for index in range(number('disks', 1))]


class Gone(Exception):
    pass


def sense(key, code):
    fixed = bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code >> 8, code & 255, 0, 0, 0, 0])
    return CHECK, struct.pack('>H', len(fixed)) + fixed


def identification(disk):
    """What is to be passed over, before and after the name, and a name of the port, which is no name of the disk."""
    vendor = b'\2\1\0\x10imgbox  disk 1  '
    port = b'\1\x13\0\x10' + bytes(range(16))
    name = b'' if COPY == 'nameless' else b'\1\3\0\x10' + disk.name
    return (b'' if name == b'' else vendor) + port + name + (b'' if name == b'' else vendor)


def pages(disk):
    return {0x00: bytes([0x00, 0x83, 0xb0, 0xb2]),
            0x83: identification(disk),
            0xb0: struct.pack('>BBHIIIIIIIQ', 0, 0, 0, number('limit'), 0, 0, 0x10000, 1, 1, 0, 0x10000),
            0xb2: bytes([0, 0xc0 if number('thin') else 0, 0, 0])}


def inquiry(disk, cdb):
    kind = number('kind')
    if not cdb[1] & 1:
        copies = 0 if COPY == 'none' else 8
        return bytes([kind, 0, 5, 2, 31, copies, 0, 2]) + b'imgbox  ' + b'test            ' + b'1   '
    page = pages(disk).get(cdb[2])
    if page is None:
        return None
    if cdb[2] == 0xb0:
        return bytes([kind, 0xb0]) + struct.pack('>H', len(page)) + page
    return bytes([kind, cdb[2]]) + struct.pack('>H', len(page)) + page


def lba_status(disk, cdb):
    lba, room = struct.unpack('>QI', cdb[2:14])
    told, way = [], GIVEN.get('status')
    at = lba
    while at < disk.blocks() and len(told) < 4:
        end = at
        while end < disk.blocks() and disk.mapped[end] == disk.mapped[at]:
            end += 1
        told.append((at, end - at, 0 if disk.mapped[at] else 1))
        at = end
    if way == 'empty':
        told = []
    elif way == 'far':
        told = [(first + 8, count, what) for first, count, what in told]
    elif way == 'zero':
        told = [(first, 0, what) for first, count, what in told]
    elif way == 'long':
        told = [(lba, 0xffffffff, 1)]
    body = b''.join(struct.pack('>QIB3x', *one) for one in told)
    length = 0xfffffff0 if way == 'count' else len(body) + 4
    return (struct.pack('>II', length, 0) + body)[:room]


def copy_limits():
    """RECEIVE COPY OPERATING PARAMETERS."""
    descriptors = bytes([2] if COPY == 'few' else [2, 0x0b, 0xe4])
    body = struct.pack('>B3xHHIIIII2xHBBBB3xB', COPY != 'identified', 2, 1, 1024, 65536 if COPY == 'short' else 1 << 28,
                       0, 0, 0, 2, 2, 9, 0, 0, len(descriptors)) + descriptors
    return struct.pack('>I', len(body)) + body


def copy(parameters):
    """EXTENDED COPY; the status and sense data."""
    identifier, usage = parameters[0], parameters[1] >> 3 & 3
    disks_length, = struct.unpack('>H', parameters[2:4])
    segments_length, inline = struct.unpack('>II', parameters[8:16])
    if COPY == 'refused' or (disks_length, segments_length, inline) != (64, 28, 0) or len(parameters) != 108:
        return sense(5, 0x2600)
    if (usage != 3 or identifier) if COPY != 'identified' else (usage != 2 or identifier in IDENTIFIERS):
        return sense(5, 0x2600)
    found = []
    for at in 16, 48:
        one = parameters[at:at + 32]
        disk = [disk for disk in DISKS if one[:8] == b'\xe4\0\0\0\1\3\0\x10' and one[8:24] == disk.name]
        if len(disk) != 1 or int.from_bytes(one[29:32], 'big') != SIZE:
            return sense(10, 0x0d02)
        found += disk
    kind, length, source, target, blocks, source_lba, target_lba = struct.unpack('>H3H2xHQQ', parameters[80:108])
    if (kind, length, source, target) != (0x200, 24, 0, 1) or blocks * SIZE > (65536 if COPY == 'short' else 1 << 28):
        return sense(5, 0x2600)
    if source_lba + blocks > found[0].blocks() or target_lba + blocks > found[1].blocks():
        return sense(10, 0x2100)
    IDENTIFIERS.add(identifier)
    blocks //= 2 if COPY == 'failed' else 1
    found[1].data[target_lba * SIZE:(target_lba + blocks) * SIZE] = \
        found[0].data[source_lba * SIZE:(source_lba + blocks) * SIZE]
    found[1].mapped[target_lba:target_lba + blocks] = b'\1' * blocks
    IDENTIFIERS.discard(identifier)
    return sense(10, 0x0d01) if COPY == 'failed' else (GOOD, b'')


def capacity(disk):
    last = number('last', disk.blocks() - 1)
    provisioning = 0xc0 if number('thin') else 0
    answer = struct.pack('>QIBBB', last, SIZE, 0, 0, provisioning) + bytes(17)
    return answer[:8] if GIVEN.get('capacity') == 'short' else answer[:32]


def fate():
    """What becomes of a command: None, or (status, data)."""
    with LOCK:
        COUNT['moves'] += 1
        count = COUNT['moves']
        when, blocks = (int(word) for word in GIVEN.get('resize', '0,0').split(','))
        if count == when:
            for disk in DISKS:
                disk.resize(blocks)
            return sense(6, 0x2a09)
        for key, status in ('busy', (BUSY, b'')), ('full', (FULL, b'')), ('attention', sense(6, 0x2a09)), \
                ('aborted', sense(11, 0)), ('unready', sense(2, 0x0401)):
            if LEFT[key] > 0:
                LEFT[key] -= 1
                return status
    if number('cut') and count % number('cut') == 0:
        raise Gone
    if number('silent') and count >= number('silent') and not (number('once') and COUNT['sessions'] > 1):
        raise TimeoutError
    if 'sense' in GIVEN:
        return sense(*(int(word, 16) for word in GIVEN['sense'].split(',')))
    return (CONFLICT, b'') if number('conflict') else None


def place(cdb):
    """The first block and the number of blocks."""
    if cdb[0] >= 0x80:
        return struct.unpack('>QI', cdb[2:14])
    return struct.unpack('>I', cdb[2:6])[0], struct.unpack('>H', cdb[7:9])[0]


def spoil(data):
    """Some bytes are others, and perhaps the end is missing."""
    data = bytearray(data)
    for _ in range(NOISE.randrange(4)):
        if data:
            at = NOISE.randrange(len(data))
            data[at] = NOISE.choice([0, 1, 0x7f, 0x80, 0xff, NOISE.randrange(256)])
    return bytes(data[:NOISE.randrange(len(data) + 1)] if NOISE.random() < .2 else data)


def note(text):
    if 'log' in GIVEN:
        with LOCK, open(GIVEN['log'], 'a', encoding='ascii') as file:
            file.write(text + '\n')


def note_command(cdb):
    if cdb[0] in READS + WRITES + (0x93, 0x42, 0x35, 0x9e, 0x83):
        lba, blocks = place(cdb)
        note(f'{cdb[0]:02x} {lba} {blocks}{" fua" if cdb[0] in WRITES and cdb[1] & 8 else ""}')


def execute(disk, cdb, data):
    """(status, data, missing)"""
    code = cdb[0]
    answer = fate() if code in AT else None
    if answer:
        return answer + (0,)
    if f'{code:x}' in GIVEN.get('unknown', '').split(','):
        return sense(5, 0x2000) + (0,)
    if code in READS + WRITES:
        lba, blocks = place(cdb)
        if lba + blocks > disk.blocks():
            return sense(5, 0x2100) + (0,)
        if code in READS:
            got = bytes(disk.data[lba * SIZE:(lba + blocks) * SIZE])
            if number('short'):
                return GOOD, got[:len(got) // 2], len(got) - len(got) // 2
            return GOOD, got[:len(got) // 2] if number('hidden') else got, 0
        disk.data[lba * SIZE:lba * SIZE + len(data)] = data
        disk.mapped[lba:lba + blocks] = b'\1' * blocks
        return GOOD, b'', 0
    if code == 0x93:                            # WRITE SAME(16)
        lba, blocks = place(cdb)
        if lba + blocks > disk.blocks():
            return sense(5, 0x2100) + (0,)
        disk.data[lba * SIZE:(lba + blocks) * SIZE] = data * blocks
        disk.mapped[lba:lba + blocks] = (b'\0' if cdb[1] & 8 else b'\1') * blocks
        return GOOD, b'', 0
    if code == 0x42:                            # UNMAP
        lba, blocks = struct.unpack('>QI', data[8:20])
        disk.data[lba * SIZE:(lba + blocks) * SIZE] = bytes(blocks * SIZE)
        disk.mapped[lba:lba + blocks] = bytes(blocks)
        return GOOD, b'', 0
    if code == 0x12:
        answer = inquiry(disk, cdb)
        return (GOOD, answer[:cdb[4]], 0) if answer else sense(5, 0x2400) + (0,)
    if code == 0x1a:
        return GOOD, bytes([3, 0, (0x80 if number('readonly') else 0) | 0x10, 0]), 0
    if code == 0x25:
        return GOOD, struct.pack('>II', disk.blocks() - 1, SIZE), 0
    if code == 0x9e and cdb[1] & 31 == 0x10 and GIVEN.get('capacity') != 'none':
        return GOOD, capacity(disk), 0
    if code == 0x9e and cdb[1] & 31 == 0x12 and GIVEN.get('status') != 'none':
        return GOOD, lba_status(disk, cdb), 0
    if code == 0x83 and COPY != 'none':
        with LOCK:
            return copy(data) + (0,)
    if code == 0x84 and cdb[1] & 31 == 3 and COPY != 'none':
        return GOOD, copy_limits(), 0
    if code in (0x00, 0x35):
        return GOOD, b'', 0
    return sense(5, 0x2000) + (0,)


class Session:
    def __init__(self, connection):
        self.connection = connection
        self.stat, self.command, self.tag, self.later = 1, 1, 0x1000, []

    def take(self, length):
        data = b''
        while len(data) < length:
            more = self.connection.recv(min(length - len(data), 1 << 20))
            if not more:
                raise Gone
            data += more
        return data

    def receive(self):
        head = self.take(48)
        self.take(head[4] * 4)
        length = int.from_bytes(head[5:8], 'big')
        return head, self.take((length + 3) & ~3)[:length]

    def next(self):
        return self.later.pop(0) if self.later else self.receive()

    def data_out(self, tag):
        """The next piece of the data of one command; what comes meanwhile waits."""
        for at, (head, data) in enumerate(self.later):
            if head[0] & 0x3f == 5 and head[16:20] == tag:
                return self.later.pop(at)
        while True:
            head, data = self.receive()
            if head[0] & 0x3f == 5 and head[16:20] == tag:
                return head, data
            self.later.append((head, data))

    def send(self, code, flags, middle, data, tag, status=True, lun=bytes(8)):
        """middle: bytes 2 and 3 and 20 to 47, the latter after the numbers."""
        byte2, byte3, field, tail = middle
        numbers = struct.pack('>IIII', field, self.stat, self.command, self.command + 64)
        head = bytes([code, flags, byte2, byte3, 0]) + len(data).to_bytes(3, 'big') + lun + tag + numbers + tail
        self.connection.sendall(head + data + bytes(-len(data) % 4))
        if status:
            self.stat += 1

    def log_in(self):
        while True:
            head, text = self.receive()
            self.command = struct.unpack('>I', head[24:28])[0]
            asked = dict(word.split(b'=', 1) for word in text.split(b'\0') if b'=' in word)
            ours = {b'AuthMethod': b'None', b'HeaderDigest': b'None', b'DataDigest': b'None', b'InitialR2T': b'No',
                    b'ImmediateData': b'Yes', b'MaxConnections': b'1', b'ErrorRecoveryLevel': b'0',
                    b'MaxOutstandingR2T': b'1', b'DataPDUInOrder': b'Yes', b'DataSequenceInOrder': b'Yes',
                    b'DefaultTime2Wait': b'0', b'DefaultTime2Retain': b'0', b'FirstBurstLength': b'65536',
                    b'MaxBurstLength': b'262144'}
            answer = b''.join(key + b'=' + value + b'\0' for key, value in ours.items() if key in asked)
            if b'MaxRecvDataSegmentLength' in asked:
                answer += b'MaxRecvDataSegmentLength=65536\0'
            middle = (0, 0, 0, bytes(12))
            if 'redirect' in GIVEN:
                answer += b'TargetAddress=' + GIVEN['redirect'].encode() + b'\0'
                middle = (0, 0, 0, b'\1\1' + bytes(10))
            numbers_lun = bytes(head[8:14]) + b'\0\1'
            self.send(0x23, head[1] & 0x8f, middle, answer, bytes(head[16:20]), lun=numbers_lun)
            if head[1] & 0x80 and head[1] & 3 == 3:
                return

    def collect(self, head, data, expected):
        """The data of a write: what comes unasked, then what is asked for."""
        final = head[1] & 0x80
        while not final:
            more, part = self.data_out(head[16:20])
            final = more[1] & 0x80
            data += part
        sequence = 0
        while len(data) < expected:
            self.tag += 1
            length = min(expected - len(data), 262144)
            numbers = struct.pack('>III', sequence, len(data), length)
            tag = struct.pack('>I', self.tag)
            self.send(0x31, 0x80, (0, 0, int.from_bytes(tag, 'big'), numbers), b'', head[16:20], False, head[8:16])
            sequence, end = sequence + 1, len(data) + length
            while len(data) < end:
                data += self.data_out(head[16:20])[1]
        return data

    def answer(self, head, status, data, missing):
        tag = head[16:20]
        if status != GOOD or not data or not head[1] & 0x40:
            expected = struct.unpack('>I', head[20:24])[0]
            self.send(0x21, 0x80, (0, status, 0, bytes(12)), data, tag)
            return expected
        residual = struct.pack('>I', missing)
        for at in range(0, len(data) or 1, 8192):
            part, last = data[at:at + 8192], at + 8192 >= len(data)
            flags = (0x81 if last else 0) | (2 if last and missing else 0)
            self.send(0x25, flags, (0, 0, 0xffffffff, struct.pack('>II', at // 8192, at) + residual), part, tag, last)
        return 0

    @staticmethod
    def note_task_management(head):
        note('abort' if head[1] & 0x7f == 1 else 'other')

    def hear(self):
        """As if nobody listened."""
        while True:
            head, _ = self.receive()
            if head[0] & 0x3f == 2:
                self.note_task_management(head)

    def serve(self):
        if number('deaf'):
            self.receive()
            raise TimeoutError
        self.log_in()
        with LOCK:
            COUNT['sessions'] += 1
        while True:
            head, data = self.next()
            code = head[0] & 0x3f
            if not head[0] & 0x40:
                self.command += 1
            if code == 0:                       # NOP-Out
                if head[16:20] != b'\xff\xff\xff\xff':
                    self.send(0x20, 0x80, (0, 0, 0xffffffff, bytes(12)), data, head[16:20])
            elif code == 1:
                cdb = head[32:48]
                if head[1] & 0x20:
                    data = self.collect(head, data, struct.unpack('>I', head[20:24])[0])
                note_command(cdb)
                disk = DISKS[max(1, min(head[9], len(DISKS))) - 1]
                status, data, left = execute(disk, cdb, data)
                if number('noise') and cdb[0] in (0x12, 0x1a, 0x25, 0x84, 0x9e) and status == GOOD:
                    data = spoil(data)
                self.answer(head, status, data, left)
            elif code == 2:                     # task management
                self.note_task_management(head)
                self.send(0x22, 0x80, (0, 0, 0, bytes(12)), b'', head[16:20])
            elif code == 6:
                self.send(0x26, 0x80, (0, 0, 0, bytes(12)), b'', head[16:20])
                return


def handle(connection):
    with connection:
        session = Session(connection)
        try:
            try:
                session.serve()
            except TimeoutError:
                session.hear()
        except (Gone, OSError):
            pass


def main():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('127.0.0.1', 0))
    server.listen(64)
    with open(PORT_FILE, 'w', encoding='ascii') as file:
        file.write(str(server.getsockname()[1]))
    while True:
        threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()


main()
