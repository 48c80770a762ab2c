"""The share really is one: Samba's smbd, mounted by smbnetfs (the kernel's cifs may be missing). What it can do is done
on it; what it can't has an errno; and while the server is stopped nothing waits for it that does not need it."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import mounted
from files import errno_of, read, soon, write

SMB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "servers", "smb.sh")
PROGRAMS = ("smbd", "smbpasswd", "smbnetfs", "setpriv", "fusermount3")


def missing():
    return [p for p in PROGRAMS if not shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin")]


def family(pid):
    """A process and all below it."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        children = f.read().split()
    return [pid] + [p for child in children for p in family(int(child))]


class Smb(mounted.Case):
    TIMEOUT = 6

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="mediafs-smb-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin")
        cls.server = subprocess.Popen([SMB, cls.dir], stdout=subprocess.PIPE, text=True, env=env)
        cls.addClassCleanup(cls.end)
        line = cls.server.stdout.readline()
        if not line.startswith("READY"):
            raise RuntimeError("smb.sh did not get ready")
        cls.values = dict(word.split("=", 1) for word in line.split()[1:])

    @classmethod
    def end(cls):
        cls.server.terminate()
        cls.server.wait(60)
        cls.server.stdout.close()

    def setUp(self):
        self.share, through = self.values["share"], self.values["mounted"]
        for name in os.listdir(self.share):
            path = os.path.join(self.share, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        write(self.share + "/.here", b"")
        os.makedirs(self.share + "/lib")
        for name in "abcd":
            write(self.share + "/lib/" + name, name.encode() * 1000)
        self.m = self.mounted(share=through, marker=".here", share_timeout_ms=1000 * self.TIMEOUT).start()
        self.assertTrue(soon(lambda: self.m.tell("walked") == "yes", 60))

    def there(self, path):
        return read(os.path.join(self.share, path))

    def test_is_changed_in_place(self):
        on = self.m.on
        self.assertEqual(sorted(os.listdir(on("lib"))), ["a", "b", "c", "d"])
        with open(on("lib/a"), "r+b") as f:
            f.seek(10)
            f.write(b"ZZZ")
            os.fsync(f.fileno())
        self.assertEqual(self.there("lib/a")[8:15], b"aaZZZaa")
        write(on("lib/a"), b"END", "ab")
        self.assertEqual(self.there("lib/a")[-5:], b"aaEND")
        os.truncate(on("lib/a"), 10)
        self.assertEqual(self.there("lib/a"), b"a" * 10)
        write(on("lib/b"), b"new")
        self.assertEqual(self.there("lib/b"), b"new")
        fd = os.open(on("lib/c"), os.O_WRONLY)
        os.ftruncate(fd, 3)
        self.assertEqual(os.fstat(fd).st_size, 3)
        os.close(fd)
        self.assertEqual(self.there("lib/c"), b"ccc")

    def test_names_are_changed_there(self):
        on = self.m.on
        os.rename(on("lib/a"), on("lib/e"))
        os.rename(on("lib/e"), on("lib/b"))
        self.assertEqual(sorted(os.listdir(self.share + "/lib")), ["b", "c", "d"])
        self.assertEqual(read(on("lib/b"))[:1], b"a")
        os.unlink(on("lib/c"))
        os.rename(on("lib"), on("new"))
        self.assertEqual(sorted(os.listdir(self.share)), [".here", "new"])
        self.assertEqual(sorted(os.listdir(on("new"))), ["b", "d"])

    def test_what_it_can_not_do(self):
        on = self.m.on
        self.assertEqual(errno_of(os.link, on("lib/a"), on("lib/l")), "EXDEV")
        self.assertEqual(errno_of(os.setxattr, on("lib/a"), "user.x", b"1"), "ENOTSUP")
        self.assertEqual(os.listxattr(on("lib/a")), [])
        os.utime(on("lib/a"), ns=(10**18 + 5, 10**18 + 5))
        self.assertEqual(os.stat(on("lib/a")).st_mtime_ns, 10**18)  # whole seconds
        with open(on("lib/a"), "rb"):
            self.assertEqual(errno_of(os.rename, on("lib/a"), on("lib/e")), "EBUSY")
            self.assertEqual(errno_of(os.unlink, on("lib/a")), "EBUSY")
        self.assertEqual(sorted(os.listdir(on("lib"))), ["a", "b", "c", "d"])
        os.symlink("a", on("lib/s"))  # made on the local branch, as all that is new
        self.assertEqual(read(on("lib/s")), b"a" * 1000)

    def test_its_server_stops(self):
        on = self.m.on
        os.mkdir(on("near"))
        write(on("near/f"), b"near")
        server = family(int(self.values["smbd"]))
        for pid in server:
            os.kill(pid, signal.SIGSTOP)
        try:
            for name, action in {
                "stat": lambda: os.stat(on("near/f")), "missing": lambda: os.path.exists(on("near/missing")),
                "ls": lambda: os.listdir(self.m.mount), "create": lambda: write(on("near/new"), b"x"),
                "rename": lambda: os.rename(on("near/new"), on("near/n")), "unlink": lambda: os.unlink(on("near/n")),
                "listing of the share's": lambda: self.assertEqual(sorted(os.listdir(on("lib"))), ["a", "b", "c", "d"]),
                "statvfs": lambda: os.statvfs(self.m.mount),
            }.items():
                began = time.time()
                action()
                self.assertLess(time.time() - began, self.TIMEOUT / 2, name)
            self.assertIn(errno_of(read, on("lib/a")), ("ETIMEDOUT", "EHOSTUNREACH"))
            self.assertEqual(errno_of(read, on("lib/b")), "EHOSTUNREACH")
        finally:
            for pid in server:
                os.kill(pid, signal.SIGCONT)
        self.assertTrue(soon(lambda: errno_of(read, on("lib/b")) == "ok", 60))
        self.assertEqual(read(on("lib/b")), b"b" * 1000)


if __name__ == "__main__":
    if missing():
        print("skipped: %s not installed (packaging/packages.sh test)" % ", ".join(missing()))
        sys.exit(77)
    mounted.main()
