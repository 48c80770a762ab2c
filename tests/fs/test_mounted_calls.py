"""The rarer calls, on the mount and on a plain directory: files without a name, what is removed and still open, access
control lists, groups, long paths, ranges of files, locks, databases. Each answers the same on both."""
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import sqlite3
import stat
import struct
import subprocess
import sys

import mounted
from files import checked, errno_of, libc, read, soon, write
from mounted import shape

M = None


def setUpModule():
    global M
    M = mounted.Parity.world = mounted.for_module()


def as_user(action, uid=1001, gid=1001, groups=()):
    """What the action answers another user: its repr, or the error's name."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(gid)
            os.setuid(uid)
            answer = repr(action())
        except OSError as e:
            answer = errno.errorcode[e.errno]
        except BaseException as e:
            answer = "failed: %r" % e
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as f:
        answer = f.read().decode()
    os.waitpid(pid, 0)
    return answer


def fallocate(fd, mode, offset, size):
    checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(size)))


def give_name(fd, path):
    os.link("/proc/self/fd/%d" % fd, path, src_dir_fd=fd, follow_symlinks=True)


class Nameless(mounted.Parity):
    def test_tmpfile(self):
        def act(d):
            fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640)
            os.write(fd, b"no name yet")
            st = os.fstat(fd)
            first = os.listdir(d), st.st_nlink, st.st_size, stat.filemode(st.st_mode)
            give_name(fd, d + "/named")
            os.write(fd, b", now it has")
            same = os.fstat(fd).st_ino == os.stat(d + "/named").st_ino
            os.close(fd)
            return first, same, shape(d + "/named"), read(d + "/named"), os.listdir(d)
        self.assertEqual(self.both(act)[1][3], b"no name yet, now it has")

    def test_tmpfile_that_stays_nameless(self):
        def act(d):
            fd = os.open(d, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
            os.write(fd, b"gone with its last descriptor")
            os.ftruncate(fd, 4)
            os.fchmod(fd, 0o444)
            os.setxattr(fd, "user.kept", b"1")
            refused = errno_of(lambda: give_name(fd, d + "/x"))
            got = os.pread(fd, 100, 0), stat.filemode(os.fstat(fd).st_mode), os.getxattr(fd, "user.kept")
            os.close(fd)
            return got, refused, os.listdir(d)
        self.both(act)
        self.both(lambda d: os.open(d, os.O_TMPFILE | os.O_RDONLY))
        self.both(lambda d: os.open(d + "/missing", os.O_TMPFILE | os.O_RDWR))

    def test_tmpfile_of_others(self):
        def act(d):
            os.mkdir(d + "/g")
            os.chown(d + "/g", 0, 4242)
            os.chmod(d + "/g", 0o2777)

            def make():
                os.umask(0o027)
                fd = os.open(d + "/g", os.O_TMPFILE | os.O_RDWR, 0o666)
                give_name(fd, d + "/g/f")
            return as_user(make), shape(d + "/g/f")
        self.assertEqual(self.both(act)[1][0], "None")

    def test_named_tmpfile_is_catalogued(self):
        d = self.dirs[1]
        fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o644)
        os.write(fd, b"film")
        number = os.fstat(fd).st_ino
        give_name(fd, d + "/f")
        os.close(fd)
        name = os.path.basename(d) + "/f"
        M.tell("store " + name)
        M.tell("evict " + name)
        self.assertEqual((read(d + "/f"), os.stat(d + "/f").st_ino), (b"film", number))

    def test_removed_and_opened_again(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, b"still here")
            os.unlink(d + "/f")
            again = os.open("/proc/self/fd/%d" % fd, os.O_RDWR)
            os.write(again, b"STILL")
            refused = errno_of(lambda: give_name(fd, d + "/x"))
            os.close(fd)
            got = os.pread(again, 100, 0)
            os.close(again)
            return got, refused
        self.assertEqual(self.both(act)[1][0], b"STILL here")

    def test_xattrs_of_a_removed_file(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o644)
            os.setxattr(fd, "user.before", b"1")
            os.unlink(d + "/f")
            os.setxattr(fd, "user.after", b"2")
            got = sorted(os.listxattr(fd)), os.getxattr(fd, "user.before"), os.getxattr(fd, "user.after")
            os.removexattr(fd, "user.before")
            missing = errno_of(os.getxattr, fd, "user.before"), errno_of(os.removexattr, fd, "user.before")
            os.close(fd)
            return got, missing
        self.both(act)

    def test_removed_directory_and_others_held(self):
        def act(d):
            os.mkdir(d + "/d", 0o750)
            os.mkdir(d + "/replaced", 0o711)
            os.mkfifo(d + "/p", 0o640)
            write(d + "/path", b"12345")
            held = [os.open(d + "/d", os.O_RDONLY), os.open(d + "/replaced", os.O_RDONLY),
                    os.open(d + "/p", os.O_RDWR), os.open(d + "/path", os.O_PATH)]
            before = [os.fstat(fd).st_ino for fd in held]
            os.rmdir(d + "/d")
            os.mkdir(d + "/new")
            os.rename(d + "/new", d + "/replaced")
            os.unlink(d + "/p")
            os.unlink(d + "/path")
            M.tell("invalidate " + os.path.basename(d))
            after = [os.fstat(fd) for fd in held]
            got = [(stat.filemode(st.st_mode), st.st_nlink, st.st_uid) for st in after]
            same = [st.st_ino for st in after] == before
            listed = errno_of(os.listdir, held[0])
            made = errno_of(lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=held[0]))
            for fd in held:
                os.close(fd)
            return got, same, listed, made
        self.assertTrue(self.both(act)[1][1])


ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32


def acl(*entries):
    packed = struct.pack("<I", 2)
    for tag, permissions, *who in entries:
        packed += struct.pack("<HHI", tag, permissions, who[0] if who else 0xFFFFFFFF)
    return packed


class Acls(mounted.Parity):
    def setUp(self):
        super().setUp()
        os.chmod(self.dirs[0], 0o755)
        try:
            os.setxattr(self.dirs[0], ACCESS, acl((USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 5)))
        except OSError:
            self.skipTest("the filesystem below keeps no ACLs")

    def test_of_a_file(self):
        def act(d):
            write(d + "/f", b"for one more")
            os.chmod(d + "/f", 0o600)
            refused = as_user(lambda: read(d + "/f"))
            os.setxattr(d + "/f", ACCESS,
                        acl((USER_OBJ, 6), (USER, 4, 1001), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0)))
            answers = [as_user(lambda: read(d + "/f")), as_user(lambda: write(d + "/f", b"")),
                       as_user(lambda: read(d + "/f"), uid=1002), shape(d + "/f"), os.getxattr(d + "/f", ACCESS)]
            os.chmod(d + "/f", 0o600)  # the mask
            answers.append(as_user(lambda: read(d + "/f")))
            os.chmod(d + "/f", 0o640)
            answers.append(as_user(lambda: read(d + "/f")))
            os.removexattr(d + "/f", ACCESS)
            answers += [as_user(lambda: read(d + "/f")), errno_of(os.getxattr, d + "/f", ACCESS)]
            return refused, answers
        got = self.both(act)[1]
        self.assertEqual((got[0], got[1][0]), ("EACCES", repr(b"for one more")))

    def test_of_a_directory_is_inherited(self):
        def act(d):
            os.mkdir(d + "/d", 0o700)
            os.setxattr(d + "/d", ACCESS,
                        acl((USER_OBJ, 7), (USER, 7, 1001), (GROUP_OBJ, 0), (MASK, 7), (OTHER, 0)))
            os.setxattr(d + "/d", DEFAULT,
                        acl((USER_OBJ, 7), (USER, 6, 1002), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0)))
            os.umask(0o077)
            try:
                made = as_user(lambda: (write(d + "/d/f", b"x"), os.mkdir(d + "/d/sub", 0o777),
                                        os.mkfifo(d + "/d/p", 0o666)))
                fd = os.open(d + "/d", os.O_TMPFILE | os.O_WRONLY, 0o666)
                give_name(fd, d + "/d/t")
                os.close(fd)
            finally:
                os.umask(0o022)
            names = ("f", "sub", "p", "t")
            return made, [shape(d + "/d/" + n) for n in names], \
                [os.getxattr(d + "/d/" + n, ACCESS) for n in names], os.getxattr(d + "/d/sub", DEFAULT)
        self.both(act)
        self.both(lambda d: as_user(lambda: os.listdir(d + "/d"), uid=1003))

    def test_only_the_owner_sets_them(self):
        def act(d):
            write(d + "/f", b"")
            return as_user(lambda: os.setxattr(d + "/f", ACCESS, acl((USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 7))))
        self.assertEqual(self.both(act), ("ok", "EPERM"))
        self.both(lambda d: os.setxattr(d + "/f", ACCESS, b"no list"))
        self.both(lambda d: os.setxattr(d + "/f", DEFAULT, acl((USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 7))))

    def test_the_group_bit_goes_with_one_from_outside_the_group(self):
        def act(d):
            shapes = []
            one = acl((USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 5))
            for groups in ([], [2002]):
                for make in (lambda p: write(p, b""), os.mkdir):
                    path = d + "/%d" % len(shapes)
                    make(path)
                    os.chown(path, 1001, 2002)
                    os.chmod(path, 0o2775)
                    shapes.append((as_user(lambda: os.setxattr(path, ACCESS, one), groups=groups), shape(path)))
            return shapes
        self.both(act)

    def test_changed_underneath(self):
        path = os.path.basename(self.dirs[1]) + "/f"
        write(M.on(path), b"x")
        os.chmod(M.on(path), 0o600)
        self.assertEqual(as_user(lambda: read(M.on(path))), "EACCES")
        os.setxattr(M.under(path), ACCESS,
                    acl((USER_OBJ, 6), (USER, 4, 1001), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0)))
        M.tell("invalidate " + path)  # tells the kernel a little later
        self.assertTrue(soon(lambda: as_user(lambda: read(M.on(path))) == repr(b"x")))

    def test_what_the_vault_has_is_fetched_for_one(self):
        path = os.path.basename(self.dirs[1]) + "/f"
        M.put(path, b"film", 0o600)
        self.assertEqual(errno_of(os.getxattr, M.on(path), ACCESS), "ENODATA")
        os.setxattr(M.on(path), ACCESS,
                    acl((USER_OBJ, 6), (USER, 4, 1001), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0)))
        self.assertTrue(os.path.exists(M.under(path)))
        self.assertEqual(as_user(lambda: read(M.on(path))), repr(b"film"))
        with self.assertRaises(RuntimeError):  # the vault would lose it
            M.tell("evict " + path)


class VaultOnly(mounted.Parity):
    def append(self, p):
        write(p, b" and more", "ab")

    def patch(self, p):
        with open(p, "r+b") as f:
            f.seek(5)
            f.write(b"WRITTEN")

    def removed(self, p):
        os.unlink(p)

    def renamed(self, p):
        os.rename(p, p + ".new")

    def replaced(self, p):
        write(p + ".other", b"other")
        os.chmod(p + ".other", 0o600)
        os.rename(p + ".other", p)

    def linked(self, p):
        os.link(p, p + ".linked")

    def test_what_fetches_it(self):
        """Each change leaves what a disk leaves; one that needs none of its bytes fetches none."""
        stays = {
            "chmod": lambda p: os.chmod(p, 0o4711), "chmod-plain": lambda p: os.chmod(p, 0o600),
            "chown": lambda p: os.chown(p, 1001, 1002), "chgrp": lambda p: os.chown(p, -1, 77),
            "times": lambda p: os.utime(p, ns=(10**18, 10**18 + 7)), "renamed": self.renamed,
            "removed": self.removed, "pin": lambda p: os.setxattr(p, "user.mediafs.pin", b"1"),
            "read-attribute": lambda p: errno_of(os.getxattr, p, "user.none"), "list-attributes": os.listxattr,
            "remove-attribute": lambda p: errno_of(os.removexattr, p, "user.none"), "read": read,
            "access": lambda p: os.access(p, os.W_OK),
            "one's own": lambda p: as_user(lambda: os.chmod(p, 0o2755)),
            "given away": lambda p: as_user(lambda: os.chown(p, 1001, -1)),
        }
        replaces = {
            "emptied": lambda p: os.truncate(p, 0), "opened empty": lambda p: write(p, b""),
            "emptied by another": lambda p: as_user(lambda: os.truncate(p, 0)), "replaced": self.replaced,
        }
        fetches = {
            "append": self.append, "patch": self.patch, "shortened": lambda p: os.truncate(p, 100),
            "lengthened": lambda p: os.truncate(p, 100_000), "linked": self.linked,
            "attribute": lambda p: os.setxattr(p, "user.x", b"y"),
            "appended by another": lambda p: as_user(lambda: self.append(p)),
        }
        film = bytes(range(256)) * 100
        for kind, changes in (("vault", stays), ("local", replaces), ("local", fetches)):
            for name, change in changes.items():
                with self.subTest(name):
                    path = os.path.basename(self.dirs[1]) + "/" + name
                    for d in self.dirs:
                        write(d + "/" + name, film)
                        os.chmod(d + "/" + name, 0o6777)
                    M.tell("store " + path)
                    M.tell("evict " + path)

                    def act(d):
                        if change == read:  # a film has no pin on a plain disk
                            return len(change(d + "/" + name))
                        outcome = None if name == "pin" and d == self.dirs[0] else change(d + "/" + name)
                        left = sorted(n for n in os.listdir(d) if n.startswith(name))
                        return outcome, [(n, shape(d + "/" + n), read(d + "/" + n)) for n in left]
                    self.both(act)
                    on_disk = [n for n in os.listdir(M.under(os.path.basename(self.dirs[1]))) if n.startswith(name)]
                    self.assertEqual(bool(on_disk), kind == "local", on_disk)
                    for d in self.dirs:
                        for n in [n for n in os.listdir(d) if n.startswith(name)]:
                            os.unlink(d + "/" + n)


class OnTheShare(mounted.Case):
    def test_acls_on_the_share(self):
        m = self.mounted(share=True)
        write(m.share + "/f", b"x")
        os.chmod(m.share + "/f", 0o640)
        os.chown(m.share + "/f", 1001, 0)
        m.start()
        self.assertEqual(errno_of(os.getxattr, m.on("f"), ACCESS), "ENODATA")
        one = acl((USER_OBJ, 6), (USER, 4, 1002), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0))
        self.assertEqual(errno_of(os.setxattr, m.on("f"), ACCESS, one), "ENOTSUP")
        self.assertEqual(as_user(lambda: read(m.on("f"))), repr(b"x"))
        self.assertEqual(as_user(lambda: read(m.on("f")), uid=1002, gid=1002), "EACCES")
        m.stop()


class Groups(mounted.Parity):
    def test_chown_to_a_supplementary_group(self):
        def act(d):
            os.chmod(d, 0o777)
            write(d + "/f", b"")
            os.chown(d + "/f", 1001, 1001)
            os.chmod(d + "/f", 0o6775)
            answers = [as_user(lambda: os.chown(d + "/f", -1, 2002), groups=[2002]), shape(d + "/f"),
                       as_user(lambda: os.chown(d + "/f", -1, 3003), groups=[2002]), shape(d + "/f"),
                       as_user(lambda: os.chown(d + "/f", 1002, -1)),
                       as_user(lambda: os.chmod(d + "/f", 0o2775)), shape(d + "/f"),  # of a group that he is not in
                       as_user(lambda: os.chmod(d + "/f", 0o2775), groups=[2002]), shape(d + "/f")]
            return answers
        self.both(act)

    def test_access_by_a_supplementary_group(self):
        def act(d):
            write(d + "/f", b"x")
            os.chown(d + "/f", 0, 2002)
            os.chmod(d + "/f", 0o640)
            return as_user(lambda: read(d + "/f")), as_user(lambda: read(d + "/f"), groups=[2002])
        self.both(act)

    def test_truncating_and_allocating_clear_set_id_bits(self):
        def act(d):
            answers = []
            for n, change in enumerate((lambda fd: os.ftruncate(fd, 1), lambda fd: fallocate(fd, 0, 0, 100),
                                        lambda fd: os.pwrite(fd, b"x", 0), lambda fd: fallocate(fd, 3, 0, 10))):
                path = d + "/%d" % n
                write(path, b"0123456789" * 10)
                os.chmod(path, 0o6777)
                answers.append(as_user(lambda: change(os.open(path, os.O_RDWR))))
                answers.append(shape(path))
            return answers
        self.both(act)


class Paths(mounted.Parity):
    def test_long_paths(self):
        def act(d):
            name = "n" * 200
            here = os.open(d, os.O_RDONLY)
            for _ in range(25):  # 5,000 bytes
                os.mkdir(name, dir_fd=here)
                below = os.open(name, os.O_RDONLY, dir_fd=here)
                os.close(here)
                here = below
            fd = os.open("deep", os.O_CREAT | os.O_RDWR, dir_fd=here)
            os.write(fd, b"deep")
            os.setxattr(fd, "user.x", b"y")
            os.rename("deep", "deeper", src_dir_fd=here, dst_dir_fd=here)
            os.chmod("deeper", 0o600, dir_fd=here)
            os.utime("deeper", ns=(1, 2), dir_fd=here)
            os.link("deeper", "linked", src_dir_fd=here, dst_dir_fd=here)
            os.symlink("deeper", "symlink", dir_fd=here)
            st = os.stat("linked", dir_fd=here)
            got = st.st_nlink, st.st_mtime_ns, sorted(os.listdir(here)), os.readlink("symlink", dir_fd=here)
            for n in ("deeper", "linked", "symlink"):
                os.unlink(n, dir_fd=here)
            os.close(fd)
            os.close(here)
            # And back up, as `rm -r` does.
            subprocess.run(["rm", "-r", d + "/" + name], check=True)
            return got, os.listdir(d)
        self.assertEqual(self.both(act)[0], "ok")

    def test_a_path_that_is_too_long(self):
        self.assertEqual(self.both(lambda d: os.stat(d + "/x" * 3000)), ("error", "ENAMETOOLONG"))
        self.both(lambda d: os.symlink("t" * 4096, d + "/l"))
        self.both(lambda d: (os.symlink("t" * 4095, d + "/l"), os.readlink(d + "/l"))[1] == "t" * 4095)
        for call in (os.mkdir, os.unlink, os.rmdir, os.stat, os.readlink, lambda p: os.rename(p, p + "x")):
            self.both(lambda d: call(d + "/" + "n" * 256))

    def test_symlink_loops(self):
        def act(d):
            os.symlink("b", d + "/a")
            os.symlink("a", d + "/b")
            return read(d + "/a")
        self.assertEqual(self.both(act), ("error", "ELOOP"))


class Ranges(mounted.Parity):
    def test_fallocate_modes(self):
        keep, punch, zero = 1, 2, 16
        modes = {"allocate": 0, "keep": keep, "punch": punch | keep, "zero": zero, "zero-keep": zero | keep,
                 "punch-alone": punch}
        block = 65536

        def act(d):
            answers = {}
            for name, mode in modes.items():
                for offset, size in ((block, block), (3 * block, 4 * block), (100, 1000), (0, 0), (block, 2 * block)):
                    write(d + "/f", b"".join(bytes([65 + n]) * block for n in range(4)))
                    fd = os.open(d + "/f", os.O_RDWR)
                    outcome = errno_of(fallocate, fd, mode, offset, size)
                    os.close(fd)
                    answers[name, offset, size] = outcome, hash(read(d + "/f")), os.stat(d + "/f").st_size
            return answers
        self.assertEqual(self.both(act)[0], "ok")

        def read_only(d):
            fd = os.open(d + "/f", os.O_RDONLY)
            fallocate(fd, 0, 0, 10)
        self.assertEqual(self.both(read_only), ("error", "EBADF"))
        # Which the kernel passes to no FUSE filesystem.
        for mode in (8, 32):  # collapse, insert
            write(self.dirs[1] + "/f", b"x" * 2 * block)
            with open(self.dirs[1] + "/f", "r+b") as f:
                self.assertEqual(errno_of(fallocate, f.fileno(), mode, 0, block), "ENOTSUP")
            self.assertEqual(os.stat(self.dirs[1] + "/f").st_size, 2 * block)

    def test_seeking_holes(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR)
            os.ftruncate(fd, 1 << 20)
            for at in (0, 200_000, 700_000):
                os.pwrite(fd, b"data" * 1024, at)
            os.fsync(fd)
            places = []
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                for at in (0, 4096, 100_000, 200_000, 699_000, 703_000, 1 << 20, -1):
                    try:
                        places.append(os.lseek(fd, at, whence))
                    except OSError as e:
                        places.append(errno.errorcode[e.errno])
            os.close(fd)
            return places
        self.both(act)

    def test_copy_file_range_between_handles(self):
        def act(d):
            write(d + "/a", bytes(range(256)) * 1000)
            a = os.open(d + "/a", os.O_RDWR)
            answers = [os.copy_file_range(a, a, 1000, 0, 200_000)]  # within itself
            answers.append(errno_of(os.copy_file_range, a, a, 1000, 0, 500))  # overlapping
            append = os.open(d + "/a", os.O_WRONLY | os.O_APPEND)
            answers.append(errno_of(os.copy_file_range, a, append, 10))
            only = os.open(d + "/a", os.O_RDONLY)
            answers.append(errno_of(os.copy_file_range, a, only, 10, 0, 0))
            answers.append(os.copy_file_range(a, a, 10, 1 << 30, 0))  # past the end
            for fd in (a, append, only):
                os.close(fd)
            return answers, hash(read(d + "/a"))
        self.both(act)

    def test_sparse_and_huge_offsets(self):
        def act(d):
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR)
            os.pwrite(fd, b"far", 3 << 40)
            got = os.fstat(fd).st_size, os.pread(fd, 3, 3 << 40), os.fstat(fd).st_blocks < 100
            answers = [errno_of(os.pwrite, fd, b"x", (1 << 63) - 2), errno_of(os.ftruncate, fd, (1 << 63) - 1),
                       errno_of(os.ftruncate, fd, -1)]
            os.close(fd)
            return got, answers
        self.both(act)

    def test_append_by_several(self):
        def act(d):
            fds = [os.open(d + "/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) for _ in range(3)]
            for n in range(30):
                os.pwrite(fds[n % 3], b"%02d" % n, 0)  # appended all the same, as Linux does
            plain = os.open(d + "/f", os.O_WRONLY)
            fcntl.fcntl(plain, fcntl.F_SETFL, os.O_APPEND)
            os.pwrite(plain, b"XX", 0)
            for fd in fds + [plain]:
                os.close(fd)
            return read(d + "/f")
        self.both(act)

    def test_o_direct(self):
        def act(d):
            answers = []
            fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
            page = mmap.mmap(-1, 16384)
            page[:] = b"p" * 16384
            answers.append(os.pwritev(fd, [page], 0))
            answers.append(os.pwritev(fd, [page], 8192))
            into = mmap.mmap(-1, 16384)
            answers.append(os.preadv(fd, [into], 4096))
            answers.append(os.preadv(fd, [into], 16384))
            answers.append(os.preadv(fd, [into], 1 << 20))
            os.close(fd)
            return answers, read(d + "/f") == b"p" * 24576
        self.both(act)

    def test_mmap_private_and_shared(self):
        def act(d):
            write(d + "/f", b"a" * 10000)
            fd = os.open(d + "/f", os.O_RDWR)
            private = mmap.mmap(fd, 10000, flags=mmap.MAP_PRIVATE)
            shared = mmap.mmap(fd, 10000, flags=mmap.MAP_SHARED)
            again = mmap.mmap(fd, 10000, flags=mmap.MAP_SHARED)
            private[0:4] = b"mine"
            shared[100:104] = b"ours"
            os.pwrite(fd, b"call", 200)
            seen = again[100:104], again[200:204], private[0:4], os.pread(fd, 4, 100), os.pread(fd, 4, 0)
            os.unlink(d + "/f")
            shared[300:304] = b"gone"
            seen += (os.pread(fd, 4, 300),)
            for m in (private, shared, again):
                m.close()
            os.close(fd)
            return seen
        self.both(act)
        read_only = lambda d: mmap.mmap(os.open(d, os.O_RDONLY), 10)  # noqa: E731
        self.both(read_only)


class Times(mounted.Parity):
    def test_now_and_omitted(self):
        now, omit = (1 << 30) - 1, (1 << 30) - 2

        class Timespec(ctypes.Structure):
            _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]

        def utimensat(path, *times):
            pair = (Timespec * 2)(*(Timespec(*t) for t in times))
            checked(libc.utimensat(-100, os.fsencode(path), pair, 0))

        def act(d):
            write(d + "/f", b"")
            utimensat(d + "/f", (1, 23), (4, 999_999_999))
            st = os.stat(d + "/f")
            answers = [st.st_atime_ns, st.st_mtime_ns]
            utimensat(d + "/f", (0, omit), (7, 8))
            st = os.stat(d + "/f")
            answers += [st.st_atime_ns, st.st_mtime_ns]
            utimensat(d + "/f", (0, now), (0, omit))
            st = os.stat(d + "/f")
            answers += [st.st_atime > 1e9, st.st_mtime_ns]
            answers.append(errno_of(utimensat, d + "/f", (0, 1_000_000_000), (0, 0)))
            utimensat(d + "/f", (-5, 500), (1 << 33, 1))  # before 1970, after 2106
            st = os.stat(d + "/f")
            return answers + [st.st_atime_ns, st.st_mtime_ns]
        self.both(act)

        def others(d):
            os.chmod(d + "/f", 0o666)
            return as_user(lambda: utimensat(d + "/f", (0, now), (0, now))), \
                as_user(lambda: utimensat(d + "/f", (0, now), (0, omit))), \
                as_user(lambda: utimensat(d + "/f", (1, 1), (1, 1)))
        self.both(others)


LOCKER = """
import errno, fcntl, os, struct, sys
kind, path, start, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
fd = os.open(path, os.O_RDWR)
try:
    if kind == "flock":
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif kind == "ofd":
        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, size, 0))
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, size, start)
    print("locked")
except OSError as e:
    print(errno.errorcode[e.errno])
"""


class Locks(mounted.Parity):
    def test_between_processes(self):
        def other(kind, path, start=0, size=0):
            return subprocess.run([sys.executable, "-c", LOCKER, kind, path, str(start), str(size)],
                                  stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

        def act(d):
            path = d + "/f"
            write(path, b"x" * 100)
            fd = os.open(path, os.O_RDWR)
            fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)
            answers = [other("posix", path, 0, 20), other("posix", path, 25, 1), other("ofd", path, 29, 1),
                       other("posix", path, 30, 5), other("flock", path)]
            held = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            answers.append(held)
            fcntl.lockf(fd, fcntl.LOCK_UN)
            answers.append(other("posix", path, 25, 1))
            fcntl.flock(fd, fcntl.LOCK_SH)
            answers += [other("flock", path), other("posix", path)]
            os.close(fd)
            return answers + [other("flock", path)]
        self.both(act)


class Kinds(mounted.Parity):
    def test_a_socket_is_connected(self):
        def act(d):
            here = os.getcwd()
            os.chdir(d)
            try:
                with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
                    server.bind("s")
                    server.listen(1)
                    client.connect("s")
                    peer, _ = server.accept()
                    client.sendall(b"through")
                    got = peer.recv(100)
                    peer.close()
                with socket.socket(socket.AF_UNIX) as again:
                    refused = errno_of(again.bind, "s")
                    nobody = errno_of(again.connect, "s")
            finally:
                os.chdir(here)
            return got, refused, nobody
        self.both(act)

    def test_devices(self):
        def act(d):
            os.mknod(d + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(d + "/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
            os.mknod(d + "/block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
            # Whether devices work is the mount's option, not ours: FUSE mounts by others than root have nodev.
            return [shape(d + "/" + n) for n in ("null", "zero", "block")], \
                as_user(lambda: os.mknod(d + "/x", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
        self.both(act)


class Edges(mounted.Parity):
    def test_names_with_slashes_and_dots(self):
        def act(d):
            write(d + "/f", b"")
            os.mkdir(d + "/dir/")
            os.symlink("nowhere", d + "/dangling")
            create = os.O_CREAT | os.O_RDWR
            return [errno_of(os.open, d + "/f/", os.O_RDONLY), errno_of(os.open, d + "/x/", create),
                    errno_of(os.open, d + "/f", os.O_DIRECTORY), errno_of(os.read, os.open(d, os.O_RDONLY), 1),
                    errno_of(os.rmdir, d + "/dir/."), errno_of(os.rmdir, d + "/dir/.."),
                    errno_of(os.rename, d + "/dir/.", d + "/x"),
                    errno_of(os.open, d + "/dangling", create | os.O_EXCL),
                    errno_of(os.open, d + "/dangling", create), os.path.exists(d + "/nowhere"),
                    os.stat(d + "/dir/..").st_ino == os.stat(d).st_ino, os.stat(d).st_nlink]
        self.both(act)

    def test_attributes_of_any_size_and_namespace(self):
        def act(d):
            write(d + "/f", b"")
            os.symlink("f", d + "/l")
            on_link = {"follow_symlinks": False}
            return [errno_of(os.setxattr, d + "/f", name, value)
                    for name, value in (("user.big", b"x" * 3000), ("user.big", b"x" * 70000),
                                        ("user." + "n" * 250, b"1"), ("user." + "n" * 251, b"1"), ("nothing", b""),
                                        ("user.", b""), ("security.x", b"1"), ("user.empty", b""))], \
                [errno_of(lambda n=n: os.setxattr(d + "/l", n, b"1", **on_link)) for n in ("user.x", "trusted.x")], \
                sorted(os.listxattr(d + "/f")), os.listxattr(d + "/l", **on_link), \
                as_user(lambda: os.setxattr(d + "/f", "user.x", b"")), \
                as_user(lambda: os.listxattr(d + "/f")), as_user(lambda: os.listxattr(d + "/l", **on_link))
        self.both(act)

    def test_a_sticky_directory(self):
        def act(d):
            os.mkdir(d + "/s")
            os.chmod(d + "/s", 0o1777)
            write(d + "/s/f", b"")
            return [as_user(lambda: os.unlink(d + "/s/f")), as_user(lambda: os.rename(d + "/s/f", d + "/s/g")),
                    as_user(lambda: os.link(d + "/s/f", d + "/s/g")),
                    as_user(lambda: os.open(d + "/s/f", os.O_RDONLY | os.O_NOATIME)),
                    as_user(lambda: write(d + "/s/own", b"")), as_user(lambda: os.unlink(d + "/s/own"))]
        self.both(act)

    def test_other_ways_to_read_and_write(self):
        def act(d):
            write(d + "/f", b"0123456789" * 1000)
            f, g = os.open(d + "/f", os.O_RDWR), os.open(d + "/g", os.O_CREAT | os.O_RDWR)
            out, into = os.pipe()
            got = [os.pwritev(f, [b"APP"], 0, 16), os.fstat(f).st_size,  # RWF_APPEND
                   os.pwritev(f, [b"D"], 0, os.RWF_DSYNC), os.sendfile(g, f, 0, 5000),
                   libc.splice(f, ctypes.byref(ctypes.c_long(10)), into, None, 3000, 0),
                   libc.splice(out, None, g, ctypes.byref(ctypes.c_long(100)), 3000, 0), libc.syncfs(f),
                   libc.sync_file_range(f, ctypes.c_long(0), ctypes.c_long(0), 7), os.posix_fadvise(f, 0, 0, 4),
                   errno_of(os.pread, f, 1, -1), errno_of(os.lseek, f, -1, 0),
                   errno_of(os.read, os.open(d + "/f", os.O_PATH), 1)]
            for fd in (f, g, out, into):
                os.close(fd)
            return got, hash(read(d + "/f")), hash(read(d + "/g"))
        self.both(act)


class Databases(mounted.Parity):
    def use(self, d, journal, mapped):
        path = d + "/%s-%d.db" % (journal, mapped)

        def connect():
            db = sqlite3.connect(path, timeout=10, isolation_level=None)
            db.execute("pragma mmap_size=%d" % mapped)
            return db, db.execute("pragma journal_mode=" + journal).fetchone()
        one, mode = connect()
        two, _ = connect()
        one.execute("create table t(k integer primary key, v blob)")
        for n in range(20):
            one.execute("begin immediate")
            one.executemany("insert into t(v) values (?)", [(bytes([n]) * 2000,)] * 20)
            one.execute("commit")
            two.execute("delete from t where k % 3 = 0")
            two.execute("vacuum" if n == 10 and journal != "wal" else "pragma wal_checkpoint")
        two.execute("begin immediate")
        one.execute("pragma busy_timeout=0")
        try:
            one.execute("begin immediate")
            locked = "not locked"
        except sqlite3.OperationalError as e:
            locked = str(e)
        two.execute("rollback")
        seen = one.execute("select count(*), sum(length(v)) from t").fetchone()
        check = two.execute("pragma integrity_check").fetchone()
        one.close()
        two.close()
        return mode, locked, seen, check, sorted(os.listdir(d))

    def test_sqlite(self):
        for journal in ("wal", "delete", "truncate", "persist"):
            for mapped in (0, 1 << 26):
                with self.subTest(journal=journal, mapped=mapped):
                    self.assertEqual(self.both(lambda d: self.use(d, journal, mapped))[1][3], ("ok",))


if __name__ == "__main__":
    mounted.main()
