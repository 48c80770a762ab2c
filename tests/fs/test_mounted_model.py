"""Random renames, links, removals and directories over files of every branch, against a small model in memory: after each
step listings and contents are the model's. The seed is fixed; MEDIAFS_MODEL_SEED and MEDIAFS_MODEL_STEPS look further."""
import errno
import os
import random
import unittest

import mounted
from mounted import Mounted, read, write
from test_mounted_rename import EXCHANGE, NOREPLACE, renameat2

SEED = int(os.environ.get("MEDIAFS_MODEL_SEED", "31"))
STEPS = int(os.environ.get("MEDIAFS_MODEL_STEPS", "350"))
NAMES = ["a", "b", "c", "d", "e"]


class File:
    def __init__(self, data, kind):
        self.data, self.kind = data, kind  # kind: local, share or vault


class Refused(Exception):
    pass


class Model:
    """A tree of dictionaries, and the errno that a plain directory would answer."""

    def __init__(self):
        self.root = {}

    def place(self, path):
        """The directory of a path and its last name."""
        *above, name = path.split("/")
        at = self.root
        for part in above:
            if part not in at:
                raise Refused("ENOENT")
            at = at[part]
            if not isinstance(at, dict):
                raise Refused("ENOTDIR")
        return at, name

    def get(self, path):
        at, name = self.place(path)
        if name not in at:
            raise Refused("ENOENT")
        return at[name]

    def unlink(self, path):
        if isinstance(self.get(path), dict):
            raise Refused("EISDIR")
        at, name = self.place(path)
        del at[name]

    def rmdir(self, path):
        found = self.get(path)
        if not isinstance(found, dict):
            raise Refused("ENOTDIR")
        if found:
            raise Refused("ENOTEMPTY")
        at, name = self.place(path)
        del at[name]

    def add(self, path, what):
        at, name = self.place(path)
        if name in at:
            raise Refused("EEXIST")
        at[name] = what

    def rename(self, old, new, flags):
        source, source_name = self.place(old)
        at, name = self.place(new)
        moving = self.get(old)
        target = at.get(name)
        if flags == NOREPLACE and target is not None:
            raise Refused("EEXIST")
        if flags == EXCHANGE and target is None:
            raise Refused("ENOENT")
        if new.startswith(old + "/"):
            raise Refused("EINVAL")
        if old.startswith(new + "/"):
            raise Refused("EINVAL" if flags == EXCHANGE else "ENOTEMPTY")
        if flags == EXCHANGE:
            at[name], source[source_name] = moving, target
            return
        if target is moving:
            return
        if target is not None:
            if isinstance(moving, dict) and not isinstance(target, dict):
                raise Refused("ENOTDIR")
            if isinstance(target, dict) and not isinstance(moving, dict):
                raise Refused("EISDIR")
            if isinstance(target, dict) and target:
                raise Refused("ENOTEMPTY")
        del source[source_name]
        at[name] = moving

    def paths(self, at=None, prefix=""):
        for name, what in (self.root if at is None else at).items():
            yield prefix + name, what
            if isinstance(what, dict):
                yield from self.paths(what, prefix + name + "/")


class Walk(unittest.TestCase):
    def setUp(self):
        self.m = Mounted(share=True).start()
        self.addCleanup(self.m.close)
        self.random = random.Random(SEED)
        self.model = Model()
        self.log = []

    def any_path(self):
        depth = self.random.choice([1, 1, 2, 2, 3])
        return "/".join(self.random.choice(NAMES) for _ in range(depth))

    def known_path(self):
        paths = [p for p, _ in self.model.paths()]
        return self.random.choice(paths) if paths and self.random.random() < 0.8 else self.any_path()

    def both(self, what, on_model, on_mount):
        """The same answer from both, EINVAL from the mount's exchange apart."""
        try:
            on_model()
            want = "ok"
        except Refused as e:
            want = str(e)
        try:
            on_mount()
            got = "ok"
        except OSError as e:
            got = errno.errorcode[e.errno]
        self.log.append("%s -> %s" % (what, got))
        self.assertEqual(got, want, "\n".join(self.log[-30:]))

    # --- the steps

    def make(self):
        """A new file on one of the branches, under a directory that is there."""
        path, kind = self.any_path(), self.random.choice(["local", "local", "settled", "stored", "vault", "share"])
        data = b"%d %s" % (len(self.log), kind.encode())
        try:
            at, name = self.model.place(path)
        except Refused:
            return
        if name in at:
            return
        at[name] = File(data, kind)
        self.log.append("make %s %s" % (kind, path))
        m = self.m
        if kind == "share":
            os.makedirs(os.path.dirname(m.share + "/" + path), exist_ok=True)
            write(m.share + "/" + path, data)
            return
        write(m.on(path), data)
        if kind == "settled":
            m.tell("settle " + path)
        try:
            if kind in ("stored", "vault"):
                m.tell("store " + path)
            if kind == "vault":
                m.tell("evict " + path)
        except RuntimeError as e:  # an object that is still to move away is where a folder must be: it stays local
            self.log.append(str(e))

    def mkdir(self):
        path = self.any_path()
        self.both("mkdir " + path, lambda: self.model.add(path, {}), lambda: os.mkdir(self.m.on(path)))

    def rmdir(self):
        path = self.known_path()
        self.both("rmdir " + path, lambda: self.model.rmdir(path), lambda: os.rmdir(self.m.on(path)))

    def unlink(self):
        path = self.known_path()
        self.both("unlink " + path, lambda: self.model.unlink(path), lambda: os.unlink(self.m.on(path)))

    def link(self):
        old, new = self.known_path(), self.any_path()
        try:
            found = self.model.get(old)
        except Refused:
            return
        if isinstance(found, dict) or found.kind == "share":
            return
        self.both("link %s %s" % (old, new), lambda: self.model.add(new, found),
                  lambda: os.link(self.m.on(old), self.m.on(new)))

    def rename(self):
        old, new = self.known_path(), self.known_path()
        flags = self.random.choice([0, 0, 0, NOREPLACE])
        self.both("rename %s %s %d" % (old, new, flags), lambda: self.model.rename(old, new, flags),
                  lambda: renameat2(self.m.on(old), self.m.on(new), flags))

    def exchange(self):
        old, new = self.known_path(), self.known_path()
        try:
            renameat2(self.m.on(old), self.m.on(new), EXCHANGE)
            got = "ok"
        except OSError as e:
            got = errno.errorcode[e.errno]
        self.log.append("exchange %s %s -> %s" % (old, new, got))
        if got == "ok":
            self.model.rename(old, new, EXCHANGE)
        else:
            self.assertIn(got, ("EINVAL", "ENOENT", "ENOTDIR"), self.log[-1])

    def work(self):
        """What the daemon's workers may do at any time: nobody sees a difference."""
        todo = self.random.choice(["vault-jobs", "settle", "store", "evict", "fetch"])
        if todo == "vault-jobs":
            self.m.tell(todo)
            return
        path = self.known_path()
        self.log.append(todo + " " + path)
        try:
            self.m.tell(todo + " " + path)
        except RuntimeError as e:
            self.log.append(str(e))

    # --- what must hold

    def check(self):
        files = {}
        for top, dirs, names in os.walk(self.m.mount):
            below = os.path.relpath(top, self.m.mount)
            prefix = "" if below == "." else below + "/"
            files.update({prefix + name: None for name in dirs})
            files.update({prefix + name: read(os.path.join(top, name)) for name in names})
        want = {p: None if isinstance(w, dict) else w.data for p, w in self.model.paths()}
        self.assertEqual(files, want, "\n".join(self.log[-30:]))

    def test_random_operations(self):
        steps = [self.make] * 4 + [self.rename] * 6 + [self.mkdir] * 2 + [
            self.rmdir, self.unlink, self.link, self.exchange, self.work, self.work]
        for _ in range(STEPS):
            self.random.choice(steps)()
            self.check()
        self.m.tell("vault-jobs")
        self.check()
        self.m.stop()
        self.m.start()
        self.check()


if __name__ == "__main__":
    mounted.main()
