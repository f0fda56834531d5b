# SPDX-License-Identifier: MIT
"""Random programs that need real servers, which a shell starts, as it does for the bats files."""
import os
import re
import subprocess
import sys
import tempfile

from harness import IMG, MODULES, PEER, ROOT, each, run, skip_all

MISSING = 77        # the exit code of a shell that has no servers


def on_servers(name, default, one, *, driver, known_as, shell, started, servers):
    """Run the cases as each() does; if the servers have not `started`, this program runs again under `shell`.

    driver: its name in both tools; known_as: what messages call it; servers: what is missing if the shell says so.  The
    shell gets the folder of the project, one of its own, and the command to run when the servers are there.
    """
    if not PEER or not os.path.exists(os.path.join(MODULES, f'block-{driver}.so')):
        skip_all(name, default, f'the reference tool has no {known_as}')
    if not re.search(rf'\b{driver}\b', run(IMG, ['--help'], '/').out):
        skip_all(name, default, f'{driver} is not built in')
    if started:
        os.environ['QEMU_MODULE_DIR'] = MODULES
        each(name, default, one)
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        os.chmod(folder, 0o755)
        program = [sys.executable, os.path.abspath(sys.argv[0])]
        code = subprocess.run(['bash', '-c', shell, 'bash', ROOT, folder, *program]).returncode
    if code != MISSING:
        sys.exit(code)
    skip_all(name, default, servers)
