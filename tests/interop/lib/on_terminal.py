# SPDX-License-Identifier: MIT
"""Run a command with its output on a terminal, and write what the terminal got to a file.

usage: on_terminal.py both|errors FILE [VARIABLE=VALUE...] COMMAND...

both: standard output and standard error are the terminal, of $WIDTH columns (80); errors: only standard error, and
standard output goes nowhere.  The exit code is that of the command.
"""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios


def main():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 25, int(os.environ.get('WIDTH', '80')), 0, 0))
    process = subprocess.Popen(['env'] + sys.argv[3:], stderr=slave,
                               stdout=slave if sys.argv[1] == 'both' else subprocess.DEVNULL)
    os.close(slave)
    got = b''
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:         # all other ends are closed
            piece = b''
        if not piece:
            break
        got += piece
    with open(sys.argv[2], 'wb') as out:
        out.write(got.replace(b'\r\n', b'\n'))
    sys.exit(process.wait())


main()
