"""Each operation on the mount and on a plain directory answers the same: result, errno, attributes, content."""
import fcntl
import mmap
import os
import socket
import stat
import time

import mounted
from files import BTIME, read, renameat2, statx, write
from mounted import shape
from parity_steps import User

M = None


def setUpModule():
    global M
    M = mounted.Parity.world = mounted.for_module()


class Calls(mounted.Parity):
    def test_create_write_read(self):
        def act(d):
            write(d + "/f", b"hello")
            return read(d + "/f"), shape(d + "/f")
        self.both(act)

    def test_append(self):
        def act(d):
            write(d + "/f", b"one")
            fd = os.open(d + "/f", os.O_WRONLY | os.O_APPEND)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, b"two")
            os.close(fd)
            return read(d + "/f")
        self.assertEqual(self.both(act), ("ok", b"onetwo"))

    def test_open_flags(self):
        def exclusive(d):
            write(d + "/f", b"x")
            os.close(os.open(d + "/f", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        self.assertEqual(self.both(exclusive), ("error", "EEXIST"))
        self.both(lambda d: os.open(d + "/missing", os.O_RDONLY))
        self.both(lambda d: os.open(d + "/f/below", os.O_RDONLY))
        self.both(lambda d: os.open(d, os.O_WRONLY))

        def truncating(d):
            os.close(os.open(d + "/f", os.O_WRONLY | os.O_TRUNC))
            return shape(d + "/f")
        self.both(truncating)

    def test_create_mode_and_umask(self):
        def act(d):
            old = os.umask(0o027)
            try:
                os.close(os.open(d + "/f", os.O_CREAT | os.O_WRONLY, 0o666))
                os.mkdir(d + "/d", 0o777)
                os.mkfifo(d + "/p", 0o666)
            finally:
                os.umask(old)
            return [shape(d + "/" + n) for n in "fdp"]
        self.both(act)

    def test_open_without_permission_bits(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0)
            os.write(fd, b"secret")
            got = os.pread(fd, 10, 0)
            os.close(fd)
            return got, shape(d + "/f")
        self.both(act)

    def test_rename(self):
        def act(d):
            write(d + "/a", b"a")
            write(d + "/b", b"bb")
            ino = os.stat(d + "/a").st_ino
            os.rename(d + "/a", d + "/b")
            return sorted(os.listdir(d)), read(d + "/b"), os.stat(d + "/b").st_ino == ino
        self.assertEqual(self.both(act)[1], (["b"], b"a", True))
        self.both(lambda d: os.rename(d + "/missing", d + "/x"))

    def test_rename_directories(self):
        def act(d):
            os.makedirs(d + "/one/two")
            write(d + "/one/two/f", b"deep")
            os.mkdir(d + "/empty")
            os.rename(d + "/one", d + "/empty")
            return read(d + "/empty/two/f"), sorted(os.listdir(d))
        self.both(act)

        def onto_full(d):
            os.mkdir(d + "/x")
            os.rename(d + "/x", d + "/empty")
        self.assertEqual(self.both(onto_full), ("error", "ENOTEMPTY"))
        self.both(lambda d: os.rename(d + "/empty", d + "/empty/two/inside"))
        self.both(lambda d: os.rename(d + "/empty/two/f", d + "/x"))
        self.both(lambda d: os.rename(d + "/x", d + "/empty/two/f"))

    def test_rename_while_open(self):
        def act(d):
            fd = os.open(d + "/a", os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, b"before")
            os.rename(d + "/a", d + "/b")
            os.write(fd, b" after")
            size = os.fstat(fd).st_size
            os.close(fd)
            return size, read(d + "/b")
        self.both(act)

    def test_links(self):
        def act(d):
            write(d + "/a", b"content")
            os.link(d + "/a", d + "/b")
            same = os.stat(d + "/a").st_ino == os.stat(d + "/b").st_ino
            write(d + "/b", b"changed")
            first = shape(d + "/a"), read(d + "/a"), same
            os.unlink(d + "/a")
            return first, shape(d + "/b"), read(d + "/b")
        self.both(act)
        self.both(lambda d: os.link(d + "/b", d + "/b"))
        self.both(lambda d: os.link(d, d + "/dir"))

    def test_symlinks(self):
        def act(d):
            os.symlink("target", d + "/l")
            write(d + "/target", b"there")
            return os.readlink(d + "/l"), read(d + "/l"), shape(d + "/l")
        self.both(act)
        self.both(lambda d: os.readlink(d + "/target"))
        self.both(lambda d: os.open(d + "/l", os.O_RDONLY | os.O_NOFOLLOW))
        self.both(lambda d: os.symlink("x", d + "/l"))

    def test_xattrs(self):
        def act(d):
            write(d + "/f", b"")
            os.setxattr(d + "/f", "user.one", b"1")
            os.setxattr(d + "/f", "user.two", b"2" * 500)
            got = os.getxattr(d + "/f", "user.one"), os.getxattr(d + "/f", "user.two")
            os.removexattr(d + "/f", "user.one")
            return got, os.listxattr(d + "/f")
        self.both(act)
        self.both(lambda d: os.getxattr(d + "/f", "user.one"))
        self.both(lambda d: os.removexattr(d + "/f", "user.one"))
        self.both(lambda d: os.setxattr(d + "/f", "user.two", b"", os.XATTR_CREATE))
        self.both(lambda d: os.setxattr(d + "/f", "user.new", b"", os.XATTR_REPLACE))
        self.both(lambda d: os.setxattr(d, "user.dir", b"on a directory"))

    def test_readdir_of_many(self):
        names = ["file-%05d" % i for i in range(3000)]

        def act(d):
            for name in names:
                write(d + "/" + name, b"")
            listed = [e.name for e in os.scandir(d)]
            kinds = {e.is_file(follow_symlinks=False) for e in os.scandir(d)}
            return sorted(listed) == names, len(listed), kinds
        self.assertEqual(self.both(act), ("ok", (True, 3000, {True})))

        def remove_while_listing(d):
            for entry in os.scandir(d):
                os.unlink(entry.path)
            return os.listdir(d)
        self.assertEqual(self.both(remove_while_listing), ("ok", []))

    def test_readdir_inodes_are_stats(self):
        d = self.dirs[1]
        write(d + "/f", b"")
        os.mkdir(d + "/d")
        for entry in os.scandir(d):
            self.assertEqual(entry.inode(), os.lstat(entry.path).st_ino)

    def test_unlink_while_open(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, b"still here")
            os.unlink(d + "/f")
            os.fchmod(fd, 0o600)
            os.ftruncate(fd, 5)
            st = os.fstat(fd)
            got = os.pread(fd, 100, 0), st.st_nlink, st.st_size, stat.filemode(st.st_mode)
            os.close(fd)
            return got, os.listdir(d)
        self.both(act)

    def test_new_file_under_the_name_of_an_open_one(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, b"old")
            os.unlink(d + "/f")
            write(d + "/f", b"newer")
            got = os.pread(fd, 10, 0), read(d + "/f"), os.fstat(fd).st_size
            os.close(fd)
            return got
        self.both(act)

    def test_unlink_and_rmdir(self):
        def act(d):
            os.mkdir(d + "/d")
            write(d + "/d/f", b"")
        self.both(act)
        self.assertEqual(self.both(lambda d: os.rmdir(d + "/d")), ("error", "ENOTEMPTY"))
        self.both(lambda d: os.unlink(d + "/d"))
        self.both(lambda d: os.rmdir(d + "/d/f"))
        self.both(lambda d: os.unlink(d + "/missing"))
        self.both(lambda d: (os.unlink(d + "/d/f"), os.rmdir(d + "/d")))

    def test_mmap(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o644)
            os.ftruncate(fd, 100000)
            with mmap.mmap(fd, 100000) as m:
                m[0:5] = b"start"
                m[99990:99993] = b"end"
                m.flush()
            os.close(fd)
            data = read(d + "/f")
            return data[:5], data[99990:99993], len(data)
        self.both(act)

    def test_mmap_of_what_is_open_to_append(self):
        def act(d):
            write(d + "/f", b"0123456789")
            appending = os.open(d + "/f", os.O_RDWR | os.O_APPEND)
            with mmap.mmap(appending, 10) as m:
                m[2:4] = b"xx"
                m.flush()
            os.pwrite(appending, b"end", 0)  # to the end, on Linux
            os.close(appending)
            return read(d + "/f")
        self.assertEqual(self.both(act), ("ok", b"01xx456789end"))

    def test_chown_to_nobody_else(self):
        def act(d):
            write(d + "/f", b"")
            os.chmod(d + "/f", 0o6755)
            before = os.stat(d + "/f").st_ctime_ns
            time.sleep(0.02)
            os.chown(d + "/f", -1, -1)
            return os.stat(d + "/f").st_ctime_ns > before, shape(d + "/f")
        self.both(act)

        set_id = self.dirs[1] + "/f"
        os.chmod(set_id, 0o4755)
        with User(1001):  # a plain directory answers EPERM
            os.chown(set_id, -1, -1)
        self.assertEqual(stat.S_IMODE(os.stat(set_id).st_mode), 0o4755)

    def test_truncate(self):
        def act(d):
            write(d + "/f", b"0123456789")
            os.truncate(d + "/f", 4)
            short = read(d + "/f")
            os.truncate(d + "/f", 8)
            return short, read(d + "/f"), shape(d + "/f")
        self.both(act)
        self.both(lambda d: os.truncate(d, 0))

    def test_long_names(self):
        self.both(lambda d: write(d + "/" + "n" * 255, b"long"))
        self.assertEqual(self.both(lambda d: write(d + "/" + "n" * 256, b"long")), ("error", "ENAMETOOLONG"))
        self.both(lambda d: os.mkdir(d + "/" + "n" * 256))
        self.both(lambda d: read(d + "/" + "n" * 255))

    def test_bytes_that_are_no_text(self):
        def act(d):
            write(os.fsencode(d) + b"/\xff\xfe name\n", b"bytes")
            return os.listdir(os.fsencode(d)), read(os.fsencode(d) + b"/\xff\xfe name\n")
        self.both(act)

    def test_chmod_chown_times(self):
        def act(d):
            write(d + "/f", b"")
            os.chmod(d + "/f", 0o4751)
            os.chown(d + "/f", 1234, 5678)
            os.utime(d + "/f", ns=(1_000_000_000_123_456_789, 1_500_000_000_987_654_321))
            st = os.stat(d + "/f")
            return shape(d + "/f"), st.st_atime_ns, st.st_mtime_ns
        self.both(act)

        def link(d):
            os.symlink("f", d + "/l")
            os.chown(d + "/l", 11, 22, follow_symlinks=False)
            os.utime(d + "/l", ns=(5, 7), follow_symlinks=False)
            return shape(d + "/l"), os.lstat(d + "/l").st_mtime_ns
        self.both(link)

    def test_other_users(self):
        def act(d):
            os.chmod(d, 0o777)
            write(d + "/root-only", b"x")
            os.chmod(d + "/root-only", 0o600)
            pid = os.fork()
            if pid == 0:
                code = 0
                try:
                    os.setgid(1001)
                    os.setgroups([])
                    os.setuid(1001)
                    write(d + "/mine", b"mine")
                    os.mkdir(d + "/my-dir")
                    try:
                        read(d + "/root-only")
                        code = 3
                    except PermissionError:
                        pass
                except OSError:
                    code = 2
                os._exit(code)
            status = os.waitpid(pid, 0)[1]
            return status, shape(d + "/mine"), shape(d + "/my-dir")
        self.assertEqual(self.both(act)[1][0], 0)

    def test_setgid_directory(self):
        def act(d):
            os.mkdir(d + "/g")
            os.chown(d + "/g", 0, 4242)
            os.chmod(d + "/g", 0o2775)
            write(d + "/g/f", b"")
            os.mkdir(d + "/g/d")
            return shape(d + "/g/f"), shape(d + "/g/d")
        self.both(act)

    def test_writing_clears_set_id_bits(self):
        def act(d):
            os.chmod(d, 0o777)
            write(d + "/f", b"x")
            os.chmod(d + "/f", 0o6777)
            pid = os.fork()
            if pid == 0:
                os.setgid(1001)
                os.setgroups([])
                os.setuid(1001)
                try:
                    write(d + "/f", b"y", "ab")
                except OSError:
                    os._exit(2)
                os._exit(0)
            return os.waitpid(pid, 0)[1], shape(d + "/f")
        self.assertEqual(self.both(act)[1][0], 0)

    def test_nodes(self):
        def act(d):
            os.mkfifo(d + "/fifo")
            os.mknod(d + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(d + "/plain", stat.S_IFREG | 0o640)
            s = socket.socket(socket.AF_UNIX)
            here = os.getcwd()
            os.chdir(d)
            try:
                s.bind("socket")
            finally:
                os.chdir(here)
                s.close()
            reader = os.open(d + "/fifo", os.O_RDONLY | os.O_NONBLOCK)
            writer = os.open(d + "/fifo", os.O_WRONLY)
            os.write(writer, b"through")
            got = os.read(reader, 100)
            os.close(reader)
            os.close(writer)
            return got, [shape(d + "/" + n) for n in ("fifo", "null", "plain", "socket")]
        self.both(act)

    def test_fallocate_and_holes(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o644)
            os.posix_fallocate(fd, 0, 65536)
            size = os.fstat(fd).st_size
            os.ftruncate(fd, 1 << 20)
            os.pwrite(fd, b"end", (1 << 20) - 3)
            hole = os.lseek(fd, 65536, os.SEEK_HOLE)
            data = os.lseek(fd, 65536, os.SEEK_DATA)
            try:
                os.lseek(fd, 1 << 20, os.SEEK_DATA)
                past = None
            except OSError as e:
                past = e.errno
            os.close(fd)
            return size, hole, data, past
        self.both(act)

    def test_copy_file_range(self):
        def act(d):
            write(d + "/a", bytes(range(256)) * 1000)
            a = os.open(d + "/a", os.O_RDONLY)
            b = os.open(d + "/b", os.O_CREAT | os.O_WRONLY, 0o644)
            done = 0
            while True:
                n = os.copy_file_range(a, b, 1 << 20)
                if n == 0:
                    break
                done += n
            os.close(a)
            os.close(b)
            return done, read(d + "/b") == read(d + "/a")
        self.both(act)

    def test_locks(self):
        def act(d):
            write(d + "/f", b"x" * 100)
            one = os.open(d + "/f", os.O_RDWR)
            two = os.open(d + "/f", os.O_RDWR)
            fcntl.flock(one, fcntl.LOCK_EX)
            try:
                fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
                got = "locked twice"
            except BlockingIOError:
                got = "refused"
            fcntl.flock(one, fcntl.LOCK_UN)
            fcntl.lockf(one, fcntl.LOCK_EX, 10, 0)
            os.close(one)
            os.close(two)
            return got
        self.both(act)

    def test_o_direct_is_tolerated(self):
        def act(d):
            write(d + "/f", b"d" * 8192)
            fd = os.open(d + "/f", os.O_RDWR | os.O_DIRECT)
            buffer = mmap.mmap(-1, 4096)
            n = os.preadv(fd, [buffer], 4096)
            os.close(fd)
            return n, buffer[:4]
        self.both(act)

    def test_o_sync_and_fsync(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_WRONLY | os.O_SYNC, 0o644)
            os.write(fd, b"synced")
            os.fsync(fd)
            os.fdatasync(fd)
            os.close(fd)
            dirfd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(dirfd)
            os.close(dirfd)
            return read(d + "/f")
        self.both(act)

    def test_large_file(self):
        block = os.urandom(1 << 20)

        def act(d):
            with open(d + "/f", "wb") as f:
                for _ in range(20):
                    f.write(block)
            with open(d + "/f", "rb") as f:
                same = all(f.read(1 << 20) == block for _ in range(20))
                return same, f.read()
        self.assertEqual(self.both(act), ("ok", (True, b"")))

    def test_times_move_with_changes(self):
        d = self.dirs[1]
        write(d + "/f", b"1")
        before = os.stat(d + "/f").st_mtime_ns, os.stat(d).st_mtime_ns
        time.sleep(0.02)
        write(d + "/f", b"2", "ab")
        write(d + "/g", b"")
        self.assertGreater(os.stat(d + "/f").st_mtime_ns, before[0])
        M.tell("invalidate " + os.path.basename(d))
        time.sleep(1.1)  # attributes are cached for a second
        self.assertGreater(os.stat(d).st_mtime_ns, before[1])

    def test_birth(self):
        def shape(st):
            return (st.st_mode, st.st_ino, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_blocks,
                    st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns)
        d = os.path.basename(self.dirs[1])
        write(M.on(d + "/f"), b"born")
        os.chown(M.on(d + "/f"), 1001, 1002)
        os.chmod(M.on(d + "/f"), 0o640)
        os.utime(M.on(d + "/f"), ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))
        os.mkdir(M.on(d + "/sub"))
        os.symlink("f", M.on(d + "/link"))
        os.mkfifo(M.on(d + "/pipe"))
        for name in ("f", "sub", "link", "pipe"):
            with self.subTest(name):
                path = d + "/" + name
                born = statx(M.under(path))[2]
                for _ in range(2):  # asked, and as the kernel remembers it
                    mask, told, birth = statx(M.on(path))
                    self.assertEqual((mask & BTIME, birth), (BTIME, born))
                    self.assertEqual(told, shape(os.lstat(M.on(path))))
        os.rename(M.on(d + "/f"), M.on(d + "/g"))
        born = statx(M.under(d + "/g"))[2]
        with open(M.on(d + "/g"), "rb") as held:
            os.unlink(M.on(d + "/g"))
            self.assertEqual(statx(held.fileno())[2], born)

    def test_statfs(self):
        plain, mount = os.statvfs(M.plain), os.statvfs(M.mount)
        self.assertEqual((plain.f_bsize, plain.f_blocks, plain.f_namemax),
                         (mount.f_bsize, mount.f_blocks, mount.f_namemax))
        self.assertLess(mount.f_bavail, plain.f_bfree)

    def test_rename_flags(self):
        def act(d):
            write(d + "/a", b"a")
            write(d + "/b", b"b")
            renameat2(d + "/a", d + "/b", 2)
            return read(d + "/a"), read(d + "/b")
        self.assertEqual(self.both(act), ("ok", (b"b", b"a")))
        self.assertEqual(self.both(lambda d: renameat2(d + "/a", d + "/b", 1)), ("error", "EEXIST"))
        self.both(lambda d: renameat2(d + "/a", d + "/c", 1))
        self.both(lambda d: renameat2(d + "/missing", d + "/c", 2))


if __name__ == "__main__":
    mounted.main()
