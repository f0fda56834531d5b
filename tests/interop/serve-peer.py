#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The NBD server and the reference server get the same bytes from a client, and must send the same bytes back.

First options, right and malformed, then requests with random commands, flags, ranges and payloads, in all forms of
replies.  Only the chunks into which a read is cut may differ.

environment: see lib/harness.py; SERVE and PEER_NBD: the two servers
"""
import os
import random
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, installed, make_qcow2, must, run  # noqa: E402
from nbd import (ACK, CACHE, DF, EXTENDED, FAST, FLUSH, FUA, NO_HOLE, ONE, PAYLOAD, READ, SIMPLE, STATUS, STRUCTURED,
                 TRIM, WRITE, ZEROES, Client, Server, contexts, go, option, text)  # noqa: E402

SERVE = installed('SERVE', os.path.join(os.path.dirname(IMG), 'img-serve'))
PEER_NBD = installed('PEER_NBD', os.path.join(os.path.dirname(PEER), 'qemu-nbd') if PEER else '')
SIZE = 1 << 20
MOST = 32 << 20
QUERIES = [b'base:allocation', b'base:', b'base:x', b'qemu:', b'qemu:allocation-depth', b'qemu:allocation-depthx',
           b'qemu:dirty-bitmap:', b'qemu:dirty-bitmap:b0', b'qemu:dirty-bitmap:b1', b'qemu:dirty-bitmap:nope',
           b'qemu:dirty-bitmap', b'', b'x:y',
           b'base:' + b'a' * 5000, b'q' * 4096, b'base:allocation\0', b'x:\0y',
           b'qemu:\0', b'\0']
NAMES = [b'', b'', b'', b'nope', b'a\0b', b'n' * 81, b'n' * 4096, b'n' * 4097, b'\xff\xfe\n']


def random_option(rng):
    """The bytes of an option, right or not."""
    kind = rng.randrange(12)
    if kind == 0:
        return option(rng.choice([0, 4, 12, 99, 1 << 31]), bytes(rng.choice([0, 1, 600])))
    if kind == 1:
        return option(rng.choice([2, 3, 5, 8, 11]), bytes(rng.choice([0, 0, 0, 1, 7])))
    if kind == 2:
        return option(rng.choice([6, 7, 9, 10]), bytes(rng.randrange(0, 9)))
    if kind == 3:
        length = rng.choice([9, 100, 5000, (1 << 32) - 1])
        return option(rng.choice([6, 9, 10]), struct.pack('>I', length) + b'ab\0\0\0\0')
    if kind in (4, 5):
        count = rng.randrange(4)
        data = text(rng.choice(NAMES)) + struct.pack(f'>H{count}H', max(0, count + rng.choice([0, 0, 0, 1, -1])),
                                                     *(rng.randrange(5) for _ in range(count)))
        return option(6, data + bytes(rng.choice([0, 0, 0, 1])))
    if kind == 6:
        return go(rng.choice(NAMES[3:]))
    if kind == 7:
        return option(1, rng.choice(NAMES[3:]))
    if kind == 8:
        return option(rng.choice([8, 11]))
    if kind == 9:
        return struct.pack('>QII', rng.getrandbits(64), 3, 0)
    queries = [rng.choice(QUERIES) for _ in range(rng.randrange(4))]
    return contexts(rng.choice([9, 10]), *queries, name=rng.choice(NAMES))


def handshake(rng, _):
    """Options one after the other; the last one is GO."""
    flags = rng.choice([3, 3, 3, 3, 1, 0, 2, 7])
    sent = [random_option(rng) for _ in range(rng.randrange(1, 7))] + [go(infos=(1, 2, 3))]

    def talk(client):
        got = [client.greet(flags)]
        for data in sent:
            # Whether the end is noticed in sending or in receiving is a matter of time.
            got.append(client.option_replies() if client.send(data) else [(None, b'')])
            if got[-1][-1][0] is None or got[-1][-1][:2] == (7, ACK):
                break
        return got
    return f'flags {flags}, options ' + ' '.join(str(struct.unpack('>I', data[8:12])[0]) for data in sent), talk


def random_range(rng):
    start = rng.choice([0, SIZE - 1, SIZE, rng.randrange(SIZE), rng.randrange(SIZE) // 65536 * 65536, SIZE + 5,
                        (1 << 64) - 100])
    length = rng.choice([0, 1, 512, 65536, rng.randrange(200000), SIZE, SIZE - start if start < SIZE else 7, MOST + 1])
    return start, length


def filter_payload(rng, chosen):
    ids = [rng.choice([0, 1, 2, 3, 4, 9]) for _ in range(rng.randrange(5))]
    data = struct.pack(f'>Q{len(ids)}I', rng.choice([SIZE, SIZE, 512, 0, SIZE + 1]), *ids)
    return rng.choice([data, data, data, data[:-1], data[:5], b''])


def random_request(rng, mode, chosen):
    """Arguments of Client.request, and the bytes that follow it."""
    command = rng.choice([READ, READ, WRITE, WRITE, FLUSH, TRIM, CACHE, ZEROES, STATUS, STATUS, STATUS, 8, 77])
    start, length = random_range(rng)
    if command == FLUSH:
        start, length = 0, 0
    usual = {READ: [0, 0, DF], WRITE: [0, FUA], TRIM: [0, FUA], ZEROES: [0, NO_HOLE, FUA | NO_HOLE], STATUS: [0, ONE]}
    flags = rng.choice(usual.get(command, [0]) * 3 + [1 << rng.choice([0, 1, 2, 3, 6, 9, 15])])
    if command == ZEROES and flags & FAST:
        flags = 0
    payload = PAYLOAD if mode == EXTENDED else 0
    if command == WRITE:
        data = bytes([rng.randrange(256)]) * (length if length <= MOST else 0)
        return command, start, length, flags | payload, data
    if payload and rng.random() < 0.3 and (command != STATUS or chosen) and command not in (READ, CACHE):
        # (The reference server ends at once where STATUS has a payload and no context was chosen.)
        data = filter_payload(rng, chosen) if command == STATUS else bytes(rng.randrange(20))
        return command, start, len(data), flags | payload, data
    return command, start, length, flags, b''


def requests(rng, state):
    mode = rng.choice([SIMPLE, STRUCTURED, EXTENDED])
    chosen = [q for q in (b'base:allocation', b'qemu:allocation-depth', b'qemu:dirty-bitmap:b0',
                          b'qemu:dirty-bitmap:b1') if rng.random() < 0.6] if mode != SIMPLE else []
    sent = [random_request(rng, mode, chosen) for _ in range(rng.randrange(1, 40))]
    changing = state['changed'] or rng.random() < 0.5
    state['changed'] = changing
    if not changing:
        # (CACHE makes the reference server copy from the backing file.)
        sent = [one for one in sent if one[0] not in (WRITE, TRIM, ZEROES, CACHE)]
    if rng.random() < 0.2:
        sent.append((READ, 0, 512, 0, b'', rng.getrandbits(32)))

    def talk(client):
        client.open(mode, *chosen)
        got = []
        for one in sent:
            client.request(*one)
            got.append(client.replies(one[1], one[2] if one[0] == READ else 0))
            if got[-1][-1][0] is None:
                break
            # How the map looks after writes depends on how a driver allocates.
            if changing and one[0] == STATUS and got[-1][-1][0] in (5, 6):
                got[-1] = ['told']
        return got
    return f'mode {mode}, {chosen}, {len(sent)} requests', talk


def difference(ours, peers):
    for index, (mine, theirs) in enumerate(zip(ours, peers)):
        if mine != theirs:
            return [f'reply {index}: ours {str(mine)[:500]}\n  peer {str(theirs)[:500]}']
    return [] if len(ours) == len(peers) else [f'{len(ours)} replies, peer {len(peers)}']


def one(seed, folder):
    rng = random.Random(seed)
    make_qcow2(folder, 'base', None, SIZE, ['write -P 1 0 128k'])
    must(PEER, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'ours'], folder)
    must(PEER, ['bitmap', '--add', '-g', '4096', 'ours', 'b0'], folder)
    run(PEER_IO, ['-f', 'qcow2', '-c', 'write -P 5 30k 50k', 'ours'], folder)
    must(PEER, ['bitmap', '--add', '-g', '65536', 'ours', 'b1'], folder)
    run(PEER_IO, ['-f', 'qcow2', '-c', 'write -P 3 100k 9k', '-c', 'write -z 256k 64k', '-c', 'write -P 4 900k 1k',
                  'ours'], folder)
    shutil.copy(os.path.join(folder, 'ours'), os.path.join(folder, 'peer'))
    words = ['-t', '-e', '0', '-f', 'qcow2', '-D', 'described', '-A', '-B', 'b0', '-B', 'b1']
    servers = []
    problems, state = [], {'changed': False}
    try:
        for name, tool in ('ours', SERVE), ('peer', PEER_NBD):
            servers.append(Server(tool, words, os.path.join(folder, name + '.sock'), os.path.join(folder, name)))
        for _ in range(12):
            title, talk = rng.choice([handshake, requests])(rng, state)
            got = []
            for server in servers:
                client = Client(server.path)
                got.append(talk(client))
                client.close()
            found = difference(*got)
            if found:
                problems += [title] + found
                break
    finally:
        for server in servers:
            server.end()
    return 'the same replies', problems


if __name__ == '__main__':
    if not SERVE or not PEER_NBD:
        print('1..0 # SKIP no img-serve, or no reference server')
    else:
        each('serve-peer', 15, one)
