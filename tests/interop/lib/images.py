# SPDX-License-Identifier: MIT
"""Random images: describes them as plain data, and makes them with the reference tools.

An image is a dict: name, format, size, options (for -o), backing (a name or
None) and steps.  A step is a list of words: `snapshot NAME`, `raw KIND OFFSET LENGTH`,
or a command of qemu-io.
"""
import os
import random

from harness import PEER, PEER_IO, run

KILO, MEGA = 1024, 1024 * 1024


def pick_size(rng, most):
    if rng.random() < 0.1:
        return 512 * rng.randrange(1, 20)
    size = rng.randrange(1, most)
    unit = rng.choice([512, 512, 4 * KILO, 64 * KILO, MEGA])
    return max(unit, size // unit * unit)


def pick_range(rng, size, unit):
    """A random range, mostly small, often aligned to `unit`."""
    align = rng.choice([512, 4 * KILO, unit, unit])
    if align > size:
        align = 512
    length = rng.choice([512, 4 * KILO, unit, 4 * unit, size // 3, size])
    length = max(align, length // align * align)
    offset = rng.randrange(0, size) // align * align
    return offset, max(512, min(length, size - offset) // 512 * 512)


def raw_image(rng, name, most):
    size = pick_size(rng, most)
    if rng.random() < 0.15:
        size = max(1, size - rng.randrange(1, 512))
    steps = []
    for _ in range(rng.randrange(0, 8)):
        offset, length = pick_range(rng, max(512, size), 64 * KILO)
        steps.append(['raw', rng.choice(['random', 'fill', 'fill', 'zero', 'sparse']), str(offset), str(length)])
    return dict(name=name, format='raw', size=size, options=[], backing=None, steps=steps)


def some_disk(rng, length, longest):
    """Bytes for codecs: pieces up to `longest` of zeroes, noise, one byte, a short pattern, or letters."""
    disk = bytearray()
    while len(disk) < length:
        piece = min(rng.randrange(1, longest), length - len(disk))
        disk += rng.choice([lambda: bytes(piece), lambda: rng.randbytes(piece),
                            lambda: bytes([rng.randrange(256)]) * piece,
                            lambda: (rng.randbytes(50) * (piece // 50 + 1))[:piece],
                            lambda: bytes(rng.choices(b'etaoin ', k=piece))])()
    return bytes(disk)


def creation_options(rng, name, backing, compressed=None):
    """Options of qcow2, mostly compatible with each other."""
    options = []
    cluster = 65536
    if rng.random() < 0.6:
        cluster = rng.choice([512, 1024, 4096, 4096, 16384, 65536, 131072, 2 * MEGA])
        options.append(f'cluster_size={cluster}')
    old = rng.random() < 0.15
    if old:
        options.append('compat=0.10')
    else:
        if rng.random() < 0.1:
            options.append('compat=' + rng.choice(['1.1', 'v3']))
        if rng.random() < 0.25:
            options.append(f'refcount_bits={rng.choice([1, 2, 4, 8, 16, 32, 64])}')
        if rng.random() < 0.2:
            options.append('lazy_refcounts=on')
        if rng.random() < 0.25 and cluster >= 16384:
            options.append('extended_l2=on')
        if rng.random() < 0.25:
            options.append('compression_type=' + rng.choice(['zstd', 'zstd', 'zlib']))
        if rng.random() < 0.12 and not compressed:
            options.append(f'data_file={name}.data')
            if rng.random() < 0.5 and not backing:
                options.append('data_file_raw=on')
    if rng.random() < 0.12 and not backing:
        options.append('preallocation=' + rng.choice(['metadata', 'metadata', 'falloc', 'full']))
    rng.shuffle(options)
    return options, cluster


def qcow2_image(rng, name, most, backing=None):
    options, cluster = creation_options(rng, name, backing)
    size = pick_size(rng, most)
    steps = []
    for _ in range(rng.randrange(0, 12)):
        offset, length = pick_range(rng, size, cluster)
        kind = rng.random()
        if kind < 0.45:
            steps.append(['write', '-P', str(rng.randrange(0, 256)), str(offset), str(length)])
        elif kind < 0.55:
            steps.append(['write', '-s', 'random', str(offset), str(length)])
        elif kind < 0.7:
            offset, length = offset // cluster * cluster, min(cluster * rng.randrange(1, 4), size)
            if offset + length > size:
                length = size - offset
            if length and (length % cluster == 0 or offset + length == size):
                steps.append(['write', '-c', '-P', str(rng.randrange(0, 256)), str(offset), str(length)])
        elif kind < 0.8:
            steps.append(['write', '-z', str(offset), str(length)])
        elif kind < 0.85:
            steps.append(['write', '-z', '-u', str(offset), str(length)])
        elif kind < 0.95:
            steps.append(['discard', str(offset), str(length)])
        else:
            steps.append(['snapshot', rng.choice(['s1', 's2', 'two words', '7'])])
    return dict(name=name, format='qcow2', size=size, options=options, backing=backing, steps=steps)


def chain(rng, prefix, most, depth):
    """`depth` images, the last on top of the others."""
    images = []
    for level in range(depth):
        backing = images[-1] if images else None
        name = f'{prefix}{level}.img'
        if level == 0 and rng.random() < (0.35 if depth > 1 else 0.4):
            images.append(raw_image(rng, name, most))
        else:
            images.append(qcow2_image(rng, name, most, backing and dict(name=backing['name'],
                                                                          format=backing['format'])))
    return images


def fill_raw(path, image):
    rng = random.Random(image['name'])
    with open(path, 'wb') as file:
        file.truncate(image['size'])
        for _, kind, offset, length in image['steps']:
            offset, length = int(offset), min(int(length), image['size'] - int(offset))
            if length <= 0:
                continue
            if kind == 'random':
                parts = [(offset, rng.randbytes(length))]
            elif kind == 'fill':
                parts = [(offset, bytes([rng.randrange(1, 256)]) * length)]
            elif kind == 'zero':
                parts = [(offset, bytes(length))]
            else:       # a sector of data here and there, zeroes between
                parts = [(offset, b''.join((b'\x55' * 512 if rng.random() < 0.2 else bytes(512))
                                           for _ in range(length // 512)))]
            for at, data in parts:
                file.seek(at)
                file.write(data)


def make(image, folder, journal):
    """Make one image in `folder`; returns False if the reference tool refuses its options."""
    path = os.path.join(folder, image['name'])
    if image['format'] == 'raw':
        fill_raw(path, image)
        journal.lines.append(f"# {image['name']}: raw, {image['size']} bytes, {image['steps']}")
        return True
    arguments = ['create', '-q', '-f', 'qcow2']
    if image['options']:
        arguments += ['-o', ','.join(image['options'])]
    if image['backing']:
        arguments += ['-b', image['backing']['name'], '-F', image['backing']['format']]
    arguments += [image['name'], str(image['size'])]
    journal.add('.', PEER, arguments)
    if run(PEER, arguments, folder).code != 0:
        return False
    pending = []

    def flush():
        if pending:
            words = ['-f', 'qcow2']
            for command in pending:
                words += ['-c', ' '.join(command)]
            journal.add('.', PEER_IO, words + [image['name']])
            run(PEER_IO, words + [image['name']], folder)
            pending.clear()

    for step in image['steps']:
        if step[0] == 'snapshot':
            flush()
            words = ['snapshot', '-c', step[1], image['name']]
            journal.add('.', PEER, words)
            run(PEER, words, folder)
        else:
            pending.append(step)
    flush()
    return True
