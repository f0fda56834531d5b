#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands without memory: one allocation fails (mode "once"), or all from one on (mode "from").

A preloaded library (tests/memory/fail.c) refuses the memory.  Then the command ends by itself: it is not killed by a
signal and does not hang.  Either its exit code and output are those of a run with memory, or the exit code says
failure and standard error says why.  A file that it was to change, or had made before, stays sound: check finds no
corruption, and the guest's content is the old or the new one.

environment: see lib/harness.py; COUNT runs of each command and mode (all: COUNT=0)
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, 'lib'))
from harness import IMG, can_make  # noqa: E402
import vmdk  # noqa: E402

COUNT = int(os.environ.get('COUNT', 14))
HANGS = 60      # seconds
MEGA = 1 << 20
SOUND = 0, 3    # exit codes of check: no errors, leaks only
ENVIRONMENT = dict(os.environ, LC_ALL='C', TZ='UTC')


def build(folder):
    path = os.path.join(folder, 'fail.so')
    subprocess.run(os.environ.get('CC', 'cc').split() +
                   ['-std=gnu11', '-O2', '-shared', '-fPIC', '-fno-builtin', '-o', path,
                    os.path.join(HERE, '../memory/fail.c')], check=True)
    return path


def run(words, folder, **more):
    try:
        done = subprocess.run([IMG] + words, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=HANGS,
                              env=dict(ENVIRONMENT, **more), check=False)
        return done.returncode, re.sub(rb'in [0-9.]+ seconds', b'', done.stdout), done.stderr
    except subprocess.TimeoutExpired:
        return 'hangs', b'', b''


def must(words, folder):
    code, _, err = run(words, folder)
    if code:
        sys.exit(f'{words}: {code} {err.decode()}')


def digest(folder, name, how):
    """Of the guest's content; None: it cannot be read."""
    code, out, _ = run(['convert', '-O', 'raw'] + how + [name, '/dev/fd/1'], folder)
    return hashlib.sha256(out).hexdigest() if code == 0 else None


def prepare(folder):
    """Images for all commands."""
    bytes_ = b''.join(bytes([1 + i % 200]) * 40000 + bytes(30000) for i in range(15))[:MEGA]
    with open(os.path.join(folder, 'data.raw'), 'wb') as out:
        out.write(bytes_.ljust(MEGA, b'\0'))
    for name, words in {
            'base.qcow2': ['-O', 'qcow2'], 'small.qcow2': ['-O', 'qcow2', '-o', 'cluster_size=4k'],
            'packed.qcow2': ['-c', '-O', 'qcow2'], 'a.qed': ['-O', 'qed'], 'a.vdi': ['-O', 'vdi'],
            'a.vpc': ['-O', 'vpc'], 'a.vhdx': ['-O', 'vhdx'], 'a.vmdk': ['-O', 'vmdk'],
            'a.parallels': ['-O', 'parallels'], 'stream.vmdk': ['-O', 'vmdk', '-o', 'subformat=streamOptimized'],
            'a.qcow': ['-O', 'qcow']}.items():
        must(['convert'] + words + ['data.raw', name], folder)
    for name, (form, prefix, words) in SEALED.items():
        must(['convert', '-O', form] + SECRET + ['-o', f'{prefix}key-secret=s{words}', 'data.raw', name], folder)
    for top, base in ('middle.qcow2', 'base.qcow2'), ('top.qcow2', 'middle.qcow2'):
        must(['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top], folder)
    for form in 'vpc', 'vhdx':
        must(['create', '-q', '-f', form, '-b', 'a.' + form, '-F', form, 'child.' + form], folder)
        must(['bench', '-q', '-w', '-c', '1', '-o', '65536', 'child.' + form], folder)
    must(['dd', '-f', 'raw', '-O', 'raw', 'if=data.raw', 'of=part.raw', 'bs=64k', 'count=3', 'skip=5'], folder)
    shutil.copy(os.path.join(folder, 'base.qcow2'), os.path.join(folder, 'full.qcow2'))
    must(['snapshot', '-c', 'one', 'full.qcow2'], folder)
    must(['snapshot', '-c', 'two', 'full.qcow2'], folder)
    shutil.copy(os.path.join(folder, 'full.qcow2'), os.path.join(folder, 'twice.qcow2'))
    must(['bitmap', '--add', 'full.qcow2', 'marks'], folder)
    far_parent(folder)
    with open(os.path.join(folder, 'rules'), 'w', encoding='ascii') as out:
        out.write('[inject-error]\nevent = "l2_load"\nerrno = "5"\nonce = "on"\nsector = "99999"\n')


def far_parent(folder):
    """vmdk images of other programs: their parent is beside them, by another name; the end of a stream is missing."""
    with open(os.path.join(folder, 'delta'), 'wb') as out:
        out.write(vmdk.cowd([0] * 256))
    for name, lines, parent, more in (
            ('\u00e9.vmdk', ['RW 2048 FLAT "data.raw" 0'], 'ffffffff', ''),
            ('far.vmdk', ['RW 2048 VMFSSPARSE "delta"'], '12345678',
             'encoding="windows-1252"\nparentFileNameHint="/vmfs/\u00e9.vmdk"\n')):
        text = vmdk.descriptor('vmfs', lines, parent=parent, more=more).decode()
        with open(os.path.join(folder, name), 'wb') as out:
            out.write(text.encode('windows-1252' if more else 'utf-8'))
    with open(os.path.join(folder, 'wide.vmdk'), 'wb') as out:
        out.write(('\ufeff' + vmdk.descriptor('vmfs', ['RW 2048 FLAT "data.raw" 0']).decode()).encode('utf-16-le'))
    with open(os.path.join(folder, 'cut.vmdk'), 'wb') as out:
        out.write(vmdk.long_stream({0: b'c' * 4096, 9: b'd' * 4096}, 10, 8, 4)[0][:-1537])


# Encrypted images: format, what is in front of the options, other options.
SECRET = ['--object', 'secret,id=s,data=x']
SEALED = {
    'a.luks': ('luks', '', ',iter-time=1'), 'b.luks': ('luks', '', ',iter-time=1,version=2,pbkdf=pbkdf2'),
    'sealed.qcow2': ('qcow2', 'encrypt.', ',encrypt.format=luks,encrypt.iter-time=1'),
    'old.qcow2': ('qcow2', 'encrypt.', ',encrypt.format=aes'), 'old.qcow': ('qcow', 'encrypt.', ',encrypt.format=aes'),
} if can_make('luks') else {}


def sealed(name):
    form, prefix, _ = SEALED[name]
    return f'--object secret,id=s,data=x --image-opts driver={form},{prefix}key-secret=s,file.filename={name}'


# Words; then, where the command writes: the file, and whether it was there before.
TALK = [
    'info base.qcow2', 'info --output=json full.qcow2', 'info --backing-chain top.qcow2',
    'info --backing-chain --output=json top.qcow2', 'info --limits base.qcow2', 'info a.vmdk', 'info a.vhdx',
    'info child.vpc', 'info --backing-chain child.vhdx', 'map child.vpc', 'compare child.vhdx child.vpc',
    'info --image-opts driver=qcow2,file.driver=file,file.filename=base.qcow2',
    'info json:{"driver":"qcow2","file":{"driver":"raw","offset":0,"file":{"driver":"file","filename":"base.qcow2"}}}',
    'map json:{"driver":"qcow2","file":{"driver":"file","filename":"top.qcow2"},"backing":{"driver":"qcow2","file":'
    '{"driver":"file","filename":"base.qcow2"}}}',
    'info blkdebug:rules:base.qcow2', 'info --image-opts driver=null-co,size=1M', 'info nothing.qcow2',
    'check base.qcow2', 'check --output=json full.qcow2', 'check a.vdi', 'check a.vmdk', 'check a.qed', 'check a.vhdx',
    'check a.parallels', 'map --output=json top.qcow2', 'map a.vmdk', 'map far.vmdk', 'map --output=json cut.vmdk',
    'info wide.vmdk', 'info --backing-chain far.vmdk', 'snapshot -l full.qcow2',
    'measure -O qcow2 top.qcow2', 'measure --output=json -O qcow2 --size 1G', 'compare base.qcow2 data.raw',
    'compare packed.qcow2 stream.vmdk', 'create -f qcow2 -o help', 'amend -f qcow2 -o help', 'info --help',
    'bench -q -c 4 -d 2 blkdebug::base.qcow2',
    'info --object secret,id=s,data=aGVsbG8=,format=base64 data.raw',
    'info --object throttle-group,id=g,x-bps-total=1000 --image-opts driver=throttle,throttle-group=g,'
    'file.filename=data.raw',
]
for image in SEALED:
    TALK += [f'info --output=json {image}', f'map --output=json {sealed(image)}',
             f'compare {sealed(image)} driver=raw,file.filename=data.raw']
MAKE = [(f'create -q -f {kind} new 1M', 'new') for kind in (
    'raw', 'qcow2', 'qcow', 'qed', 'vdi', 'vpc', 'vhdx', 'parallels', 'vmdk', 'vmdk -o subformat=twoGbMaxExtentSparse')]
MAKE += [
    ('create -q -f qcow2 -o preallocation=metadata,extended_l2=on -b base.qcow2 -F qcow2 new 2M', 'new'),
    ('create -q -f qcow2 -o data_file=new.data new 1M', 'new'),
    ('convert -O raw top.qcow2 new', 'new'), ('convert -O qcow2 data.raw new', 'new'),
    ('convert -c -O qcow2 a.vmdk new', 'new'), ('convert -m 4 -W -O qcow2 packed.qcow2 new', 'new'),
    ('convert --bitmaps -O qcow2 full.qcow2 new', 'new'), ('convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 new', 'new'),
    ('convert -O vmdk -o subformat=streamOptimized a.qed new', 'new'), ('convert -O vhdx a.vpc new', 'new'),
    ('create -q -f vpc -b a.vpc -F vpc new', 'new'), ('create -q -f vhdx -b a.vhdx -F vhdx new', 'new'),
    ('convert -O raw child.vhdx new', 'new'),
    ('convert -O vdi a.parallels new', 'new'), ('dd -O qcow2 if=a.vdi of=new bs=64k', 'new'),
]
CHANGE = [
    ('convert -n -O qcow2 part.raw base.qcow2', 'base.qcow2'), ('amend -o compat=0.10 base.qcow2', 'base.qcow2'),
    ('amend -o refcount_bits=64 base.qcow2', 'base.qcow2'), ('snapshot -c three full.qcow2', 'full.qcow2'),
    ('snapshot -d one full.qcow2', 'full.qcow2'), ('snapshot -a one twice.qcow2', 'twice.qcow2'),
    ('bitmap --add base.qcow2 fresh', 'base.qcow2'), ('bitmap --remove full.qcow2 marks', 'full.qcow2'),
    ('bitmap --add --merge marks full.qcow2 fresh', 'full.qcow2'), ('resize base.qcow2 3M', 'base.qcow2'),
    ('resize -q --shrink small.qcow2 1M', 'small.qcow2'), ('commit -q top.qcow2', 'top.qcow2'),
    ('rebase -b base.qcow2 -F qcow2 top.qcow2', 'top.qcow2'), ('rebase -u -b base.qcow2 -F qcow2 top.qcow2', 'top.qcow2'),
    ('check -r all small.qcow2', 'small.qcow2'), ('resize part.raw 2M', 'part.raw'), ('bench -q -w -c 4 a.vmdk', 'a.vmdk'),
    ('bench -q -w -c 4 a.qed', 'a.qed'), ('bench -q -w -c 4 child.vpc', 'child.vpc'),
    ('bench -q -w -c 4 child.vhdx', 'child.vhdx'),
]


class Command:
    def __init__(self, library, source, words, name=None, existed=False):
        self.library, self.source, self.text, self.words = library, source, words, words.split(' ')
        self.name, self.existed, self.problems, self.runs = name, existed, [], 0

    def fresh(self):
        """A folder for one run.  A command that only reads shares the source."""
        if not self.name:
            return self.source
        folder = tempfile.mkdtemp(dir=os.path.dirname(self.source))
        for name in os.listdir(self.source):
            if name == self.name or (self.existed and name in ('base.qcow2', 'middle.qcow2')):
                shutil.copy(os.path.join(self.source, name), folder)
            else:
                os.symlink(os.path.join(self.source, name), os.path.join(folder, name))
        return folder

    def drop(self, folder):
        if folder != self.source:
            shutil.rmtree(folder)

    def known(self, folder):
        """Contents of the target."""
        return digest(folder, self.name, []) if self.name else None

    def go(self):
        folder = self.fresh()
        self.before = self.known(folder) if self.existed else None
        count = os.path.join(os.path.dirname(self.source), 'count')
        self.right = run(self.words, folder, LD_PRELOAD=self.library, NO_MEMORY_COUNT=count)
        self.after = self.known(folder)
        self.drop(folder)
        with open(count, encoding='ascii') as lines:
            total = int(lines.read())
        if self.right[0] != 0 and 'nothing' not in self.text:
            self.problems.append(f'with memory: {self.right}')
        step = max(1, -(-total // COUNT)) if COUNT else 1
        for mode in 'once', 'from':
            for number in range(1 + self.runs % step, total + 1, step):
                self.one(mode, number)
        return total

    def one(self, mode, number):
        folder = self.fresh()
        more = {'NO_MEMORY_FROM': '1'} if mode == 'from' else {}
        code, out, err = run(self.words, folder, LD_PRELOAD=self.library, NO_MEMORY_AT=str(number), **more)
        self.runs += 1
        found = self.judge(code, out, err) or self.judge_target(folder, code)
        if found:
            self.problems.append(f'{mode} {number}: {found} (exit code {code}, {err[-300:]})')
        self.drop(folder)

    def judge(self, code, out, err):
        if code == 'hangs' or code < 0:
            return 'it hangs' if code == 'hangs' else f'killed by signal {-code}'
        if code == self.right[0]:
            return '' if out == self.right[1] or code else f'another output: {out[-300:]}, not {self.right[1][-300:]}'
        if code == 0:
            return 'it says that all is well'
        return '' if err else 'it does not say why'

    def judge_target(self, folder, code):
        if not self.name or not (self.existed or code == 0):
            return ''
        if self.name.endswith('qcow2'):
            checked = run(['check', '-q', self.name], folder)
            if checked[0] not in SOUND:
                return f'the image is damaged: {checked}'
        content = self.known(folder)
        if code == 0:
            return '' if content == self.after else 'another content'
        if self.text.startswith(('convert -n', 'bench')):
            return '' if content else 'it cannot be read any more'
        return '' if content in (self.before, self.after) else 'neither the old nor the new content'


def main():
    folder = tempfile.mkdtemp()
    failed = 0
    try:
        source = os.path.join(folder, 'source')
        os.mkdir(source)
        prepare(source)
        library = build(folder)
        cases = [(words, None, False) for words in TALK] + [(*case, False) for case in MAKE] + \
                [(*case, True) for case in CHANGE]
        chosen = os.environ.get('ONLY')
        for number, case in enumerate(cases, 1):
            if chosen and chosen not in case[0]:
                continue
            command = Command(library, source, *case)
            total = command.go()
            for problem in command.problems[:5]:
                print('# ' + problem)
            failed += bool(command.problems)
            print(f'{"not " if command.problems else ""}ok {number} - {case[0]} ({command.runs} runs of {2 * total})',
                  flush=True)
        print(f'1..{len(cases)}')
    finally:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
