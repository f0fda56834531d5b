# SPDX-License-Identifier: MIT
"""Writing the seeds of fuzz targets, where they belong or into the folder that the command line names."""
import os
import sys

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../fuzz/corpus')


def save(form, seeds):
    """`seeds`: the bytes of each file by its name."""
    folder = os.path.join(sys.argv[1] if len(sys.argv) > 1 else CORPUS, form)
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds.items():
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(data)
