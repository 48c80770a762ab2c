"""One sequence of the parity test: takes steps on both sides, makes the weather, and compares."""
import errno
import fcntl
import os
import shutil
import stat
import time

from files import read
from parity_steps import OPERATIONS, Side, User, as_statx, fields, statx

SOON_S = 5  # within which a change underneath is shown

# What may differ, each as fs/SEMANTICS.md says it. Steps that are not taken: (sentence, which).
AVOIDED = [
    ("lseek HOLE, DATA | vault only: no holes; local: what is allocated and not written may count as data once read",
     lambda run, kind, args: kind == "seek" and args[2] >= 3 and run.inode_of(args[0]) in run.moved | run.stored),
    ("Set-id bits. A chown to nobody else by another user leaves them, without an error",
     lambda run, kind, args: kind in ("chown", "fchown") and args[1:3] == (-1, -1) and
     run.has_set_id(args[0])),
    ("listing | its order is that of a hash of the names",
     lambda run, kind, args: kind == "seek" and args[0] in run.plain.fds and
     stat.S_ISDIR(os.fstat(run.plain.fds[args[0]]).st_mode)),
    ("Set-id bits. A file that is open for reading and passed through loses them when it is opened for writing",
     lambda run, kind, args: kind in ("open", "put") and run.has_set_id(args[kind == "open"]) and
     run.is_open(args[kind == "open"])),
    ("Set-id bits. Bits that are set while it is open for writing and passed through stay",
     lambda run, kind, args: kind in ("chmod", "fchmod") and args[1] & 0o6000 and run.has_writer(args[0])),
]
# Steps that are not taken in the plain directory: (sentence, whether the mount's answer is that one).
DEVIATIONS = [
    ("link | share: EXDEV",
     lambda run, kind, args, got: kind == "link" and got == "EXDEV" and run.branch(args[0]) == "share"),
    ("RENAME_EXCHANGE | share, vault: EINVAL; EINVAL for directories of which one alone is catalogued",
     lambda run, kind, args, got: kind == "rename" and args[2] == 2 and got == "EINVAL" and
     (run.branch(args[0]) != "local" or run.branch(args[1]) != "local" or run.is_dir(args[0]) or run.is_dir(args[1]))),
    ("Unlinked, still open. Extended attributes of such a file answer ENOENT",
     lambda run, kind, args, got: kind in ("fsetxattr", "fgetxattr") and got == "ENOENT" and
     os.fstat(run.plain.fds[args[0]]).st_nlink == 0),
    ("Unlinked, still open. Of one that the vault alone had until its object is deleted: EIO then",
     lambda run, kind, args, got: kind in ("read", "pread", "mmap", "copy") and got == "EIO" and run.unheld(args[0])),
    ("Unlinked, still open. What mediafs itself does not have open answers ESTALE once it is removed, or ENOENT to a "
     "change",
     lambda run, kind, args, got: kind != "open" and got in ("ESTALE", "ENOENT") and run.unheld(args[0])),
]


class Different(AssertionError):
    pass


class Run:
    """One sequence in fresh directories on both sides."""

    def __init__(self, m, top, fine_times):
        self.m, self.top, self.fine_times = m, top, fine_times
        self.mount, self.plain = Side(m.on(top)), Side(os.path.join(m.plain, top))
        for side in (self.mount, self.plain):
            os.mkdir(side.base)
        self.stored = set()  # inodes of the plain directory that were read for the vault
        self.moved = set()  # inodes of the plain directory whose copy was in the vault alone
        self.numbers = {}   # of such inodes, the mount's
        self.times = {}     # of such inodes, when last looked at
        self.held = {}      # keeps their numbers from being given to others

    def let_go(self):
        self.mount.close()
        self.plain.close()
        for fd in self.held.values():
            os.close(fd)
        self.held = {}

    def close(self):
        self.let_go()
        for side in (self.mount, self.plain):
            shutil.rmtree(side.base)

    # --- a step

    def do(self, kind, user, args):
        if kind not in OPERATIONS:
            return getattr(self, "do_" + kind)(*args)
        for sentence, avoids in AVOIDED:
            if avoids(self, kind, args):
                return sentence
        got = self.answer(self.mount, kind, user, args)
        for sentence, allows in DEVIATIONS:
            if allows(self, kind, args, got):
                return sentence
        want = self.answer(self.plain, kind, user, args)
        if got != want:
            raise Different("%s answers %.300r, a plain directory %.300r" % (kind, got, want))
        if kind == "mkdir" and got is None and self.is_own_path(args[0]):
            self.tell("settle", args[0])  # as the watcher does
        self.check(soon=kind == "mmap")
        return got

    def answer(self, side, kind, user, args):
        try:
            with User(user):
                return OPERATIONS[kind](side, *args)
        except OSError as e:
            return errno.errorcode[e.errno]

    def branch(self, path):
        try:
            return os.getxattr(self.mount.on(path), "user.mediafs.branch", follow_symlinks=False).decode()
        except OSError:
            return None

    def is_dir(self, path):
        return os.path.isdir(self.plain.on(path))

    def inode_of(self, slot):
        return os.fstat(self.plain.fds[slot]).st_ino if slot in self.plain.fds else None

    def unheld(self, slot):
        """Whether mediafs knows nothing of what is open there, and has no name."""
        if slot not in self.plain.fds:
            return False
        fd = self.plain.fds[slot]
        st = os.fstat(fd)
        return st.st_nlink == 0 and (not stat.S_ISREG(st.st_mode) or st.st_ino in self.moved or
                                     fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH != 0)

    def has_set_id(self, what):
        try:
            return os.stat(self.plain.fd(what) if isinstance(what, int) else self.plain.on(what)).st_mode & 0o6000 != 0
        except OSError:
            return False

    def is_open(self, what, how=lambda flags: True):
        """Whether the file of a path or a slot is."""
        try:
            inode = self.inode_of(what) if isinstance(what, int) else os.stat(self.plain.on(what)).st_ino
        except OSError:
            return False
        return any(how(fcntl.fcntl(fd, fcntl.F_GETFL)) and os.fstat(fd).st_ino == inode
                   for fd in self.plain.fds.values())

    def has_writer(self, what):
        return self.is_open(what, lambda flags: flags & os.O_ACCMODE)

    # --- the weather

    def plain_file(self, path):
        """The file that has this very path, no link of it."""
        at = self.plain.on(path).rstrip("/")
        return os.stat(at) if self.is_own_path(path) and os.path.isfile(at) else None

    def is_own_path(self, path):
        at = self.plain.on(path).rstrip("/")
        return os.path.realpath(at) == at

    def tell(self, command, path):
        try:
            self.m.tell(command + " " + self.top + "/" + path.rstrip("/"))
            return "ok"
        except RuntimeError as e:
            return str(e)

    def do_store(self, path):
        found = self.plain_file(path)
        if not found:
            return None
        self.stored.add(found.st_ino)
        told = self.tell("store", path)
        self.check()
        return told

    def do_evict(self, path):
        found = self.plain_file(path)
        if not found or os.listxattr(self.plain.on(path.rstrip("/"))):  # which the vault does not have
            return None
        self.stored.add(found.st_ino)
        self.tell("store", path)
        told = self.tell("evict", path)
        if told == "ok":
            self.moved.add(found.st_ino)
        self.check(soon=True)
        return told

    def do_fetch(self, path):
        if not self.plain_file(path):
            return None
        told = self.tell("fetch", path)
        self.check(soon=True)
        return told

    def do_vault(self, *_):
        self.tell("vault-jobs", "")
        self.check()

    def do_restart(self, *_):
        self.mount.close()
        self.plain.close()
        self.m.stop()
        self.m.start()
        self.check()

    def do_under(self, path, byte, size, mode):
        return self.new_file(self.m.local, path, byte, size, mode)

    def do_share(self, path, byte, size, mode):
        return self.new_file(self.m.share, path, byte, size, mode)

    def new_file(self, branch, path, byte, size, mode):
        """A file that somebody else makes, underneath."""
        path = path.rstrip("/")
        at = self.plain.on(path)
        above = os.path.dirname(at)
        if os.path.realpath(above) != above or not os.path.isdir(above) or os.path.lexists(at):
            return None
        self.same_directory(branch, os.path.dirname(path))
        now = time.time_ns()
        for name in (os.path.join(branch, self.top, path), at):
            with open(name, "wb") as f:
                f.write(bytes([byte]) * size)
            os.chmod(name, mode)
            os.utime(name, ns=(now, now))
        self.check(soon=True)
        return "made"

    def same_directory(self, branch, path):
        there = os.path.join(branch, self.top, path).rstrip("/")
        if os.path.isdir(there):
            return
        if path:
            self.same_directory(branch, os.path.dirname(path))
        st = os.stat(self.plain.on(path))
        os.mkdir(there)
        os.chown(there, st.st_uid, st.st_gid)
        os.chmod(there, st.st_mode & 0o7777)

    # --- what must hold

    def known(self):
        paths = []
        for top, dirs, names in os.walk(self.plain.base):
            below = os.path.relpath(top, self.plain.base)
            paths += [os.path.normpath(os.path.join(below, name)) for name in dirs + names]
        return sorted(paths)

    def files(self):
        return [path for path in self.known() if stat.S_ISREG(os.lstat(self.plain.on(path)).st_mode)]

    def check(self, soon=False):
        """Everything but the contents is the same; within a while where the kernel has to be told."""
        deadline = time.monotonic() + SOON_S
        while True:
            try:
                return self.compare()
            except Different:
                if not soon or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def compare(self):
        seen, times = {}, {}
        paths = [""]
        while paths:
            path = paths.pop()
            mine, model = self.compare_file(path, seen, times)
            if not stat.S_ISDIR(model.st_mode):
                continue
            got, want = (OPERATIONS["list"](side, path) for side in (self.mount, self.plain))
            if got != want:
                raise Different("%r lists %r, a plain directory %r" % (path, got, want))
            paths += [os.path.join(path, name) for name, *_ in want]
        for slot, fd in self.plain.fds.items():
            want = os.fstat(fd)
            try:
                got = os.fstat(self.mount.fds[slot])
            except OSError as e:
                if e.errno == errno.ESTALE and self.unheld(slot):
                    continue
                raise Different("open file %d can't be seen: %s" % (slot, e)) from None
            if want.st_nlink == 0 and want.st_ino in self.moved and got.st_size == want.st_size:
                continue  # Unlinked, still open. ... shows the mode and owner that it was opened with
            if fields(got, self.links) != fields(want, self.links):
                raise Different("open file %d is %r, a plain one %r" % (slot, fields(got), fields(want)))
            self.compare_number("open file %d" % slot, got, want, None)
        self.times.update(times)

    @property
    def links(self):  # a directory counts those of its own branch
        return not self.m.share

    def compare_file(self, path, seen, times):
        at = self.mount.on(path)
        try:
            got = os.lstat(at)
        except OSError as e:
            raise Different("%r can't be seen: %s" % (path, errno.errorcode[e.errno])) from None
        want = os.lstat(self.plain.on(path))
        if fields(got, self.links) != fields(want, self.links):
            raise Different("%r is %r, a plain one %r" % (path, fields(got, self.links), fields(want, self.links)))
        moving = stat.S_ISDIR(want.st_mode) and self.moved.intersection(
            e.inode() for e in os.scandir(self.plain.on(path)))
        if as_statx(got) != statx(at) and not moving:
            raise Different("%r is kept as %r, and is %r" % (path, as_statx(got), statx(at)))
        self.compare_number(path, got, want, seen)
        self.compare_times(path, got, want, times, moving)
        return got, want

    def compare_number(self, path, got, want, seen):
        """A file keeps its number, and it alone has it."""
        if want.st_ino not in self.held and seen is not None:
            self.held[want.st_ino] = os.open(self.plain.on(path), os.O_PATH | os.O_NOFOLLOW)
        if self.numbers.setdefault(want.st_ino, got.st_ino) != got.st_ino:
            raise Different("%r had the number %d, now %d" % (path, self.numbers[want.st_ino], got.st_ino))
        # lookup, stat | share: the file's own, which may be another one's here
        if seen is not None and not self.m.share and seen.setdefault(got.st_ino, want.st_ino) != want.st_ino:
            raise Different("%r has another file's number" % path)

    def compare_times(self, path, got, want, times, moving):
        """A time changes where the plain one does; what was set is what is shown. Not so for a directory of files that
        move: its times change when the local copy of one comes or goes, and the kernel is told of that."""
        if stat.S_ISDIR(want.st_mode) and self.m.share or stat.S_ISFIFO(want.st_mode):  # a pipe's are the kernel's
            return
        now = [(st.st_mtime_ns, st.st_ctime_ns) for st in (got, want)]
        if want.st_mtime_ns < 1_500_000_000 * 10**9 and not moving and got.st_mtime_ns != want.st_mtime_ns:
            raise Different("%r has the time %d, not %d" % (path, got.st_mtime_ns, want.st_mtime_ns))
        times[want.st_ino] = now
        before = self.times.get(want.st_ino)
        if before is None or not self.fine_times:
            return
        for i, name in enumerate(("mtime", "ctime")):
            mine, model = (now[side][i] != before[side][i] for side in (0, 1))
            if mine and not model and moving or name == "ctime" and want.st_ino in self.moved:
                continue
            if mine != model:
                raise Different("%s of %r %s" % (name, path, "changed" if mine else "stays"))

    def compare_contents(self):
        for path in self.files():
            got, want = read(self.mount.on(path)), read(self.plain.on(path))
            if got != want:
                at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
                raise Different("%r differs from byte %d on: %r, not %r" %
                                (path, at, got[at:at + 20], want[at:at + 20]))


def fine_times(directory):
    """Whether two changes have two times, once somebody looked in between."""
    path = os.path.join(directory, "times")
    seen = set()
    for byte in range(20):
        with open(path, "wb") as f:
            f.write(b"%d" % byte)
        seen.add(os.stat(path).st_mtime_ns)
    os.unlink(path)
    return len(seen) == 20
