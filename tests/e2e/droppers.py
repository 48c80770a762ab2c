"""The ways in which releases are dropped, each going on until it has succeeded, as their users do."""
import os
import shutil
import subprocess
import threading
import time

from harness import Failure


class Droppers(threading.Thread):
    """Drops its releases one after the other. way: rsync, rsync-temp, cp, mv or rename."""

    def __init__(self, way, releases, folder, mtime, daemon, rsyncd=None, deadline=900):
        super().__init__(name="drop-" + way, daemon=True)
        self.way, self.releases, self.folder, self.mtime = way, releases, folder, mtime
        self.mediafs, self.rsyncd, self.deadline = daemon, rsyncd, time.monotonic() + deadline
        self.error = None
        self.tries = 0

    def run(self):
        try:
            for release in self.releases:
                source = release.write(self.folder, self.mtime)
                while not self._drop(source):
                    self.tries += 1
                    if time.monotonic() > self.deadline:
                        raise Failure("%s could not drop %s in time: %s" % (self.way, release.name, self._why))
                    time.sleep(0.1)
                if os.path.isdir(source):
                    shutil.rmtree(source)
                elif os.path.exists(source):
                    os.unlink(source)
        except Exception as error:  # told by finish(), in the test's own thread
            self.error = error

    def _drop(self, source):
        self._why = ""
        if self.way == "rename":
            # Underneath, as a torrent client on the same disk moves a finished folder: one rename.
            os.rename(source, os.path.join(self.mediafs.local, "Incoming", os.path.basename(source)))
            return True
        if not os.path.isdir(self.mediafs.path("Incoming")):
            self._why = "the tree is not served"
            return False
        if self.way in ("rsync", "rsync-temp"):
            flags = ["--temp-dir=.rsync-tmp"] if self.way == "rsync-temp" else []
            # Without -p: while the daemon is being restarted nothing may be made below the empty mount point.
            temp = self.mediafs.path("Incoming/.rsync-tmp")
            if flags and not os.path.isdir(temp) and subprocess.run(["mkdir", temp], check=False, stderr=subprocess.DEVNULL).returncode:
                return False
            done = self.rsyncd.push(source, *flags, ok=False)
            self._why = done.stderr
            return done.returncode == 0
        # What a broken copy left is taken away first: mv refuses to copy a folder over a part of itself.
        subprocess.run(["rm", "-rf", self.mediafs.path("Incoming", os.path.basename(source))], check=False, stderr=subprocess.DEVNULL)
        command = ["cp", "-a"] if self.way == "cp" else ["mv", "-f"]
        done = subprocess.run(command + [source, self.mediafs.path("Incoming/")], capture_output=True, text=True, check=False)
        self._why = done.stderr
        return done.returncode == 0

    def finish(self):
        self.join(max(1, self.deadline - time.monotonic()) + 60)
        if self.is_alive():
            raise Failure("%s hangs" % self.name)
        if self.error:
            raise self.error


class FreeSpace(threading.Thread):
    """Watches how little was ever free."""

    def __init__(self, disk):
        super().__init__(daemon=True)
        self.disk, self.least, self._ended = disk, disk.free(), threading.Event()

    def run(self):
        while not self._ended.wait(0.01):
            try:
                self.least = min(self.least, self.disk.free())
            except OSError:  # the disk is gone: the test has failed elsewhere
                return

    def finish(self):
        self._ended.set()
        self.join()
        return self.least
