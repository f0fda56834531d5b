#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run a command for whom no file system has locks.

usage: no_locks.py ERROR COMMAND...     ERROR: ENOLCK, EOPNOTSUPP, ENOSYS

A filter of system calls (seccomp) answers each fcntl that takes or asks for a lock with the error.  Exit code 77: not
possible here.
"""
import ctypes
import errno
import fcntl
import os
import platform
import struct
import sys

FCNTL = {'x86_64': 72, 'aarch64': 25}       # its number
LOCKS = (5, 6, 7, 36, 37, 38)               # F_GETLK, F_SETLK, F_SETLKW, and the F_OFD_ of each
LOAD, JUMP_IF, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7fff0000, 0x00050000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38


def program(number, error):
    """BPF: load the number of the call, compare; load the low half of the second argument, compare with each command."""
    rest = len(LOCKS)
    steps = [(LOAD, 0, 0, 0), (JUMP_IF, 0, rest + 1, number), (LOAD, 0, 0, 24)]
    steps += [(JUMP_IF, rest - i, 0, command) for i, command in enumerate(LOCKS)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, FAIL | error)]
    return b''.join(struct.pack('<HBBI', *step) for step in steps)


class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('steps', ctypes.c_void_p)]


def deny(error):
    number = FCNTL.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    if number is None or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit(77)
    steps = ctypes.create_string_buffer(program(number, error))
    filter_ = Filter(len(steps) // 8, ctypes.addressof(steps))
    if libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(filter_), 0, 0) != 0:
        sys.exit(77)
    with open('/dev/null', 'rb') as probe:
        try:
            fcntl.lockf(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
            sys.exit(77)
        except OSError as failure:
            if failure.errno != error:
                sys.exit(77)


if __name__ == '__main__':
    deny(getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
