#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every command on qcow2 images whose metadata lie: header, tables, snapshots, bitmaps, or bytes at random.

Nothing is compared with the reference tool, which only makes the images before they are damaged.  Each command has to
end by itself within its bounds of time, memory and file length, with an exit code of its own; a failure says why in one
message; nothing comes from a sanitizer; and what only reads leaves every file as it was.  The build with sanitizers is
used where there is one (build/asan).

environment: see lib/harness.py; ONLY=word takes the commands with that word alone
"""
import hashlib
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from damage import DAMAGES, Image, Skip  # noqa: E402
from harness import cases, Folder, IMG, IMG_IS_PEER, make_qcow2, must, PEER, PEER_IO, Result, ROOT  # noqa: E402

Result.may_be_truncated = True

ONLY = os.environ.get('ONLY', '')
ASAN = os.path.join(os.path.dirname(os.path.dirname(IMG)), 'asan/bin/qemu-img')
TOOL = ASAN if os.access(ASAN, os.X_OK) else IMG
SANITIZED = '/asan/' in TOOL
SECONDS = 10                # of processor time
WALL = 600                  # by the clock: what only waits has ended too
RESIDENT = 256 << 20
LONGEST = 1 << 30           # of a file that a command makes or changes
LARGE = 64 << 20            # disks over this are not read as a whole
DISK = 384 << 10
NAME = 'x.qcow2'

WRITES = ['write -P 1 0 40k', 'write -P 2 100k 30k', 'write -z 160k 16k', 'write -P 3 200k 4k']
PACKED = ['write -c -P 4 256k 64k', 'write -P 6 330k 8k']
SNAPSHOTS = ['snapshot one', 'write -P 7 8k 12k', 'snapshot two', 'write -P 8 110k 4k', 'write -z 0 4k']
STORED = ['bitmap 64k b0', 'bitmap 512 b1', 'write -P 9 10k 5k']
BACKING = 'backing_file=base.raw,backing_fmt=raw'

# Creation options, and how the image is filled.
BASES = [
    ('cluster_size=512', WRITES + SNAPSHOTS), ('cluster_size=512', WRITES + STORED),
    ('cluster_size=512,compat=0.10', WRITES + SNAPSHOTS), ('cluster_size=512,refcount_bits=1', WRITES),
    ('cluster_size=512,' + BACKING, WRITES + SNAPSHOTS), ('cluster_size=4k,' + BACKING, WRITES + STORED),
    ('cluster_size=4k,refcount_bits=64', WRITES + SNAPSHOTS + STORED), ('cluster_size=4k,lazy_refcounts=on', WRITES),
    ('extended_l2=on,cluster_size=16k,' + BACKING, WRITES + SNAPSHOTS), (BACKING, WRITES + PACKED + SNAPSHOTS + STORED),
    ('', WRITES + PACKED + SNAPSHOTS), ('compression_type=zstd', WRITES + PACKED + STORED),
    ('cluster_size=4k,data_file=data.raw', WRITES), ('cluster_size=4k,preallocation=metadata', WRITES + STORED)]

# Commands that read.  @ is the image, > a file to make.
READS = """
info @
info --backing-chain --output=json @
check @
check --output=json @
map @
map --output=json @
compare @ @
compare -s @ base.raw
measure -O qcow2 @
measure -O raw --output=json @
measure -O qcow2 -l one @
snapshot -l @
snapshot -l -U @
dd if=@ of=> bs=64k
dd -f qcow2 -O qcow2 if=@ of=> bs=512 skip=3 count=99
convert -O raw @ >
convert -O qcow2 -c @ >
convert -O qcow2 --bitmaps @ >
convert -O qcow2 -l one @ >
convert -O raw -l snapshot.name=two @ >
convert -O raw -C @ >
digest @
digest --tree @
digest -l one @
bench -c 20 -s 4k @
bench -c 20 -s 64k -S 512 -d 4 @
create -f qcow2 -b @ -F qcow2 >
rebase -b @ -F qcow2 over.qcow2
bitmap --add --merge b0 -b @ -F qcow2 over.qcow2 new
""".strip().split('\n')

# Commands that write to it.
CHANGES = """
snapshot -c new @
snapshot -c one @
snapshot -a one @
snapshot -a 1 @
snapshot -a two @
snapshot -d one @
snapshot -d 2 @
bitmap --add @ new
bitmap --add -g 512 @ new
bitmap --remove @ b0
bitmap --remove-all @
bitmap --clear @ b0
bitmap --enable @ b1
bitmap --disable @ b0
bitmap --merge b0 @ b1
bitmap --add --merge b1 --disable @ new
resize @ +1M
resize @ 3M
resize --shrink @ 128k
resize --shrink @ -77k
resize --preallocation=metadata @ 600k
resize --preallocation=full @ 600k
amend -o compat=0.10 @
amend -o compat=1.1 @
amend -o lazy_refcounts=on @
amend -o lazy_refcounts=off @
amend -o refcount_bits=8 @
amend -o refcount_bits=64 @
amend -o refcount_bits=1 @
amend -o size=5M @
amend -o backing_file=other.raw,backing_fmt=raw @
amend -o data_file_raw=on @
rebase -u -b other.raw -F raw @
rebase -u -b  @
rebase -b other.raw -F raw @
rebase -c -b other.raw -F raw @
rebase -b  @
commit @
commit -d @
commit -b @ over.qcow2
commit over.qcow2
bench -w -c 30 -s 4k --pattern=7 @
bench -w -c 30 -s 4k -S 12k --flush-interval=5 -d 4 @
convert -n -O qcow2 other.raw @
convert -n -W -c -O qcow2 other.raw @
dd -n -O qcow2 if=other.raw of=@ bs=4k
check -r leaks @
check -r all @
check -r all --output=json @
""".strip().split('\n')


# ---- images ---------------------------------------------------------------------------------------

def make(base, folder):
    options, steps = base
    return make_qcow2(folder, NAME, options, DISK, steps)


def raw(name, byte, folder):
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(bytes([byte]) * DISK)


def corpus():
    folder = os.path.join(ROOT, 'tests/fuzz/corpus/qcow2')
    return sorted(os.path.join(folder, name) for name in os.listdir(folder))


# ---- lies -----------------------------------------------------------------------------------------

def value(rng, image, bits):
    """A number that some field might hold, or should not."""
    top = 1 << bits
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice((0, 1, 2, 3, 7, 8, top - 1, top >> 1, (top >> 1) - 1))
    if kind == 1:
        return rng.randrange(top)
    if kind == 2:
        return 1 << rng.randrange(bits)
    if kind == 3:
        return rng.randrange(len(image.data)) % top
    return rng.randrange(image.clusters + 4) * image.cluster % top


def header(rng, image):
    """Any field of the header; the size of the disk keeps its order of magnitude as a rule."""
    at, form = rng.choice(((4, '>I'), (8, '>Q'), (16, '>I'), (20, '>I'), (24, '>Q'), (32, '>I'), (36, '>I'), (40, '>Q'),
                           (48, '>Q'), (56, '>I'), (60, '>I'), (64, '>Q'), (72, '>Q'), (80, '>Q'), (88, '>Q'),
                           (96, '>I'), (100, '>I'), (104, '>Q')))
    if at == 24 and rng.randrange(5):
        image.put(at, rng.choice((0, 1, 511, DISK - 512, DISK + 512, 3 << 20, rng.randrange(32 << 20))), form)
    elif at in (72, 80, 88):
        image.put(at, image.get(at, form) ^ 1 << rng.choice((0, 1, 2, 3, 4, rng.randrange(64))), form)
    elif rng.randrange(3) == 0:
        image.put(at, image.get(at, form) + rng.choice((-1, 1, 8, image.cluster, -image.cluster)), form)
    else:
        image.put(at, value(rng, image, 64 if form == '>Q' else 32), form)


def extension(rng, image):
    place = image.get(100, '>I') if image.version >= 3 else 72
    image.put(place + 4 * rng.randrange(24), value(rng, image, 32), '>I')


def bitmap_fields(rng, image):
    if not image.bitmaps:
        raise Skip
    directory = image.get(image.bitmaps + 16)
    at = rng.choice((image.bitmaps + 4 * rng.randrange(6), directory + 4 * rng.randrange(16),
                     (image.get(directory) & (1 << 56) - 1) + 4 * rng.randrange(8)))
    if rng.randrange(3) == 0:
        image.put(at, image.get(at, '>I') ^ 1 << rng.randrange(32), '>I')
    else:
        image.put(at, value(rng, image, 32), '>I')


def snapshot_fields(rng, image):
    places = image.snapshots()
    if not places:
        raise Skip
    at = rng.choice(places) + rng.choice((0, 4, 8, 12, 14, 16, 32, 36, 40, 44, 48, 52, 56, 58, 60, 64))
    form = rng.choice(('>H', '>I', '>Q'))
    image.put(at, value(rng, image, 8 * struct.calcsize(form)), form)


def table_words(rng, image):
    starts = [image.l1_offset, image.table_offset] + [offset for _, offset in image.blocks()]
    starts += image.tables(image.l1_places()) + image.tables(image.snapshot_l1_places())
    at = rng.choice(starts) + 8 * rng.randrange(min(image.cluster // 8, 40))
    old = image.get(at)
    image.put(at, rng.choice((value(rng, image, 64), value(rng, image, 64) | 1 << 63, old ^ 1 << rng.randrange(64),
                              old + image.cluster, 1 << 62 | value(rng, image, 62))))


def noise(rng, image):
    for _ in range(rng.choice((1, 3, 20))):
        image.data[rng.randrange(len(image.data))] = rng.randrange(256)


def cut(rng, image):
    del image.data[rng.randrange(80, len(image.data)):]


LIES = [header, header, header, extension, bitmap_fields, bitmap_fields, snapshot_fields, snapshot_fields, table_words,
        table_words, noise, cut]


def lie(rng, image):
    """Damage the image; the names of what was done."""
    names = []
    want = rng.choice((1, 1, 1, 2, 2, 3, 6))
    while len(names) < want:
        if rng.randrange(2):
            name, function = rng.choice(DAMAGES)[1:]
        else:
            function = rng.choice(LIES)
            name = function.__name__
        try:
            function(rng, image)
            names.append(name)
        except (Skip, struct.error, IndexError, ValueError, OverflowError, ZeroDivisionError):
            pass        # nothing there that could be damaged so, or an earlier lie is in the way
    return names


# ---- running --------------------------------------------------------------------------------------

def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST, LONGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def start(words, folder):
    """Run one command; exit code, standard error, peak of resident memory."""
    environment = dict(os.environ, LC_ALL='C', TZ='UTC', UBSAN_OPTIONS='halt_on_error=1:print_stacktrace=1',
                       ASAN_OPTIONS='detect_leaks=1:allocator_may_return_null=1:quarantine_size_mb=8')
    with open(os.path.join(folder, '.err'), 'w+b') as errors:
        process = subprocess.Popen(['qemu-img'] + words, executable=TOOL, cwd=folder, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                                   preexec_fn=limit, restore_signals=False)
        timer = threading.Timer(WALL, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read(100000).decode(errors='backslashreplace')
    return process.returncode, text, usage.ru_maxrss << 10


def digests(folder):
    found = {}
    for name in os.listdir(folder):
        if not name.startswith('.'):
            with open(os.path.join(folder, name), 'rb') as file:
                found[name] = hashlib.sha1(file.read()).digest()
    return found


# What the check of an image, the warning of a guessed format, and the hint behind a message begin with.
REPORT = re.compile(r'ERROR|Leaked|Repairing|WARNING|Rebuilding|Can.t get refcount|Could not repair|Deleting|Discarding|'
                    r'qcow2: (Marking i|I)mage (as|is) corrupt: |No errors|Some clusters|Try block|Please|Data may|'
                    r'qcow2_free_clusters failed|This means|You can |Could not open backing image|  ')
EXPECTED = {'check': (0, 1, 2, 3, 63), 'compare': (0, 1, 2, 3, 4)}      # exit codes


def messages(words, code, errors):
    """Faults in what stands on standard error."""
    if words[0] == 'check':
        return [] if code != 1 or errors else ['failed without a message']
    lines = [line for line in errors.split('\n') if line]
    own = [line for line in lines if line.startswith('qemu-img: ') and ': warning: ' not in line.lower()]
    faults = []
    if code and not lines and (words[0], code) != ('compare', 1):
        faults.append('failed without a message')
    if len(own) > 2:
        faults.append('%d messages' % len(own))
    strange = [line for line in lines if not line.startswith('qemu-img: ') and not REPORT.match(line)]
    if strange:
        faults.append('strange: ' + strange[0])
    return faults


def too_large(data, words):
    """Would this command rightly take its time to read it all?"""
    size = struct.unpack_from('>Q', data, 24)[0] if len(data) >= 32 else 0
    return size > LARGE and words[0] in ('convert', 'dd', 'digest', 'compare', 'map', 'rebase', 'commit')


def judge(words, reads, folder, before):
    code, errors, resident = start(words, folder)
    faults = []
    if 'Sanitizer' in errors or 'runtime error' in errors:
        faults.append('sanitizer')
    elif code not in EXPECTED.get(words[0], (0, 1)):
        faults.append('exit code %d' % code)
    else:
        faults += messages(words, code, errors)
    if resident > RESIDENT:
        faults.append('%d MiB of memory' % (resident >> 20))
    if reads:
        after = digests(folder)
        faults += ['%s was changed' % name for name in sorted(before) if after.get(name) != before[name] and
                   not (name == 'over.qcow2' and 'over.qcow2' in words)]
    if faults:
        faults.append('\n'.join(errors.split('\n')[:40]))
    return faults


def fill(folder, data):
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    raw('base.raw', 0x55, folder)
    raw('other.raw', 0x66, folder)
    raw('data.raw', 0x77, folder)
    for name, content in ((NAME, data), ('over.qcow2', OVER)):
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(content)


def case(seed, bases, tap):
    rng = random.Random(seed)
    if rng.randrange(6) == 0:
        path = rng.choice(corpus())
        title = os.path.basename(path)
        with open(path, 'rb') as file:
            data = file.read()
    else:
        (title, _), data = rng.choice(bases)
    image = Image(data)
    names = lie(rng, image)
    data = bytes(image.data)
    problems = []
    with Folder('%d' % seed) as folder:
        for command in rng.sample(READS, 4) + rng.sample(CHANGES, 4):
            words = [NAME if word == '@' else word.replace('@', NAME).replace('>', 'new')
                     for word in command.split(' ')]
            if ONLY not in command or too_large(data, words):
                continue
            fill(folder.path, data)
            before = digests(folder.path)
            faults = judge(words, command in READS, folder.path, before)
            if faults:
                problems.append('%s: %s' % (command, '; '.join(faults)))
                fill(folder.path, data)
                folder.keep()
    tap.result('seed %d, %s: %s' % (seed, title, ', '.join(names)), problems)


def main():
    global OVER
    seeds, tap = cases('hostile', 40)
    if IMG_IS_PEER:
        for seed in seeds:
            tap.result('seed %d # SKIP not for the real tool' % seed, [])
        return
    bases = []
    for base in BASES:
        with Folder('') as folder:
            raw('base.raw', 0x55, folder.path)
            bases.append((base, make(base, folder.path)))
    with Folder('') as folder:
        make(('', []), folder.path)
        must(PEER, ['create', '-q', '-f', 'qcow2', '-u', '-b', NAME, '-F', 'qcow2', 'over.qcow2', str(DISK)],
             folder.path)
        must(PEER_IO, ['-f', 'qcow2', '-c', 'write -P 10 20k 100k', 'over.qcow2'], folder.path)
        with open(os.path.join(folder.path, 'over.qcow2'), 'rb') as file:
            OVER = file.read()
    for seed in seeds:
        case(seed, bases, tap)
    tap.end()


OVER = b''

if __name__ == '__main__':
    main()
