# SPDX-License-Identifier: MIT
"""Bytes from a socket, for the servers of tests."""


def take(client, length):
    """Exactly so many bytes; EOFError: the client has left."""
    data = b''
    while len(data) < length:
        more = client.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data
