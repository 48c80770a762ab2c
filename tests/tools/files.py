"""What suites do with files, and what the system answers."""
import ctypes
import errno
import os
import struct
import time

AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def read_text(path):
    return read(path).decode()


def write(path, data, mode="wb"):
    """Bytes, or a text's."""
    with open(path, mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def written(path, data):
    """The path, once the data is there."""
    write(path, data)
    return path


def errno_of(action, *args):
    """The name of the error that the action ends with, or "ok"."""
    try:
        action(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def checked(result):
    """The C library's answer, unless it is an error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renameat2(old, new, flags):
    checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


BTIME, BASIC_STATS = 0x800, 0x7FF  # statx's


def statx(of):
    """Of a path (a link itself) or an open file: the mask that is answered, what os.stat says too, the birth in ns."""
    out = ctypes.create_string_buffer(256)
    where = (of, b"", 0x1000) if isinstance(of, int) else (AT_FDCWD, os.fsencode(of), 0x100)
    checked(libc.statx(*where, BASIC_STATS | BTIME, out))
    mask, _, _, links, uid, gid, mode, inode, size, blocks, _ = struct.unpack_from("<IIQIIIHxxQQQQ", out)
    times = [seconds * 10**9 + nano for seconds, nano in struct.iter_unpack("<qIxxxx", out[64:128])]
    return mask, (mode, inode, links, uid, gid, size, blocks, times[0], times[3], times[2]), times[1]


def soon(condition, bound=10):
    """Whether it comes true within `bound` seconds."""
    deadline = time.monotonic() + bound
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
