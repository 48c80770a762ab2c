"""The union: files that only the vault has, a share that merges in, control files, our own attributes."""
import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import tempfile
import threading
import time

import mounted
from files import BTIME, statx, errno_of, read, soon, write

M = None
FILM = os.urandom(3_500_000)


def setUpModule():
    global M
    M = mounted.for_module(share=True, marker=".here")


class Case(mounted.Case):
    def setUp(self):
        self.dir = self.id().split(".")[-1]
        self.path = self.dir + "/film.mkv"

    def evicted(self, data=FILM, mode=0o640):
        M.put(self.path, data, mode)
        return M.on(self.path)

    def branch(self, path=None):
        return os.getxattr(M.on(path or self.path), "user.mediafs.branch").decode()


class VaultOnly(Case):
    def test_reads_whole_and_by_seeking(self):
        path = self.evicted()
        self.assertEqual(read(path), FILM)
        with open(path, "rb") as f:
            f.seek(-1000, os.SEEK_END)
            self.assertEqual(f.read(), FILM[-1000:])
            f.seek(1_500_001)
            self.assertEqual(f.read(300_000), FILM[1_500_001:1_800_001])
        fd = os.open(path, os.O_RDONLY)
        self.assertEqual(os.lseek(fd, 10, os.SEEK_HOLE), len(FILM))
        self.assertEqual(os.lseek(fd, 10, os.SEEK_DATA), 10)
        os.close(fd)
        self.assertFalse(os.path.exists(M.under(self.path)))

    def test_attributes_stay(self):
        os.makedirs(M.on(self.dir))
        write(M.on(self.path), b"x" * 5000)
        os.chmod(M.on(self.path), 0o604)
        os.chown(M.on(self.path), 33, 44)
        os.utime(M.on(self.path), ns=(1, 1_500_000_000_123_456_789))
        before = os.stat(M.on(self.path))
        listed = [e.inode() for e in os.scandir(M.on(self.dir))]
        M.tell("store " + self.path)
        M.tell("evict " + self.path)
        M.tell("invalidate " + self.path)
        time.sleep(1.1)
        after = os.stat(M.on(self.path))
        for field in ("st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink"):
            self.assertEqual(getattr(before, field), getattr(after, field), field)
        mask, told, birth = statx(M.on(self.path))  # nobody knows when it was born
        self.assertEqual((mask & BTIME, told[:6], birth), (0, tuple(after)[:2] + (1, 33, 44, 5000), 0))
        self.assertEqual(os.listdir(M.on(self.dir)), ["film.mkv"])
        self.assertEqual([e.inode() for e in os.scandir(M.on(self.dir))], [after.st_ino])
        self.assertEqual(listed, [after.st_ino])

    def test_a_number_that_an_evicted_file_keeps(self):
        """The disk gives it to a new file at once; the new file shows another one, from its first stat on."""
        os.makedirs(M.on(self.dir))
        for i in range(40):
            old, new = self.dir + "/old%d" % i, self.dir + "/new%d" % i
            M.put(old, b"old")
            write(M.on(new), b"new")
            if os.stat(M.under(new)).st_ino == os.stat(M.on(old)).st_ino:
                break
        else:
            self.skipTest("this filesystem does not use inode numbers again")
        before = os.stat(M.on(new)).st_ino
        self.assertNotEqual(before, os.stat(M.on(old)).st_ino)
        os.unlink(M.on(old))  # the promise holds, though the number is free now
        M.tell("store " + new)
        M.tell("evict " + new)
        M.tell("invalidate " + new)
        time.sleep(1.1)
        self.assertEqual(os.stat(M.on(new)).st_ino, before)

    def test_numbers_in_a_listing_are_of_one_file_each(self):
        self.evicted(b"has a number")
        for i in range(50):  # one of them, as a rule, has it on the disk now
            write(M.under("%s/%d" % (self.dir, i)), b"")
        entries = list(os.scandir(M.on(self.dir)))
        shown = {e.name: os.lstat(e.path).st_ino for e in entries}
        self.assertEqual(len(set(shown.values())), 51)
        self.assertEqual({e.name: e.inode() for e in entries}, shown)

    def test_times_of_its_directory(self):
        def moves(change):
            os.utime(M.on(self.dir), (1, 1))
            change()
            return os.stat(M.on(self.dir)).st_mtime > 1
        path = self.evicted()
        self.assertTrue(moves(lambda: os.rename(path, path + ".x")))
        self.assertTrue(moves(lambda: os.unlink(path + ".x")))

    def test_write_fetches(self):
        path = self.evicted()
        with open(path, "r+b") as f:
            f.seek(100)
            f.write(b"changed")
        want = FILM[:100] + b"changed" + FILM[107:]
        self.assertEqual(read(path), want)
        self.assertEqual(read(M.under(self.path)), want)
        self.assertEqual(stat.S_IMODE(os.stat(M.under(self.path)).st_mode), 0o640)
        self.assertEqual(self.branch(), "local")

    def test_append_fetches(self):
        path = self.evicted()
        write(path, b"more", "ab")
        self.assertEqual(read(path), FILM + b"more")

    def test_truncate_to_nothing_does_not_fetch(self):
        path = self.evicted()
        os.truncate(path, 0)
        self.assertEqual((os.stat(path).st_size, read(path)), (0, b""))
        self.assertEqual(os.stat(M.under(self.path)).st_size, 0)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)

    def test_truncating_open_does_not_fetch(self):
        path = self.evicted()
        write(path, b"anew")
        self.assertEqual(read(path), b"anew")

    def test_truncate_to_its_own_size(self):
        path = self.evicted()
        os.utime(path, (1, 1))
        os.truncate(path, len(FILM))
        self.assertGreater(os.stat(path).st_mtime, 1)
        self.assertEqual((os.stat(path).st_size, self.branch()), (len(FILM), "vault"))

    def test_attributes_of_no_namespace(self):
        path = self.evicted()
        self.assertEqual(errno_of(os.getxattr, path, "nonsense"), "ENOTSUP")
        self.assertEqual(errno_of(os.removexattr, path, "nonsense"), "ENOTSUP")
        self.assertEqual(errno_of(os.getxattr, path, "user.none"), "ENODATA")

    def test_truncate_in_the_middle(self):
        path = self.evicted()
        os.truncate(path, 1_000_000)
        self.assertEqual(read(path), FILM[:1_000_000])

    def test_chmod_chown_utime(self):
        path = self.evicted()
        os.chmod(path, 0o600)
        os.chown(path, 12, 34)
        os.utime(path, ns=(5, 1_234_567_890_000_000_007))
        st = os.stat(path)
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns),
                         (0o600, 12, 34, 1_234_567_890_000_000_007))
        self.assertFalse(os.path.exists(M.under(self.path)))
        self.assertEqual(read(path), FILM)

    def test_rename(self):
        path = self.evicted()
        ino = os.stat(path).st_ino
        os.rename(path, M.on(self.dir + "/other.mkv"))
        self.assertEqual(os.listdir(M.on(self.dir)), ["other.mkv"])
        self.assertEqual(os.stat(M.on(self.dir + "/other.mkv")).st_ino, ino)
        self.assertEqual(read(M.on(self.dir + "/other.mkv")), FILM)
        M.tell("vault-jobs")
        self.assertEqual(read(M.on(self.dir + "/other.mkv"))[:10], FILM[:10])
        self.assertEqual(os.listdir(M.vault + "/" + self.dir), ["other.mkv"])

    def test_bytes_that_only_the_vault_has_do_not_leave_the_library_by_a_rename(self):
        path = self.evicted()
        os.makedirs(M.on("Incoming"), exist_ok=True)
        self.assertEqual(errno_of(os.rename, path, M.on("Incoming/film.mkv")), "EXDEV")
        self.assertEqual(errno_of(os.rename, M.on(self.dir), M.on("Incoming/dir")), "EXDEV")
        self.assertEqual(read(path), FILM)

    def test_a_reader_goes_on_through_a_rename(self):
        path = self.evicted()
        with open(path, "rb", buffering=0) as f:
            self.assertEqual(f.read(10), FILM[:10])
            os.rename(path, M.on(self.dir + "/other.mkv"))
            M.tell("vault-jobs")
            f.seek(2_500_000)
            self.assertEqual(f.read(1000), FILM[2_500_000:2_501_000])

    def test_a_reader_goes_on_through_a_fetch(self):
        path = self.evicted()
        with open(path, "rb", buffering=0) as f:
            self.assertEqual(f.read(10), FILM[:10])
            M.tell("fetch " + self.path)
            f.seek(3_000_000)
            self.assertEqual(f.read(1000), FILM[3_000_000:3_001_000])
        self.assertEqual(read(path), FILM)
        self.assertEqual(self.branch(), "local")

    def test_an_object_that_somebody_replaced(self):
        """Who reads it meanwhile is told, never given a mixture; who opens it again gets what it is now."""
        path = self.evicted()
        with open(path, "rb", buffering=0) as f:
            self.assertEqual(f.read(10), FILM[:10])
            write(M.vault + "/" + self.path, b"other content")
            f.seek(3_000_000)
            self.assertEqual(errno_of(f.read, 1000), "ESTALE")
        self.assertEqual(read(path), b"other content")
        self.assertEqual(os.stat(path).st_size, 13)
        write(M.vault + "/" + self.path, b"and again another")
        M.tell("fetch " + self.path)
        self.assertEqual(read(path), b"and again another")

    def test_a_reader_sees_what_is_changed_after_a_fetch(self):
        path = self.evicted()
        fd = os.open(path, os.O_RDONLY)
        with open(path, "r+b") as f:
            f.write(b"new")
        self.assertEqual(os.pread(fd, 5, 0), b"new" + FILM[3:5])
        os.truncate(path, 2)
        self.assertEqual(os.pread(fd, 5, 0), b"ne")
        write(path, b"longer", "ab")
        self.assertEqual(os.pread(fd, 50, 0), b"nelonger")
        os.unlink(path)
        self.assertEqual((os.fstat(fd).st_size, os.fstat(fd).st_nlink, os.pread(fd, 50, 1)), (8, 0, b"elonger"))
        os.close(fd)

    def test_set_id_bits_go_with_the_owner(self):
        path = self.evicted()
        os.chmod(path, 0o6755)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o6755)
        os.chown(path, -1, 34)
        self.assertEqual((stat.S_IMODE(os.stat(path).st_mode), self.branch()), (0o755, "vault"))

    def test_truncation_keeps_the_group_in_a_setgid_directory(self):
        path = self.evicted()
        os.chmod(M.on(self.dir), 0o2755)
        os.chown(path, 12, 34)
        write(path, b"")
        self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (12, 34))

    def test_rename_of_a_directory(self):
        self.evicted()
        os.rename(M.on(self.dir), M.on(self.dir + "-moved"))
        self.assertEqual(read(M.on(self.dir + "-moved/film.mkv")), FILM)
        self.assertFalse(os.path.exists(M.on(self.dir)))

    def test_replaced_by_a_rename(self):
        path = self.evicted()
        write(M.on(self.dir + "/.tmp"), b"replacement")
        os.rename(M.on(self.dir + "/.tmp"), path)
        self.assertEqual(read(path), b"replacement")
        self.assertEqual(os.listdir(M.on(self.dir)), ["film.mkv"])

    def test_replaces_a_local_file(self):
        path = self.evicted()
        write(M.on(self.dir + "/b"), b"local")
        os.rename(path, M.on(self.dir + "/b"))
        self.assertEqual(read(M.on(self.dir + "/b")), FILM)
        self.assertFalse(os.path.exists(M.under(self.dir + "/b")))

    def test_unlink_and_rmdir(self):
        path = self.evicted()
        self.assertEqual(errno_of(os.rmdir, M.on(self.dir)), "ENOTEMPTY")
        os.unlink(path)
        self.assertFalse(os.path.exists(path))
        os.rmdir(M.on(self.dir))
        self.assertFalse(os.path.exists(M.on(self.dir)))
        M.tell("vault-jobs")
        self.assertFalse(os.path.exists(M.vault + "/" + self.path))

    def test_link_fetches(self):
        path = self.evicted()
        os.link(path, M.on(self.dir + "/second"))
        self.assertEqual(os.stat(path).st_ino, os.stat(M.on(self.dir + "/second")).st_ino)
        self.assertEqual(os.stat(path).st_nlink, 2)
        self.assertEqual(read(M.on(self.dir + "/second")), FILM)

    def test_directory_that_only_the_vault_has(self):
        self.evicted()
        os.rmdir(M.under(self.dir))
        self.assertEqual(os.listdir(M.on(self.dir)), ["film.mkv"])
        self.assertEqual(read(M.on(self.path)), FILM)
        write(M.on(self.dir + "/beside"), b"new")
        self.assertEqual(read(M.under(self.dir + "/beside")), b"new")
        self.assertEqual(sorted(os.listdir(M.on(self.dir))), ["beside", "film.mkv"])

    def test_exclusive_create_sees_it(self):
        path = self.evicted()
        self.assertEqual(errno_of(os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "EEXIST")
        self.assertEqual(errno_of(os.mkdir, path), "EEXIST")

    def test_open_files_are_not_evicted(self):
        os.makedirs(M.on(self.dir))
        write(M.on(self.path), b"busy")
        M.tell("store " + self.path)
        with open(M.on(self.path), "rb"):
            self.assertEqual(M.tell("opens " + self.path), "1")
            with self.assertRaises(RuntimeError):
                M.tell("evict " + self.path)
        self.assertTrue(soon(lambda: M.tell("opens " + self.path) == "0"))  # release follows close at its own time
        M.tell("evict " + self.path)
        self.assertEqual(read(M.on(self.path)), b"busy")

    def test_many_readers_while_it_is_evicted_and_fetched(self):
        self.evicted()
        wrong = []
        done = threading.Event()

        def reader():
            while not done.is_set():
                if read(M.on(self.path)) != FILM:
                    wrong.append("bytes")
        threads = [threading.Thread(target=reader) for _ in range(3)]
        for t in threads:
            t.start()
        try:
            for _ in range(15):
                M.tell("fetch " + self.path)
                try:
                    M.tell("evict " + self.path)
                except RuntimeError as e:
                    if "open" not in str(e):
                        wrong.append(str(e))
                    M.tell("store " + self.path)  # opened at the last moment, it is read anew before it is believed
        finally:
            done.set()
            for t in threads:
                t.join()
        self.assertEqual(wrong, [])


class Attributes(Case):
    def test_states(self):
        os.makedirs(M.on(self.dir))
        path = M.on(self.path)
        write(path, b"abc")

        def get(name):
            return os.getxattr(path, "user." + name).decode()
        self.assertEqual((get("mediafs.branch"), get("mediafs.copies"), get("mediafs.state")),
                         ("local", "local", "dirty"))
        M.tell("store " + self.path)
        self.assertEqual((get("mediafs.copies"), get("mediafs.state")), ("local,vault", "synced"))
        self.assertRegex(get("mediafs.checksum"), "^xxh128:[0-9a-f]{32}$")
        self.assertEqual(get("mergerfs.basepath"), M.local)
        self.assertEqual(get("mergerfs.relpath"), "/" + self.path)
        self.assertEqual(get("mergerfs.fullpath"), M.under(self.path))
        self.assertEqual(get("mergerfs.allpaths"), M.under(self.path))
        M.tell("evict " + self.path)
        self.assertEqual((get("mediafs.branch"), get("mediafs.copies"), get("mediafs.state")),
                         ("vault", "vault", "vault-only"))
        self.assertEqual(errno_of(os.getxattr, path, "user.mergerfs.fullpath"), "ENODATA")
        self.assertEqual(os.listxattr(path), [])

    def test_pin(self):
        path = self.evicted(b"abc")
        self.assertEqual(os.getxattr(path, "user.mediafs.pin"), b"0")
        os.setxattr(path, "user.mediafs.pin", b"1")
        self.assertEqual(os.getxattr(path, "user.mediafs.pin"), b"1")
        self.assertIn("pinned=1", M.tell("find " + self.path))
        self.assertEqual(errno_of(os.setxattr, path, "user.mediafs.pin", b"yes"), "EINVAL")
        self.assertEqual(errno_of(os.setxattr, path, "user.mediafs.state", b"x"), "EPERM")
        self.assertEqual(errno_of(os.getxattr, path, "user.mediafs.unknown"), "ENODATA")
        os.removexattr(path, "user.mediafs.pin")
        self.assertEqual(os.getxattr(path, "user.mediafs.pin"), b"0")

    def test_pin_of_a_directory(self):
        path = self.evicted(b"abc")
        folder = os.path.dirname(path)
        os.setxattr(folder, "user.mediafs.pin", b"1")
        self.assertEqual(os.getxattr(folder, "user.mediafs.pin"), b"1")
        self.assertEqual(os.getxattr(path, "user.mediafs.pin"), b"1")
        with open(folder + "/new.mkv", "wb") as file:  # not catalogued yet
            file.write(b"x")
        self.assertEqual(os.getxattr(folder + "/new.mkv", "user.mediafs.pin"), b"1")
        os.unlink(folder + "/new.mkv")
        self.assertEqual(errno_of(os.setxattr, path, "user.mediafs.pin", b"0"), "EINVAL")
        os.setxattr(folder, "user.mediafs.pin", b"0")
        self.assertEqual(os.getxattr(path, "user.mediafs.pin"), b"0")


class ControlFiles(Case):
    def test_files(self):
        d = M.on(".mediafs")
        self.assertNotIn(".mediafs", os.listdir(M.mount))
        self.assertEqual(sorted(os.listdir(d)), ["changelog", "jobs.json", "status.json", "version", "version.txt"])
        version = int(read(d + "/version"))
        self.evicted(b"abc")
        self.assertEqual(int(read(d + "/version")), version + 1)
        newest = read(d + "/changelog").split(b"\n")[0]
        self.assertEqual(newest, b"%d\t%s" % (version + 1, self.path.encode()))
        text = read(d + "/version.txt")
        self.assertEqual((len(text), int.from_bytes(text[:2], "big")), (1024, version + 1))
        self.assertTrue(text[2:].startswith(b"\n" + newest + b"\n"))
        self.assertEqual(os.stat(d + "/version.txt").st_size, 1024)
        self.assertEqual(json.loads(read(d + "/status.json")), {"health": "ok"})
        self.assertEqual(json.loads(read(d + "/jobs.json")), {"jobs": []})

    def test_read_only_and_the_state_is_out_of_reach(self):
        d = M.on(".mediafs")
        self.assertTrue(os.path.exists(M.under(".mediafs/catalogue.db")))
        self.assertFalse(os.path.exists(d + "/catalogue.db"))
        self.assertEqual(errno_of(write, d + "/version", b"9"), "EROFS")
        self.assertEqual(errno_of(write, d + "/new", b"9"), "EROFS")
        self.assertEqual(errno_of(os.mkdir, d + "/dir"), "EROFS")
        self.assertEqual(errno_of(os.unlink, d + "/version"), "EROFS")
        self.assertEqual(errno_of(os.rename, d + "/version", M.on("stolen")), "EROFS")
        self.assertEqual(errno_of(os.rename, d, M.on("stolen")), "EROFS")
        self.assertEqual(errno_of(os.rmdir, d), "EROFS")
        self.assertEqual(errno_of(os.chmod, d + "/version", 0o777), "EROFS")
        self.assertEqual(errno_of(os.mkdir, M.on(".mediafs")), "EEXIST")


class Share(Case):
    def setUp(self):
        super().setUp()
        os.makedirs(M.share + "/" + self.dir)
        write(M.share + "/" + self.path, b"on the share")

    def test_merges(self):
        write(M.on(self.dir + "/beside"), b"local")
        self.assertTrue(os.path.exists(M.under(self.dir + "/beside")))
        M.put(self.dir + "/third", b"vault")
        self.assertEqual(sorted(os.listdir(M.on(self.dir))), ["beside", "film.mkv", "third"])
        self.assertEqual(read(M.on(self.path)), b"on the share")
        self.assertEqual(self.branch(), "share")
        self.assertEqual(os.getxattr(M.on(self.path), "user.mergerfs.basepath").decode(), M.share)
        self.assertFalse(os.path.exists(M.on(".here")))
        self.assertNotIn(".here", os.listdir(M.mount))

    def test_changes_in_place(self):
        write(M.on(self.path), b", changed", "ab")
        self.assertEqual(read(M.share + "/" + self.path), b"on the share, changed")
        os.chmod(M.on(self.path), 0o600)
        os.truncate(M.on(self.path), 2)
        os.setxattr(M.on(self.path), "user.x", b"1")
        self.assertEqual(os.getxattr(M.on(self.path), "user.x"), b"1")
        st = os.stat(M.share + "/" + self.path)
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_size), (0o600, 2))
        with open(M.on(self.path), "r+b") as f:
            f.write(b"hello")
            f.flush()
            os.fsync(f.fileno())
            self.assertEqual(os.fstat(f.fileno()).st_size, 5)
        self.assertFalse(os.path.exists(M.under(self.path)))

    def test_rename_and_unlink(self):
        os.rename(M.on(self.path), M.on(self.dir + "/b"))
        self.assertEqual(os.listdir(M.share + "/" + self.dir), ["b"])
        os.unlink(M.on(self.dir + "/b"))
        self.assertEqual(os.listdir(M.share + "/" + self.dir), [])
        os.rmdir(M.on(self.dir))
        self.assertFalse(os.path.exists(M.share + "/" + self.dir))

    def test_unlink_acts_on_every_branch(self):
        os.makedirs(M.under(self.dir))
        write(M.under(self.path), b"local wins")
        self.assertEqual(read(M.on(self.path)), b"local wins")
        self.assertEqual(os.getxattr(M.on(self.path), "user.mediafs.copies"), b"local,share")
        os.unlink(M.on(self.path))
        self.assertFalse(os.path.exists(M.on(self.path)))
        self.assertFalse(os.path.exists(M.share + "/" + self.path))

    def test_link_is_refused(self):
        self.assertEqual(errno_of(os.link, M.on(self.path), M.on(self.dir + "/l")), "EXDEV")

    def test_unlinked_while_open(self):
        with open(M.on(self.path), "rb", buffering=0) as f:
            os.unlink(M.on(self.path))
            self.assertEqual(f.read(100), b"on the share")

    def remembered(self, path, m=None):
        """Waits until the walk of the share has passed."""
        def found():
            with contextlib.closing(sqlite3.connect("file:%s/.mediafs/catalogue.db?mode=ro" % (m or M).local, uri=True)) as db:
                return db.execute("SELECT 1 FROM share_entry WHERE dir = ? AND name = ?",
                                  (os.path.dirname(path).encode(), os.path.basename(path).encode())).fetchone()
        self.assertTrue(soon(found), path)

    @contextlib.contextmanager
    def absent(self):
        """The share without its marker; it is back, and used again, at the end."""
        os.unlink(M.share + "/.here")
        try:
            errno_of(os.listdir, M.on(self.dir))  # what finds it absent
            time.sleep(1.1)  # what the kernel remembers of it
            yield
        finally:
            write(M.share + "/.here", b"")
            probe = self.dir + "-probe"
            write(M.share + "/" + probe, b"there")
            self.assertTrue(soon(lambda: errno_of(read, M.on(probe)) == "ok"))

    def test_without_its_marker_it_is_absent(self):
        write(M.on(self.dir + "/beside"), b"local")
        self.assertEqual(read(M.on(self.path)), b"on the share")
        os.listdir(M.on(self.dir))
        self.remembered(self.path)
        with self.absent():
            self.assertEqual(read(M.on(self.dir + "/beside")), b"local")
            self.assertEqual(errno_of(read, M.on(self.path)), "EHOSTUNREACH")
        self.assertEqual(read(M.on(self.path)), b"on the share")

    def test_what_it_had_stays_listed_while_it_is_absent(self):
        os.makedirs(M.share + "/" + self.dir + "/deep")
        write(M.share + "/" + self.dir + "/deep/e1.mkv", b"episode")
        os.utime(M.share + "/" + self.path, (1_600_000_000, 1_600_000_000))
        os.listdir(M.on(self.dir))
        os.listdir(M.on(self.dir + "/deep"))
        for path in (self.dir, self.path, self.dir + "/deep/e1.mkv"):
            self.remembered(path)
        with self.absent():
            self.assertEqual(sorted(os.listdir(M.on(self.dir))), ["deep", "film.mkv"])
            self.assertEqual(os.listdir(M.on(self.dir + "/deep")), ["e1.mkv"])
            st = os.stat(M.on(self.path))
            self.assertEqual((st.st_size, st.st_mtime), (12, 1_600_000_000))
            write(M.on(self.dir + "/deep/new"), b"made while it is away")
            self.assertEqual(sorted(os.listdir(M.on(self.dir + "/deep"))), ["e1.mkv", "new"])

    def test_what_it_has_is_not_removed_or_renamed_while_it_is_absent(self):
        write(M.on(self.dir + "/mine"), b"local")
        os.listdir(M.on(self.dir))
        self.remembered(self.path)
        self.remembered(self.dir)  # after what is in it
        with self.absent():
            self.assertEqual(errno_of(os.unlink, M.on(self.path)), "EHOSTUNREACH")
            self.assertEqual(errno_of(os.rename, M.on(self.path), M.on(self.path + "2")), "EHOSTUNREACH")
            self.assertEqual(errno_of(os.rename, M.on(self.dir + "/mine"), M.on(self.path)), "EHOSTUNREACH")
            self.assertEqual(errno_of(os.rename, M.on(self.dir), M.on(self.dir + "2")), "EHOSTUNREACH")
            self.assertEqual(read(M.on(self.dir + "/mine")), b"local")
        self.assertEqual(read(M.on(self.path)), b"on the share")

    def test_an_unmounted_share_is_absent(self):
        nas = tempfile.mkdtemp(prefix="mediafs-fs-nas-")
        self.addCleanup(os.rmdir, nas)
        subprocess.run(["mount", "-t", "tmpfs", "none", nas], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", nas], stderr=subprocess.DEVNULL)
        write(nas + "/film.mkv", b"on the share")
        m = self.mounted(share=nas).start()
        self.assertEqual(read(m.on("film.mkv")), b"on the share")
        self.remembered("film.mkv", m)
        for restarted in (False, True):
            subprocess.run(["umount", "-l", nas], check=True)
            if restarted:
                m.stop()
                m.start()
            self.assertEqual(os.listdir(m.mount), ["film.mkv"])
            self.assertEqual(errno_of(os.unlink, m.on("film.mkv")), "EHOSTUNREACH")
            subprocess.run(["mount", "-t", "tmpfs", "none", nas], check=True)
            write(nas + "/film.mkv", b"on the share")
            self.assertTrue(soon(lambda: errno_of(read, m.on("film.mkv")) == "ok"))
            self.assertEqual(read(m.on("film.mkv")), b"on the share")
        m.stop()

    def test_what_was_removed_or_renamed_on_it_is_forgotten(self):
        write(M.share + "/" + self.dir + "/other", b"x")
        os.listdir(M.on(self.dir))
        self.remembered(self.path)
        self.remembered(self.dir + "/other")
        os.unlink(M.on(self.dir + "/other"))
        os.rename(M.on(self.path), M.on(self.dir + "/renamed.mkv"))
        with self.absent():
            self.assertEqual(os.listdir(M.on(self.dir)), ["renamed.mkv"])

    def test_what_leads_to_it_is_remembered_before_it(self):
        deep = self.dir + "/a/b/deep"
        os.makedirs(M.share + "/" + os.path.dirname(deep))
        write(M.share + "/" + deep, b"x")
        self.assertEqual(os.listdir(M.on(os.path.dirname(deep))), ["deep"])
        self.remembered(deep)
        with self.absent():
            self.assertEqual(os.listdir(M.on(self.dir + "/a/b")), ["deep"])

    def test_sidecars_removed_or_renamed_on_it_are_forgotten(self):
        for name in (".film.mkv.sha1", "other", ".other.sha1"):
            write(M.share + "/" + self.dir + "/" + name, b"x")
        os.listdir(M.on(self.dir))
        for name in ("film.mkv", ".film.mkv.sha1", "other", ".other.sha1"):
            self.remembered(self.dir + "/" + name)
        os.unlink(M.on(self.dir + "/other"))
        os.rename(M.on(self.path), M.on(self.dir + "/renamed.mkv"))
        with self.absent():
            self.assertEqual(sorted(os.listdir(M.on(self.dir))), [".renamed.mkv.sha1", "renamed.mkv"])


class Changes(Case):
    def test_a_season_moved_out_of_incoming(self):
        os.makedirs(M.on("Incoming/" + self.dir + "/Season 01"))
        for i in range(3):
            write(M.on("Incoming/%s/Season 01/e%d.mkv" % (self.dir, i)), b"episode %d" % i)
        version = int(read(M.on(".mediafs/version")))
        os.rename(M.on("Incoming/" + self.dir), M.on(self.dir))
        self.assertEqual(int(read(M.on(".mediafs/version"))), version + 3)
        self.assertIn("local=1", M.tell("find %s/Season 01/e1.mkv" % self.dir))
        os.rename(M.on(self.dir), M.on(self.dir + "-renamed"))
        self.assertEqual(int(read(M.on(".mediafs/version"))), version + 4)

    def test_incoming_is_not_catalogued(self):
        os.makedirs(M.on("Incoming/" + self.dir))
        version = int(read(M.on(".mediafs/version")))
        write(M.on("Incoming/" + self.dir + "/.f.tmp"), b"x")
        os.rename(M.on("Incoming/" + self.dir + "/.f.tmp"), M.on("Incoming/" + self.dir + "/f"))
        os.unlink(M.on("Incoming/" + self.dir + "/f"))
        self.assertEqual(int(read(M.on(".mediafs/version"))), version)

    def test_changes_underneath_are_seen_when_told(self):
        os.makedirs(M.on(self.dir))
        self.assertFalse(os.path.exists(M.on(self.path)))
        write(M.under(self.path), b"one")
        self.assertEqual(read(M.on(self.path)), b"one")
        os.unlink(M.under(self.path))
        M.tell("invalidate " + self.path)
        self.assertTrue(soon(lambda: not os.path.exists(M.on(self.path))))


if __name__ == "__main__":
    mounted.main()
