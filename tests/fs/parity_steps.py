"""The steps of the parity test: each operation as a function of a side, which is the mount or a plain directory."""
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct

from files import AT_FDCWD, checked, libc, renameat2

NOFOLLOW, FORCE_SYNC = 0x100, 0x2000


class User:
    """Acts as somebody else, as a file server does."""

    def __init__(self, uid):
        self.uid = uid

    def __enter__(self):
        if self.uid:
            libc.setfsgid(self.uid)
            libc.setfsuid(self.uid)

    def __exit__(self, *_):
        libc.setfsuid(0)
        libc.setfsgid(0)


class Side:
    def __init__(self, base):
        self.base = base
        self.fds = {}

    def on(self, path):
        return self.base + "/" + path

    def fd(self, slot):
        if slot not in self.fds:
            raise OSError(errno.EBADF, "")
        return self.fds[slot]

    def close(self):
        for fd in self.fds.values():
            os.close(fd)
        self.fds = {}


def fields(st, links=True):
    """What both sides must show of a file, times apart."""
    directory = stat.S_ISDIR(st.st_mode)
    return (stat.filemode(st.st_mode), st.st_nlink if links or not directory else 0, st.st_uid, st.st_gid,
            0 if directory else st.st_size, st.st_rdev)


def statx(path):
    """As os.lstat, asked of the filesystem itself: (mode, nlink, uid, gid, ino, size, mtime, ctime)."""
    buffer = ctypes.create_string_buffer(256)
    checked(libc.statx(AT_FDCWD, os.fsencode(path), NOFOLLOW | FORCE_SYNC, 0x7ff, buffer))
    nlink, uid, gid, mode, _, ino, size = struct.unpack_from("IIIHHQQ", buffer, 16)
    ctime, ctime_ns, _, mtime, mtime_ns = struct.unpack_from("qIIqI", buffer, 96)
    return mode, nlink, uid, gid, ino, size, mtime * 10**9 + mtime_ns, ctime * 10**9 + ctime_ns


def as_statx(st):
    return (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)


# --- the operations: named as their steps

def op_open(side, slot, path, flags, mode):
    if slot in side.fds:
        os.close(side.fds.pop(slot))
    side.fds[slot] = os.open(side.on(path), flags | os.O_NONBLOCK, mode)


def op_close(side, slot):
    os.close(side.fd(slot))
    del side.fds[slot]


def op_read(side, slot, size):
    return os.read(side.fd(slot), size)


def op_pread(side, slot, size, at):
    return os.pread(side.fd(slot), size, at)


def op_write(side, slot, byte, size):
    return os.write(side.fd(slot), bytes([byte]) * size)


def op_pwrite(side, slot, byte, size, at):
    return os.pwrite(side.fd(slot), bytes([byte]) * size, at)


def op_seek(side, slot, at, whence):
    return os.lseek(side.fd(slot), at, whence)


def op_ftruncate(side, slot, size):
    os.ftruncate(side.fd(slot), size)


def op_fallocate(side, slot, mode, at, size):
    checked(libc.fallocate(side.fd(slot), mode, ctypes.c_long(at), ctypes.c_long(size)))


def op_fsync(side, slot, data):
    (os.fdatasync if data else os.fsync)(side.fd(slot))


def op_flock(side, slot, how):
    fcntl.flock(side.fd(slot), how | fcntl.LOCK_NB)


def op_copy(side, source, target, size, source_at, target_at):
    return os.copy_file_range(side.fd(source), side.fd(target), size, source_at, target_at)


def op_fchmod(side, slot, mode):
    os.fchmod(side.fd(slot), mode)


def op_fchown(side, slot, uid, gid):
    os.fchown(side.fd(slot), uid, gid)


def op_fsetxattr(side, slot, name, value, flags):
    os.setxattr(side.fd(slot), name, value, flags)


def op_fgetxattr(side, slot, name):
    return os.getxattr(side.fd(slot), name)


def op_mmap(side, slot, at, byte, writes):
    """A shared mapping, read and perhaps written."""
    size = os.fstat(side.fd(slot)).st_size
    if not 0 <= at < size:
        return None
    with mmap.mmap(side.fd(slot), size, mmap.MAP_SHARED,
                   mmap.PROT_READ | (mmap.PROT_WRITE if writes else 0)) as m:
        before = m[at:at + 50]
        if writes:
            m[at] = byte
            m.flush()
        return before


def op_cat(side, path, size, at):
    fd = os.open(side.on(path), os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.pread(fd, size, at)
    finally:
        os.close(fd)


def op_put(side, path, byte, size):
    """A whole file, as a shell's redirection writes it."""
    fd = os.open(side.on(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666)
    try:
        return os.write(fd, bytes([byte]) * size)
    finally:
        os.close(fd)


def op_truncate(side, path, size):
    os.truncate(side.on(path), size)


def op_rename(side, old, new, flags):
    renameat2(side.on(old), side.on(new), flags)


def op_link(side, old, new, follow):
    os.link(side.on(old), side.on(new), follow_symlinks=follow)


def op_symlink(side, target, path):
    os.symlink(target, side.on(path))


def op_readlink(side, path):
    return os.readlink(side.on(path))


def op_unlink(side, path):
    os.unlink(side.on(path))


def op_rmdir(side, path):
    os.rmdir(side.on(path))


def op_mkdir(side, path, mode):
    os.mkdir(side.on(path), mode)


def op_mknod(side, path, mode):
    os.mknod(side.on(path), mode)


def op_chmod(side, path, mode):
    os.chmod(side.on(path), mode)


def op_chown(side, path, uid, gid, follow):
    os.chown(side.on(path), uid, gid, follow_symlinks=follow)


def op_utimens(side, path, atime, mtime):
    """Each time is (seconds, nanoseconds), where those may be UTIME_NOW or UTIME_OMIT."""
    times = struct.pack("qqqq", *atime, *mtime)
    checked(libc.utimensat(AT_FDCWD, os.fsencode(side.on(path)), times, NOFOLLOW))


def op_setxattr(side, path, name, value, flags):
    os.setxattr(side.on(path), name, value, flags, follow_symlinks=False)


def op_getxattr(side, path, name):
    return os.getxattr(side.on(path), name, follow_symlinks=False)


def op_listxattr(side, path):
    return sorted(os.listxattr(side.on(path), follow_symlinks=False))


def op_removexattr(side, path, name):
    os.removexattr(side.on(path), name, follow_symlinks=False)


def op_access(side, path, mode):
    return os.access(side.on(path), mode, effective_ids=True)


def op_stat(side, path, links):
    return fields(os.stat(side.on(path)), links)


def op_list(side, path):
    with os.scandir(side.on(path)) as entries:
        return sorted((e.name, e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False), e.is_symlink())
                      for e in entries)


def op_statfs(side, path):
    st = os.statvfs(side.on(path))
    return st.f_bsize, st.f_blocks, st.f_namemax


def op_syncdir(side, path):
    fd = os.open(side.on(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


OPERATIONS = {name[3:]: call for name, call in list(globals().items()) if name.startswith("op_")}
