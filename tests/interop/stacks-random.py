#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many writers on any stack of nodes: raw with an offset, filters with large blocks, formats inside formats.

Each case puts a random stack together, writes random data through it with 16 workers in no order (convert -n -W -m 16)
and with 16 requests in flight (bench -w -d 16), and reads it back: every byte is what was written there last, and what
nobody wrote to is as before.  The reference tool, where there is one, reads the same and finds the formats sound.

environment: see lib/harness.py; COUNT cases (24)
"""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, must, run  # noqa: E402

GUEST = 4 << 20
UNITS = (512, 4096, 65536)
# A format inside another one has to find its place in a file that does not grow.
INNER = ('qcow2', 'vdi')
OUTER = ('qcow2', 'vdi', 'vhdx', 'vpc', 'qed', 'parallels', 'vmdk', 'raw')


def creation(rng, form):
    if form == 'qcow2':
        bits = rng.choice([9, 12, 16, 16, 17, 21])
        words = [f'cluster_size={1 << bits}', f'refcount_bits={rng.choice([1, 16, 64])}']
        if bits >= 14 and rng.random() < 0.4:
            words.append('extended_l2=on')
        if rng.random() < 0.3:
            words.append('preallocation=metadata')
        return words
    if form == 'qed':
        return [f'cluster_size={rng.choice([4096, 65536])}']
    if form == 'vmdk':
        return [f'subformat={rng.choice(["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat"])}']
    if form == 'vpc':
        return [f'subformat={rng.choice(["dynamic", "fixed"])}', 'force_size=on']
    return []


def filters(rng, node):
    """Nothing, or some filters in front of a node; blocks of any size."""
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        if rng.random() < 0.8:
            node = {'driver': 'blkdebug', 'align': rng.choice(UNITS), 'image': node}
            if rng.random() < 0.3:
                node['max-transfer'] = node['align'] * rng.choice([1, 2, 5])
        else:
            node = {'driver': 'throttle', 'throttle-group': 'free', 'file': node}
    return node


def storage(rng, name):
    node = {'driver': 'file', 'filename': name}
    if rng.random() < 0.3:
        node['cache'] = {'direct': True}
    return filters(rng, node)


def window(rng, node, size, room):
    """A raw node that shows a part of what it is over, from any sector on."""
    offset = rng.randrange(0, (room - size) // 512 + 1) * 512
    return {'driver': 'raw', 'offset': str(offset), 'size': str(size), 'file': node}


def put(cwd, name, node):
    """The bytes of a file into a node."""
    must(IMG, ['convert', '-n', '-f', 'raw', '--object', 'throttle-group,id=free', name, '--target-image-opts',
               text_of(node)], cwd)


def text_of(node, prefix=''):
    words = []
    for key, value in node.items():
        if isinstance(value, dict):
            words.append(text_of(value, f'{prefix}{key}.'))
        else:
            words.append(f'{prefix}{key}={str(value).lower() if isinstance(value, bool) else value}')
    return ','.join(words).replace('=true', '=on')


def nested(rng, cwd, node, room, depth):
    """A format in a part of `node`, which has `room` bytes; another one in that."""
    form = rng.choice(INNER)
    inside = room // 3 // 65536 * 65536 if depth else GUEST
    words = creation(rng, form)
    must(IMG, ['create', '-q', '-f', form] + (['-o', ','.join(words)] if words else []) + ['inner', str(inside)], cwd)
    length = os.path.getsize(cwd + '/inner')
    size = max(room - rng.randrange(0, 16) * 512, length)
    part = filters(rng, window(rng, node, min(size, room), room))
    put(cwd, 'inner', part)
    node = {'driver': form, 'file': part}
    return nested(rng, cwd, node, inside, depth - 1) if depth else node


def stack(rng, cwd):
    depth = rng.choice([0, 0, 1, 1, 2])
    form = rng.choice(INNER if depth else OUTER)
    sizes = [GUEST, 5 * GUEST, 16 * GUEST]
    must(IMG, ['create', '-q', '-f', form] + (['-o', ','.join(words)] if (words := creation(rng, form)) else []) +
         ['image', str(sizes[depth])], cwd)
    if form == 'vmdk':
        node = {'driver': form, 'file': {'driver': 'file', 'filename': 'image'}}
    else:
        node = {'driver': form, 'file': storage(rng, 'image')}
    room = sizes[depth]
    if depth:
        node = nested(rng, cwd, node, room, depth - 1)
    elif form != 'vmdk' and rng.random() < 0.4:
        node = filters(rng, window(rng, node, GUEST - 65536 - rng.randrange(0, 100) * 512, GUEST))
    return node


def random_disk(rng, size):
    """Data in pieces of any number of sectors, with zeroes between them."""
    disk = bytearray(size)
    for _ in range(rng.randrange(1, 30)):
        length = min(rng.choice([512, 1536, 4096, 65536, 200 * 512, 1 << 20]), size)
        offset = rng.randrange(0, (size - length) // 512 + 1) * 512
        disk[offset:offset + length] = rng.randbytes(length)
    return disk


def patterned(rng, cwd, node, disk):
    """Requests of one size beside each other, some with gaps."""
    request = rng.choice([512, 1024, 4096, 10240, 65536])
    step = request * rng.choice([1, 1, 2, 3])
    offset = rng.randrange(0, len(disk) // 4 // 512) * 512
    count = min((len(disk) - offset) // step, 400)
    value = rng.randrange(1, 256)
    must(IMG, ['bench', '-q', '-w', '-d', '16', '-c', str(count), '-s', str(request), '-S', str(step), '-o', str(offset),
               f'--pattern={value}', '--image-opts', text_of(node)], cwd)
    for i in range(count):
        at = offset + i * step
        disk[at:at + request] = bytes([value]) * request


def reads(tool, cwd, node, disk, title):
    name = 'back'
    result = run(tool, ['convert', '-O', 'raw', '--object', 'throttle-group,id=free', '--image-opts', text_of(node), name],
                 cwd)
    if result.code:
        return [f'{title}: {result.err}']
    with open(f'{cwd}/{name}', 'rb') as file:
        got = file.read()
    if got == bytes(disk):
        return []
    first = next((i for i, pair in enumerate(zip(got, disk)) if pair[0] != pair[1]), -1)
    wrong = sum(got[i:i + 512] != disk[i:i + 512] for i in range(0, len(disk), 512))
    return [f'{title}: {len(got)} bytes of {len(disk)}, {wrong} sectors differ, the first at byte {first}']


def check(cwd, node):
    """Of each format of the stack, by the reference tool."""
    problems = []
    while isinstance(node, dict):
        if node['driver'] in ('qcow2', 'vdi', 'qed', 'vhdx', 'vmdk', 'parallels'):
            result = run(PEER, ['check', '-q', '--object', 'throttle-group,id=free', '--image-opts', text_of(node)], cwd)
            if result.code not in (0, 3, 63):
                problems.append(f'check of {text_of(node)}: {result.code} {result.out} {result.err}')
        node = node.get('file', node.get('image'))
    return problems


def size_of(cwd, node):
    result = run(IMG, ['info', '--output=json', '--object', 'throttle-group,id=free', '--image-opts', text_of(node)], cwd)
    if result.code:
        raise RuntimeError(f'{text_of(node)}: {result.err}')
    return json.loads(result.out)['virtual-size']


def case(seed, cwd):
    rng = random.Random(seed)
    node = stack(rng, cwd)
    size = size_of(cwd, node)
    problems = []
    disk = random_disk(rng, size)
    with open(cwd + '/source', 'wb') as file:
        file.write(disk)
    must(IMG, ['convert', '-n', '-W', '-m', '16', '-f', 'raw', '--object', 'throttle-group,id=free', 'source',
               '--target-image-opts', text_of(node)], cwd)
    problems += reads(IMG, cwd, node, disk, 'convert -W')
    # bench takes no --object, so it cannot be told of a throttle group
    if 'throttle' not in text_of(node):
        for _ in range(rng.randrange(1, 3)):
            patterned(rng, cwd, node, disk)
        problems += reads(IMG, cwd, node, disk, 'bench -w')
    # qemu-img takes no larger block over a smaller transfer, and stumbles over a block that the disk ends in
    if PEER and 'max-transfer' not in text_of(node) and size % 65536 == 0:
        problems += reads(PEER, cwd, node, disk, 'read by qemu-img') + check(cwd, node)
    return text_of(node), problems


if __name__ == '__main__':
    each('stacks-random', 24, case)
