#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Wrong and odd command lines: both tools must say the same and end the same.

Each case is a folder with a few images and some random command lines over all six
tools: options in any order and spelling, given twice, without a value, with bad values, operands
missing or too many, files that are not there or of another kind.  Standard output, standard
error, exit code and the files left behind are compared.  Every other run of ours gives advice: without that, standard
error must be the same.

environment: see lib/harness.py
"""
import hashlib
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import Folder, IMG, Journal, PEER, PEER_IO, cases, run  # noqa: E402

LINES = 12          # command lines a case

FILES = ['a.raw', 'a.qcow2', 'over.qcow2', 'snap.qcow2', 'none', 'dir', 'empty', 'odd.raw', '', 'broken.qcow2',
         'nosuch:x', 'file:a.raw', './a.qcow2', 'json:{"driver":"raw","file":{"driver":"file","filename":"a.raw"}}',
         'json:{"driver":"qcow2","file.filename":"a.qcow2"}', 'json:{}', 'json:{"a":', 'lost.qcow2', 'a b', '-']
GOOD_FILES = ['a.raw', 'a.qcow2', 'over.qcow2', 'snap.qcow2', 'odd.raw']
OPTS = ['driver=raw,file.filename=a.raw', 'driver=qcow2,file.filename=a.qcow2', 'file.filename=a.qcow2',
        'driver=raw,offset=512,size=1024,file.filename=a.raw', 'driver=raw,offset=513,file.filename=a.raw',
        'driver=raw,size=99M,file.filename=a.raw', 'driver=nosuch', 'driver=qcow2', 'filename=a.raw',
        'driver=qcow2,file.filename=a.raw', 'a.raw', '', 'driver=file,filename=a.raw', 'file.driver=file',
        'driver=raw,file.filename=a.raw,nosuch=1', 'driver=qcow2,file.filename=a.qcow2,lazy-refcounts=maybe',
        'driver=qcow2,file.filename=a.qcow2,overlap-check=all', 'driver=qcow2,file.filename=over.qcow2,backing.driver=raw',
        'driver=qcow2,file.filename=a.qcow2,l2-cache-size=1M', 'driver=raw,file.driver=file,file.filename=none']
FORMATS = ['raw', 'qcow2', 'qcow2', 'raw', 'file', 'nosuch', '', 'QCOW2']
CACHES = ['none', 'writeback', 'unsafe', 'writethrough', 'directsync', 'off', 'nosuch', '']
SIZES = ['0', '1', '512', '4k', '64K', '1M', '1.5M', '0x200', '1b', '-1', '1kk', '', 'x', '1.5', '0x', '1e3', '8E', '16E',
         '9223372036854775807', '9223372036854775808', '18446744073709551615', '99999999999999999999', ' 1', '1 ',
         '+1', '.5k', '1.k', '0x1k', '1T', '1.123456789k', '010', '1m', '1g', '1p', '7P']
TEXTS = {
    'format': FORMATS, 'cache': CACHES, 'size': SIZES, 'output': ['json', 'human', 'xml', '', 'JSON'],
    'file': FILES, 'repair': ['leaks', 'all', 'none', ''], 'number': ['1', '8', '16', '17', '0', '-1', 'x', '', '1.5'],
    'create': ['cluster_size=4k', 'cluster_size=5', 'cluster_size=', 'compat=0.10', 'compat=9', 'nosuch=1', '', ',', '=',
               'size=1M', 'size=x', 'preallocation=metadata', 'preallocation=x', 'lazy_refcounts', 'nolazy_refcounts',
               'lazy_refcounts=on', 'lazy_refcounts=1', 'refcount_bits=8', 'refcount_bits=7', 'refcount_bits=-1',
               'backing_file=a.raw', 'backing_fmt=raw', 'backing_file=a.raw,backing_fmt=raw', 'cluster_size=4k,cluster_size=8k',
               'extended_l2=on', 'data_file_raw=on', 'compression_type=zstd', 'compression_type=x', 'compat=v2', 'compat=v3',
               'nocow=on', 'nocow=x', 'extent_size_hint=1M', 'extent_size_hint=x', 'backing_file=x,,y', 'encryption=off'],
    'snapshot': ['first', 'none', 'snapshot.id=1', 'snapshot.name=first', 'snapshot.x=1', '', 'snapshot.id=9', '1',
                 'snapshot.id=1,snapshot.name=first', 'snapshot.id=1,snapshot.name=x'],
    'sparse': ['0', '4k', '64k', '1M', '100', 'x', '-1', '', '512', '1.5k', '1G', '16M', '3k'],
    'rate': ['100M', 'x', '', '-1'],
    'object': ['secret,id=s,data=x', 'nosuch,id=1', 'secret', '', 'secret,id=s,nosuch=1'],
    'opts': OPTS,
}
# options: short, long, kind of value; long ones only as 10.0 has them
OPTIONS = {
    'create': [('-f', '--format', 'format'), ('-o', '--options', 'create'), ('-b', '--backing', 'file'),
               ('-F', '--backing-format', 'format'), ('-u', '--backing-unsafe', None), ('-q', '--quiet', None),
               (None, '--object', 'object')],
    'info': [('-f', '--format', 'format'), (None, '--image-opts', None), ('-b', '--backing-chain', None),
             ('-U', '--force-share', None), (None, '--output', 'output'), (None, '--object', 'object')],
    'map': [('-f', '--format', 'format'), (None, '--image-opts', None), ('-s', '--start-offset', 'size'),
            ('-l', '--max-length', 'size'), ('-U', '--force-share', None), (None, '--output', 'output'),
            (None, '--object', 'object')],
    'check': [('-f', '--format', 'format'), (None, '--image-opts', None), ('-T', '--cache', 'cache'), ('-q', '--quiet', None),
              ('-r', '--repair', 'repair'), ('-U', '--force-share', None), (None, '--output', 'output'),
              (None, '--object', 'object')],
    'compare': [('-f', '--a-format', 'format'), ('-F', '--b-format', 'format'), (None, '--image-opts', None),
                ('-s', '--strict', None), ('-T', '--cache', 'cache'), ('-q', '--quiet', None),
                ('-U', '--force-share', None), (None, '--object', 'object')],
    'convert': [('-f', '--source-format', 'format'), ('-O', '--target-format', 'format'), ('-o', '--target-options', 'create'),
                ('-B', '--backing', 'file'), ('-F', '--backing-format', 'format'), ('-c', '--compress', None),
                ('-n', '--no-create', None), (None, '--target-is-zero', None), ('-S', '--sparse-size', 'sparse'),
                ('-l', '--source-snapshot', 'snapshot'), ('-t', '--target-cache', 'cache'), ('-T', '--source-cache', 'cache'),
                ('-m', '--parallel', 'number'), ('-W', '--oob-writes', None), ('-C', '--copy-range-offloading', None),
                ('-r', '--rate', 'rate'), ('-q', '--quiet', None), ('-U', '--force-share', None), (None, '--salvage', None),
                (None, '--image-opts', None), (None, '--source-image-opts', None), (None, '--target-image-opts', None),
                (None, '--bitmaps', None), (None, '--skip-broken-bitmaps', None), (None, '--object', 'object')],
}
OPERANDS = {'create': (0, 3, 'create'), 'info': (0, 2, 'in'), 'map': (0, 2, 'in'), 'check': (0, 2, 'in'),
            'compare': (1, 3, 'in'), 'convert': (1, 4, 'out')}


def drop_newer():
    """Leave out the spellings that came after 10.0: ours takes them, the reference tool does not."""
    for command, options in OPTIONS.items():
        for number, (short, long, kind) in enumerate(options):
            said = run(PEER, [command, long] + ([''] if kind else []), '/').err
            if 'unrecognized option' in said:
                options[number] = (short, None, kind)
        OPTIONS[command] = [option for option in options if option[0] or option[1]]


def pick(rng, kind, good):
    values = TEXTS[kind]
    return rng.choice(values[:max(2, len(values) // 3)]) if rng.random() < good else rng.choice(values)


def option_words(rng, option, good):
    short, long, kind = option
    if kind is None:
        return [rng.choice([name for name in (short, long) if name])]
    value = pick(rng, kind, good)
    form = rng.random()
    if short and form < 0.5:
        return [short, value]
    if short and form < 0.65 and value:
        return [short + value]
    if not long:
        return [short, value]
    if form < 0.68:
        return [long]               # the value is whatever comes next
    return [long, value] if form < 0.85 else [f'{long}={value}']


def operands(rng, command, good, image_opts):
    low, high, kind = OPERANDS[command]
    if kind == 'create':
        words = [rng.choice(['new.img', 'new.img', 'dir', '/nonexistent/x', 'nosuch:x', '', 'a.qcow2'])]
        if rng.random() < 0.85:
            words.append(pick(rng, 'size', good) if rng.random() < 0.5 else '1M')
    elif kind == 'in':
        count = 2 if command == 'compare' else 1
        words = [rng.choice(GOOD_FILES if rng.random() < good else FILES) for _ in range(count)]
        if image_opts:
            words = [rng.choice(OPTS) for _ in range(count)]
    else:
        words = [rng.choice(OPTS if image_opts else GOOD_FILES if rng.random() < good else FILES)
                 for _ in range(rng.choice([1, 1, 1, 1, 2]))]
        words.append(rng.choice(['new.img', 'new.img', 'new.img', 'dir', '/nonexistent/x', '', 'nosuch:x', 'odd.raw',
                                 'a.qcow2']))
    words = [word for word in words if word != '-']
    if rng.random() < 0.08:
        words = words[:-1]
    if rng.random() < 0.06:
        words.append(rng.choice(FILES[:4]))
    return words


def command_line(rng):
    command = rng.choice(list(OPTIONS))
    good = rng.choice([0.5, 0.9, 0.97])
    groups = []
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 5])):
        groups.append(option_words(rng, rng.choice(OPTIONS[command]), good))
    if command == 'convert' and rng.random() < 0.6:
        groups.append(['-O', rng.choice(['qcow2', 'raw'])])
    if command == 'create' and rng.random() < 0.6:
        groups.append(['-f', rng.choice(['qcow2', 'raw'])])
    if rng.random() < 0.04:
        groups.append([rng.choice(['--nosuch', '-y', '-9', '--'])])
    image_opts = any('image-opts' in word for group in groups for word in group) and rng.random() < 0.8
    words = operands(rng, command, good, image_opts)
    if rng.random() < 0.5:
        groups += [[word] for word in words]
        if rng.random() < 0.5 and command not in ('convert', 'compare', 'create'):
            rng.shuffle(groups)
    else:
        groups = [[word] for word in words] + groups
    # where a dash or a word of help would begin reading the terminal or print our own help
    return [word for word in [command] + sum(groups, []) if word not in ('-h', '--help', '-')]


def make(folder):
    def img(*words):
        run(PEER, list(words), folder)
    with open(os.path.join(folder, 'a.raw'), 'wb') as file:
        file.write(b'\x11' * 8192)
        file.truncate(1048576)
    with open(os.path.join(folder, 'odd.raw'), 'wb') as file:
        file.write(b'\x22' * 1000)
    open(os.path.join(folder, 'empty'), 'wb').close()
    open(os.path.join(folder, 'a b'), 'wb').close()
    os.mkdir(os.path.join(folder, 'dir'))
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'over.qcow2', '2M')
    img('create', '-q', '-f', 'qcow2', '-u', '-b', 'gone', '-F', 'raw', 'lost.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', 'snap.qcow2', '64k')
    run(PEER_IO, ['-f', 'qcow2', '-c', 'write -P 5 0 8k', 'a.qcow2'], folder)
    run(PEER_IO, ['-f', 'qcow2', '-c', 'write -P 6 64k 8k', 'over.qcow2'], folder)
    img('snapshot', '-c', 'first', 'snap.qcow2')
    with open(os.path.join(folder, 'snap.qcow2'), 'rb') as file:
        data = bytearray(file.read())
    data[20:24] = b'\0\0\0\x3f'
    with open(os.path.join(folder, 'broken.qcow2'), 'wb') as file:
        file.write(data)


def state(folder):
    """Names, kinds and contents of what is there."""
    found = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, 'rb') as file:
                found[name] = (os.path.getsize(path), hashlib.sha256(file.read()).hexdigest()[:16])
        else:
            found[name] = 'folder'
    return found


def left_behind(command, code, folder):
    """What is wrong with our files: not those of the reference tool, or changed by a command that was refused."""
    start, ours, peer = (state(os.path.join(folder, side)) for side in ('start', 'o', 'p'))
    if code != 0:
        return [f'{name} was changed' for name in start if ours.get(name) != start[name]]
    return [f'{name}: ours {ours.get(name)}, peer {peer.get(name)}' for name in sorted(set(ours) | set(peer))
            if (name in ours) != (name in peer) or (command != 'convert' and ours[name] != peer[name])]


def run_ours(words, folder, hints):
    """With hints, those are removed from standard error."""
    os.environ['IMGBOX_HINTS'] = str(int(hints))
    ours = run(IMG, words, folder)
    del os.environ['IMGBOX_HINTS']
    if hints:
        ours.err = ''.join(line for line in ours.err.splitlines(True) if not line.startswith('hint: '))
    return ours


def compare(words, folder, journal, hints):
    """Run the line on both sides; the text of what differs."""
    for side in 'o', 'p':
        path = os.path.join(folder, side)
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(os.path.join(folder, 'start'), path)
    ours = run_ours(words, os.path.join(folder, 'o'), hints)
    peer = run(PEER, words, os.path.join(folder, 'p'))
    if isinstance(peer.code, int) and peer.code < 0:
        # the reference tool crashed: ours must not
        return '' if ours.code in (0, 1, 2, 3, 4, 63) else f"{' '.join(map(repr, words))}\n  ours ended with {ours.code}"
    difference = ours.differs(peer)
    if not difference:
        difference = '\n  '.join(left_behind(words[0], ours.code, folder))
    if difference:
        journal.add('.', PEER, words)
        return f"{' '.join(map(repr, words))}\n  {difference}"
    return ''


def main():
    seeds, tap = cases('cli-random', 40)
    drop_newer()
    with Folder('cli') as folder:
        start = os.path.join(folder.path, 'start')
        os.mkdir(start)
        make(start)
        for seed in seeds:
            rng = random.Random(seed)
            journal, problems = Journal(), []
            for number in range(LINES):
                found = compare(command_line(rng), folder.path, journal, (seed + number) % 2 == 0)
                if found:
                    problems.append(found)
            tap.result(f'seed {seed}', problems)
    tap.end()


if __name__ == '__main__':
    main()
