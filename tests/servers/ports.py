"""Blocks of free TCP ports for parallel tests; the same protocol as take_port_block in lib.sh."""
import fcntl
import os
import random
import socket

FIRST, SIZE, BLOCKS = 20032, 64, 187  # below the range that the kernel gives to outgoing connections


class PortBlock:
    """64 ports on 127.0.0.1 that no other test holds. The lock ends with the process, or with close()."""

    def __init__(self):
        for _ in range(400):
            self.first = FIRST + SIZE * random.randrange(BLOCKS)
            self._path = "%s/.mediafs-port-%d-%d" % (os.environ.get("TMPDIR", "/tmp"), os.getuid(), self.first)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            if self._locked() and not listening(self.first):
                return
            os.close(self._fd)
        raise RuntimeError("no free block of ports")

    def _locked(self):
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except OSError:
            return False

    def close(self):
        if self._fd >= 0:
            os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
