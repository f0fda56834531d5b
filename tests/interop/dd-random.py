#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dd of random parts of random images, with both tools and against a model.

What qemu-img dd has too (bs, count, skip, formats) is compared with it: output, exit code, and the file that is
made, byte for byte.  What is ours alone (seek, conv, streams, osize) is compared with what a few
lines of Python say the output must hold.
"""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import harness  # noqa: E402

KIB = 1 << 10
BLOCKS = ('1', '7', '512', '513', '1000', '4k', '4096', '64k', '100000', '1M', '1.5k', '3M', '2147483647')
BAD = ('bs=0', 'bs=x', 'count=1k', 'skip=-1', 'foo=1', 'foo', '=', 'count=', 'bs=2G')


def bytes_of(text):
    unit = {'k': KIB, 'M': KIB * KIB}.get(text[-1], 1)
    return int(float(text.rstrip('kM')) * unit)


def round_up(value, unit=512):
    return -(-value // unit) * unit


def make_source(rng, folder):
    """A raw file `data` and an image `source` of the same content; its format."""
    size = rng.choice((0, 100, 512, 5000, 65536, 100000, 700001, 2 << 20))
    data = bytearray(size)
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(size or 1)
        data[at:at + 30000] = rng.randbytes(min(30000, size - at))
    with open(os.path.join(folder, 'data'), 'wb') as file:
        file.truncate(size)
        for at in range(0, size, 4096):
            if any(data[at:at + 4096]):
                file.seek(at)
                file.write(data[at:at + 4096])
    kind = rng.choice(('raw', 'qcow2', 'packed', 'overlay'))
    if kind == 'raw':
        os.rename(os.path.join(folder, 'data'), os.path.join(folder, 'source'))
    else:
        more = ['-c'] if kind == 'packed' else []
        name = 'base' if kind == 'overlay' else 'source'
        harness.run(harness.PEER, ['convert', *more, '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'data', name],
                    folder)
        if kind == 'overlay':
            harness.run(harness.PEER, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'source'], folder)
            if size >= 65536:
                harness.run(harness.PEER_IO, ['-c', 'write -z 4096 4096', '-c', 'write -P 9 20480 1536', 'source'],
                            folder)
                data[4096:8192] = bytes(4096)
                data[20480:22016] = b'\x09' * 1536
    return bytes(data) + bytes(round_up(size) - size), 'raw' if kind == 'raw' else 'qcow2'


def operands(rng, size):
    """bs, count and skip, mostly near what the input has."""
    picked, block = {}, 512
    if rng.random() < .8:
        picked['bs'] = rng.choice(BLOCKS)
        block = bytes_of(picked['bs'])
    if rng.random() < .5:
        picked['count'] = rng.choice((0, 1, 2, rng.randint(0, size // block + 2), 1 << 62))
    if rng.random() < .5:
        picked['skip'] = rng.choice((0, 1, rng.randint(0, size // block + 2)))
    return picked, block


def part(data, picked, block):
    """The bytes of the input that are meant."""
    data = data[:picked['count'] * block] if 'count' in picked else data
    return data[picked.get('skip', 0) * block:]


# What the other tool does not say.
ALL_SKIPPED = 'qemu-img: warning: count= counts from the start of the input, like skip=: all of it is skipped\n'


def same_file(one, other):
    """Equal; behind the end of the disk the last cluster need not be there."""
    if one is None or other is None:
        return one is other
    length = max(len(one), len(other))
    return one.ljust(length, b'\0') == other.ljust(length, b'\0') and length - min(len(one), len(other)) < 65536


def read(*path):
    with open(os.path.join(*path), 'rb') as file:
        return file.read()


def words(picked):
    return [f'{key}={value}' for key, value in picked.items()]


def beside_peer(rng, folder, problems):
    data, fmt = make_source(rng, folder)
    picked, _ = operands(rng, len(data))
    target = rng.choice(('raw', 'qcow2'))
    arguments = ['dd', '-O', target] + (['-f', fmt] if rng.random() < .5 or fmt == 'raw' else [])
    arguments += words(picked) + ['if=source', 'of=target']
    if rng.random() < .1:
        arguments.append(rng.choice(BAD))
    rest = arguments[1:]
    rng.shuffle(rest)
    if '-O' not in rest[:-1] or rest[rest.index('-O') + 1] != target or \
            ('-f' in rest and (rest[-1] == '-f' or rest[rest.index('-f') + 1] != fmt)):
        rest = arguments[1:]
    arguments = ['dd'] + rest
    made = []
    for tool in harness.PEER, harness.IMG:
        path = os.path.join(folder, 'target')
        if os.path.exists(path):
            os.unlink(path)
        made.append((harness.run(tool, arguments, folder), read(path) if os.path.exists(path) else None))
    made[1][0].err = made[1][0].err.replace(ALL_SKIPPED, '')
    difference = made[1][0].differs(made[0][0])
    if difference:
        problems.append(difference)
    if not same_file(made[0][1], made[1][1]):
        problems.append('the files differ')
    return ' '.join(arguments)


def stream(arguments, folder, data):
    done = subprocess.run(['qemu-img'] + arguments, executable=harness.IMG, cwd=folder, input=data,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=harness.TIMEOUT)
    return done.returncode, done.stdout, done.stderr.decode(errors='backslashreplace')


def content(folder, name, fmt):
    """What the image holds, read by the other tool; its metadata must be sound."""
    if fmt == 'raw':
        return read(folder, name)
    check = harness.run(harness.PEER, ['check', name], folder)
    if check.code:
        return check.out.encode() + check.err.encode()
    harness.run(harness.PEER, ['convert', '-f', fmt, '-O', 'raw', name, 'plain'], folder)
    return read(folder, 'plain')


def beside_model(rng, folder, problems):
    data, fmt = make_source(rng, folder)
    picked, block = operands(rng, len(data))
    target = rng.choice(('raw', 'qcow2'))
    from_stream, to_stream = rng.random() < .4, target == 'raw' and rng.random() < .3
    wanted = part(data, picked, block)
    count = picked.get('count', 0)
    late = picked.get('skip', 0) * block > min(len(data), picked.get('count', 1 << 62) * block)
    old, conv = b'', []
    arguments = ['dd', 'status=none', *words(picked)]
    if from_stream:
        arguments += rng.choice(([], ['-f', 'raw']))
    else:
        arguments += ['if=source', '-f', fmt]
    if not to_stream:
        seek = rng.choice((0, 0, 1, 3)) if block < 1 << 20 else 0
        if rng.random() < .5:
            old = rng.randbytes(round_up(rng.randint(0, 300000)))
            with open(os.path.join(folder, 'old'), 'wb') as file:
                file.write(old)
            harness.run(harness.PEER, ['convert', '-f', 'raw', '-O', target, 'old', 'target'], folder)
        conv = [word for word in ('notrunc', 'sparse', 'fsync') if rng.random() < .3]
        arguments += ['-O', target, 'of=target'] + ([f'seek={seek}'] if seek else [])
        arguments += ['conv=' + ','.join(conv)] if conv else []
        start = seek * block
        kept = old if 'notrunc' in conv else old[:round_up(start)] if seek else b''
        wanted = kept[:start] + bytes(max(start - len(kept), 0)) + wanted + kept[start + len(wanted):]
        wanted += bytes(round_up(len(wanted)) - len(wanted))
    code, out, err = stream(arguments, folder, data if from_stream else None)
    said = '' if not late else 'qemu-img: %s: cannot skip to specified offset\n' % (
        'standard input' if from_stream else 'source')
    if not late and count and picked.get('skip', 0) == count and \
            (from_stream or count * block < round_up(len(data))):
        said = ALL_SKIPPED
    if code or err != said:
        problems.append('exit code %s, %r' % (code, err))
    elif (out if to_stream else content(folder, 'target', target)) != wanted:
        problems.append('the content is not what it must be')
    return ' '.join(arguments) + (' < data' if from_stream else '') + (' (over an old one)' if old else '')


def one(seed, folder):
    rng = random.Random(seed)
    problems = []
    title = (beside_peer if rng.random() < .5 else beside_model)(rng, folder, problems)
    return title, problems


def main():
    harness.each('dd-random', 40, one)


if __name__ == '__main__':
    main()
