"""What the scripts of this folder share: a mediafs of their own, started and ended, and what it says of itself.
Needs Python 3.9."""
import argparse
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time


def arguments(doc, work=None):
    """A parser that knows --program and --work; the latter has to be given unless it has a default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=os.path.abspath)
    parser.add_argument("--work", required=work is None, default=work, type=os.path.abspath)
    return parser


def new_folder(work, name):
    """The path of one that is not there yet."""
    base = os.path.join(work, name)
    if os.path.exists(base):
        sys.exit(base + " is left from another run: unmount what is below it, and remove it")
    return base


def wait_for(test, seconds, what, pause=0.02):
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            sys.exit("waited %d s in vain for %s" % (seconds, what))
        time.sleep(pause)


def drop_caches(which=3):
    """1: pages, 2: names and attributes, 3: both."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("%d" % which)


class Mediafs:
    """sections: {section: {key: value}} of its configuration; state and vault are where those say."""

    def __init__(self, program, config, log=None, options=(), **sections):
        self.program, self.config, self.log, self.options = program, config, log, options
        self.mount, self.local = sections["mount"]["path"], sections["local"]["path"]
        self.state = sections["local"].get("state", self.local + "/.mediafs")
        self.process = None
        with open(config, "w") as f:
            for name, values in sections.items():
                f.write("[%s]\n" % name + "".join("%s = %s\n" % (k, json.dumps(v)) for k, v in values.items()))
        os.chmod(config, 0o600)

    def start(self):
        """Returns when it is mounted."""
        os.makedirs(self.mount, exist_ok=True)
        with open(self.log, "w") if self.log else contextlib.nullcontext() as out:
            self.process = subprocess.Popen([self.program, "mount", "--foreground", "--config", self.config, *self.options],
                                            stdout=out, stderr=out)
        try:
            wait_for(lambda: os.path.ismount(self.mount) or self.process.poll() is not None, 60, "the mount", 0.005)
            if self.process.poll() is not None:
                sys.exit("%s ended with status %d" % (self.program, self.process.returncode))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
        self.process = None
        subprocess.run(["umount", "-l", self.mount], stderr=subprocess.DEVNULL, check=False)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def status(self):
        with open(self.mount + "/.mediafs/status.json") as f:
            return json.load(f)

    def setting(self, name):
        """What the catalogue notes under this name, or None."""
        with contextlib.closing(sqlite3.connect("file:%s/catalogue.db?mode=ro" % self.state, uri=True)) as db:
            row = db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return row and row[0]

    def resident_mib(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
