# SPDX-License-Identifier: MIT
"""Builds recorder.c, and the environment that has a program recorded."""
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def build_recorder(folder):
    path = os.path.join(folder, 'recorder.so')
    subprocess.run(os.environ.get('CC', 'cc').split() +
                   ['-std=gnu11', '-D_GNU_SOURCE', '-O2', '-shared', '-fPIC', '-o', path,
                    os.path.join(HERE, 'recorder.c'), '-ldl', '-pthread'], check=True)
    return path


def recorded(recorder, folder, log, forget=False):
    """Variables to add: what changes in `folder` goes into `log`.  `forget`: no sync counts."""
    variables = {'LD_PRELOAD': recorder, 'POWERCUT_LOG': log, 'POWERCUT_FOLDER': folder, 'LC_ALL': 'C'}
    if forget:
        variables['POWERCUT_FORGET_SYNCS'] = '1'
    return variables
