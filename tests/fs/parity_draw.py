"""Who draws the parity test's steps. A step is plain data, so that a sequence can be replayed and made shorter."""
import fcntl
import os
import stat

OTHER = 1001  # the second user
NAMES = "abcd"
SLOTS = 3
BIG = 2_500_000  # more than two blocks of a stream


class Draw:
    """Random steps; `known` and `files` answer the paths that there are, `slots` what is open."""

    def __init__(self, random, run, weather):
        self.random = random
        self.known, self.files, self.slots = run.known, run.files, run.plain.fds
        self.taken = 0
        self.names = NAMES[:random.choice([1, 2, 4])]  # the fewer, the more happens to each
        weights = {"open": 14, "close": 3, "read": 3, "pread": 3, "write": 6, "pwrite": 5, "seek": 4, "ftruncate": 3,
                   "fallocate": 3, "fsync": 1, "flock": 2, "copy": 3, "fchmod": 1, "fchown": 1, "fsetxattr": 1,
                   "fgetxattr": 1, "mmap": 3, "cat": 4, "put": 8, "truncate": 3, "rename": 12, "link": 5,
                   "symlink": 3, "readlink": 1, "unlink": 6, "rmdir": 4, "mkdir": 8, "mknod": 2, "chmod": 4,
                   "chown": 3, "utimens": 3, "setxattr": 3, "getxattr": 2, "listxattr": 2, "removexattr": 1,
                   "access": 3, "stat": 2, "list": 3, "statfs": 1, "syncdir": 1, **weather}
        self.kinds, self.weights = list(weights), list(weights.values())

    def step(self):
        """(name, user, arguments)"""
        self.taken += 1
        first = ["put", "put", "mkdir"] if self.taken < 6 else self.kinds
        kind = self.random.choices(first, self.weights if first is self.kinds else None)[0]
        user = OTHER if self.random.random() < 0.2 else 0
        return kind, user, tuple(getattr(self, "draw_" + kind, self.one_path)())

    def path(self, known=0.8):
        r = self.random
        if r.random() < known:
            paths = self.known()
            if paths:
                return r.choice(paths)
        path = "/".join(r.choice(self.names) for _ in range(r.choice([1, 1, 2, 2, 3])))
        return path + "/" if r.random() < 0.02 else path

    def new(self):
        return self.path(known=0.3)

    def slot(self):
        if self.slots and self.random.random() < 0.9:
            return self.random.choice(sorted(self.slots))
        return self.random.randrange(SLOTS)

    def file(self):
        files = self.files()
        return self.random.choice(files) if files and self.random.random() < 0.9 else self.path()

    def byte(self):
        return self.random.randrange(97, 123)

    def size(self):
        return self.random.choice([0, 1, 10, 100, 4096, 5000, 70_000, BIG])

    def written(self):
        return self.random.choices([1, 10, 5000, 70_000, BIG], [4, 4, 3, 2, 1])[0]

    def mode(self):
        return self.random.choice([0o644, 0o666, 0o600, 0o755, 0o777, 0o444, 0, 0o4755, 0o2755, 0o6777, 0o1777, 0o2775])

    def xattr(self):
        return self.random.choice(["user.one", "user.two", "trusted.one", "nonsense"])

    def one_path(self):
        return [self.path()]

    def draw_evict(self):
        return [self.file()]

    draw_store = draw_fetch = draw_evict

    def draw_open(self):
        r = self.random
        flags = r.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR])
        for flag, chance in ((os.O_CREAT, .5), (os.O_EXCL, .1), (os.O_TRUNC, .15), (os.O_APPEND, .15),
                             (os.O_NOFOLLOW, .1), (os.O_DIRECTORY, .05), (os.O_SYNC, .05), (os.O_NOATIME, .05),
                             (os.O_PATH, .03)):
            if r.random() < chance:
                flags |= flag
        path = self.file() if r.random() < 0.6 else self.path(0.6)
        return [r.randrange(SLOTS), path, flags, self.mode() & 0o777]

    def draw_close(self):
        return [self.slot()]

    def draw_read(self):
        return [self.slot(), self.size()]

    def draw_pread(self):
        return [self.slot(), self.size(), self.size()]

    def draw_write(self):
        return [self.slot(), self.byte(), self.written()]

    def draw_pwrite(self):
        return [self.slot(), self.byte(), self.written(), self.size()]

    def draw_seek(self):
        return [self.slot(), self.size(), self.random.randrange(5)]

    def draw_ftruncate(self):
        return [self.slot(), self.size()]

    def draw_fallocate(self):
        return [self.slot(), self.random.choice([0, 1, 3, 16, 17]), self.size(), self.size()]

    def draw_fsync(self):
        return [self.slot(), self.random.randrange(2)]

    def draw_flock(self):
        return [self.slot(), self.random.choice([fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN])]

    def draw_copy(self):
        return [self.slot(), self.slot(), self.size(), self.size(), self.size()]

    def draw_fchmod(self):
        return [self.slot(), self.mode()]

    def draw_fchown(self):
        return [self.slot(), *self.draw_owner()]

    def draw_owner(self):
        return [self.random.choice([0, OTHER, -1]), self.random.choice([0, OTHER, 4242, -1])]

    def draw_fsetxattr(self):
        return [self.slot(), *self.draw_value()]

    def draw_value(self):
        r = self.random
        flags = r.choice([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])
        return [self.xattr(), bytes([self.byte()]) * r.choice([0, 3, 300]), flags]

    def draw_fgetxattr(self):
        return [self.slot(), self.xattr()]

    def draw_mmap(self):
        return [self.slot(), self.size(), self.byte(), self.random.random() < 0.6]

    def draw_cat(self):
        return [self.file(), self.size(), self.size()]

    def draw_put(self):
        return [self.path(0.4), self.byte(), self.written()]

    def draw_truncate(self):
        return [self.file(), self.size()]

    def draw_rename(self):
        return [self.path(0.9), self.path(0.5), self.random.choice([0, 0, 0, 0, 1, 2, 2, 3])]

    def draw_link(self):
        return [self.file(), self.new(), self.random.random() < 0.3]

    def draw_symlink(self):
        return [self.random.choice(["a", "b", "../a", "b/c", "../b/a", "c/", "nowhere", "x" * 300]), self.new()]

    def draw_mkdir(self):
        return [self.new(), self.mode()]

    def draw_mknod(self):
        return [self.new(), self.random.choice([stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK]) | self.mode() & 0o777]

    def draw_chmod(self):
        return [self.path(), self.mode()]

    def draw_chown(self):
        return [self.path(), *self.draw_owner(), self.random.random() < 0.7]

    def draw_utimens(self):
        times = [(1_000_000_000, 5), (1_234_567_890, 123_456_789), (0, (1 << 30) - 1), (0, (1 << 30) - 2)]
        return [self.path(), self.random.choice(times), self.random.choice(times)]

    def draw_setxattr(self):
        return [self.path(), *self.draw_value()]

    def draw_getxattr(self):
        return [self.path(), self.xattr()]

    draw_removexattr = draw_getxattr

    def draw_access(self):
        return [self.path(), self.random.randrange(8)]

    def draw_stat(self):
        return [self.path(), False]

    # --- the weather

    def draw_share(self):
        return [self.path(0.3), self.byte(), self.written(), self.mode() | 0o400]

    draw_under = draw_share
