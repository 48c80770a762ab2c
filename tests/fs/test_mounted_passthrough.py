"""Passthrough: the kernel reads and writes open local files without the daemon. A stopped daemon shows who does."""
import mmap
import os
import platform
import signal
import stat
import subprocess
import threading
import time

import mounted
from files import read, soon, write

GIB = 1 << 30
NEW_KERNEL = tuple(int(n) for n in platform.release().split("-")[0].split(".")[:2]) >= (6, 9)


class Case(mounted.Case):
    def passing(self, **options):
        m = self.mounted(**options).start()
        os.listdir(m.mount)
        state = m.tell("passthrough")
        if state != "on":
            self.assertFalse(NEW_KERNEL and "lacks" not in state, state)
            self.skipTest(state)
        return m

    def closed(self, m, path):
        """Release follows close at its own time; until then the next open is served as those before it."""
        self.assertTrue(soon(lambda: m.tell("opens " + path) == "0"))

    def without_the_daemon(self, m, action):
        m.process.send_signal(signal.SIGSTOP)
        try:
            outcome = []
            thread = threading.Thread(target=lambda: outcome.append(action()), daemon=True)
            thread.start()
            thread.join(10)
            return list(outcome)
        finally:
            m.process.send_signal(signal.SIGCONT)
            thread.join(10)

    def evict(self, m, path):
        deadline = time.time() + 10  # release follows close at its own time
        while True:
            try:
                return m.tell("evict " + path)
            except RuntimeError as e:
                if "open" not in str(e) or time.time() > deadline:
                    raise
                time.sleep(0.01)


class Passing(Case):
    def test_reads_and_writes_need_no_daemon(self):
        m = self.passing()
        with open(m.on("f"), "w+b", buffering=0) as f:
            f.write(b"a")  # the kernel asks once whether the file has capabilities to lose

            def act():
                f.write(b"a" * 99_999)
                f.write(b"more")
                f.seek(99_998)
                return f.read(10)
            self.assertEqual(self.without_the_daemon(m, act), [b"aamore"])
            self.assertEqual(os.fstat(f.fileno()).st_size, 100_004)
        self.assertEqual(read(m.under("f"))[-6:], b"aamore")
        self.assertEqual(os.stat(m.on("f")).st_size, 100_004)
        self.closed(m, "f")
        with open(m.on("f"), "rb", buffering=0) as f:
            self.assertEqual(self.without_the_daemon(m, lambda: f.read(5)), [b"aaaaa"])

    def test_many_opens_of_one_file(self):
        m = self.passing()
        write(m.on("f"), b"x" * 5000)
        held = [open(m.on("f"), mode, buffering=0) for mode in ("rb", "r+b", "ab", "rb")]
        held[1].write(b"new")
        held[2].write(b"end")
        self.assertEqual(held[0].read(4), b"newx")
        os.link(m.on("f"), m.on("g"))
        with open(m.on("g"), "rb") as g:
            self.assertEqual(g.read()[-3:], b"end")
        for f in held:
            f.close()
        self.assertEqual(os.stat(m.on("g")).st_nlink, 2)
        os.unlink(m.on("f"))
        self.assertEqual(os.stat(m.on("g")).st_nlink, 1)

    def test_mappings(self):
        m = self.passing()
        write(m.on("f"), b"x" * 8192)
        with open(m.on("f"), "r+b") as f, mmap.mmap(f.fileno(), 8192) as shared:
            shared[5000:5003] = b"map"
            shared.flush()
            self.assertEqual(os.pread(f.fileno(), 3, 5000), b"map")
        self.assertEqual(read(m.under("f"))[5000:5003], b"map")

    def test_written_after_it_was_read_from_the_vault(self):
        m = self.passing()
        m.put("d/f", b"old" * 1000)
        self.assertEqual(read(m.on("d/f")), b"old" * 1000)  # in the page cache now
        with open(m.on("d/f"), "r+b") as f:
            f.write(b"new")
        self.assertEqual(read(m.on("d/f"))[:6], b"newold")
        self.closed(m, "d/f")
        m.tell("store d/f")
        self.evict(m, "d/f")
        self.assertEqual(read(m.on("d/f"))[:6], b"newold")

    def test_open_while_it_is_fetched(self):
        m = self.passing()
        m.put("d/f", b"abc" * 1000)
        with open(m.on("d/f"), "rb", buffering=0) as early:
            self.assertEqual(early.read(3), b"abc")
            m.tell("fetch d/f")
            with open(m.on("d/f"), "r+b", buffering=0) as late:  # not passed through while the other is open
                late.write(b"ABC")
                self.assertEqual(late.read(3), b"abc")
        self.closed(m, "d/f")
        with open(m.on("d/f"), "rb", buffering=0) as f:
            self.assertEqual(self.without_the_daemon(m, lambda: f.read(6)), [b"ABCabc"])

    def test_open_files_are_not_evicted(self):
        m = self.passing()
        os.mkdir(m.on("d"))
        write(m.on("d/f"), b"busy")
        m.tell("store d/f")
        with open(m.on("d/f"), "rb"):
            with self.assertRaises(RuntimeError):
                m.tell("evict d/f")
        self.evict(m, "d/f")
        self.assertEqual(read(m.on("d/f")), b"busy")

    def test_replaced_underneath_while_open(self):
        m = self.passing()
        write(m.on("f"), b"first")
        with open(m.on("f"), "rb", buffering=0) as old:
            write(m.under(".new"), b"second")
            os.rename(m.under(".new"), m.under("f"))
            self.assertEqual(read(m.on("f")), b"second")
            self.assertEqual(old.read(), b"first")
        self.assertEqual(read(m.on("f")), b"second")

    def test_unlinked_while_open(self):
        m = self.passing()
        with open(m.on("f"), "w+b", buffering=0) as f:
            os.unlink(m.on("f"))
            write(m.on("f"), b"another")
            f.write(b"bytes")
            self.assertEqual(os.pread(f.fileno(), 5, 0), b"bytes")
            self.assertEqual(os.fstat(f.fileno()).st_nlink, 0)
            self.assertEqual(read(m.on("f")), b"another")

    def test_set_id_bits_go_with_a_write(self):
        m = self.passing()
        for held in (False, True):
            write(m.on("f"), b"x")
            os.chmod(m.on("f"), 0o6777)
            reader = open(m.on("f"), "rb") if held else None
            subprocess.run(["setpriv", "--reuid", "1001", "--clear-groups", "sh", "-c", "echo y >> " + m.on("f")],
                           check=True)
            self.assertEqual(stat.S_IMODE(os.stat(m.on("f")).st_mode), 0o777)
            self.assertEqual(read(m.on("f")), b"xy\n")
            if held:
                reader.close()
            os.unlink(m.on("f"))


class Killed(Case):
    def busy(self, m, number, stop, ended):
        """Opens, writes, reads and closes until the daemon is gone; whatever error it meets, it must come to its end."""
        try:
            while not stop.is_set():
                with open(m.on("d/%d" % number), "w+b", buffering=0) as f:
                    f.write(b"x" * 65536)
                    self.assertEqual(os.pread(f.fileno(), 4, 0), b"xxxx")
                    os.fsync(f.fileno())
                with open(m.on("d/shared"), "r+b", buffering=0) as f:
                    f.write(b"y" * 4096)
        except OSError:
            pass
        ended.append(number)

    def test_nobody_hangs(self):
        m = self.passing()
        for _ in range(5):
            os.makedirs(m.on("d"), exist_ok=True)
            write(m.on("d/shared"), b"old")
            stop, ended = threading.Event(), []
            clients = [threading.Thread(target=self.busy, args=(m, n, stop, ended), daemon=True) for n in range(6)]
            with open(m.on("d/shared"), "r+b") as f, mmap.mmap(f.fileno(), 3) as mapped:
                for c in clients:
                    c.start()
                while not os.path.exists(m.under("d/5")):
                    pass
                m.kill()
                stop.set()
                mapped[0:1] = b"z"
                mapped.flush()
                for c in clients:
                    c.join(20)
            self.assertEqual(sorted(ended), list(range(6)))
            m.start()

    def test_the_next_daemon_does_not_evict_what_is_still_open(self):
        m = self.passing()
        write(m.on("f"), b"busy")
        with open(m.on("f"), "r+b", buffering=0) as f:
            m.kill()
            m.start()
            m.tell("store f")
            with self.assertRaises(RuntimeError):
                m.tell("evict f")
            f.write(b"BUSY")
            self.assertEqual(f.read(), b"")
            self.assertEqual(read(m.on("f")), b"BUSY")
        m.tell("store f")
        self.evict(m, "f")
        self.assertEqual(read(m.on("f")), b"BUSY")


class NotPassing(Case):
    def test_switched_off(self):
        m = self.mounted(passthrough=0).start()
        write(m.on("f"), b"x")
        self.assertEqual(m.tell("passthrough"), "off: it is switched off")
        self.assertEqual(read(m.on("f")), b"x")

    def test_a_stacked_local_branch(self):
        """The kernel stacks passthrough once: over a mount that passes through we read and write ourselves."""
        below = self.passing(vault=False)
        m = self.mounted(vault=False)
        m.local = below.on("local")
        os.mkdir(m.local)
        m.start()
        write(m.on("f"), b"x" * 5000)
        self.assertEqual(read(m.on("f")), b"x" * 5000)
        self.assertEqual(m.tell("passthrough"), "off: the local branch lies on a filesystem that is stacked itself")
        m.stop()

    def test_a_writer_near_the_reserve_is_seen(self):
        """Where little room is left, writes go through the daemon, which may have to hold them back."""
        m = self.passing(reserve=1)
        free = os.statvfs(m.local).f_bavail * os.statvfs(m.local).f_frsize
        m.stop()
        m = self.passing(reserve=max(1, free - GIB // 2), space_limit_ms=500)
        write(m.on("f"), b"x" * 1000)
        with open(m.on("f"), "r+b", buffering=0) as f:
            self.assertEqual(m.tell("unseen-writers"), "0")
            with open(m.on("f"), "rb", buffering=0) as r:  # joins: not passed through either
                f.write(b"y")
                self.assertEqual(r.read(2), b"yx")
        self.closed(m, "f")
        with open(m.on("f"), "rb", buffering=0) as r:  # alone: is
            self.assertEqual(self.without_the_daemon(m, lambda: r.read(2)), [b"yx"])


if __name__ == "__main__":
    mounted.main()
