"""Rename, link and unlink over files of different branches: what replaces what, what a kill in between leaves, and what
happens at the same time."""
import os
import subprocess
import threading
import time

import mounted
from files import RENAME_EXCHANGE, RENAME_NOREPLACE, errno_of, read, renameat2, soon, write

M = None


def setUpModule():
    global M
    M = mounted.for_module(share=True)


def renaming(a, b, times, done, threads):
    """The directory goes there and back while the threads work in it, until `done`."""
    for t in threads:
        t.start()
    for _ in range(times):
        os.rename(a, b)
        os.rename(b, a)
    done.set()
    for t in threads:
        t.join()


def shared(m, path, data):
    os.makedirs(os.path.dirname(m.share + "/" + path), exist_ok=True)
    write(m.share + "/" + path, data)


def make(m, kind, path, data):
    """A file of the library on the branches that `kind` names."""
    os.makedirs(os.path.dirname(m.under(path)), exist_ok=True)
    if "vault" in kind:
        m.put(path, data)
        if "local" in kind:
            m.tell("fetch " + path)
    elif "local" in kind:
        write(m.under(path), data)
        m.tell("settle " + path)
    if "share" in kind:
        shared(m, path, data)


KINDS = ["local", "share", "vault", "local+share", "local+vault", "share+vault"]


class Case(mounted.Case):
    def setUp(self):
        self.dir = "-".join(self.id().split(".")[-2:])
        os.makedirs(M.under(self.dir))

    def at(self, name):
        return self.dir + "/" + name

    def gone_everywhere(self, path):
        self.assertFalse(os.path.exists(M.under(path)))
        self.assertFalse(os.path.exists(M.share + "/" + path))
        self.assertEqual(M.tell("find " + path), "none")


class Combinations(Case):
    def test_every_source_over_every_target(self):
        for source in KINDS:
            for target in ["none"] + KINDS:
                with self.subTest(source=source, target=target):
                    a, b = self.at("a-%s-%s" % (source, target)), self.at("b-%s-%s" % (source, target))
                    make(M, source, a, b"source")
                    if target != "none":
                        make(M, target, b, b"the target")
                    os.rename(M.on(a), M.on(b))
                    self.assertEqual(read(M.on(b)), b"source")
                    self.gone_everywhere(a)
                    if "local" not in source:
                        self.assertFalse(os.path.exists(M.under(b)))
                    if "share" not in source:
                        self.assertFalse(os.path.exists(M.share + "/" + b))
                    M.tell("vault-jobs")
                    self.assertEqual(read(M.on(b)), b"source")
                    os.unlink(M.on(b))
                    self.gone_everywhere(b)

    def test_noreplace(self):
        for source in KINDS:
            for target in KINDS:
                with self.subTest(source=source, target=target):
                    a, b = self.at("a-%s-%s" % (source, target)), self.at("b-%s-%s" % (source, target))
                    make(M, source, a, b"source")
                    make(M, target, b, b"the target")
                    self.assertEqual(errno_of(renameat2, M.on(a), M.on(b), RENAME_NOREPLACE), "EEXIST")
                    self.assertEqual((read(M.on(a)), read(M.on(b))), (b"source", b"the target"))
                    os.unlink(M.on(b))
                    renameat2(M.on(a), M.on(b), RENAME_NOREPLACE)
                    self.assertEqual(read(M.on(b)), b"source")

    def test_a_share_that_refuses_leaves_the_target(self):
        shared(M, self.at("a"), b"source")
        make(M, "local", self.at("D/b"), b"the target")
        write(M.share + "/" + self.at("D"), b"a file where the share would need a directory")
        self.assertEqual(errno_of(os.rename, M.on(self.at("a")), M.on(self.at("D/b"))), "ENOTDIR")
        self.assertEqual((read(M.on(self.at("a"))), read(M.on(self.at("D/b")))), (b"source", b"the target"))
        self.assertIn("local=1", M.tell("find " + self.at("D/b")))

    def test_fsync_of_a_directory(self):
        make(M, "vault", self.at("a"), b"source")
        os.rename(M.on(self.at("a")), M.on(self.at("b")))
        fd = os.open(M.on(self.dir), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)

    def test_directories(self):
        for source in ("local", "share", "vault"):
            for target in ("none", "local", "share"):
                with self.subTest(source=source, target=target):
                    a, b = self.at("a-%s-%s" % (source, target)), self.at("b-%s-%s" % (source, target))
                    make(M, source, a + "/sub/f", b"below")
                    if source != "local":
                        os.removedirs(M.under(a + "/sub"))
                        os.makedirs(M.under(self.dir), exist_ok=True)
                    if target != "none":
                        os.makedirs((M.under(b) if target == "local" else M.share + "/" + b))
                    os.rename(M.on(a), M.on(b))
                    self.assertEqual(read(M.on(b + "/sub/f")), b"below")
                    self.assertFalse(os.path.exists(M.on(a)))
                    self.assertEqual(errno_of(os.rmdir, M.on(b)), "ENOTEMPTY")

    def test_a_directory_that_is_not_empty_stays(self):
        for source in ("local", "share", "vault"):
            for target in ("local", "share", "vault"):
                with self.subTest(source=source, target=target):
                    a, b = self.at("a-%s-%s" % (source, target)), self.at("b-%s-%s" % (source, target))
                    make(M, source, a + "/f", b"source")
                    make(M, target, b + "/g", b"the target")
                    self.assertEqual(errno_of(os.rename, M.on(a), M.on(b)), "ENOTEMPTY")
                    self.assertEqual((read(M.on(a + "/f")), read(M.on(b + "/g"))), (b"source", b"the target"))


class Exchange(Case):
    def test_files(self):
        a, b = self.at("a"), self.at("b")
        make(M, "local+vault", a, b"one")
        make(M, "local", b, b"other")
        numbers = os.stat(M.on(a)).st_ino, os.stat(M.on(b)).st_ino
        renameat2(M.on(a), M.on(b), RENAME_EXCHANGE)
        self.assertEqual((read(M.on(a)), read(M.on(b))), (b"other", b"one"))
        self.assertEqual((os.stat(M.on(b)).st_ino, os.stat(M.on(a)).st_ino), numbers)
        M.tell("vault-jobs")
        M.tell("store " + a)
        M.tell("evict " + a)
        M.tell("evict " + b)
        self.assertEqual((read(M.on(a)), read(M.on(b))), (b"other", b"one"))

    def test_directories(self):
        make(M, "local", self.at("A/x"), b"x")
        make(M, "vault", self.at("B/y"), b"y")
        renameat2(M.on(self.at("A")), M.on(self.at("B")), RENAME_EXCHANGE)
        self.assertEqual((read(M.on(self.at("A/y"))), read(M.on(self.at("B/x")))), (b"y", b"x"))
        self.assertEqual((os.listdir(M.on(self.at("A"))), os.listdir(M.on(self.at("B")))), (["y"], ["x"]))

    def test_with_a_file_that_has_no_row_yet(self):
        for order in (("a", "b"), ("b", "a")):
            with self.subTest(order=order):
                stored, new = (self.at(name + order[0]) for name in "xy")
                make(M, "local+vault", stored, b"stored")
                M.tell("evict " + stored)
                M.tell("fetch " + stored)  # its number is not the disk's any more
                write(M.on(new), b"new")
                row = M.tell("find " + stored)
                number = os.stat(M.on(stored)).st_ino
                pair = (stored, new) if order[0] == "a" else (new, stored)
                renameat2(M.on(pair[0]), M.on(pair[1]), RENAME_EXCHANGE)
                self.assertEqual(M.tell("find " + new), row)
                self.assertEqual(os.stat(M.on(new)).st_ino, number)
                M.tell("vault-jobs")
                self.assertEqual((read(M.on(new)), read(M.on(stored))), (b"stored", b"new"))

    def test_with_what_is_not_catalogued(self):
        os.makedirs(M.on("Incoming"), exist_ok=True)
        write(M.on("Incoming/new"), b"new")
        make(M, "local+vault", self.at("old"), b"old")
        renameat2(M.on("Incoming/new"), M.on(self.at("old")), RENAME_EXCHANGE)
        self.assertEqual((read(M.on("Incoming/new")), read(M.on(self.at("old")))), (b"old", b"new"))
        self.assertIn("vault=0", M.tell("find " + self.at("old")))

    def test_other_branches_refuse(self):
        make(M, "local", self.at("l"), b"l")
        make(M, "vault", self.at("v"), b"v")
        make(M, "share", self.at("s"), b"s")
        for one, other in (("l", "v"), ("v", "l"), ("l", "s"), ("s", "l"), ("v", "s")):
            self.assertEqual(errno_of(renameat2, M.on(self.at(one)), M.on(self.at(other)), RENAME_EXCHANGE), "EINVAL")
        self.assertEqual([read(M.on(self.at(n))) for n in "lvs"], [b"l", b"v", b"s"])


class Sidecars(Case):
    def beside(self, name, text):
        write(M.on(self.at(".%s.sha1" % name)), text)

    def names(self, path=None):
        return sorted(os.listdir(M.on(path or self.dir)))

    def test_follow_a_rename(self):
        make(M, "local", self.at("a.mkv"), b"film")
        self.beside("a.mkv", b"a" * 40)
        os.makedirs(M.on(self.at("D")))
        os.rename(M.on(self.at("a.mkv")), M.on(self.at("D/b.mkv")))
        self.assertEqual(self.names(), ["D"])
        self.assertEqual(self.names(self.at("D")), [".b.mkv.sha1", "b.mkv"])
        self.assertEqual(read(M.on(self.at("D/.b.mkv.sha1"))), b"a" * 40)

    def test_of_a_vault_only_file(self):
        make(M, "vault", self.at("a.mkv"), b"film")
        self.beside("a.mkv", b"a" * 40)
        os.rename(M.on(self.at("a.mkv")), M.on(self.at("b.mkv")))
        self.assertEqual(self.names(), [".b.mkv.sha1", "b.mkv"])
        os.unlink(M.on(self.at("b.mkv")))
        self.assertEqual(self.names(), [])

    def test_on_the_share(self):
        shared(M, self.at("a.mkv"), b"film")
        shared(M, self.at(".a.mkv.sha1"), b"a" * 40)
        os.rename(M.on(self.at("a.mkv")), M.on(self.at("b.mkv")))
        self.assertEqual(sorted(os.listdir(M.share + "/" + self.dir)), [".b.mkv.sha1", "b.mkv"])
        os.unlink(M.on(self.at("b.mkv")))
        self.assertEqual(os.listdir(M.share + "/" + self.dir), [])

    def test_into_a_directory_that_the_disk_lacks(self):
        make(M, "vault", self.at("A/a"), b"film")
        make(M, "vault", self.at("B/x"), b"other")
        os.rmdir(M.under(self.at("B")))
        write(M.on(self.at("A/.a.sha1")), b"a" * 40)
        os.rename(M.on(self.at("A/a")), M.on(self.at("B/b")))
        self.assertEqual(self.names(self.at("B")), [".b.sha1", "b", "x"])
        self.assertEqual(read(M.on(self.at("B/.b.sha1"))), b"a" * 40)
        os.rmdir(M.on(self.at("A")))

    def test_go_with_an_exchange(self):
        make(M, "local", self.at("a"), b"one")
        make(M, "local", self.at("b"), b"other")
        self.beside("a", b"a" * 40)
        self.beside("b", b"b" * 40)
        renameat2(M.on(self.at("a")), M.on(self.at("b")), RENAME_EXCHANGE)
        self.assertEqual((read(M.on(self.at(".a.sha1"))), read(M.on(self.at(".b.sha1")))), (b"b" * 40, b"a" * 40))
        os.unlink(M.on(self.at(".b.sha1")))
        renameat2(M.on(self.at("a")), M.on(self.at("b")), RENAME_EXCHANGE)
        self.assertEqual(self.names(), [".b.sha1", "a", "b"])
        self.assertEqual(read(M.on(self.at(".b.sha1"))), b"b" * 40)

    def test_a_replaced_files_own_goes(self):
        make(M, "local", self.at("a"), b"new")
        make(M, "local", self.at("b"), b"old")
        self.beside("b", b"b" * 40)
        os.rename(M.on(self.at("a")), M.on(self.at("b")))
        self.assertEqual(self.names(), ["b"])

    def test_one_that_was_there_before_its_file_stays(self):
        self.beside("b", b"b" * 40)
        write(M.on(self.at("b.part")), b"film")
        os.rename(M.on(self.at("b.part")), M.on(self.at("b")))
        self.assertEqual(self.names(), [".b.sha1", "b"])

    def test_what_is_done_to_a_sidecar_is_done_to_it_alone(self):
        make(M, "local", self.at("a"), b"film")
        self.beside("a", b"a" * 40)
        os.rename(M.on(self.at(".a.sha1")), M.on(self.at("kept")))
        self.assertEqual(self.names(), ["a", "kept"])
        os.rename(M.on(self.at("kept")), M.on(self.at(".a.sha1")))
        os.unlink(M.on(self.at(".a.sha1")))
        self.assertEqual(self.names(), ["a"])

    def test_gone_with_the_file_so_that_rmdir_works(self):
        make(M, "local", self.at("a"), b"film")
        self.beside("a", b"a" * 40)
        os.unlink(M.on(self.at("a")))
        os.rmdir(M.on(self.dir))

    def test_a_name_too_long_for_one(self):
        make(M, "local", self.at("a"), b"film")
        self.beside("a", b"a" * 40)
        os.rename(M.on(self.at("a")), M.on(self.at("b" * 253)))
        self.assertEqual(self.names(), ["b" * 253])


class Kills(mounted.Case):
    """The daemon dies in the middle of a rename; at the next start one of the two states is there, whole."""

    def killed_at(self, point, source, target, m=None, meanwhile=lambda: None):
        # The next start waits for the share: what the rename left is finished before anything is answered.
        m = m or self.mounted(share=True, share_timeout_ms=20000)
        m.start(crash=point)
        make(m, source, "a", b"source")
        make(m, target, "b", b"the target")
        with self.assertRaises(OSError):
            os.rename(m.on("a"), m.on("b"))
        m.died()
        meanwhile()
        m.start()
        return m

    def test_before_the_share_renames(self):
        m = self.killed_at("rename.before_share", "share", "local")
        self.assertEqual((read(m.on("a")), read(m.on("b"))), (b"source", b"the target"))

    def test_after_the_share_renamed(self):
        for source in ("share", "share+vault"):
            for target in ("local", "local+vault"):
                with self.subTest(source=source, target=target):
                    m = self.killed_at("rename.after_share", source, target)
                    self.assertEqual(read(m.on("b")), b"source")
                    self.assertFalse(os.path.exists(m.under("b")))
                    self.assertFalse(os.path.exists(m.on("a")))
                    self.assertEqual("none" == m.tell("find b"), "vault" not in source)

    def test_after_the_catalogue_renamed(self):
        for target in ("local", "local+vault", "share", "local+share"):
            with self.subTest(target=target):
                m = self.killed_at("rename.after_commit", "vault", target)
                self.assertEqual(read(m.on("b")), b"source")
                self.assertEqual((os.path.exists(m.under("b")), os.path.exists(m.share + "/b")), (False, False))
                self.assertFalse(os.path.exists(m.on("a")))

    def test_nothing_goes_that_is_not_the_file_that_was_replaced(self):
        m = self.killed_at("rename.after_commit", "vault", "local")
        m.kill()
        # As if it had been killed just now, and somebody had put another file there underneath.
        m.start(crash="rename.after_commit")
        make(m, "vault", "c", b"third")
        make(m, "local", "d", b"the target")
        with self.assertRaises(OSError):
            os.rename(m.on("c"), m.on("d"))
        m.died()
        os.unlink(m.under("d"))
        write(m.under("d"), b"somebody else's")
        m.start()
        self.assertEqual(read(m.on("d")), b"somebody else's")


    def test_after_the_disk_renamed(self):
        """What the share has of a local file follows, or goes: else it would show once the file is evicted."""
        for source, target in (("local+share", "none"), ("local+share", "share"), ("local", "share"),
                               ("local", "share+vault"), ("local+vault", "local+share")):
            with self.subTest(source=source, target=target):
                m = self.killed_at("rename.after_disk", source, target)
                self.assertFalse(os.path.exists(m.share + "/a"))
                self.assertEqual(os.path.exists(m.share + "/b"), "share" in source)
                m.tell("settle b")
                self.assertEqual(read(m.on("b")), b"source")
                if "share" not in source:
                    m.tell("store b")
                    m.tell("evict b")
                    self.assertEqual(read(m.on("b")), b"source")

    def test_after_the_disk_renamed_with_the_share_absent_at_the_start(self):
        m = self.mounted(share=True, marker=".here")
        m = self.killed_at("rename.after_disk", "local", "share", m, lambda: os.unlink(m.share + "/.here"))
        m.tell("store b")
        with self.assertRaisesRegex(RuntimeError, "has yet to follow its rename"):  # what it has would be shown instead
            m.tell("evict b")
        self.assertEqual(read(m.on("b")), b"source")
        write(m.share + "/.here", b"")
        self.gone_in_the_end(m.share + "/b")
        self.evicted_in_the_end(m, "b")
        self.assertEqual(read(m.on("b")), b"source")

    def test_the_local_part_does_not_wait_for_an_absent_share(self):
        m = self.mounted(share=True, marker=".here")
        m = self.killed_at("rename.after_commit", "vault", "local+share", m,
                           lambda: os.unlink(m.share + "/.here"))
        self.assertFalse(os.path.exists(m.under("b")))
        self.assertEqual(read(m.on("b")), b"source")
        write(m.share + "/.here", b"")
        self.gone_in_the_end(m.share + "/b")
        self.assertEqual(read(m.on("b")), b"source")

    def gone_in_the_end(self, path):
        self.assertTrue(soon(lambda: not os.path.exists(path), 20))

    def evicted_in_the_end(self, m, path):
        """The note that the share has yet to follow goes after it has."""
        def evicted():
            try:
                m.tell("evict " + path)
            except RuntimeError as refused:
                self.assertIn("has yet to follow its rename", str(refused))
            return "local=0" in m.tell("find " + path)
        self.assertTrue(soon(evicted, 20))


class Refusals(mounted.Case):
    """The share does not do its part of a rename."""

    def test_a_share_whose_server_dies_keeps_its_part_for_later(self):
        for target, other_device in (("share", False), ("local+share", False), ("share+vault", False), ("share", True)):
            with self.subTest(target=target, other_device=other_device):
                server = self.mounted(vault=False)
                server.start(crash="unlink.before_disk")
                device = os.stat(server.mount).st_dev
                m = self.mounted(share=server.mount).start()
                make(m, "vault", "a", b"source")
                make(m, target, "b", b"the target")
                os.rename(m.on("a"), m.on("b"))
                self.assertFalse(os.path.exists(m.under("b")))
                self.assertEqual(m.tell("find a"), "none")
                m.tell("vault-jobs")
                server.died()
                self.assertTrue(os.path.exists(server.under("b")))
                if other_device:
                    self.take_device_number(server, device)
                server.start()
                if other_device:
                    self.assertNotEqual(os.stat(server.mount).st_dev, device)
                self.assertTrue(soon(lambda: not os.path.exists(server.under("b")), 20))
                self.assertEqual(read(m.on("b")), b"source")
                m.stop()
                server.stop()

    def take_device_number(self, server, device):
        """What is mounted next at the dead server's place can't get the st_dev that it had."""
        subprocess.run(["umount", "-l", server.mount], check=True)
        deadline = time.time() + 20
        while os.stat(server.plain).st_dev != device and time.time() < deadline:
            subprocess.run(["mount", "-t", "tmpfs", "none", server.plain], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", server.plain], check=True)

    def test_a_share_that_can_only_be_read_keeps_the_target_whole(self):
        m = self.mounted(share=True)
        make_share = m.share
        for target in ("share+vault", "local+share+vault", "local+share"):
            with self.subTest(target=target):
                if m.process is None:
                    m.start()
                make(m, "vault", "a", b"source")
                make(m, target, "b", b"the target")
                had = m.tell("find b")
                subprocess.run(["mount", "--bind", make_share, make_share], check=True)
                try:
                    subprocess.run(["mount", "-o", "remount,bind,ro", make_share], check=True)
                    self.assertEqual(errno_of(os.rename, m.on("a"), m.on("b")), "EROFS")
                finally:
                    subprocess.run(["umount", "-l", make_share], check=True)
                self.assertEqual((read(m.on("a")), read(m.on("b"))), (b"source", b"the target"))
                self.assertEqual(m.tell("find b"), had)
                m.tell("vault-jobs")
                self.assertEqual(os.path.exists(m.vault + "/b"), "vault" in target)
                self.assertEqual(os.path.exists(m.under("b")), "local" in target)
                os.unlink(m.share + "/b")
                m.tell("invalidate b")
                self.assertEqual(read(m.on("b")), b"the target")
                os.unlink(m.on("b"))
                os.unlink(m.on("a"))
                m.tell("vault-jobs")


class Together(Case):
    def test_create_while_the_directory_is_renamed(self):
        """Whatever was made in a directory is in it, under whichever name; the old name does not come back."""
        a, b = M.on(self.at("A")), M.on(self.at("B"))
        os.mkdir(a)
        made, wrong = set(), []
        done = threading.Event()
        fd = os.open(a, os.O_RDONLY | os.O_DIRECTORY)

        def maker(n):
            i = 0
            while not done.is_set():
                i += 1
                name = "%d-%d" % (n, i)
                try:
                    if i % 3 == 0:
                        os.mkdir(name, dir_fd=fd)
                    elif i % 3 == 1:
                        os.symlink("x", name, dir_fd=fd)
                    else:
                        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=fd))
                    made.add(name)
                except OSError as e:
                    wrong.append((name, str(e)))
        renaming(a, b, 40, done, [threading.Thread(target=maker, args=(n,)) for n in range(3)])
        os.close(fd)
        self.assertEqual(wrong, [])
        self.assertEqual(os.listdir(M.under(self.dir)), ["A"])
        self.assertEqual(set(os.listdir(M.under(self.at("A")))), made)

    def test_open_and_stat_while_the_directory_is_renamed(self):
        a, b = M.on(self.at("A")), M.on(self.at("B"))
        os.mkdir(a)
        for i in range(20):
            write(a + "/f%d" % i, b"%d" % i)
        wrong = []
        done = threading.Event()
        fd = os.open(a, os.O_RDONLY | os.O_DIRECTORY)

        def reader():
            i = 0
            while not done.is_set():
                i = (i + 1) % 20
                try:
                    file = os.open("f%d" % i, os.O_RDONLY, dir_fd=fd)
                    if os.read(file, 10) != b"%d" % i:
                        wrong.append(i)
                    os.close(file)
                except OSError as e:
                    wrong.append(str(e))
        renaming(a, b, 60, done, [threading.Thread(target=reader) for _ in range(2)])
        os.close(fd)
        self.assertEqual(wrong, [])

    def test_noreplace_and_create(self):
        """One of the two gets the name, never both: nobody's bytes hide behind the other's."""
        for i in range(30):
            v, name = self.at("v%d" % i), self.at("n%d" % i)
            make(M, "vault", v, b"vault")
            outcome = {}
            gate = threading.Barrier(2)

            def create():
                gate.wait()
                outcome["create"] = errno_of(
                    lambda: os.close(os.open(M.on(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY)))

            def rename():
                gate.wait()
                outcome["rename"] = errno_of(renameat2, M.on(v), M.on(name), RENAME_NOREPLACE)
            threads = [threading.Thread(target=create), threading.Thread(target=rename)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(sorted(outcome.values()), ["EEXIST", "ok"], outcome)
            self.assertEqual(read(M.on(name if outcome["rename"] == "ok" else v)), b"vault")


if __name__ == "__main__":
    mounted.main()
