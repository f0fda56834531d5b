#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Convert between random pairs of all formats that can be written, by both tools.

A source (with backing files, of other formats where they can) is made by the reference tool or by ours; then
convert goes to another format with random options and flags.  Contents are the same whoever wrote and whoever reads;
its check is clean; exit code and messages are the same; and so is what both say about each of the files.

environment: see lib/harness.py; FORMATS limits the formats ("qed vmdk"), TARGETS those that are written to
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, can_make, each, run  # noqa: E402
from imagecase import VIEWS, ImageCase  # noqa: E402
from images import creation_options, pick_range  # noqa: E402

WRITABLE = ['raw', 'qcow2', 'qcow', 'qed', 'vdi', 'vmdk', 'vpc', 'vhdx', 'parallels']
BACKED = ['qcow2', 'qcow', 'qed']
# chance, words; of these at most one each
OPTIONS = {
    'raw': [(0.2, ['preallocation=off', 'preallocation=falloc', 'preallocation=full'])],
    'qcow': [],
    'qed': [(0.6, ['cluster_size=4k', 'cluster_size=16k', 'cluster_size=128k', 'cluster_size=1M']),
            (0.5, ['table_size=2', 'table_size=8', 'table_size=16'])],
    'vdi': [(0.4, ['static=on', 'static=off'])],
    'vmdk': [(0.8, ['subformat=monolithicSparse', 'subformat=monolithicFlat', 'subformat=twoGbMaxExtentSparse',
                    'subformat=twoGbMaxExtentFlat', 'subformat=streamOptimized']),
             (0.3, ['adapter_type=ide', 'adapter_type=lsilogic', 'adapter_type=buslogic', 'adapter_type=legacyESX']),
             (0.2, ['compat6=on', 'compat6=off']), (0.1, ['hwversion=7', 'hwversion=13']),
             (0.1, ['toolsversion=10305']), (0.3, ['zeroed_grain=on', 'zeroed_grain=off'])],
    'vpc': [(0.6, ['subformat=dynamic', 'subformat=fixed']), (0.4, ['force_size=on', 'force_size=off'])],
    'vhdx': [(0.5, ['subformat=dynamic', 'subformat=fixed']),
             (0.5, ['block_size=1M', 'block_size=2M', 'block_size=8M']),
             (0.3, ['log_size=1M', 'log_size=2M']), (0.1, ['block_state_zero=on'])],
    'parallels': [(0.6, ['cluster_size=64k', 'cluster_size=128k', 'cluster_size=1M', 'cluster_size=4k'])],
}


def built():
    """The formats of WRITABLE that the tool under test can make."""
    chosen = os.environ.get('FORMATS', ' '.join(WRITABLE)).split()
    return [form for form in chosen if can_make(form)]


class FormatCase(ImageCase):
    def options(self, form, name, backing=None):
        if form == 'qcow2':
            # a data file would have to be somewhere else for the other tool
            return [word for word in creation_options(self.rng, name, backing, True)[0]
                    if not word.startswith(('data_file', 'preallocation'))]
        return [self.rng.choice(words) for chance, words in OPTIONS[form] if self.rng.random() < chance]

    def with_options(self, form, name, backing=None):
        found = self.options(form, name, backing)
        return (['-o', ','.join(found)] if found else []), found

    def steps(self, size):
        for _ in range(self.rng.randrange(0, 8)):
            offset, length = pick_range(self.rng, size, 64 * 1024)
            kind = self.rng.choice(['write -P 17', 'write -P 34', 'write -P 51', 'write -z', 'write -z -u', 'discard'])
            yield from ['-c', f'{kind} {offset} {length}']

    def write_by_io(self, form, name, size):
        words = ['-f', form] + list(self.steps(size)) + [name]
        if len(words) > 3:
            self.journal.add('.', PEER_IO, words)
            run(PEER_IO, words, self.folder)

    def image(self, form, name, size, backing=None):
        """An image of one format; whether it could be made."""
        words, found = self.with_options(form, name, backing)
        if backing:
            words += ['-b', backing[0], '-F', backing[1]]
        maker = self.rng.choice([IMG, PEER])
        if not backing and (self.rng.random() < 0.5 or 'subformat=streamOptimized' in found):
            self.raw(name + '.raw', size, size)
            return self.run(maker, ['convert', '-f', 'raw', '-O', form] + words + [name + '.raw', name]).code == 0
        if self.run(maker, ['create', '-q', '-f', form] + words + [name, str(size)]).code:
            return False
        self.write_by_io(form, name, size)
        return True

    def source(self, formats):
        """Names and formats, the base first."""
        chain, depth = [], self.rng.choice([1, 1, 1, 2, 3])
        for level in range(depth):
            form = self.rng.choice([form for form in formats if level == 0 or form in BACKED] or ['raw'])
            name = f's{level}.{form}'
            size = 512 * self.rng.randrange(1, self.rng.choice([64, 2048, 16384]))
            if not self.image(form, name, size, chain[-1] if chain else None):
                break
            chain.append((name, form))
        return chain

    def flags(self, form, chain):
        rng, words = self.rng, []
        for chance, choices in ((0.3, [['-S', '0'], ['-S', '4k'], ['-S', '64k'], ['-S', '1M']]),
                                (0.3, [['-m', '1'], ['-m', '2'], ['-m', '16']]), (0.2, [['-W']]), (0.15, [['-c']]),
                                (0.2, [['-t', 'none'], ['-t', 'writeback'], ['-t', 'writethrough']])):
            if rng.random() < chance:
                words += rng.choice(choices)
        backing = None
        if len(chain) > 1 and form in BACKED and rng.random() < 0.4:
            backing = chain[-2]
            words += ['-B', backing[0], '-F', backing[1]]
        return words, backing

    def convert(self, chain, form):
        """Into `form` by both; whether there is a result of ours and of qemu-img's."""
        top, kind = chain[-1]
        words, backing = self.flags(form, chain)
        options, found = self.with_options(form, 't', backing)
        known = self.rng.random() < 0.2 and not backing and 'subformat=streamOptimized' not in found
        results = []
        if known:
            words += ['-n']
        for tool, name in (IMG, 't.ours'), (PEER, 't.peer'):
            if known:
                size = run(PEER, ['measure', '-f', kind, '-O', 'raw', top], self.folder).out.split()[2]
                self.run(tool, ['create', '-q', '-f', form] + options + [name, size])
            results.append(self.run(tool, ['convert', '-f', kind, '-O', form] + words + ([] if known else options) +
                                    [top, name]))
        for result in results:
            result.err = re.sub(r't\.(ours|peer)', 't', result.err)
        # It writes compressed clusters of qcow and then fails without a word; with -W it may end in an assertion (qed).
        peer = results[1]
        silent = form == 'qcow' and '-c' in words and peer.code == 1 and not peer.err
        if not silent and peer.code >= 0:
            self.agree(['convert'] + words + options, *results)
        return [result.code == 0 for result in results], ' '.join(words + options)

    def same_contents(self, chain, form, there):
        top, kind = chain[-1]
        for tool, who, name, made in (PEER, 'qemu-img', 't.ours', there[0]), (IMG, 'ours', 't.ours', there[0]), \
                (IMG, 'ours', 't.peer', there[1]):
            if not made:
                continue
            result = self.run(tool, ['compare', '-f', kind, '-F', form, top, name])
            if result.code:
                self.problems.append(f'{name} read by {who}: {result.out}{result.err}')
        if there[0]:
            result = self.run(PEER, ['check', '-f', form, 't.ours'])
            phantoms = form == 'qed' and result.code == 3
            if result.code not in (0, 63) and not phantoms:
                self.problems.append(f'check of ours: {result.out}{result.err}')

    def look(self, form, name, views):
        for words in views:
            self.same(words[:1] + ['-f', form] + words[1:] + [name])


def one(seed, folder, formats, targets):
    case = FormatCase('', seed, folder)
    chain = case.source(formats)
    if not chain:
        return case.report('a source that cannot be')
    form = case.rng.choice(targets)
    there, words = case.convert(chain, form)
    case.same_contents(chain, form, there)
    some = case.rng.sample(VIEWS, 3)
    for name, kind in chain:
        case.look(kind, name, some)
    case.same(['info', chain[-1][0]])
    if there[0]:
        case.look(form, 't.ours', VIEWS)
        case.same(['info', 't.ours'])
    if there[1]:
        case.look(form, 't.peer', some)
    title = ' over '.join(kind for _, kind in reversed(chain)) + f" to {form} {words}{'' if there[0] else ' (refused)'}"
    return (title,) + case.report(title)[1:]


if __name__ == '__main__':
    FORMATS = built()
    each('formats-random', 6, one, FORMATS, os.environ.get('TARGETS', ' '.join(FORMATS)).split())
