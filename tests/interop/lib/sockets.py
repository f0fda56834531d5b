# SPDX-License-Identifier: MIT
"""Unix sockets of servers: the file of one is there some time before anybody listens."""
import os
import socket

LISTENING = ['00010000', '0001', '01']      # flags, type and state in the kernel's list


def listener_at(path, waiting=50):
    """A listening socket.  Its file appears last: whoever sees it can connect."""
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + '.new')
    listener.listen(waiting)
    os.rename(path + '.new', path)
    return listener


def listening(path):
    """Somebody listens at this socket, which another program made by its whole path.  (To connect would be the one
    client of some servers.)"""
    with open('/proc/net/unix', encoding='utf-8', errors='surrogateescape') as sockets:
        lines = [line.split(maxsplit=7) for line in sockets]
    return any(line[3:6] == LISTENING and line[7:] == [path + '\n'] for line in lines)
