#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Convert random images with random options in both tools and compare everything.

For each seed: exit code and messages; contents of the two results as the reference tool
reads them; its check, map and info of both; and what the two tools say
about the same files (info, map, check, compare) as version 10.0 and as 7.2.
A failing case is made smaller, then printed as the commands that repeat it.

environment: see lib/harness.py
"""
import copy
import hashlib
import json
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import Folder, IMG, IMG_IS_PEER, Journal, PEER, PEER72, cases, run  # noqa: E402
import images  # noqa: E402

MEGA = 1024 * 1024


def describe(seed):
    """A case as plain data, which can be made smaller."""
    rng = random.Random(seed)
    most = rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA])
    case = dict(images=[], groups=[], sources=[], target=None, mode='new')
    several = rng.random() < 0.1
    for number in range(rng.randrange(2, 4) if several else 1):
        links = images.chain(rng, 'abc'[number], most, 1 if several else rng.choice([1, 1, 1, 2, 3]))
        case['images'] += links
        case['sources'].append(source_words(rng, links[-1]))
    top = case['images'][-1]
    compress = rng.random() < 0.25
    case['output'] = 'qcow2' if compress or rng.random() < 0.65 else 'raw'
    groups = case['groups']
    groups.append(['-O', case['output']])
    mode = rng.random()
    if mode < 0.2:
        case['mode'] = 'existing'
        existing_target(rng, case, top)
    elif case['output'] == 'qcow2':
        backing = None
        if mode < 0.35 and not several:
            backing = pick_backing(rng, case, top)
            groups.append(['-B', backing['name'], '-F', backing['format']])
        options, _ = images.creation_options(rng, 't', backing, compress)
        if options and rng.random() < 0.8:
            groups.append(['-o', ','.join(options)])
    elif rng.random() < 0.15:
        groups.append(['-o', 'preallocation=' + rng.choice(['off', 'falloc', 'full', 'metadata'])])
    if compress:
        groups.append(['-c'])
    common_options(rng, case, top, several)
    rng.shuffle(groups)
    return case


def source_words(rng, image):
    kind = rng.random()
    name = ('../' if kind > 0.85 else '') + image['name']
    if kind < 0.1:
        return ['json:' + json.dumps({'driver': image['format'], 'file': {'driver': 'file', 'filename': name}})]
    return [name]


def existing_target(rng, case, top):
    """-n: a target that is there already, as large or larger, with or without data."""
    size = sum(-(-image['size'] // 512) * 512 for image in case['images'])
    if case['output'] == 'raw':
        target = images.raw_image(rng, 't.img', size + 1)
        target['size'] = size + rng.choice([0, 0, 512, 65536])
    else:
        target = images.qcow2_image(rng, 't.img', size + 1)
        target['size'] = size + rng.choice([0, 0, 512, 65536])
        target['options'] = [word for word in target['options'] if not word.startswith('data_file')]
    case['groups'].append(['-n'])
    if rng.random() < 0.3:
        target['steps'] = []
        case['groups'].append(['--target-is-zero'])
    case['target'] = target


def pick_backing(rng, case, top):
    if top['backing']:
        return top['backing']
    base = images.chain(rng, 'x', 4 * MEGA, 1)[0]
    case['images'].insert(0, base)
    return base


def common_options(rng, case, top, several):
    groups = case['groups']
    if rng.random() < 0.3:
        groups.append(['-S', rng.choice(['0', '4k', '64k', '1M', '512'])])
    if rng.random() < 0.3:
        groups.append(['-m', str(rng.randrange(1, 17))])
    if rng.random() < 0.2:
        groups.append(['-W'])
    if rng.random() < 0.15:
        groups.append(['-t', rng.choice(['none', 'writeback', 'writethrough', 'directsync', 'unsafe'])])
    if rng.random() < 0.1:
        groups.append(['-T', rng.choice(['none', 'writeback', 'writethrough', 'directsync', 'unsafe'])])
    if rng.random() < 0.05:
        groups.append(['-r', '200M'])
    if rng.random() < 0.05:
        groups.append(['-U'])
    if rng.random() < 0.05:
        groups.append(['-q'])
    if rng.random() < 0.05:
        groups.append(['--salvage'])
    if rng.random() < 0.05 and case['output'] == 'raw':
        groups.append(['-C'])
    if not several and rng.random() < 0.4:
        names = [step[1] for step in top['steps'] if step[0] == 'snapshot']
        if names:
            groups.append(['-l', rng.choice(['', '', 'snapshot.name=']) + rng.choice(names)])
    if not several and rng.random() < 0.3:
        groups.append(['-f', top['format']])


class Runner:
    """One case, carried out in a folder; `problems` is what was found."""

    def __init__(self, case, folder):
        self.case, self.folder = case, folder
        self.journal, self.problems = Journal(), []
        for side in 'o', 'p':
            os.mkdir(os.path.join(folder, side))

    def problem(self, title, text):
        self.problems.append(f'{title}\n  {text}')

    def tool(self, which, arguments, side='.', compat=None):
        self.journal.add(side, which, arguments, compat)
        return run(which, arguments, os.path.join(self.folder, side), compat)

    def go(self):
        with open(os.path.join(self.folder, 'random'), 'wb') as file:
            file.write(random.Random(7).randbytes(65536))
        for image in self.case['images']:
            if not images.make(image, self.folder, self.journal):
                return
        # the same names in both folders, as links, also for data files
        for name in os.listdir(self.folder):
            if name not in ('o', 'p'):
                for side in 'o', 'p':
                    os.symlink('../' + name, os.path.join(self.folder, side, name))
        self.journal.lines.append('for d in o p; do mkdir $d; (cd $d; ln -s ../*img* .); done')
        target = self.case['target']
        if target:
            if not images.make(target, self.folder, self.journal):
                return
            for side in 'o', 'p':
                shutil.copy2(os.path.join(self.folder, 't.img'), os.path.join(self.folder, side, 't.img'))
                self.journal.lines.append(f'cp t.img {side}/')
        before = self.digests()
        words = ['convert'] + sum(self.case['groups'], []) + sum(self.case['sources'], []) + ['t.img']
        ours = self.tool(IMG, words, 'o')
        peer = self.tool(PEER, words, 'p')
        if self.peer_cannot(ours, peer):
            return
        difference = ours.differs(peer)
        if difference:
            self.problem('convert itself', difference)
        if self.digests() != before:
            self.problem('a source was changed', '')
        if ours.code == 0 and peer.code == 0:
            self.same_results()
        self.same_views()

    def peer_cannot(self, ours, peer):
        """The reference tool fails to write compressed clusters over those that are there; ours can."""
        options = sum(self.case['groups'], [])
        return '-n' in options and '-c' in options and ours.code == 0 and peer.code == 1 \
            and 'error while writing' in peer.err

    def digests(self):
        found = {}
        for image in self.case['images']:
            for name in image['name'], image['name'] + '.data':
                path = os.path.join(self.folder, name)
                if os.path.exists(path):
                    with open(path, 'rb') as file:
                        found[name] = hashlib.sha256(file.read()).digest()
        return found

    def contents(self, tool, side):
        """Digest of the guest's bytes as `tool` reads them."""
        words = ['-f', self.case['output'], 't.img']
        result = self.tool(tool, ['convert', '-O', 'raw'] + words + ['../out.raw'], side)
        if result.code != 0:
            return f'exit {result.code}: {result.err}'
        path = os.path.join(self.folder, 'out.raw')
        with open(path, 'rb') as file:
            data = file.read()
        os.unlink(path)
        return f'{len(data)} bytes, {hashlib.sha256(data).hexdigest()}'

    def same_results(self):
        output = self.case['output']
        right = self.contents(PEER, 'p')
        for who, tool, side in ('we read qemu-img', IMG, 'p'), ('qemu-img reads ours', PEER, 'o'), \
                ('we read ours', IMG, 'o'):
            got = self.contents(tool, side)
            if got != right:
                self.problem(f'contents, {who}', f'{got}\n  instead of {right}')
        if output == 'qcow2':
            result = self.tool(PEER, ['check', '-f', 'qcow2', 't.img'], 'o')
            if result.code != 0 and result.code != self.tool(PEER, ['check', '-f', 'qcow2', 't.img'], 'p').code:
                self.problem('check of our image', result.out + result.err)
        self.same_map()
        self.same_info()

    def same_map(self):
        maps = []
        for side in 'o', 'p':
            result = self.tool(PEER, ['map', '-f', self.case['output'], '--output=json', 't.img'], side)
            entries = json.loads(result.out) if result.code == 0 else []
            maps.append(joined(entries))
        if self.case['output'] == 'raw':
            self.same_use(maps)
        elif maps[0] != maps[1] and not self.stores_less(maps):
            at = next((n for n, (a, b) in enumerate(zip(*maps)) if a != b), min(map(len, maps)))
            self.problem('map of the results', '\n  '.join(
                f'{who} from entry {at} of {len(entries)}: {entries[at:at + 3]}'
                for who, entries in zip(('ours', 'peer'), maps)))

    def stores_less(self, maps):
        """Zeroes may be told in a cheaper way than qemu-img's; STRICT=1 and -S 0 ask for the very same map."""
        if os.environ.get('STRICT') or ['-S', '0'] in self.case['groups']:
            return False
        ours, peer = (sum(entry['length'] for entry in entries if entry['data'] and entry['depth'] == 0)
                      for entries in maps)
        return ours <= peer

    def same_use(self, maps):
        """Where the holes of a raw file lie may differ a little, how much it stores may not."""
        ours, peer = (sum(entry['length'] for entry in entries if entry['data']) for entries in maps)
        if abs(ours - peer) > max(65536, peer // 20):
            self.problem('bytes stored in the raw result', f'ours {ours}, peer {peer}')

    def same_info(self):
        texts = []
        for side in 'o', 'p':
            result = self.tool(PEER, ['info', '-f', self.case['output'], '--output=json', 't.img'], side)
            text = result.out
            if result.code == 0:
                document = json.loads(text)
                forget(document)
                text = json.dumps(document, indent=1)
            texts.append(text)
        if texts[0] != texts[1]:
            self.problem('info of the results', f'ours {texts[0]}\n  peer {texts[1]}')

    def same_views(self):
        """What the tools say about one and the same file."""
        files = [('.', image) for image in self.case['images']]
        for side in 'o', 'p':
            if os.path.exists(os.path.join(self.folder, side, 't.img')):
                files.append((side, dict(name='t.img', format=self.case['output'])))
        for side, image in files:
            name, fmt = image['name'], image['format']
            for words in (['info', name], ['info', '--output=json', '-f', fmt, name],
                          ['info', '--backing-chain', '--output=json', name],
                          ['map', '-f', fmt, '--output=json', name], ['map', name],
                          ['check', name], ['check', '-f', fmt, '--output=json', name]):
                self.same_view(words, side)
        names = [image['name'] for image in self.case['images']]
        top = names[-1]
        self.same_view(['compare', top, names[0]], '.')
        self.same_view(['compare', '-s', names[0], top], '.')
        if len(files) > len(names):
            self.same_view(['compare', top, 't.img'], 'p')
            self.same_view(['compare', '-s', '-q', top, 't.img'], 'p')

    def same_view(self, words, side):
        for tool, compat in (PEER, None), (PEER72, '7.2'):
            if not tool or (compat and IMG_IS_PEER):
                continue
            peer = run(tool, words, os.path.join(self.folder, side))
            ours = run(IMG, words, os.path.join(self.folder, side), compat)
            difference = ours.differs(peer)
            if words[:2] == ['compare', '-s'] and ours.code == 0 and peer.code == 1:
                # The reference tool compares the pieces in which its drivers happen to answer, too.
                continue
            if difference:
                self.journal.add(side, IMG, words, compat)
                self.journal.add(side, tool, words)
                self.problem(f"{'as 7.2' if compat else 'as 10.0'}: {' '.join(words)} in {side}", difference)


def joined(entries):
    """Map entries without offsets; neighbours that then say the same are one."""
    found = []
    for entry in entries:
        entry = dict(entry)
        entry.pop('offset', None)
        last = found[-1] if found else None
        if last and all(last[key] == entry[key] for key in entry if key not in ('start', 'length')):
            last['length'] += entry['length']
        else:
            found.append(entry)
    return found


def forget(node):
    """Take out what lawfully differs between two images of the same contents."""
    if isinstance(node, dict):
        for child in node.get('children', []):
            if child.get('name') == 'file':
                child['info'].pop('virtual-size', None)
        for value in node.values():
            forget(value)
    elif isinstance(node, list):
        for value in node:
            forget(value)


def attempt(case, title, keep=False):
    with Folder(title) as folder:
        runner = Runner(case, folder.path)
        runner.go()
        if keep:
            folder.keep()
        return runner


def smaller(case):
    """Variants of a case with one thing less."""
    for index, group in enumerate(case['groups']):
        if group[0] not in ('-O', '-n'):
            variant = copy.deepcopy(case)
            del variant['groups'][index]
            yield variant
    for list_name in ['images'] + (['target'] if case['target'] else []):
        some = case['images'] if list_name == 'images' else [case['target']]
        for number, image in enumerate(some):
            for key in 'steps', 'options':
                for index in range(len(image[key])):
                    variant = copy.deepcopy(case)
                    chosen = variant['images'][number] if list_name == 'images' else variant['target']
                    del chosen[key][index]
                    yield variant


def shrink(case, first):
    """The smallest case found that fails at the same first place."""
    tries = 60
    again = True
    while again and tries > 0:
        again = False
        for variant in smaller(case):
            tries -= 1
            if tries <= 0:
                break
            runner = attempt(variant, 'shrink')
            if runner.problems and runner.problems[0].split('\n')[0] == first:
                case, again = variant, True
                break
    return case


def main():
    seeds, tap = cases('convert-random', 35)
    for seed in seeds:
        case = describe(seed)
        runner = attempt(case, f'convert-{seed}', keep=True) if os.environ.get('KEEP') else attempt(case, '')
        words = ' '.join(sum(case['groups'], []))
        if runner.problems and not os.environ.get('NO_SHRINK'):
            case = shrink(case, runner.problems[0].split('\n')[0])
            small = attempt(case, f'convert-{seed}', keep=True)
            runner = small if small.problems else runner
        tap.result(f'seed {seed}: convert {words}', [text[:3000] for text in runner.problems[:4]],
                   ['commands:'] + runner.journal.lines)
    tap.end()


if __name__ == '__main__':
    main()
