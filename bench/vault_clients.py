"""Who is measured by vault_bench.py: mediafs, its peers, and curl, on one bucket through one proxy.
Needs Python 3.9."""
import json
import os
import resource
import shutil
import subprocess
import sys
import time

from mounts import Mediafs, wait_for
from s3_store import KIB, MIB, Store, check


def start_server(folder):
    """A radosgw of our own: its process, and the bucket's store."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/servers/radosgw.sh")
    # Its own session: Ctrl-C is for us, who end it last.
    process = subprocess.Popen([script, folder], stdout=subprocess.PIPE, text=True, start_new_session=True)
    said = process.stdout.readline()
    if not said.startswith("READY"):
        raise SystemExit("radosgw did not start (or give --endpoint): see " + folder)
    told = dict(word.split("=", 1) for word in said.split()[1:])
    return process, Store(told["endpoint"], "mediafs-bench", told["access_key"], told["secret_key"], told["region"])


class Proxy:
    """bench/s3_proxy.py before a server, and what it has counted."""

    def __init__(self, store, delay_ms, mb_s):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "s3_proxy.py")
        self.process = subprocess.Popen([sys.executable, script, "--upstream", store.address, "--delay-ms", str(delay_ms),
                                         "--mb-s", str(mb_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True)
        self.store = store.at("http://127.0.0.1:%d" % int(self.process.stdout.readline()))

    def counted(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        return {name: found.get(name, 0) for name in ("requests", "connections", "up", "down")}

    def counted_at_rest(self, most_s=3):
        """Once nothing has moved for a moment: what was read ahead belongs to what asked for it."""
        deadline, last = time.monotonic() + most_s, self.counted()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            now = self.counted()
            if now["up"] + now["down"] - last["up"] - last["down"] < 4 * KIB:
                return now
            last = now
        return last

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


def process_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Curl:
    """One connection that is kept, unless `parallel` says more."""
    label, mount = "curl", None

    def __init__(self, store):
        self.store = store

    def cold(self):
        pass

    stop = cold

    def cpu_seconds(self):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def fetch(self, parts, parallel=0):
        """Ranges (key, offset, size): (seconds of each by curl's own clock, seconds of all)."""
        s, asked = self.store, []
        for key, offset, size in parts:
            asked.append('url = "%s/%s/%s"\nrange = %d-%d\noutput = /dev/null\nuser = "%s:%s"\naws-sigv4 = "aws:amz:%s:s3"\n'
                         'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"\nwrite-out = "%%{http_code} %%{time_total}\\n"\n'
                         % (s.endpoint, s.bucket, key, offset, offset + size - 1, s.access_key, s.secret_key, s.region))
        command = ["curl", "-sS", "-K", "-"]
        if parallel:
            command += ["--parallel", "--parallel-immediate", "--parallel-max", str(parallel)]
        began = time.perf_counter()
        done = subprocess.run(command, input="next\n".join(asked), text=True, capture_output=True, check=False)
        seconds = time.perf_counter() - began
        lines = [line.split() for line in done.stdout.splitlines()]
        if len(lines) != len(parts) or any(line[0] != "206" for line in lines):
            raise SystemExit("curl: %s %s" % (lines[:3], done.stderr[:300]))
        return [float(line[1]) for line in lines], seconds


class Ours(Mediafs):
    """With default settings; each cold start has lost its disk and its catalogue."""
    label = "mediafs"

    def __init__(self, program, base, store):
        self.base, self.folder = base, base + "/mediafs"
        os.makedirs(self.folder)
        credentials = self.folder + "/credentials"
        with open(os.open(credentials, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("access_key = %s\nsecret_key = %s\n" % (store.access_key, store.secret_key))
        # A new library each time, which takes the vault over from the one before.
        super().__init__(program, self.folder + "/mediafs.toml", self.folder + "/log", options=["--new-vault"],
                         mount={"path": self.folder + "/mount"},
                         local={"path": self.folder + "/disk", "state": self.folder + "/state", "reserve": "1G",
                                "evict_below_free": "1G", "evict_until_free": "2G"},
                         vault={"url": "s3://" + store.bucket, "endpoint": store.endpoint, "region": store.region,
                                "credentials": credentials})

    def start_empty(self):
        self.stop()
        for folder in (self.local, self.state):
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
        self.start()

    def cold(self):
        self.start_empty()
        wait_for(lambda: self.setting("vault.listed") == "yes", 60, "the vault's listing")

    def path(self, name):
        return self.mount + "/" + name


class Peer:
    """A client that mounts the bucket; its cache is empty after each cold start."""

    def __init__(self, label, base, command, environment=None):
        self.label, self.folder, self.mount = label, base + "/" + label, base + "/" + label + "/mount"
        os.makedirs(self.mount)
        self.command = [part.format(mount=self.mount, cache=self.folder + "/cache") for part in command]
        self.environment = dict(os.environ, **(environment or {}))
        self.process = None

    def start_empty(self):
        self.stop()
        shutil.rmtree(self.folder + "/cache", ignore_errors=True)
        os.makedirs(self.folder + "/cache")
        with open(self.folder + "/log", "w") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log,
                                            start_new_session=True)
        wait_for(lambda: os.path.ismount(self.mount) or self.process.poll() is not None, 60, self.label, 0.005)
        if self.process.poll() is not None:
            with open(self.folder + "/log") as log:
                raise SystemExit("%s ended: %s" % (self.label, log.read()[-300:]))

    cold = start_empty

    def path(self, name):
        return self.mount + "/" + name

    def cpu_seconds(self):
        return process_seconds(self.process.pid)

    def stop(self):
        if self.process is None:
            return
        subprocess.run(["umount", "-l", self.mount], stderr=subprocess.DEVNULL, check=False)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None


def rclone_environment(store):
    return {"RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_B_TYPE": "s3", "RCLONE_CONFIG_B_PROVIDER": "Ceph",
            "RCLONE_CONFIG_B_ACCESS_KEY_ID": store.access_key, "RCLONE_CONFIG_B_SECRET_ACCESS_KEY": store.secret_key,
            "RCLONE_CONFIG_B_REGION": store.region, "RCLONE_CONFIG_B_ENDPOINT": store.endpoint,
            "RCLONE_CONFIG_B_FORCE_PATH_STYLE": "true", "AWS_CA_BUNDLE": ""}


def peers(base, store, wanted):
    """Those that are installed and wanted; of the others it says so."""
    found = []
    for name in wanted:
        if not shutil.which(name):
            print("%s is not installed: left out" % name, file=sys.stderr)
        elif name == "rclone":
            found.append(Peer("rclone", base, ["rclone", "mount", "B:" + store.bucket, "{mount}", "--allow-other",
                                               "--vfs-cache-mode", "full", "--vfs-write-back", "0s", "--cache-dir",
                                               "{cache}", "--s3-no-check-bucket"], rclone_environment(store)))
        else:
            found.append(s3fs(base, store))
    return found


def s3fs(base, store):
    password = base + "/s3fs.password"
    with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("%s:%s\n" % (store.access_key, store.secret_key))
    options = "url=%s,use_path_request_style,passwd_file=%s,use_cache={cache},endpoint=%s,allow_other,umask=000" % (
        store.endpoint, password, store.region)
    return Peer("s3fs", base, ["s3fs", store.bucket, "{mount}", "-f", "-o", options])


def rclone_copy(store, folder, prefix):
    """Until it has ended: (seconds, processor seconds). None where it is not installed."""
    if not shutil.which("rclone"):
        return None
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["rclone", "copy", folder, "B:%s/%s" % (store.bucket, prefix), "--transfers", "8",
                    "--s3-no-check-bucket"], env=dict(os.environ, **rclone_environment(store)), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read(fd, name, offset, size):
    """Seconds; compared afterwards."""
    got, began = [], time.perf_counter()
    left = size
    while left:
        data = os.pread(fd, left, offset + size - left)
        if not data:
            raise SystemExit("%s ends before %d" % (name, offset + size))
        got.append(data)
        left -= len(data)
    seconds = time.perf_counter() - began
    check(name, offset, b"".join(got))
    return seconds


def stream(path, into):
    """Seconds; `into` has the file's size."""
    began, view, at = time.perf_counter(), memoryview(into), 0
    with open(path, "rb", buffering=0) as f:
        while at < len(view):
            got = f.readinto(view[at:at + MIB])
            if not got:
                raise SystemExit("%s ends after %d bytes" % (path, at))
            at += got
    return time.perf_counter() - began
