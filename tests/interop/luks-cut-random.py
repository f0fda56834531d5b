#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The power is cut while amend changes the key slots of a luks image, or of an encrypted qcow2 image: no data is lost.

Each case is one command on an image with some passwords: a password is added, replaced in its slot (--force), or erased.
It is recorded and replayed as in powercut-random.py.  After each cut the reference tool opens the image with at least one
of the passwords that opened it before, or that are to open it, and reads the same disk.  A password that the command does
not concern opens it at every moment.

environment: see lib/harness.py; each case has some 20 cuts
"""
import importlib.util
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, 'lib'))
sys.path.insert(0, os.path.join(HERE, '../powercut'))
from harness import IMG_IS_PEER, PEER, PEER_IO, each, guest_bytes, must  # noqa: E402
from replay import Log, Replay, choose_cuts  # noqa: E402

spec = importlib.util.spec_from_file_location('powercut', os.path.join(HERE, 'powercut-random.py'))
powercut = importlib.util.module_from_spec(spec)
spec.loader.exec_module(powercut)

CUTS = 20
SECRETS = [word for name in 'abcn' for word in ('--object', f'secret,id={name},data=password-{name}')]


PREFIX = {'luks': '', 'qcow2': 'encrypt.'}      # of the options


def node(form, secret):
    return ['--image-opts', f'driver={form},{PREFIX[form]}key-secret={secret},file.filename=t.img']


def options(form, words):
    """The same words as options of the format."""
    return ','.join(PREFIX[form] + word for word in words.split(','))


def amend(tool, form, opener, words, folder):
    must(tool, ['amend'] + SECRETS + node(form, opener)[:1] + ['-o', options(form, words), node(form, opener)[1]], folder)


def make(rng, form, folder):
    """An image with password a, and perhaps b and c in other slots."""
    cipher = rng.choice(['aes-256', 'aes-128', 'serpent-128'])
    words = options(form, f'key-secret=a,iter-time=1,cipher-alg={cipher}')
    words += ',encrypt.format=luks' if form == 'qcow2' else ''
    must(PEER, ['create', '-q'] + SECRETS + ['-f', form, '-o', words, 't.img', '64k'], folder)
    must(PEER_IO, SECRETS + ['-c', 'write -P 7 0 64k'] + node(form, 'a'), folder)
    slots = {'a': 0}
    for name, slot in zip(rng.sample('bc', rng.randrange(3)), rng.sample(range(1, 8), 2)):
        amend(PEER, form, 'a', f'state=active,new-secret={name},keyslot={slot},iter-time=1', folder)
        slots[name] = slot
    return slots


def command(rng, slots):
    """Words of amend; the passwords that it takes away, and adds."""
    kind = rng.choice(['add', 'add', 'replace', 'replace', 'erase'])
    if kind == 'erase' and len(slots) > 1:
        gone = rng.choice(list(slots))
        which = rng.choice([f'keyslot={slots[gone]}', f'old-secret={gone}'])
        return [f'state=inactive,{which}'], gone, ''
    if kind == 'replace':
        gone = rng.choice(list(slots))
        return ['state=active,new-secret=n,iter-time=1,' + f'keyslot={slots[gone]}', '--force'], gone, 'n'
    slot = rng.choice([slot for slot in range(8) if slot not in slots.values()])
    return [f'state=active,new-secret=n,keyslot={slot},iter-time=1'], '', 'n'


def look(folder, form, slots, gone, added, complete):
    """What is wrong with the image as a cut left it."""
    def opens(secret, where):
        data, _ = guest_bytes(PEER, SECRETS + node(form, secret), where)
        return data == b'\7' * 65536

    kept = [name for name in slots if name != gone]
    lost = [name for name in kept if not opens(name, folder)]
    if lost:
        return f'{lost} do not open the image, which the command does not concern'
    if complete and added and not opens(added, folder):
        return 'the new password does not open the image at the end'
    if complete and gone and opens(gone, folder):
        return 'the old password opens the image at the end'
    if not kept and not opens(gone, folder) and not opens(added, folder):
        return 'neither the old nor the new password opens the image'
    return ''


def case(seed, folder):
    rng, work, problems = random.Random(seed), os.path.join(folder, 'work'), []
    os.mkdir(work)
    form = rng.choice(list(PREFIX))
    slots = make(rng, form, work)
    words, gone, added = command(rng, slots)
    opener = rng.choice(list(slots))
    words = ['amend'] + SECRETS + words[1:] + ['--image-opts', '-o', options(form, words[0]), node(form, opener)[1]]
    before = powercut.files_of(work)
    done = powercut.record(powercut.build_recorder(folder), words, work, os.path.join(folder, 'log'))
    if done.returncode:
        return ' '.join(words[-3:]), [done.stdout.decode()]
    log = Log(os.path.join(folder, 'log'))
    replay = Replay(log, before)
    for cut in choose_cuts(log, CUTS, rng):
        files, word = replay.cut(cut, rng)
        powercut.lay(work, files)
        problem = look(work, form, slots, gone, added, cut == len(log.events))
        if problem:
            problems.append(f'cut at {cut} of {len(log.events)}, {word}: {problem}')
    return f'{form} {slots}, {" ".join(words[-3:-1])}', problems


if __name__ == '__main__':
    if not PEER or IMG_IS_PEER:
        print('1..0 # SKIP no reference tool, or it is tested')
    else:
        each('luks-cut-random', 3, case)
