# SPDX-License-Identifier: MIT
"""How a server ends when the test tells it to."""
import signal
import threading


def at_end(action):
    """SIGTERM calls action, in a thread.  (A handler of Python runs between two calls: if the signal comes just before the
    main thread waits for a client, the handler would wait with it.)  To be called before any thread starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait():
        signal.sigwait({signal.SIGTERM})
        action()

    threading.Thread(target=wait, daemon=True).start()
