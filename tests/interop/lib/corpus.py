# SPDX-License-Identifier: MIT
"""Writes the seeds of fuzz targets to their folder, or to the one on the command line."""
import os
import sys

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../fuzz/corpus')


def save(form, seeds):
    """`seeds`: file names and their bytes."""
    folder = os.path.join(sys.argv[1] if len(sys.argv) > 1 else CORPUS, form)
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds.items():
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(data)
