"""What the kernel keeps: nothing is asked twice, and changes underneath are seen all the same. What the daemon is not
asked is what works while it is stopped."""
import errno
import os
import signal
import threading
import time

import mounted
from files import read, soon, write

M = None
OLD = 1_600_000_000


def setUpModule():
    global M
    M = mounted.for_module()
    assert trusts(M)


def trusts(m):
    """Whether the mount has come to believe that it is told of changes: it asks once a second."""
    return soon(lambda: m.tell("trusted") == "yes")


def without_the_daemon(action):
    outcome = []
    M.process.send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=lambda: outcome.append(action()), daemon=True)
    try:
        thread.start()
        thread.join(1)
        return list(outcome)
    finally:
        M.process.send_signal(signal.SIGCONT)
        thread.join(10)


def names(path):
    return sorted(os.listdir(path))


def walk(path):
    found = []
    with os.scandir(path) as entries:
        for e in entries:
            found.append((e.name, e.stat(follow_symlinks=False).st_size))
            if e.is_dir(follow_symlinks=False):
                found += walk(e.path)
    return sorted(n for n in found if n[0] != "sub")


class Case(mounted.Case):
    def setUp(self):
        self.dir = self.id().split(".")[-1]
        os.makedirs(M.under(self.dir + "/sub"))
        for i in range(20):
            self.under("f%d" % i, b"x" * i)
        self.under("sub/deep", b"deep")
        self.on = M.on(self.dir)
        self.assertTrue(soon(lambda: len(names(self.on)) == 21))

    def under(self, name, data, old=True):
        """Written underneath long ago: a file that was changed lately is told for a second only."""
        path = M.under(self.dir + "/" + name)
        write(path, data)
        if old:
            os.utime(path, (OLD, OLD))
        return path

    def settled(self):
        """Names and attributes of the directory's files as told for long (their ctime is of now)."""
        walk(self.on)


class Kept(Case):
    def test_a_walk_again_asks_nothing(self):
        # Files made underneath a moment ago are told for a second; the listing and the names are not asked again.
        def again():
            first = names(self.on)  # and the root's own attributes, which are told for a second
            return without_the_daemon(lambda: names(self.on)) == [first]
        self.assertTrue(soon(again))


class Underneath(Case):
    def test_new_name(self):
        self.settled()
        self.assertFalse(os.path.exists(self.on + "/new"))
        self.under("new", b"new")
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/new")))
        self.assertTrue(soon(lambda: "new" in names(self.on)))
        self.assertEqual(read(self.on + "/new"), b"new")

    def test_removed_name(self):
        self.settled()
        os.unlink(M.under(self.dir + "/f3"))
        self.assertTrue(soon(lambda: not os.path.exists(self.on + "/f3")))
        self.assertTrue(soon(lambda: "f3" not in names(self.on)))

    def test_renamed(self):
        self.settled()
        self.assertFalse(os.path.exists(self.on + "/moved"))
        os.rename(M.under(self.dir + "/f5"), M.under(self.dir + "/moved"))
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/moved") and not os.path.exists(self.on + "/f5")))
        os.rename(M.under(self.dir + "/sub"), M.under(self.dir + "/directory"))
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/directory/deep")))
        self.assertTrue(soon(lambda: not os.path.exists(self.on + "/sub/deep")))
        self.assertTrue(soon(lambda: "directory" in names(self.on) and "sub" not in names(self.on)))

    def test_replaced(self):
        self.settled()
        self.assertEqual(read(self.on + "/f7"), b"x" * 7)
        self.under(".new", b"replaced")
        os.rename(M.under(self.dir + "/.new"), M.under(self.dir + "/f7"))
        self.assertTrue(soon(lambda: os.stat(self.on + "/f7").st_size == 8))
        self.assertEqual(read(self.on + "/f7"), b"replaced")

    def test_written(self):
        self.settled()
        with open(self.on + "/f9", "rb", buffering=0) as held:
            self.assertEqual(held.read(), b"x" * 9)
            self.under("f9", b"longer than before")
            self.assertTrue(soon(lambda: os.stat(self.on + "/f9").st_size == 18))
            self.assertEqual(os.pread(held.fileno(), 100, 0), b"longer than before")

    def test_growing(self):
        """A file that somebody writes underneath and has not closed."""
        self.settled()
        with open(M.under(self.dir + "/f9"), "ab", buffering=0) as f:
            for size in (12, 15):
                f.write(b"abc")
                self.assertTrue(soon(lambda: os.stat(self.on + "/f9").st_size == size))

    def test_chmod(self):
        self.settled()
        os.chmod(M.under(self.dir + "/f1"), 0o600)
        os.chmod(M.under(self.dir + "/sub"), 0o700)
        self.assertTrue(soon(lambda: os.stat(self.on + "/f1").st_mode & 0o777 == 0o600))
        self.assertTrue(soon(lambda: os.stat(self.on + "/sub").st_mode & 0o777 == 0o700))

    def test_links(self):
        self.settled()
        self.assertEqual(os.stat(self.on + "/f2").st_nlink, 1)
        os.link(M.under(self.dir + "/f2"), M.under(self.dir + "/link"))
        self.assertTrue(soon(lambda: os.stat(self.on + "/f2").st_nlink == 2))
        self.assertTrue(soon(lambda: os.stat(self.on + "/link").st_nlink == 2))
        os.unlink(M.under(self.dir + "/link"))
        self.assertTrue(soon(lambda: os.stat(self.on + "/f2").st_nlink == 1))
        self.assertTrue(soon(lambda: not os.path.exists(self.on + "/link")))
        os.link(self.on + "/f2", self.on + "/link")
        os.unlink(self.on + "/link")
        self.assertEqual(os.stat(self.on + "/f2").st_nlink, 1)

    def test_directory_that_appears_with_all_in_it(self):
        self.assertFalse(os.path.exists(self.on + "/late"))
        os.makedirs(M.under(self.dir + "/late/a/b"))
        for i in range(50):
            self.under("late/a/b/%d" % i, b"x")
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/late/a/b")))
        self.assertTrue(soon(lambda: len(names(self.on + "/late/a/b")) == 50))

    def test_times_of_a_directory(self):
        before = os.stat(self.on).st_mtime_ns
        time.sleep(0.02)
        self.under("later", b"")
        self.assertTrue(soon(lambda: os.stat(self.on).st_mtime_ns > before))

    def test_open_to_write_what_is_no_more(self):
        """The kernel believes in the name: it must look again before it says that there is nothing to open."""
        self.settled()
        os.unlink(M.under(self.dir + "/f4"))
        self.assertTrue(soon(lambda: not os.path.exists(self.on + "/f4")))
        self.under("f4", b"again")
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/f4")))
        os.unlink(M.under(self.dir + "/f4"))
        with open(self.on + "/f4", "wb") as f:  # perhaps before anybody was told
            f.write(b"through the mount")
        self.assertEqual(read(M.under(self.dir + "/f4")), b"through the mount")

    def test_replaced_while_it_is_open(self):
        self.settled()
        with open(self.on + "/f8", "rb", buffering=0) as held:
            inode = os.fstat(held.fileno()).st_ino
            self.under(".new", b"another file")
            os.rename(M.under(self.dir + "/.new"), M.under(self.dir + "/f8"))
            self.assertTrue(soon(lambda: os.stat(self.on + "/f8").st_size == 12))
            self.assertEqual(os.fstat(held.fileno()).st_ino, inode)
            self.assertEqual(held.read(), b"x" * 8)
            os.unlink(M.under(self.dir + "/f8"))
            self.assertTrue(soon(lambda: not os.path.exists(self.on + "/f8")))

    def test_another_type(self):
        """What the type alone forbids the kernel decides by itself: of each type, what only that one can."""
        def make(path, kind):
            if kind == "directory":
                os.mkdir(path)
                write(path + "/in", b"within")
            elif kind == "link":
                os.symlink(M.under(self.dir + "/f3"), path)
            else:
                write(path, b"a file")

        def remove(path):
            if os.path.isdir(path) and not os.path.islink(path):
                os.unlink(path + "/in")
                os.rmdir(path)
            else:
                os.unlink(path)

        can = {"directory": [lambda p: read(p + "/in") == b"within", lambda p: os.listdir(p) == ["in"]],
               "link": [lambda p: bool(os.readlink(p)), lambda p: os.path.islink(p), lambda p: read(p) == b"x" * 3],
               "file": [lambda p: open(p, "r+b").close() is None, lambda p: read(p) == b"a file",
                        lambda p: os.path.isfile(p)]}

        def does(action, path):
            try:
                return action(path)
            except OSError as e:
                self.assertNotEqual(e.errno, errno.EIO)
                return False

        cases = [("%s-%s-%d" % (was, now, n), was, now, action)
                 for was in can for now in can if was != now for n, action in enumerate(can[now])]
        for name, was, _, _ in cases:
            make(M.under(self.dir + "/" + name), was)
        for name, was, _, _ in cases:
            for action in can[was]:
                self.assertTrue(soon(lambda: does(action, self.on + "/" + name)), name)
        for name, was, now, action in cases:
            remove(M.under(self.dir + "/" + name))
            make(M.under(self.dir + "/" + name), now)
            self.assertTrue(soon(lambda: does(action, self.on + "/" + name)), name)

    def test_file_and_directory_take_turns(self):
        self.settled()
        for _ in range(3):
            os.unlink(M.under(self.dir + "/f6"))
            os.mkdir(M.under(self.dir + "/f6"))
            self.assertTrue(soon(lambda: os.path.isdir(self.on + "/f6")))
            os.rmdir(M.under(self.dir + "/f6"))
            self.under("f6", b"a file")
            self.assertTrue(soon(lambda: os.path.isfile(self.on + "/f6")))

    def test_directory_is_another_one(self):
        """Nothing of the old directory shows in the one that took its name."""
        self.settled()
        os.makedirs(M.under(self.dir + "/other/inner"))
        self.under("other/mine", b"mine")
        os.makedirs(M.under(self.dir + "/sub/inner"))
        self.under("sub/inner/deeper", b"deeper")
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/sub/inner/deeper")))
        os.rename(M.under(self.dir + "/sub"), M.under(self.dir + "/away"))
        os.rename(M.under(self.dir + "/other"), M.under(self.dir + "/sub"))
        self.assertTrue(soon(lambda: os.path.exists(self.on + "/sub/mine")))
        self.assertTrue(soon(lambda: not os.path.exists(self.on + "/sub/deep")))
        self.assertTrue(soon(lambda: not os.path.exists(self.on + "/sub/inner/deeper")))
        self.assertEqual(read(self.on + "/away/inner/deeper"), b"deeper")

    def test_a_kill_while_changes_are_told(self):
        """Nobody waits for a lock that only the killed mount's answers would have freed."""
        m = self.mounted().start()
        os.mkdir(m.on("d"))
        done = threading.Event()

        def churn(root, n):
            i = 0
            while not done.is_set():
                path = root("d/%d-%d" % (n, i % 50))
                try:
                    write(path, b"x")
                    os.rename(path, path + "r")
                    os.unlink(path + "r")
                except OSError:
                    pass
                i += 1
        threads = [threading.Thread(target=churn, args=(root, n), daemon=True)
                   for n, root in enumerate([m.on, m.on, m.under, m.under])]
        for t in threads:
            t.start()
        for _ in range(5):
            time.sleep(0.2)
            m.kill()
            m.start()
        done.set()
        for t in threads:
            t.join(20)
            self.assertFalse(t.is_alive())
        m.stop()


class Through(Case):
    def test_own_changes_are_seen_at_once(self):
        self.settled()
        for i in range(200):
            a, b = self.on + "/a%d" % i, self.on + "/b%d" % i
            write(a, b"x" * (i + 1))
            self.assertEqual(os.stat(a).st_size, i + 1)
            os.rename(a, b)
            self.assertFalse(os.path.exists(a))
            os.truncate(b, 5000)
            self.assertEqual(os.stat(b).st_size, 5000)
            self.assertIn("b%d" % i, os.listdir(self.on))
            os.unlink(b)
            self.assertFalse(os.path.exists(b))
            self.assertNotIn("b%d" % i, os.listdir(self.on))

    def test_reading_while_names_come_and_go(self):
        """A listing that is under way shows all names that stay, each once."""
        os.mkdir(self.on + "/many")
        stay = {"stay%d" % i for i in range(800)}
        for name in stay:
            write(self.on + "/many/" + name, b"")
        seen = []
        with os.scandir(self.on + "/many") as entries:
            for number, e in enumerate(entries):
                seen.append(e.name)
                if number % 20 == 0:
                    write(self.on + "/many/go%d" % number, b"")
                    list(os.scandir(self.on + "/many"))
        self.assertEqual(len(seen), len(set(seen)))
        self.assertLessEqual(stay, set(seen))
        for name in names(self.on + "/many"):
            os.unlink(self.on + "/many/" + name)
        os.rmdir(self.on + "/many")

    def test_evicted_and_fetched(self):
        M.put(self.dir + "/film", b"y" * 5000)
        self.assertEqual(os.stat(self.on + "/film").st_size, 5000)
        M.tell("fetch " + self.dir + "/film")
        with open(self.on + "/film", "ab") as f:
            f.write(b"z")
        self.assertEqual(os.stat(self.on + "/film").st_size, 5001)
        self.assertTrue(soon(lambda: names(self.on).count("film") == 1))  # it was made underneath


class WatchedLate(mounted.Case):
    def test_replaced_while_it_is_open_before_its_directory_was_watched(self):
        """Nobody says which names have changed."""
        m = self.mounted(watch=0, trust=1).start()
        self.assertTrue(trusts(m))
        os.mkdir(m.under("d"))
        for name in ("held", "linked"):
            write(m.under("d/" + name), b"old")
            os.utime(m.under("d/" + name), (OLD, OLD))
        os.link(m.under("d/linked"), m.under("d/other name"))
        walk(m.on("d"))
        with open(m.on("d/held"), "rb", buffering=0) as held:
            for name in ("held", "linked"):
                write(m.under("new"), b"replaced")
                os.rename(m.under("new"), m.under("d/" + name))
            m.tell("invalidate-names d")
            self.assertTrue(soon(lambda: os.stat(m.on("d/held")).st_size == 8))
            self.assertTrue(soon(lambda: os.stat(m.on("d/linked")).st_size == 8))
            self.assertEqual(held.read(), b"old")
        self.assertEqual(read(m.on("d/other name")), b"old")
        m.stop()


class VaultOnly(mounted.Case):
    """Files that a vault's listing showed, of several requests' worth of names."""
    COUNT = 400

    def setUp(self):
        self.m = self.mounted()
        os.mkdir(self.m.vault + "/films")
        for i in range(self.COUNT):
            write(self.m.vault + "/films/%0100d" % i, b"x" * i)
            os.utime(self.m.vault + "/films/%0100d" % i, (OLD, OLD))
        self.m.start()
        self.m.tell("import")
        self.assertTrue(trusts(self.m))
        self.on = self.m.on("films")

    def frozen(self, action):
        global M
        ours, M = M, self.m
        try:
            return without_the_daemon(action)
        finally:
            M = ours

    def test_a_listing_brings_the_attributes(self):
        def again():
            os.stat(self.m.mount)
            names(self.on)
            return self.frozen(lambda: walk(self.on)) == [[("%0100d" % i, i) for i in range(self.COUNT)]]
        self.assertTrue(soon(again))
        self.m.stop()

    def test_changed_while_it_is_listed(self):
        """What a listing that is under way says of a file is not older than what was done to it."""
        with os.scandir(self.on) as entries:
            next(entries)
            for i in range(self.COUNT):
                os.chmod(self.on + "/%0100d" % i, 0o600)
            with open(self.on + "/%0100d" % 399, "wb") as f:
                f.write(b"new")
            list(entries)
        for i in range(self.COUNT):
            self.assertEqual(os.stat(self.on + "/%0100d" % i).st_mode & 0o777, 0o600, i)
        self.assertEqual(os.stat(self.on + "/%0100d" % 399).st_size, 3)
        self.m.stop()

    def test_renamed_and_removed(self):
        """Of what the vault alone has: the next listing and look-up see what was answered."""
        for i in range(0, 60, 2):
            old, new = self.on + "/%0100d" % i, self.on + "/new%d" % i
            os.rename(old, new)
            self.assertFalse(os.path.exists(old))
            self.assertEqual(os.stat(new).st_size, i)
            os.unlink(self.on + "/%0100d" % (i + 1))
        self.assertEqual(len(names(self.on)), self.COUNT - 30)
        self.assertEqual(self.m.tell("find films/new8").split()[1], "size=8")
        self.m.tell("vault-jobs")
        self.assertEqual(len(os.listdir(self.m.vault + "/films")), self.COUNT - 30)
        self.assertEqual(read(self.on + "/new8"), b"x" * 8)
        self.m.stop()

    def test_its_own_attributes_are_seen_when_it_was_read(self):
        """The first fetch asks for what a listing does not say."""
        path = self.on + "/%0100d" % 7
        os.stat(path)
        os.utime(self.m.vault + "/films/%0100d" % 7, (OLD + 5, OLD + 5))
        os.chmod(self.m.vault + "/films/%0100d" % 7, 0o640)
        self.m.tell("fetch films/%0100d" % 7)
        self.assertTrue(soon(lambda: os.stat(path).st_mtime == OLD + 5))
        self.m.stop()


class NotWatched(mounted.Case):
    def test_changes_are_seen_after_a_second(self):
        m = self.mounted(watch=0).start()
        os.mkdir(m.on("d"))
        write(m.on("d/f"), b"x")
        self.assertFalse(os.path.exists(m.on("d/new")))
        self.assertEqual(os.listdir(m.on("d")), ["f"])
        write(m.under("d/new"), b"new")
        os.unlink(m.under("d/f"))
        self.assertTrue(soon(lambda: os.path.exists(m.on("d/new")) and not os.path.exists(m.on("d/f"))))
        self.assertTrue(soon(lambda: os.listdir(m.on("d")) == ["new"]))
        m.stop()


class NotPassedThrough(mounted.Case):
    def test_growing_is_read(self):
        """The end that somebody writes underneath and has not closed, by who has read what was there before."""
        m = self.mounted(passthrough=0).start()
        with open(m.under("f"), "wb", buffering=0) as f:
            f.write(b"x" * 9)
            with open(m.on("f"), "rb", buffering=0) as reader:
                self.assertEqual(reader.read(), b"x" * 9)
                f.write(b"abc")
                self.assertTrue(soon(lambda: os.fstat(reader.fileno()).st_size == 12))
                self.assertEqual(os.pread(reader.fileno(), 100, 0), b"x" * 9 + b"abc")
        m.stop()


if __name__ == "__main__":
    mounted.main()
