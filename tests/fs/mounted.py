"""What the mounted tests share: a mount served by mount_daemon over temporary directories, and a plain directory to
compare with. Everything is unmounted and removed at exit. Ends with 77 and the reason where it can't run."""
import atexit
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

import suite
from files import write

DAEMON = None
DEFAULTS = {}  # options of every mount: name=value on the command line


def why_not():
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if os.geteuid() != 0:
        return "needs root (owners, allow_other)"
    return None


class Mounted:
    def __init__(self, vault=True, share=False, marker="", **options):
        self.base = tempfile.mkdtemp(prefix="mediafs-fs-")
        os.chmod(self.base, 0o755)  # other users go through it
        self.local = self._dir("local")
        self.plain = self._dir("plain")
        self.mount = self._dir("mount")
        self.vault = self._dir("vault") if vault else ""
        self.share = self._dir("share") if share is True else (share or "")
        self.marker = marker
        if marker and share is True:
            write(self.share + "/" + marker, b"")
        self.options = {**DEFAULTS, **options}
        self.process = None
        atexit.register(self.close)

    def _dir(self, name):
        path = os.path.join(self.base, name)
        os.mkdir(path)
        os.chmod(path, 0o755)
        return path

    def start(self, crash=None):
        """With crash: the daemon kills itself at that point (common/crash.h)."""
        command = [DAEMON, "--local", self.local, "--mount", self.mount]
        for key, value in (("vault", self.vault), ("share", self.share), ("marker", self.marker)):
            if value:
                command += ["--" + key, value]
        for key, value in self.options.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        env = {**os.environ, "MEDIAFS_CRASH": crash} if crash else None
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            self.process.wait()
            self._gone()
            raise RuntimeError(answer)
        return self

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError("%s -> %s" % (line, answer))
        return answer[2:].strip()

    def stop(self):
        """An orderly end, which is checked."""
        answer = self.tell("stop")
        code = self.process.wait(30)
        self._gone()
        assert (answer, code) == ("stopped", 0), (answer, code)

    def kill(self):
        self.process.kill()
        self.died()

    def died(self):
        """Returns when it has killed itself, or been killed."""
        self.process.wait(60)
        self._gone()

    def _gone(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None

    def close(self):
        if self.process:
            self.kill()
        while subprocess.run(["umount", "-l", self.mount], stderr=subprocess.DEVNULL).returncode == 0:
            pass
        shutil.rmtree(self.base, ignore_errors=True)

    def on(self, path):
        return os.path.join(self.mount, path)

    def under(self, path):
        return os.path.join(self.local, path)

    def put(self, path, data, mode=0o644):
        """A file in the library that only the vault has."""
        os.makedirs(os.path.dirname(self.under(path)), exist_ok=True)
        write(self.under(path), data)
        os.chmod(self.under(path), mode)
        self.tell("store " + path)
        self.tell("evict " + path)
        assert not os.path.exists(self.under(path))


def for_module(**options):
    """Started, for all tests of a module; stopped, with its end checked, after the last one."""
    m = Mounted(**options)
    unittest.addModuleCleanup(m.close)
    m.start()
    unittest.addModuleCleanup(m.stop)
    return m


class Case(unittest.TestCase):
    def mounted(self, **options):
        """One for this test alone, to be started; whatever becomes of the test, nothing of it stays."""
        m = Mounted(**options)
        self.addCleanup(m.close)
        return m


class Parity(Case):
    """Each test has two empty directories: one on the world's plain side, one on its mount."""
    world = None  # a Mounted

    def setUp(self):
        name = self.id().split(".")[-1]
        self.dirs = []
        for base in (self.world.plain, self.world.mount):
            path = os.path.join(base, name)
            os.mkdir(path)
            self.dirs.append(path)

    def both(self, action):
        """The action's outcome in the plain directory, after comparing with the mount's."""
        outcomes = []
        for directory in self.dirs:
            try:
                outcomes.append(("ok", action(directory)))
            except OSError as e:
                outcomes.append(("error", errno.errorcode.get(e.errno, e.errno)))
        self.assertEqual(outcomes[0], outcomes[1])
        return outcomes[0]


def shape(path):
    st = os.lstat(path)
    size = st.st_size if not stat.S_ISDIR(st.st_mode) else 0
    return (stat.filemode(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, size, st.st_rdev)


def main():
    global DAEMON
    reason = why_not()
    if reason:
        print("skipped: " + reason)
        sys.exit(77)
    DAEMON = sys.argv.pop(1)
    while len(sys.argv) > 1 and "=" in sys.argv[1]:
        key, value = sys.argv.pop(1).split("=")
        DEFAULTS[key] = value
    suite.main()
