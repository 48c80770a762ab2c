"""The base of the end-to-end tests: real servers, small disks and mediafs daemons as context managers.

A test is a script:

    from harness import Bench, run
    def test(bench):
        ssd = bench.disk(512)                     # a loop-mounted ext4
        s3 = bench.radosgw()
        daemon = bench.daemon({"local": {"path": ssd.path}, "vault": s3.vault("library")}, s3=s3)
        daemon.start()
        bench.wait_until(lambda: daemon.version() > 0, 30, "the first film to be filed")
    run(test)

Exit status: 0 passed, 1 failed, 77 skipped with a line "skipped: REASON". Whatever happens to the test, SIGKILL included,
what it started is stopped, unmounted and removed by guard.py. KEEP=1 in the environment keeps the files of a failure.
Python 3.11, standard library only. Start servers from any thread; no object here is safe for use by two threads at once.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.join(os.path.dirname(HERE), "servers")
SKIPPED = 77


class Failure(Exception):
    """The test found something wrong."""


class Skip(Exception):
    """The test cannot run here."""


def skip(reason):
    raise Skip(reason)


def check(condition, what):
    if not condition:
        raise Failure(what)


def check_equal(got, wanted, what):
    if got != wanted:
        raise Failure("%s: got %r, wanted %r" % (what, got, wanted))


def need_programs(*names):
    for name in names:
        if not shutil.which(name):
            skip("%s is not installed (packaging/packages.sh test)" % name)


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def tail(path, lines=40):
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError as error:
        return "(%s)\n" % error


def clean_environment(extra=None):
    """The environment without what would change a daemon's configuration or a client's trust."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MEDIAFS_", "AWS_", "RCLONE_", "RSYNC_"))}
    env.update(extra or {})
    return env


def to_toml(config):
    """A dict of sections (and of lists of sections) as TOML."""
    lines = []
    for section, values in config.items():
        for table in values if isinstance(values, list) else [values]:
            lines.append(("[[%s]]" if isinstance(values, list) else "[%s]") % section)
            # TOML's basic strings, arrays, numbers and booleans are JSON's.
            lines += ["%s = %s" % (key, json.dumps(value, ensure_ascii=False)) for key, value in table.items()]
    return "\n".join(lines) + "\n"


class Guard:
    """Another process that undoes what was registered and not yet undone, when this one ends in whatever way."""

    def __init__(self):
        self._process = subprocess.Popen([sys.executable, os.path.join(HERE, "guard.py")], stdin=subprocess.PIPE,
                                         start_new_session=True, text=True)
        self._next = 0

    def add(self, kind, *args):
        """kind: kill PID, umount PATH, remove PATH. Returns a token for done()."""
        self._next += 1
        self._write([self._next, kind, *args])
        return self._next

    def done(self, token):
        self._write([token, "done"])

    def _write(self, record):
        self._process.stdin.write(json.dumps(record) + "\n")
        self._process.stdin.flush()

    def finish(self):
        self._process.stdin.close()
        self._process.wait(60)


class Process:
    """A child with its output in a log; killed at the latest at the test's end."""

    def __init__(self, bench, name, argv, env=None, ready=None, bound=120):
        self.bench, self.name = bench, name
        self.log = os.path.join(bench.logs, name + ".log")
        with open(self.log, "a") as log, open(self.log + ".ready" if ready else os.devnull, "w") as out:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log, env=clean_environment(env),
                                          stdout=out if ready else log, start_new_session=True)
        self.pid = self.popen.pid
        self._token = bench.guard.add("kill", self.pid)
        bench.diagnostics[self.log] = lambda: tail(self.log)
        self.values = self._wait_ready(ready, bound) if ready else {}

    def _wait_ready(self, word, bound):
        deadline = time.monotonic() + bound
        while time.monotonic() < deadline:
            ended = self.popen.poll() is not None
            with open(self.log + ".ready") as file:
                for line in file:
                    if line.startswith(word) and line.endswith("\n"):
                        return dict(pair.split("=", 1) for pair in line.split()[1:] if "=" in pair)
            if ended:
                break
            time.sleep(0.05)
        self.kill()
        raise Failure("%s did not get ready within %d s: %s" % (self.name, bound, tail(self.log)))

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def kill(self):
        """SIGKILL, at once."""
        self.signal(signal.SIGKILL)
        self._reap(20)

    def stop(self, bound=30):
        """SIGTERM, and SIGKILL when that is not heeded. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._reap(bound)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure("%s did not end within %d s of SIGTERM" % (self.name, bound)) from None

    def _reap(self, bound):
        status = self.popen.wait(bound)
        if self._token:
            self.bench.guard.done(self._token)
            self._token = None
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Disk:
    """A loop-mounted ext4 (or xfs, from 300 MiB) of its own. Root only."""

    FORMAT = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"], "xfs": ["mkfs.xfs", "-q", "-f"]}

    def __init__(self, bench, size_mib, name, kind="ext4"):
        need_root()
        need_programs(self.FORMAT[kind][0], "mount")
        self.bench = bench
        self.image = os.path.join(bench.dir, name + ".img")
        self.path = os.path.join(bench.dir, name)
        with open(self.image, "wb") as file:
            file.truncate(size_mib << 20)
        subprocess.run([*self.FORMAT[kind], self.image], check=True)
        os.mkdir(self.path)
        self._token = None
        self.mount()
        if kind == "ext4":
            os.rmdir(os.path.join(self.path, "lost+found"))

    def mount(self):
        mounted = subprocess.run(["mount", "-o", "loop", self.image, self.path], stderr=subprocess.PIPE, text=True)
        if mounted.returncode:
            skip("no loop mounts here: " + mounted.stderr.strip())
        self._token = self._token or self.bench.guard.add("umount", self.path)

    def cut(self):
        """As when the power fails: what was not written through is gone. Mounted again after replug()."""
        need_programs("xfs_io")
        done = subprocess.run(["xfs_io", "-x", "-c", "shutdown", self.path], capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            skip("no filesystem can be shut down here: " + done.stderr.strip())

    def replug(self):
        self.bench.wait_until(lambda: subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL).returncode == 0, 30,
                              "%s to be free" % self.path)
        # Mounted before that, it would be the one that was shut down.
        self.bench.wait_until(lambda: not subprocess.run(["losetup", "-j", self.image], capture_output=True, check=True).stdout,
                              30, "%s to be let go" % self.image)
        self.mount()

    def free(self):
        """Free bytes, as root sees them."""
        stat = os.statvfs(self.path)
        return stat.f_bfree * stat.f_frsize

    def size(self):
        stat = os.statvfs(self.path)
        return stat.f_blocks * stat.f_frsize

    def close(self):
        if self._token:
            subprocess.run(["umount", "-l", self.path], check=False)
            self.bench.guard.done(self._token)
            self._token = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class S3:
    """An S3 endpoint with its keys; and rclone as the other tool that reads the vault."""

    def __init__(self, bench, endpoint, access_key, secret_key, region):
        self.bench, self.endpoint, self.region = bench, endpoint, region
        self.access_key, self.secret_key = access_key, secret_key
        self.process = None

    def through(self, proxy):
        """The same store, reached through a fault proxy."""
        other = S3(self.bench, proxy.endpoint, self.access_key, self.secret_key, self.region)
        other.process = self.process
        return other

    def credentials_file(self):
        path = os.path.join(self.bench.dir, "vault.credentials")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write('access_key = "%s"\nsecret_key = "%s"\n' % (self.access_key, self.secret_key))
        return path

    def vault(self, bucket, prefix="", **more):
        """The [vault] section for this store."""
        section = {"url": "s3://%s%s" % (bucket, "/" + prefix if prefix else ""), "endpoint": self.endpoint,
                   "region": self.region, "credentials": self.credentials_file()}
        section.update(more)
        return section

    def rclone_environment(self):
        return {"RCLONE_CONFIG": "", "RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "Ceph",
                "RCLONE_CONFIG_S3_ACCESS_KEY_ID": self.access_key, "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": self.secret_key,
                "RCLONE_CONFIG_S3_ENDPOINT": self.endpoint, "RCLONE_CONFIG_S3_REGION": self.region}

    def rclone(self, *args, data=None, bound=300, ok=True):
        """rclone ARGS; the store is the remote `s3:`. Returns its standard output as bytes."""
        need_programs("rclone")
        env = self.rclone_environment()
        done = subprocess.run(["rclone", "--retries", "1", *args], input=data, capture_output=True, timeout=bound,
                              env=clean_environment(env), check=False)
        if ok and done.returncode:
            raise Failure("rclone %s: %s" % (" ".join(args), done.stderr.decode(errors="replace").strip()))
        return done.stdout

    def make_bucket(self, bucket):
        self.rclone("mkdir", "s3:" + bucket)

    def objects(self, bucket, prefix="", **more):
        """{key below the prefix: {"Size", "ModTime", ...}} of every object."""
        where = "s3:%s/%s" % (bucket, prefix)
        flags = ["--hash"] if more.get("hashes") else []
        listed = json.loads(self.rclone("lsjson", "-R", "--files-only", *flags, where))
        return {entry["Path"]: entry for entry in listed}

    def read(self, bucket, key):
        return self.rclone("cat", "s3:%s/%s" % (bucket, key))

    def put(self, bucket, key, data):
        self.rclone("rcat", "s3:%s/%s" % (bucket, key), data=data)

    def check(self, folder, bucket, prefix="", *flags):
        """Compares a folder with the store, byte by byte; raises Failure with rclone's words on a difference."""
        self.rclone("check", "--download", "--one-way", *flags, folder, "s3:%s/%s" % (bucket, prefix), bound=900)


class Proxy:
    """A fault proxy; set(blackhole=1), reset(), kill(), counters()."""

    def __init__(self, bench, upstream, http=True):
        upstream = upstream.split("//")[-1].rstrip("/")
        argv = [sys.executable, os.path.join(SERVERS, "faultproxy.py"), "--upstream", upstream] + ["--http"] * http
        self.process = Process(bench, bench.unique("faultproxy"), argv, ready="READY", bound=30)
        self.endpoint = self.process.values["endpoint"]
        self._control = self.process.values["control"]

    def _call(self, what, method="POST"):
        request = urllib.request.Request(self._control + what, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)

    def set(self, **settings):
        return self._call("/set?" + urllib.parse.urlencode(settings))["settings"]

    def reset(self):
        self._call("/reset")

    def kill(self):
        """Resets every connection that is open now."""
        self._call("/kill")

    def counters(self):
        return self._call("/", "GET")["counters"]

    def stop(self):
        self.process.stop()


class Rsyncd:
    """The rsync daemon with packaging/rsyncd.conf, its module Incoming pointed at a folder."""

    def __init__(self, bench, target):
        need_programs("rsync", "setpriv")
        name = bench.unique("rsyncd")
        argv = [os.path.join(SERVERS, "rsyncd.sh"), os.path.join(bench.dir, name), target]
        self.process = Process(bench, name, argv, ready="READY", bound=30)
        self.url = self.process.values["url"]
        log = os.path.join(bench.dir, name, "log", "rsyncd.log")
        bench.diagnostics[log] = lambda: tail(log)

    def push(self, source, *flags, bound=600, ok=True, to=""):
        """rsync -a FLAGS SOURCE -> the module; returns the finished process."""
        done = subprocess.run(["rsync", "-a", *flags, source, self.url + "/" + to], capture_output=True, text=True,
                              timeout=bound, env=clean_environment(), check=False)
        if ok and done.returncode:
            raise Failure("rsync %s: status %d: %s" % (source, done.returncode, done.stderr.strip()))
        return done

    def stop(self):
        self.process.stop()


class Bench:
    """One test's place: a folder, a guard, and makers of everything else."""

    def __init__(self, name="test"):
        self.guard = Guard()
        self.dir = tempfile.mkdtemp(prefix="mediafs-%s-" % name)
        self.keep = False
        self._remove = self.guard.add("remove", self.dir)
        self.logs = os.path.join(self.dir, "logs")
        os.mkdir(self.logs)
        self.diagnostics = {}  # title -> function that returns text
        self._names = {}

    def unique(self, name):
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else "%s%d" % (name, self._names[name])

    def folder(self, name):
        path = os.path.join(self.dir, self.unique(name))
        os.mkdir(path)
        return path

    def disk(self, size_mib, name="disk", kind="ext4"):
        return Disk(self, size_mib, self.unique(name), kind)

    def radosgw(self):
        need_programs("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "uuidgen", "curl", "setpriv")
        name = self.unique("radosgw")
        argv = [os.path.join(SERVERS, "radosgw.sh"), os.path.join(self.dir, name)]
        process = Process(self, name, argv, ready="READY", bound=180)
        v = process.values
        s3 = S3(self, v["endpoint"], v["access_key"], v["secret_key"], v["region"])
        s3.process = process
        return s3

    def proxy(self, upstream, http=True):
        return Proxy(self, upstream, http)

    def rsyncd(self, target):
        return Rsyncd(self, target)

    def daemon(self, config, **options):
        from daemon import Daemon
        return Daemon(self, config, **options)

    def wait_until(self, condition, bound, what):
        """Calls condition() until it returns something true, which is returned; fails after `bound` seconds."""
        deadline, pause, last = time.monotonic() + bound, 0.02, None
        while True:
            value = condition()
            if value:
                return value
            last = value
            if time.monotonic() > deadline:
                raise Failure("waited %d s in vain for %s (last answer: %r)" % (bound, what, last))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def report(self):
        for title, text in self.diagnostics.items():
            try:
                body = text()
            except Exception as error:  # a diagnosis must not hide the failure that it explains
                body = "(%s)" % error
            if body.strip():
                print("--- %s\n%s" % (title, body.rstrip()), file=sys.stderr)

    def close(self):
        if self.keep:
            self.guard.done(self._remove)
            print("kept: " + self.dir, file=sys.stderr)
        self.guard.finish()


def run(*tests, name=None):
    """Runs test(bench) functions, each on a bench of its own, and ends the program."""
    def on_signal(number, _):
        sys.exit(128 + number)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    name = name or os.path.splitext(os.path.basename(sys.argv[0]))[0]
    skipped = failed = 0
    chosen = sys.argv[1:]
    unknown = set(chosen) - {test.__name__ for test in tests}
    if unknown:
        sys.exit("%s: no such test: %s" % (name, ", ".join(sorted(unknown))))
    for test in tests:
        if chosen and test.__name__ not in chosen:
            continue
        bench, started = Bench(name), time.monotonic()
        outcome = "passed"
        try:
            test(bench)
        except Skip as why:
            skipped += 1
            outcome = "skipped: %s" % why
        except Exception as error:
            failed += 1
            outcome = "FAILED: %s" % error
            if not isinstance(error, Failure):
                traceback.print_exc()
            else:
                traceback.print_tb(error.__traceback__.tb_next)
            bench.report()
            bench.keep = bool(os.environ.get("KEEP"))
        finally:
            bench.close()
        prefix = "" if outcome.startswith("skipped") else "%s: " % test.__name__
        print("%s%s (%.1f s)" % (prefix, outcome, time.monotonic() - started), flush=True)
    sys.exit(1 if failed else SKIPPED if skipped else 0)
