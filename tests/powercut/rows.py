# SPDX-License-Identifier: MIT
"""The commands and images that the power is cut for: ROWS, by name.

A row is a function (rng, number, folder) that makes images with the reference tool and returns a Case.  `number` counts
the cases of a row; what a row goes through in turn (options of the format) is chosen by it, all else by chance.
"""
import os

from damage import DAMAGES, Image, Skip
from harness import PEER, PEER_IO, must, run

KILO, MEGA = 1024, 1 << 20
ROWS, CUTS = {}, {}


class Case:
    """A command of our tool, the images that are checked afterwards, and the views that are judged."""

    def __init__(self, title, words, images, views):
        self.title, self.words, self.images, self.views = title, words, images, views
        self.repair = False         # the images have faults, and the command mends them
        self.crash = None           # words of a command that the power is cut for before


def row(name, cuts=20):
    """`cuts`: how many there are in a short run."""
    def enter(function):
        ROWS[name] = function
        CUTS[name] = cuts
        return function
    return enter


def view(form, name, snapshot=None):
    return ['-f', form] + (['-l', 'snapshot.name=' + snapshot] if snapshot else []) + [name]


# ---- Images --------------------------------------------------------------------------------------

QCOW2 = ['cluster_size=4k', 'extended_l2=on,cluster_size=16k', 'cluster_size=512', 'data_file=DATA',
         'extended_l2=on,preallocation=metadata', 'lazy_refcounts=on,cluster_size=4k', 'cluster_size=64k',
         'compat=0.10,cluster_size=8k', 'refcount_bits=1,cluster_size=4k', 'data_file=DATA,data_file_raw=on',
         'extended_l2=on,cluster_size=32k,data_file=DATA', 'preallocation=metadata,cluster_size=16k',
         'refcount_bits=64,cluster_size=512', 'preallocation=falloc', 'extended_l2=on,lazy_refcounts=on',
         'cluster_size=2M', 'preallocation=full,cluster_size=32k', 'refcount_bits=8,cluster_size=1k',
         'extended_l2=on,preallocation=metadata,data_file=DATA', 'compression_type=zstd,cluster_size=4k',
         'lazy_refcounts=on,data_file=DATA,cluster_size=4k']


def some_size(rng):
    return rng.choice([MEGA, 2 * MEGA, 3 * MEGA, 5 * MEGA]) + rng.choice([0, 0, 0, 512, 4096, 66048])


def fill(rng, folder, name, form, size, compressed=False):
    """Data, zeroes and gaps at random places."""
    kinds = ['write -P {}'] * 4 + ['write -z', 'write -z -u', 'discard']
    kinds += ['write -c -P {}'] * 2 if compressed else []
    steps = []
    for _ in range(rng.randrange(1, 16)):
        kind = rng.choice(kinds).format(rng.randrange(1, 200))
        unit = 65536 if '-c' in kind else 512
        start = rng.randrange(size // unit) * unit
        length = min(size - start, unit * rng.randrange(1, 2 + 200 * KILO // unit))
        steps += ['-c', f'{kind} {start} {length}']
    run(PEER_IO, ['-f', form] + steps + [name], folder)


def options_of(options, name):
    return options.replace('DATA', name + '.data')


def make(rng, folder, name, form, options, size, backing=None, filled=True):
    words = ['create', '-q', '-f', form] + (['-o', options_of(options, name)] if options else [])
    if backing:
        words += ['-b', backing[0], '-F', backing[1]]
    must(PEER, words + [name, str(size)], folder)
    # (a compressed write needs whole clusters)
    if filled:
        fill(rng, folder, name, form, size, form == 'qcow2' and 'data_file' not in options and '2M' not in options)


def make_base(rng, folder, name, size):
    """A raw or qcow2 backing file that is full of data in most places."""
    form = rng.choice(['raw', 'qcow2'])
    make(rng, folder, name, form, '', size, filled=False)
    steps = [f'write -P {rng.randrange(200, 255)} {at} {min(65536, size - at)}'
             for at in range(0, size, 65536) if rng.random() < 0.7]
    if steps:
        run(PEER_IO, ['-f', form] + [word for step in steps for word in ('-c', step)] + [name], folder)
    return name, form


def may_have_snapshots(options):
    return not any(word in options for word in ('data_file', 'refcount_bits=1,', 'refcount_bits=8'))


def may_be_backed(options):
    plain = 'data_file_raw' not in options
    return plain and ('preallocation' not in options or ('extended_l2' in options and 'metadata' in options))


def qcow2(rng, folder, options, size, snapshots=True, bitmaps=True):
    """t.img with perhaps a backing file, snapshots and bitmaps; names of the snapshots."""
    backing = None
    if may_be_backed(options) and rng.random() < (0.9 if 'extended_l2' in options else 0.5):
        backing = make_base(rng, folder, 'b.img', rng.choice([size, size, size // 2 // 512 * 512]))
    make(rng, folder, 't.img', 'qcow2', options, size, backing, filled=rng.random() < 0.8)
    if bitmaps and 'compat=0.10' not in options and rng.random() < 0.3:
        must(PEER, ['bitmap', '--add', '-g', rng.choice(['512', '64k']), 't.img', 'bits'], folder)
        if rng.random() < 0.5:
            fill(rng, folder, 't.img', 'qcow2', size)
    names = []
    if snapshots and may_have_snapshots(options):
        names = rng.choice([[], [], ['one'], ['one', 'two']])
        take_snapshots(rng, folder, size, names)
    return names


def take_snapshots(rng, folder, size, names):
    for name in names:
        must(PEER, ['snapshot', '-c', name, 't.img'], folder)
        fill(rng, folder, 't.img', 'qcow2', size)


def views_of(names):
    views = {'disk': view('qcow2', 't.img')}
    for name in names:
        views['snapshot ' + name] = view('qcow2', 't.img', name)
    return views


def whole_sectors(data_size):
    return data_size // 512 * 512


# ---- Writing ----------------------------------------------------------------------------------------

def source(rng, folder, size):
    """A raw file to be copied over what is there: data of all lengths, zeroes, holes."""
    with open(os.path.join(folder, 'source'), 'wb') as file:
        at = 0
        while at < size:
            length = min(size - at, rng.choice([512, 4096, 65536, 65536, 131072]) * rng.randrange(1, 6))
            kind = rng.random()
            if kind < 0.6:
                file.seek(at)
                file.write(rng.randbytes(512) * (length // 512))
            elif kind < 0.8:
                file.seek(at)
                file.write(bytes(length))
            at += length
        file.truncate(size)


def bench(rng, form, size, target):
    request = rng.choice([512, 1024, 4096, 4096, 20480, 65536, 131072])
    step = request + rng.choice([0, 512, 4096, 30208, 65536, 200704])
    count = max(1, min(rng.randrange(4, 160), (size - request) // step))
    depth = rng.choice([1, 1, 2, 4, 16])
    flush = min(depth * rng.choice([1, 1, 2, 7, 50]), count)
    words = ['bench', '-w', '-f', form, '-c', str(count), '-d', str(depth), '-s', str(request), '-S', str(step),
             '-o', str(512 * rng.randrange(0, max(1, (size - count * step) // 512))), '--pattern=165']
    if flush >= depth:
        words += [f'--flush-interval={flush}'] + rng.choice([[], ['--no-drain']])
    return words + rng.choice([[], ['-t', 'none']]) + [target]


def write_words(rng, folder, form, size, target, coded=True):
    """Words of a command that writes to an image that stands."""
    kind = rng.choice(['bench', 'bench', 'convert', 'convert', 'dd'])
    if kind == 'bench':
        return bench(rng, form, size, target)
    source(rng, folder, size)
    if kind == 'dd':
        unit = rng.choice([512, 4096, 65536])
        start = rng.randrange(size // unit)
        count = rng.randrange(1, size // unit - start + 1)
        return ['dd', '-f', 'raw', '-O', form, f'bs={unit}', f'skip={start}', f'seek={start}', f'count={start + count}',
                'conv=notrunc' + rng.choice(['', ',fsync', ',sparse']), 'if=source', f'of={target}']
    words = ['convert', '-n', '-f', 'raw', '-O', form]
    words += rng.choice([[], [], ['-m', '1'], ['-W'], ['-W', '-m', '16'], ['-S', '0'], ['-S', '64k']])
    # (the default is unsafe, and promises nothing)
    words += ['-t', rng.choice(['writeback', 'writeback', 'none', 'writethrough', 'directsync'])]
    if coded and rng.random() < 0.2:
        words += ['-c']
    return words + ['source', target]


@row('qcow2 write')
def qcow2_write(rng, number, folder):
    options, size = QCOW2[number % len(QCOW2)], some_size(rng)
    names = qcow2(rng, folder, options, size)
    words = write_words(rng, folder, 'qcow2', size, 't.img', 'data_file' not in options)
    return Case(options, words, [('t.img', 'qcow2')], views_of(names))


# ---- Chains -------------------------------------------------------------------------------------------

@row('qcow2 commit')
def qcow2_commit(rng, number, folder):
    """t.img over m.img over perhaps b.img; what t.img holds goes down into m.img."""
    size = some_size(rng)
    smaller = rng.choice([size, size, whole_sectors(size * 2 // 3)])
    options = QCOW2[number % len(QCOW2)]
    backing = None
    if may_be_backed(options) and rng.random() < (0.9 if 'extended_l2' in options else 0.5):
        backing = make_base(rng, folder, 'b.img', smaller)
    base_form = 'qcow2' if backing or rng.random() < 0.85 else 'raw'
    make(rng, folder, 'm.img', base_form, options if base_form == 'qcow2' else '', smaller, backing,
         filled=rng.random() < 0.7)
    top = rng.choice([o for o in QCOW2 if may_be_backed(o)])
    make(rng, folder, 't.img', 'qcow2', top, size, ('m.img', base_form))
    words = ['commit', '-f', 'qcow2'] + rng.choice([[], [], ['-t', 'none'], ['-t', 'writethrough']]) + \
        rng.choice([[], [], ['-d'], ['-b', 'm.img']] + ([['-b', 'b.img']] if backing else []))
    images = [('t.img', 'qcow2')] + ([('m.img', 'qcow2')] if base_form == 'qcow2' else [])
    if backing and backing[1] == 'qcow2':
        images.append(('b.img', 'qcow2'))
    views = {'disk': view('qcow2', 't.img'), 'base': view(base_form, 'm.img')}
    return Case(f'{top} over {options if base_form == "qcow2" else "raw"}', words + ['t.img'], images, views)


@row('qcow2 rebase')
def qcow2_rebase(rng, number, folder):
    size = some_size(rng)
    options = [o for o in QCOW2 if may_be_backed(o)][number % 13]
    sizes = [size, size, whole_sectors(size * 2 // 3)]
    old = make_base(rng, folder, 'b.img', rng.choice(sizes))
    new = make_base(rng, folder, 'n.img', rng.choice(sizes))
    make(rng, folder, 't.img', 'qcow2', options, size, old)
    words = ['rebase', '-f', 'qcow2'] + rng.choice([[], [], ['-t', 'none'], ['-t', 'writethrough']])
    if 'data_file' not in options:
        words += rng.choice([[], [], ['-c']])
    words += rng.choice([['-b', ''], ['-b', 'n.img', '-F', new[1]], ['-b', 'n.img', '-F', new[1]]])
    return Case(options, words + ['t.img'], [('t.img', 'qcow2')], views_of([]))


# ---- Snapshots, lengths, options -----------------------------------------------------------------------

def snapshot_row(flag):
    def case(rng, number, folder):
        usable = [o for o in QCOW2 if may_have_snapshots(o)]
        options, size = usable[number % len(usable)], some_size(rng)
        # (no snapshot is applied to an image with bitmaps)
        qcow2(rng, folder, options, size, snapshots=False, bitmaps=flag != '-a')
        names = rng.choice([[], ['one'], ['one', 'two']] if flag == '-c' else [['one'], ['one', 'two'],
                                                                              ['one', 'two', 'three']])
        take_snapshots(rng, folder, size, names)
        target = 'new' if flag == '-c' else rng.choice(names)
        return Case(options, ['snapshot', flag, target, 't.img'], [('t.img', 'qcow2')],
                    views_of(names + (['new'] if flag == '-c' else [])))
    return case


row('qcow2 snapshot -c')(snapshot_row('-c'))
row('qcow2 snapshot -a')(snapshot_row('-a'))
row('qcow2 snapshot -d')(snapshot_row('-d'))


@row('qcow2 resize up')
def qcow2_grow(rng, number, folder):
    options, size = QCOW2[number % len(QCOW2)], some_size(rng)
    names = qcow2(rng, folder, options, size, snapshots='compat=0.10' not in options)
    larger = size + 512 * rng.choice([1, 100, 8000, 40000])
    mode = rng.choice(['off', 'off', 'metadata', 'falloc', 'full'])
    if any(os.path.exists(os.path.join(folder, name)) for name in ['b.img']):
        mode = 'off'
    return Case(options, ['resize', '-f', 'qcow2', '--preallocation=' + mode, 't.img', str(larger)],
                [('t.img', 'qcow2')], views_of(names))


@row('qcow2 resize down')
def qcow2_shrink(rng, number, folder):
    options, size = QCOW2[number % len(QCOW2)], some_size(rng)
    qcow2(rng, folder, options, size, snapshots=False)
    smaller = 512 * rng.randrange(1, size // 512)
    return Case(options, ['resize', '-f', 'qcow2', '--shrink', 't.img', str(smaller)],
                [('t.img', 'qcow2')], views_of([]))


@row('qcow2 amend')
def qcow2_amend(rng, number, folder):
    usable = [o for o in QCOW2 if 'refcount_bits=1,' not in o]
    options, size = usable[number % len(usable)], some_size(rng)
    names = qcow2(rng, folder, options, size)
    changes = ['lazy_refcounts=on', 'lazy_refcounts=off', 'refcount_bits=16', 'refcount_bits=64', 'refcount_bits=8',
               'refcount_bits=32', f'size={size + MEGA}']
    if 'compat=0.10' in options:
        changes = ['compat=1.1', 'compat=1.1,lazy_refcounts=on', 'compat=1.1,refcount_bits=8', f'size={size + MEGA}']
    elif not any(word in options for word in ('data_file', 'extended_l2', 'refcount_bits', 'compression_type')):
        changes += ['compat=0.10'] * 6
    return Case(options, ['amend', '-f', 'qcow2', '-o', rng.choice(changes), 't.img'], [('t.img', 'qcow2')],
                views_of(names))


@row('qcow2 bitmap')
def qcow2_bitmap(rng, number, folder):
    usable = [o for o in QCOW2 if 'compat=0.10' not in o]
    options, size = usable[number % len(usable)], some_size(rng)
    names = qcow2(rng, folder, options, size, bitmaps=False)
    for name in 'one', 'two':
        must(PEER, ['bitmap', '--add', '-g', rng.choice(['512', '4k', '64k']), 't.img', name], folder)
        fill(rng, folder, 't.img', 'qcow2', size)
    change = rng.choice([['--add', '-g', '512', 't.img', 'new'], ['--remove', 't.img', 'one'],
                         ['--clear', 't.img', 'two'], ['--disable', 't.img', 'one'], ['--merge', 'one', 't.img', 'two'],
                         ['--add', '--merge', 'one', '--merge', 'two', 't.img', 'new']])
    return Case(options, ['bitmap', '-f', 'qcow2'] + change, [('t.img', 'qcow2')], views_of(names))


LEAKS = ['leaked cluster', 'leaked at the end']
FAULTS = ['count too low', 'count zero', 'count too high', 'leaked cluster', 'copied of data', 'copied of a table',
          'block lost']


def check_row(how, damages):
    def case(rng, number, folder):
        options, size = QCOW2[number % len(QCOW2)], some_size(rng)
        names = qcow2(rng, folder, options, size)
        path = os.path.join(folder, 't.img')
        with open(path, 'rb') as file:
            before = file.read()
        done = []
        for _ in range(20):
            image, done = Image(before), []
            for _ in range(rng.randrange(1, 5)):
                name, function = rng.choice([(n, f) for _, n, f in DAMAGES if n in damages])
                try:
                    function(rng, image)
                    done.append(name)
                except Skip:
                    pass
            if done:
                before = bytes(image.data)
                break
        with open(path, 'wb') as file:
            file.write(before)
        made = Case(f"{options} {', '.join(done)}", ['check', '-q', '-f', 'qcow2', '-r', how, 't.img'],
                    [('t.img', 'qcow2')], views_of(names))
        made.repair = how == 'all'
        return made
    return case


@row('qcow2 check -r after a cut')
def qcow2_mend(rng, number, folder):
    options, size = QCOW2[number % len(QCOW2)], some_size(rng)
    names = qcow2(rng, folder, options, size)
    made = Case(options, ['check', '-q', '-f', 'qcow2', '-r', rng.choice(['leaks', 'all']), 't.img'],
                [('t.img', 'qcow2')], views_of(names))
    made.crash = write_words(rng, folder, 'qcow2', size, 't.img')
    return made


row('qcow2 check -r leaks')(check_row('leaks', LEAKS))
row('qcow2 check -r all')(check_row('all', FAULTS))


# ---- Faults that were found, where they show soon ---------------------------------------------------------

# Clusters that have their place before they are written to: no reference count changes then.
PLACED = ['extended_l2=on,preallocation=metadata', 'extended_l2=on,preallocation=metadata,data_file=DATA']


def write_here_and_there(rng, size, target):
    step = rng.choice([66048, 100864, 131584])
    return ['bench', '-w', '-f', 'qcow2', '-c', str((size - MEGA // 4) // step), '-d', '1', '-s', '512',
            '-S', str(step), '-o', str(512 * rng.randrange(512)), '--pattern=165', '--flush-interval=5', target]


@row('qcow2 write, preallocated over a backing file')
def placed_write(rng, number, folder):
    base = make_base(rng, folder, 'b.img', 2 * MEGA)
    make(rng, folder, 't.img', 'qcow2', PLACED[number % 2], 2 * MEGA, base, filled=False)
    return Case(PLACED[number % 2], write_here_and_there(rng, 2 * MEGA, 't.img'), [('t.img', 'qcow2')], views_of([]))


@row('qcow2 commit, preallocated over a backing file', 100)
def placed_commit(rng, number, folder):
    base = make_base(rng, folder, 'b.img', 2 * MEGA)
    make(rng, folder, 'm.img', 'qcow2', PLACED[number % 2], 2 * MEGA, base, filled=False)
    make(rng, folder, 't.img', 'qcow2', 'cluster_size=512', 2 * MEGA, ('m.img', 'qcow2'), filled=False)
    run(PEER_IO, ['-f', 'qcow2'] + [word for at in range(0, 2 * MEGA - KILO, 66048)
                                    for word in ('-c', f'write -P 7 {at} 512')] + ['t.img'], folder)
    return Case(PLACED[number % 2], ['commit', '-f', 'qcow2', '-d', 't.img'],
                [('t.img', 'qcow2'), ('m.img', 'qcow2')],
                {'disk': view('qcow2', 't.img'), 'base': view('qcow2', 'm.img')})


@row('qcow2 write, flagged as zero')
def zeroed_write(rng, _, folder):
    options = rng.choice(['cluster_size=4k', 'cluster_size=64k', 'cluster_size=4k,data_file=DATA'])
    make(rng, folder, 't.img', 'qcow2', options, 2 * MEGA, filled=False)
    run(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 7 0 {2 * MEGA}', '-c', f'write -z 0 {2 * MEGA}', 't.img'], folder)
    return Case(options, write_here_and_there(rng, 2 * MEGA, 't.img'), [('t.img', 'qcow2')], views_of([]))


@row('qcow2 resize up, preallocated', 100)
def placed_grow(rng, _, folder):
    make(rng, folder, 't.img', 'qcow2', 'cluster_size=512', MEGA)
    return Case('', ['resize', '-f', 'qcow2', '--preallocation=metadata', 't.img', str(MEGA + 51200)],
                [('t.img', 'qcow2')], views_of([]))


@row('qcow2 resize down, many refcount blocks', 60)
def shrink_blocks(rng, _, folder):
    make(rng, folder, 't.img', 'qcow2', 'cluster_size=512', MEGA, filled=False)
    run(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 7 {rng.randrange(900) * 512} 128k', 't.img'], folder)
    return Case('', ['resize', '-f', 'qcow2', '--shrink', 't.img', str(512 * rng.randrange(1, 200))],
                [('t.img', 'qcow2')], views_of([]))


@row('qcow2 header', 100)
def headers(rng, number, folder):
    """What a header says is longer than a sector."""
    bases = make_base(rng, folder, 'b.img', MEGA), make_base(rng, folder, 'n.img', MEGA)
    version = rng.choice(['compat=0.10', 'compat=1.1'])
    make(rng, folder, 't.img', 'qcow2', version, MEGA, bases[0], filled=False)
    steps = [word for at in range(0, MEGA, 65536) for word in ('-c', f'write -P 7 {at} 65536')]
    run(PEER_IO, ['-f', 'qcow2'] + steps[2:] + ['t.img'], folder)
    changes = [['rebase', '-f', 'qcow2', '-b', 'n.img', '-F', bases[1][1], 't.img'],
               ['amend', '-f', 'qcow2', '-o', 'compat=1.1' if '0.10' in version else 'compat=0.10', 't.img']]
    if version == 'compat=1.1':
        changes.append(['bitmap', '-f', 'qcow2', '--add', 't.img', 'bits'])
    return Case(version, changes[number % len(changes)], [('t.img', 'qcow2')], views_of([]))


@row('raw write, flushes beside', 100)
def flushes_beside(rng, _, folder):
    make(rng, folder, 't.raw', 'raw', '', 2 * MEGA, filled=False)
    flush = rng.choice([16, 17, 50])
    return Case('', ['bench', '-w', '-f', 'raw', '-c', str(flush * 3 + rng.randrange(1, 12)), '-d', '16', '-s', '1024',
                     '-S', '5120', '--pattern=165', f'--flush-interval={flush}', '--no-drain', 't.raw'],
                [('t.raw', 'raw')], {'disk': view('raw', 't.raw')})


# ---- Other formats -----------------------------------------------------------------------------------------

OTHERS = {
    'qed': ['', 'cluster_size=4k', 'cluster_size=4k,table_size=2'],
    'vdi': ['', '', 'static=on'],
    'vhdx': ['block_size=1M', 'block_size=1M,block_state_zero=off', 'block_size=1M,subformat=fixed',
             'log_size=2M,block_size=2M'],
    'vmdk': ['subformat=monolithicSparse', 'subformat=twoGbMaxExtentSparse', 'subformat=monolithicSparse',
             'subformat=monolithicFlat', 'subformat=twoGbMaxExtentSparse', 'subformat=twoGbMaxExtentFlat'],
    'parallels': ['cluster_size=64k', 'cluster_size=4k', ''],
    'vpc': ['subformat=dynamic', 'subformat=dynamic', 'subformat=fixed'],
    'qcow': ['', ''],
    'raw': [''],
}
BACKED = {'qed': '', 'vmdk': 'subformat=monolithicSparse', 'qcow': ''}


def other_size(rng, form):
    size = some_size(rng)
    if form == 'vpc':
        return size // 69632 * 69632
    return size


def make_other(rng, number, folder, form):
    options = OTHERS[form][number % len(OTHERS[form])]
    size = other_size(rng, form)
    backing = None
    if form in BACKED and rng.random() < 0.7 and ('subformat' not in options or 'Sparse' in options):
        backing = make_base(rng, folder, 'b.img', size)
        if form == 'vmdk':
            make(rng, folder, 'b.vmdk', 'vmdk', '', size)
            backing = 'b.vmdk', 'vmdk'
    name = 't.' + form
    make(rng, folder, name, form, options, size, backing, filled=rng.random() < 0.8)
    with_size = run(PEER, ['info', '--output=json', '-f', form, name], folder).out
    size = int([part for part in with_size.split('"virtual-size": ')][-1].split(',')[0].split('}')[0])
    return options, size, name, backing


def write_row(form):
    def case(rng, number, folder):
        options, size, name, backing = make_other(rng, number, folder, form)
        words = write_words(rng, folder, form, size, name, coded=False)
        return Case(f"{options}{' over ' + backing[1] if backing else ''}", words, [(name, form)],
                    {'disk': view(form, name)})
    return case


def grow_row(form):
    def case(rng, number, folder):
        options, size, name, _ = make_other(rng, number, folder, form)
        return Case(options, ['resize', '-f', form, name, str(size + 512 * rng.choice([1, 100, 8000]))], [(name, form)],
                    {'disk': view(form, name)})
    return case


def mend_row(form, how):
    """What a power cut in the middle of a write left is mended."""
    def case(rng, number, folder):
        options, size, name, _ = make_other(rng, number, folder, form)
        made = Case(options, ['check', '-q', '-f', form, '-r', how, name], [(name, form)], {'disk': view(form, name)})
        made.crash = bench(rng, form, size, name)
        return made
    return case


for FORM in OTHERS:
    row(FORM + ' write')(write_row(FORM))
for FORM in 'qed', 'vhdx', 'parallels':
    row(FORM + ' check -r all')(mend_row(FORM, 'all'))
row('qed resize up')(grow_row('qed'))
row('raw resize up')(grow_row('raw'))
