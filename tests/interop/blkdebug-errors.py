#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An error in the middle of each command: the image stays sound, and what the guest reads stays one of two things.

Each case makes an overlay over a base and runs one command on them through a blkdebug node whose rules are random:
after an event of qcow2, at a sector, once or for good.  Whatever happens,
  - the exit code is 1 (or more) with a line of the system's words, or 0 and standard error is empty;
  - the reference tool finds no corruption afterwards, leaks at most;
  - the overlay reads as before, or as it does when the same command meets no error;
  - commands that only read end with the exit code of the reference tool where the rule needs no event of qcow2.
As root every fourth case runs on a file system that is nearly full instead.

environment: see lib/harness.py; COUNT cases (32)
"""
import hashlib
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, run  # noqa: E402

EVENTS = ('l1_update l2_load l2_update cluster_alloc cluster_alloc_bytes cluster_free refblock_load refblock_update '
          'reftable_load reftable_update reftable_grow refblock_alloc_hookup refblock_alloc_write_table '
          'refblock_alloc_switch_table l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table '
          'l2_alloc_cow_read read_aio read_compressed write_aio write_compressed cow_read cow_write flush_to_os '
          'flush_to_disk pwritev pwritev_zero pwritev_done empty_image_prepare none').split()
WORDS = ('Input/output error', 'No space left', 'error while reading from old backing file')
SIZE = 4 << 20


def peer(words, cwd):
    done = run(PEER, words, cwd)
    if done.code:
        raise RuntimeError(f'{words}: {done.err}')


def write(rng, cwd, name, count):
    words = []
    for _ in range(count):
        length = rng.choice([512, 4096, 65536, 300000 // 512 * 512])
        offset = rng.randrange(0, (SIZE - length) // 512) * 512
        words += ['-c', rng.choice([f'write -q -P {rng.randrange(1, 255)}', 'write -q -z', 'write -q -zu']) +
                  f' {offset} {length}']
    run(PEER_IO, words + [name], cwd)


def make(rng, cwd):
    options = ','.join([f'cluster_size={rng.choice([512, 4096, 65536])}', f'refcount_bits={rng.choice([8, 16, 64])}'])
    peer(['create', '-q', '-f', 'qcow2', '-o', options, 'base.qcow2', str(SIZE)], cwd)
    write(rng, cwd, 'base.qcow2', rng.randrange(3, 12))
    if rng.random() < 0.3:
        peer(['convert', '-c', '-O', 'qcow2', '-o', options, 'base.qcow2', 'packed'], cwd)
        os.rename(cwd + '/packed', cwd + '/base.qcow2')
    shutil.copy(cwd + '/base.qcow2', cwd + '/other.qcow2')
    write(rng, cwd, 'other.qcow2', 4)
    peer(['create', '-q', '-f', 'qcow2', '-o', options, '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'], cwd)
    write(rng, cwd, 'top.qcow2', rng.randrange(1, 8))
    peer(['snapshot', '-c', 'old', 'top.qcow2'], cwd)
    write(rng, cwd, 'top.qcow2', rng.randrange(0, 6))
    peer(['create', '-q', '-f', 'qcow2', '-o', options, 'empty.qcow2', str(SIZE)], cwd)


def rule(rng):
    event = rng.choice(EVENTS)
    words = {'event': event, 'errno': str(rng.choice([5, 28]))}
    if event == 'none' or rng.random() < 0.2:
        words['sector'] = str(rng.randrange(0, 2048))
    if rng.random() < 0.5:
        words['iotype'] = rng.choice(['read', 'write', 'write', 'write-zeroes', 'discard', 'flush'])
    if rng.random() < 0.5:
        words['once'] = 'on'
    return words


def node(name, words):
    text = f'driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename={name}'
    return text + ''.join(f',file.inject-error.0.{key}={value}' for key, value in words.items())


def command(rng, cwd, words):
    """The command with the faulty node, and whether it only reads."""
    top = node('top.qcow2', words)
    plain = 'driver=qcow2,file.driver=file,file.filename=top.qcow2'
    if rng.random() < 0.4:
        # It is the base that is faulty.
        with open(cwd + '/rules', 'w', encoding='ascii') as file:
            file.write('[inject-error]\n' + ''.join(f'{key} = "{value}"\n' for key, value in words.items()))
        peer(['rebase', '-u', '-f', 'qcow2', '-b', f'blkdebug:{cwd}/rules:base.qcow2', '-F', 'qcow2', 'top.qcow2'], cwd)
        top = plain
    source = top
    reading = [
        ['convert', '--image-opts', '-O', 'raw', source, 'out.raw'],
        ['convert', '--image-opts', '-O', 'qcow2', source, 'out.qcow2'],
        ['compare', '--image-opts', source, 'driver=qcow2,file.filename=top.qcow2'],
        ['check', '--image-opts', top], ['map', '--output=json', '--image-opts', source],
        ['info', '--image-opts', top], ['measure', '-O', 'qcow2', '--image-opts', source],
        ['dd', '--image-opts', '-O', 'raw', 'bs=64k', 'if=' + source, 'of=out.raw'],
        ['snapshot', '-l', '--image-opts', top]]
    writing = [
        ['convert', '-n', '-f', 'qcow2', '--target-image-opts', 'top.qcow2', node('empty.qcow2', words)],
        ['convert', '-n', '-c', '-f', 'qcow2', '--target-image-opts', 'top.qcow2', node('empty.qcow2', words)],
        ['rebase', '--image-opts', '-b', cwd + '/other.qcow2', '-F', 'qcow2', top],
        ['rebase', '--image-opts', '-b', '', top], ['rebase', '-u', '--image-opts', '-b', '', top],
        ['commit', '--image-opts', top], ['commit', '-d', '--image-opts', top],
        ['resize', '--image-opts', top, '+1M'], ['resize', '--image-opts', top, '+300M'],
        ['amend', '-o', 'compat=0.10', '--image-opts', top], ['amend', '-o', 'refcount_bits=32', '--image-opts', top],
        ['snapshot', '-c', 'new', '--image-opts', top], ['snapshot', '-a', 'old', '--image-opts', top],
        ['snapshot', '-d', 'old', '--image-opts', top], ['bitmap', '--add', '--image-opts', top, 'b'],
        ['check', '-r', 'all', '--image-opts', top]]
    return (rng.choice(reading), True) if rng.random() < 0.3 else (rng.choice(writing), False)


def harmless(cwd):
    """The base without the rules."""
    named = run(PEER, ['info', '-f', 'qcow2', 'top.qcow2'], cwd).out
    if 'backing file: blkdebug:' in named:
        run(PEER, ['rebase', '-u', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'], cwd)


def digest(cwd, name):
    shutil.rmtree(cwd + '/look', ignore_errors=True)
    os.mkdir(cwd + '/look')
    for other in 'base.qcow2', 'other.qcow2', 'top.qcow2', 'empty.qcow2':
        shutil.copy(f'{cwd}/{other}', cwd + '/look')
    harmless(cwd + '/look')
    done = run(PEER, ['convert', '-f', 'qcow2', '-O', 'raw', name, 'look.raw'], cwd + '/look')
    if done.code:
        return done.err
    with open(cwd + '/look/look.raw', 'rb') as file:
        return hashlib.md5(file.read()).hexdigest()


def sound(cwd, names, problems):
    harmless(cwd)
    for name in names:
        done = run(PEER, ['check', '-f', 'qcow2', name], cwd)
        if done.code not in (0, 3):
            problems.append(f'{name} is damaged: {done.out}{done.err}')


def judge_words(done, free, problems):
    if done.code == 0 and done.err:
        problems.append(f'exit code 0, and standard error: {done.err}')
    if done.code != 0 and done.code != free.code and not any(word in done.err for word in WORDS):
        problems.append(f'exit code {done.code} without the words: {done.err}')
    if not isinstance(done.code, int) or done.code < 0:
        problems.append(f'killed: {done.code}')


def judge_content(cwd, words, before, problems):
    """The overlay reads as before, or as after the same command without the error."""
    now = digest(cwd, 'top.qcow2')
    if now in before:
        return
    problems.append(f'the overlay reads neither as before nor as after: {" ".join(words)}: {now}')


def outcomes(cwd, words):
    """What the overlay reads as before the command, and after it where nothing fails."""
    free = [word if 'inject-error' not in word else
            ','.join(part for part in word.split(',') if 'inject-error' not in part) for word in words]
    good = cwd + '/good'
    os.mkdir(good)
    for name in 'base.qcow2', 'other.qcow2', 'top.qcow2', 'empty.qcow2':
        shutil.copy(f'{cwd}/{name}', good)
    harmless(good)
    before = {digest(cwd, 'top.qcow2')}
    done = run(PEER, free, good)
    before.add(digest(good, 'top.qcow2'))
    return before, done


def error_case(rng, cwd):
    problems = []
    make(rng, cwd)
    words = rule(rng)
    what, reads = command(rng, cwd, words)
    before, free = outcomes(cwd, what)
    twin = cwd + '/twin'
    os.mkdir(twin)
    for name in 'base.qcow2', 'other.qcow2', 'top.qcow2', 'empty.qcow2':
        shutil.copy(f'{cwd}/{name}', twin)
    done = run(IMG, what, cwd)
    judge_words(done, free, problems)
    sound(cwd, ['base.qcow2', 'top.qcow2', 'empty.qcow2'], problems)
    judge_content(cwd, what, before, problems)
    if reads and words['event'] == 'none' and 'once' not in words and what[0] in ('check', 'map', 'info', 'snapshot'):
        theirs = run(PEER, what, twin)
        if theirs.code != done.code:
            problems.append(f'exit code {done.code}, qemu-img {theirs.code}: {theirs.err} - {done.err}')
    return f'{what[0]} {words["event"]}', problems + ([' '.join(what)] if problems else [])


def full_case(rng, cwd):
    """The same commands on a file system that has some blocks left."""
    problems = []
    disk = cwd + '/disk'
    os.mkdir(disk)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', disk], check=True)
    try:
        make(rng, disk)
        what, _ = command(rng, disk, {'event': 'none', 'errno': '0'})
        before, free = outcomes(disk, what)
        shutil.rmtree(disk + '/look')
        shutil.rmtree(disk + '/good')
        left = os.statvfs(disk)
        fill = left.f_bavail * left.f_frsize - rng.choice([0, 4096, 16384, 65536, 262144])
        with open(disk + '/fill', 'wb') as file:
            os.posix_fallocate(file.fileno(), 0, max(fill, 1))
        done = run(IMG, what, disk)
        os.unlink(disk + '/fill')
        judge_words(done, free, problems)
        sound(disk, ['base.qcow2', 'top.qcow2', 'empty.qcow2'], problems)
        judge_content(disk, what, before, problems)
    finally:
        subprocess.run(['umount', '-l', disk], check=True)
    return f'{what[0]} full', problems + ([' '.join(what)] if problems else [])


def one(seed, folder):
    full = seed % 4 == 0 and os.geteuid() == 0 and shutil.which('mount')
    return (full_case if full else error_case)(random.Random(seed), folder)


def main():
    each('blkdebug-errors', 32, one)


if __name__ == '__main__':
    main()
