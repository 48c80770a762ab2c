"""Mounting, unmounting, a share that hangs, a disk that is full."""
import errno
import os
import signal
import sqlite3
import subprocess
import threading
import time

import mounted
from files import errno_of, read, read_text, soon, write


class Lifecycle(mounted.Case):
    def refusal(self, m):
        with self.assertRaises(RuntimeError) as caught:
            m.start()
        return str(caught.exception)

    def test_stop_unmounts(self):
        m = self.mounted().start()
        write(m.on("f"), b"x")
        m.stop()
        self.assertEqual(os.listdir(m.mount), [])
        m.start()
        self.assertEqual(read(m.on("f")), b"x")
        m.stop()

    def test_stop_with_a_file_open(self):
        m = self.mounted().start()
        f = open(m.on("f"), "wb", buffering=0)
        f.write(b"accepted")
        passed = m.tell("unseen-writers") == "1"
        m.stop()
        self.assertEqual(read(m.under("f")), b"accepted")
        self.assertEqual(os.listdir(m.mount), [])
        if passed:  # the kernel goes on writing to the local file
            f.write(b" and after the end")
            f.close()
            self.assertEqual(read(m.under("f")), b"accepted and after the end")
            return
        with self.assertRaises(OSError):
            f.write(b"after the end")
        f.close()

    def test_unmounted_by_somebody(self):
        m = self.mounted().start()
        os.listdir(m.mount)
        subprocess.run(["umount", m.mount], check=True)
        m.stop()

    def test_stale_mount_is_cleared(self):
        m = self.mounted().start()
        write(m.on("f"), b"x")
        m.kill()
        with self.assertRaises(OSError) as caught:
            os.listdir(m.mount)
        self.assertEqual(caught.exception.errno, errno.ENOTCONN)
        m.start()
        self.assertEqual(read(m.on("f")), b"x")
        m.stop()
        self.assertEqual(os.listdir(m.mount), [])

    def test_mounted_already(self):
        m = self.mounted().start()
        other = self.mounted()
        other.mount = m.mount
        self.assertIn("mounted there already", self.refusal(other))
        m.stop()

    def test_mount_point_in_the_way(self):
        m = self.mounted()
        write(m.mount + "/thing", b"")
        self.assertIn("not empty", self.refusal(m))
        os.unlink(m.mount + "/thing")
        os.rmdir(m.mount)
        self.assertIn("does not exist", self.refusal(m))
        write(m.mount, b"")
        self.assertIn("not a directory", self.refusal(m))
        os.unlink(m.mount)

    def test_without_a_vault(self):
        m = self.mounted(vault=False).start()
        write(m.on("f"), b"x")
        os.rename(m.on("f"), m.on("g"))
        self.assertEqual(read(m.on("g")), b"x")
        self.assertEqual(os.getxattr(m.on("g"), "user.mediafs.state"), b"dirty")
        m.stop()


class NoSpace(mounted.Case):
    def test_a_writer_below_the_reserve(self):
        for vault, least in ((False, 0), (True, 0.5)):
            m = self.mounted(vault=vault, reserve=1 << 60, space_limit_ms=1000).start()
            began = time.time()
            with self.assertRaises(OSError) as caught:
                write(m.on("f"), b"x" * 100000)
            self.assertEqual(caught.exception.errno, errno.ENOSPC)
            # With a vault it waits for eviction, without one there is nothing to wait for.
            self.assertGreaterEqual(time.time() - began, least)
            self.assertEqual(os.statvfs(m.mount).f_bavail, 0)
            m.stop()

    def test_a_writer_for_whom_no_room_may_come(self):
        m = self.mounted(reserve=1 << 60, space_limit_ms=600_000).start()
        ended = subprocess.run(["dd", "if=/dev/zero", "of=" + m.on("f"), "bs=100000", "count=1"], timeout=300,
                               capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        self.assertIn("No space left", ended.stderr)
        m.stop()

    def test_what_found_no_room_is_not_taken_for_whole(self):
        m = self.mounted(vault=False, reserve=1 << 60).start()
        os.mkdir(m.on("Incoming"))
        for name, size in (("cut", 100_000), ("whole", 0)):
            try:
                write(m.on("Incoming/" + name), b"x" * size)
            except OSError as e:
                self.assertEqual(e.errno, errno.ENOSPC)
        m.stop()
        self.assertIn("user.mediafs.unfinished", os.listxattr(m.under("Incoming/cut")))
        self.assertEqual(os.listxattr(m.under("Incoming/whole")), [])


class CutOff(mounted.Case):
    def unfinished(self, path):
        """As common/writers.h: marked, and changed since the last close."""
        try:
            closed_as = os.getxattr(path, "user.mediafs.unfinished").decode()
        except OSError as e:
            self.assertEqual(e.errno, errno.ENODATA)
            return False
        st = os.stat(path)
        return closed_as != "%d %d.%09d" % (st.st_size, st.st_mtime_ns // 10**9, st.st_mtime_ns % 10**9)

    def test_a_close_of_one_descriptor_of_several_is_not_the_end(self):
        m = self.mounted().start()
        os.mkdir(m.on("Incoming"))
        part, whole = m.under("Incoming/part"), m.under("Incoming/whole")
        fd = os.open(m.on("Incoming/part"), os.O_CREAT | os.O_WRONLY)
        os.close(os.dup(fd))  # as dd and shells do, before the first byte
        os.write(fd, b"half of it")
        self.assertTrue(self.unfinished(part))
        write(m.on("Incoming/whole"), b"all of it")
        self.assertFalse(self.unfinished(whole))
        m.kill()
        self.assertTrue(self.unfinished(part))
        self.assertFalse(self.unfinished(whole))
        try:
            os.close(fd)
        except OSError:
            pass

    def test_the_mark_goes_with_the_last_writer(self):
        m = self.mounted().start()
        os.mkdir(m.on("Incoming"))
        under = m.under("Incoming/two")
        first = os.open(m.on("Incoming/two"), os.O_CREAT | os.O_WRONLY)
        reader = os.open(m.on("Incoming/two"), os.O_RDONLY)
        second = os.open(m.on("Incoming/two"), os.O_WRONLY)
        os.write(first, b"one")
        os.close(first)
        os.write(second, b"the other")
        self.assertTrue(self.unfinished(under))
        os.close(second)
        self.assertFalse(self.unfinished(under))
        os.close(reader)
        m.stop()
        self.assertNotIn("user.mediafs.unfinished", os.listxattr(under))


class HangingShare(mounted.Case):
    """The share is itself a mount of ours, whose daemon is stopped as a dead server's is. Nothing here waits for
    share.timeout but what needs the share: a wait would take all of it."""

    TIMEOUT = 6

    def served(self):
        server = self.mounted(vault=False).start()
        os.makedirs(server.on("both"))
        os.makedirs(server.on("dir/below"))
        for path in ("dir/far", "both/far", "dir/below/f", "both/replaced"):
            write(server.on(path), b"far")
        write(server.on("both/copied"), b"vault")
        m = self.mounted(share=server.mount, share_timeout_ms=1000 * self.TIMEOUT).start()
        for path in ("near/f", "near/old", "both/near"):
            os.makedirs(os.path.dirname(m.on(path)), exist_ok=True)
            write(m.on(path), b"near")
        m.put("vaulted/f", b"vault")
        m.put("both/copied", b"vault")
        self.assertTrue(soon(lambda: m.tell("walked") == "yes", 30))
        self.addCleanup(self.resume, server)  # before all that unmounts
        return server, m

    def resume(self, server):
        if server.process:
            server.process.send_signal(signal.SIGCONT)

    def threads_of(self, m):
        names = []
        for task in os.listdir("/proc/%d/task" % m.process.pid):
            try:
                names.append(read_text("/proc/%d/task/%s/comm" % (m.process.pid, task)).strip())
            except OSError:  # it has ended
                pass
        return names

    def healthy(self, m):
        """What does not need the share, by name."""
        return {
            "stat": lambda: os.stat(m.on("near/f")),
            "missing name": lambda: os.path.exists(m.on("near/missing")),
            "missing name in the root": lambda: os.path.exists(m.on("missing")),
            "missing name in a merged directory": lambda: os.path.exists(m.on("both/missing")),
            "read": lambda: self.assertEqual(read(m.on("near/f")), b"near"),
            "read of what the vault has, too": lambda: self.assertEqual(read(m.on("both/copied")), b"vault"),
            "read of what the vault has": lambda: self.assertEqual(read(m.on("vaulted/f")), b"vault"),
            "ls": lambda: self.assertEqual(sorted(os.listdir(m.on("near"))), ["f", "old"]),
            "ls of a merged directory": lambda: self.assertEqual(sorted(os.listdir(m.on("both"))), ["copied", "far", "near", "replaced"]),
            "ls of the root": lambda: self.assertEqual(sorted(os.listdir(m.mount)), ["both", "dir", "near", "vaulted"]),
            "ls of the share's": lambda: self.assertEqual(sorted(os.listdir(m.on("dir"))), ["below", "far"]),
            "stat of the share's": lambda: self.assertEqual(os.stat(m.on("dir/below/f")).st_size, 3),
            "create": lambda: write(m.on("near/new"), b"x"),
            "create in a merged directory": lambda: write(m.on("both/new"), b"x"),
            "create in the share's": lambda: write(m.on("dir/new"), b"x"),
            "append": lambda: write(m.on("near/new"), b"x", "ab"),
            "mkdir": lambda: os.mkdir(m.on("near/d")),
            "rename": lambda: os.rename(m.on("near/new"), m.on("near/n")),
            "rename over": lambda: os.rename(m.on("near/n"), m.on("near/old")),
            "rename of what the vault has": lambda: os.rename(m.on("vaulted/f"), m.on("vaulted/g")),
            "unlink": lambda: os.unlink(m.on("near/old")),
            "unlink of what the vault has": lambda: os.unlink(m.on("vaulted/g")),
            "rmdir": lambda: os.rmdir(m.on("near/d")),
            "chmod": lambda: os.chmod(m.on("near/f"), 0o600),
            "statvfs": lambda: os.statvfs(m.mount),
        }

    def needing(self, m):
        """What only the share can do: an error, in time."""
        return {
            "read": lambda: read(m.on("dir/far")),
            "rename": lambda: os.rename(m.on("both/far"), m.on("both/elsewhere")),
            "unlink": lambda: os.unlink(m.on("both/far")),
            "chmod": lambda: os.chmod(m.on("dir/far"), 0o600),
        }

    def test_what_is_mounted_in_its_place_is_used_while_probes_hang(self):
        server = self.mounted(vault=False).start()
        m = self.mounted(share=server.mount, share_timeout_ms=1500).start()
        self.addCleanup(self.resume, server)
        server.process.send_signal(signal.SIGSTOP)
        os.path.exists(m.on("new"))
        self.assertTrue(soon(lambda: self.threads_of(m).count("fs-share-probe") == 3, 60))  # the next one would go out after 6 s
        subprocess.run(["umount", "-l", server.mount], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", server.mount], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", server.mount])
        write(server.mount + "/new", b"far")
        self.assertTrue(soon(lambda: os.path.exists(m.on("new")), 4))
        self.assertEqual(read(m.on("new")), b"far")

    def test_nothing_else_waits(self):
        server, m = self.served()
        held = open(m.on("near/f"), "r+b", buffering=0)
        server.process.send_signal(signal.SIGSTOP)
        slow = {}
        for name, action in self.healthy(m).items():  # from the first one on
            took, outcome = self.timed(action)
            self.assertNotIsInstance(outcome, OSError, name)
            slow[name] = took
        self.assertLess(max(slow.values()), self.TIMEOUT / 2, slow)
        held.seek(0)
        self.assertEqual(held.read(4), b"near")
        held.close()
        self.resume(server)
        self.all_back(m)
        m.stop()
        server.stop()

    def test_what_needs_it_fails_in_time(self):
        server, m = self.served()
        server.process.send_signal(signal.SIGSTOP)
        threads = []
        outcomes = {}
        for name, action in self.needing(m).items():
            t = threading.Thread(target=lambda n=name, a=action: outcomes.__setitem__(n, self.timed(a)))
            t.start()
            threads.append(t)
        for t in threads:
            t.join(10 * self.TIMEOUT)
        for name in self.needing(m):
            self.assertIn(name, outcomes)
            self.assertIsInstance(outcomes[name][1], OSError, name)
            self.assertIn(outcomes[name][1].errno, (errno.EHOSTUNREACH, errno.ETIMEDOUT), name)
        for name, action in self.needing(m).items():  # now it is known
            took, outcome = self.timed(action)
            self.assertIsInstance(outcome, OSError, name)
            self.assertEqual(outcome.errno, errno.EHOSTUNREACH, name)
            self.assertLess(took, self.TIMEOUT / 2, name)
        self.resume(server)
        self.all_back(m)
        m.stop()
        server.stop()

    def test_who_waits_for_it_can_be_killed(self):
        server, m = self.served()
        server.process.send_signal(signal.SIGSTOP)
        waiting = [subprocess.Popen(["cat", m.on(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                   for path in ("dir/far", "both/far", "dir/below/f") for _ in range(20)]
        self.assertTrue(soon(lambda: self.in_fuse(waiting) == len(waiting), 30))
        began = time.time()
        for w in waiting:
            w.kill()
        for w in waiting:
            self.assertEqual(w.wait(60), -signal.SIGKILL)
        self.assertLess(time.time() - began, self.TIMEOUT / 2)
        self.resume(server)
        self.all_back(m)
        m.stop()
        server.stop()

    def in_fuse(self, processes):
        """How many of them wait for an answer."""
        count = 0
        for p in processes:
            with open("/proc/%d/syscall" % p.pid) as f:
                call = f.read().split()[0]
            with open("/proc/%d/stat" % p.pid) as f:
                state = f.read().rsplit(")", 1)[1].split()[0]
            count += call == "257" and state in "SD"  # openat
        return count

    def all_back(self, m):
        self.assertTrue(soon(lambda: errno_of(read, m.on("dir/below/f")) == "ok", 30))
        self.assertEqual(read(m.on("dir/far")), b"far")

    def timed(self, action, *args):
        began = time.time()
        try:
            outcome = action(*args)
        except OSError as e:
            outcome = e
        return time.time() - began, outcome


class Answered(mounted.Case):
    """What rename and unlink have answered is there after kill -9, in the library's order and once."""

    def stored(self, m, *paths):
        for path in paths:
            write(m.on(path), path.encode())
            m.tell("store " + path)

    def changelog(self, m):
        """Oldest first, without the numbers, which have no gap."""
        lines = read(m.on(".mediafs/changelog")).decode().splitlines()[::-1]
        self.assertEqual([int(line.split("\t")[0]) for line in lines], list(range(1, len(lines) + 1)))
        self.assertEqual(int(read(m.on(".mediafs/version"))), len(lines))
        return [line.split("\t")[1] for line in lines]

    def restarted(self, m):
        m.died()
        return m.start()

    def test_killed_after_the_answer(self):
        m = self.mounted().start()
        self.stored(m, "a", "b", "c")
        m.put("v", b"in the vault alone")
        os.rename(m.on("a"), m.on("d"))
        os.unlink(m.on("b"))
        os.rename(m.on("d"), m.on("c"))
        os.unlink(m.on("v"))
        m.process.kill()
        self.restarted(m)
        self.assertEqual(m.tell("find a"), "none")
        self.assertEqual(m.tell("find b"), "none")
        self.assertEqual(m.tell("find d"), "none")
        self.assertEqual(os.listdir(m.mount), ["c"])
        self.assertIn("local=1 vault=1", m.tell("find c"))
        self.assertEqual(read(m.on("c")), b"a")
        self.assertEqual(self.changelog(m), ["a", "b", "c", "v", "d", "b", "c", "v"])
        m.tell("vault-jobs")
        self.assertEqual(sorted(name for name in os.listdir(m.vault) if name != ".mediafs"), ["c"])
        self.assertEqual(read(m.vault + "/c"), b"a")

    def test_killed_while_the_catalogue_follows(self):
        m = self.mounted().start(crash="later.after_commit")
        self.stored(m, "a")
        os.rename(m.on("a"), m.on("b"))
        self.restarted(m)
        self.assertEqual(self.changelog(m), ["a", "b"])
        self.assertIn("local=1 vault=1", m.tell("find b"))
        m.stop()
        m.start()
        self.assertEqual(self.changelog(m), ["a", "b"])

    def test_killed_between_the_catalogue_and_the_disk(self):
        m = self.mounted().start(crash="unlink.before_disk")
        self.stored(m, "a")
        with self.assertRaises(OSError):
            os.unlink(m.on("a"))
        self.restarted(m)
        self.assertEqual(m.tell("find a"), "none")
        self.assertEqual(read(m.on("a")), b"a")
        m.tell("settle a")
        self.assertIn("local=1", m.tell("find a"))

    def test_killed_between_the_disk_and_the_catalogue(self):
        m = self.mounted().start(crash="rename.after_disk")
        self.stored(m, "a")
        with self.assertRaises(OSError):
            os.rename(m.on("a"), m.on("b"))
        self.restarted(m)
        self.assertEqual(read(m.on("b")), b"a")
        m.tell("settle b")
        self.assertEqual(m.tell("find a"), "none")
        self.assertIn("local=1 vault=1", m.tell("find b"))
        self.assertEqual(self.changelog(m), ["a", "b"])

    def test_fsync_of_the_directory_writes_it_through(self):
        m = self.mounted().start()
        os.mkdir(m.on("D"))
        self.stored(m, "D/a", "D/b")
        os.rename(m.on("D/a"), m.on("D/c"))
        os.unlink(m.on("D/b"))
        fd = os.open(m.on("D"), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        with open(m.under(".mediafs/catalogue.db-wal"), "rb") as wal:  # no reader of the catalogue that would flush
            self.assertIn(b"D/c", wal.read())

    def test_no_commit_is_waited_for(self):
        m = self.mounted().start()
        os.mkdir(m.on("D"))
        self.stored(m, "a", "b", "D/c")
        db = sqlite3.connect(m.under(".mediafs/catalogue.db"), isolation_level=None)
        self.addCleanup(db.close)
        db.execute("BEGIN IMMEDIATE")  # nothing can be committed
        os.rename(m.on("a"), m.on("D/a"))
        os.rename(m.on("D/a"), m.on("D/c"))
        os.unlink(m.on("b"))
        self.assertFalse(os.path.exists(m.on("a")))
        write(m.on("b"), b"again")
        self.assertEqual(read(m.on("D/c")), b"a")
        db.execute("ROLLBACK")
        self.assertEqual(m.tell("find b"), "none")
        self.assertEqual(self.changelog(m), ["a", "b", "D/c", "D/a", "D/c", "b"])

    def test_a_directory_moves_above_what_was_renamed(self):
        m = self.mounted().start()
        os.mkdir(m.on("D"))
        self.stored(m, "D/a", "D/b")
        os.rename(m.on("D/a"), m.on("D/c"))
        os.unlink(m.on("D/b"))
        os.rename(m.on("D"), m.on("E"))
        self.assertEqual(os.listdir(m.on("E")), ["c"])
        self.assertIn("local=1 vault=1", m.tell("find E/c"))
        os.unlink(m.on("E/c"))
        os.rmdir(m.on("E"))
        self.assertEqual(self.changelog(m), ["D/a", "D/b", "D/c", "D/b", "E", "E/c"])

    def test_names_that_come_and_go(self):
        m = self.mounted().start()
        for number in range(200):
            write(m.on("tmp"), b"%d" % number)
            os.rename(m.on("tmp"), m.on("f"))
            self.assertEqual(read(m.on("f")), b"%d" % number)
            self.assertFalse(os.path.exists(m.on("tmp")))
            if number % 3 == 0:
                os.unlink(m.on("f"))
                self.assertEqual(os.listdir(m.mount), [])
        self.assertEqual(m.tell("find tmp"), "none")
        self.assertIn("size=3 ", m.tell("find f"))
        self.assertEqual(int(read(m.on(".mediafs/version"))), 267)


if __name__ == "__main__":
    mounted.main()
