"""What a user gets wrong, and what machines do: each a clear message that names what, which path and what to do, or a
clean start where that is right."""
import errno
import os
import shutil
import signal
import socket
import subprocess
import urllib.request

import library
from harness import check, check_equal, clean_environment, need_root, run, tail
from daemon import binary


class Case:
    def __init__(self, bench):
        self.bench, self.count = bench, 0

    def fresh(self, config=None, **options):
        self.count += 1
        base = self.bench.folder("case%d" % self.count)
        settings = {"mount": {"path": base + "/Media"}, "local": {"path": base + "/local"}}
        for section, values in (config or {}).items():
            settings.setdefault(section, {}).update(values)
        return self.bench.daemon(settings, name="case%d" % self.count, **options)

    def fails(self, daemon, *words, status=1, args=()):
        """`mediafs mount` in the background ends with `status` and says all of `words` on one line of stderr."""
        done = daemon.run("mount", "-c", daemon.file, *args, bound=60)
        check_equal(done.returncode, status, "exit status of mount: " + done.stderr)
        line = done.stderr.strip()
        check(line.startswith("mediafs: "), "not our message: %r" % line)
        for word in words:
            check(word in line, "%r is not in the message: %s" % (word, line))


def wrong_config(case):
    daemon = case.fresh({"local": {"evict_bellow_free": "10%"}})
    case.fails(daemon, daemon.file + ":", "local.evict_bellow_free", "evict_below_free", status=2)
    daemon = case.fresh({"local": {"reserve": "much"}})
    case.fails(daemon, daemon.file + ":", "local.reserve", status=2)
    done = daemon.run("mount", "-c", "/nonexistent.toml")
    check_equal(done.returncode, 2, "exit status of a missing configuration")
    check("/nonexistent.toml" in done.stderr, "the file is not named: " + done.stderr)


def missing_directories(case):
    daemon = case.fresh()
    os.rmdir(daemon.local)
    case.fails(daemon, daemon.local, "create")
    daemon = case.fresh()
    os.rmdir(daemon.mount)
    case.fails(daemon, daemon.mount, "create")


def mount_points(case):
    daemon = case.fresh()
    with open(daemon.path("precious"), "w") as file:
        file.write("not to be hidden")
    case.fails(daemon, daemon.mount, "not empty")
    os.unlink(daemon.path("precious"))
    daemon.start()
    other = case.fresh({"mount": {"path": daemon.mount}})
    case.fails(other, daemon.mount, "mounted")
    check(daemon.version() == 0, "the first daemon does not answer any more")
    daemon.stop()
    check(not os.path.ismount(daemon.mount), "still mounted after unmount")


def second_daemon(case):
    daemon = case.fresh()
    daemon.start()
    other = case.fresh({"local": {"path": daemon.local}})
    case.fails(other, daemon.local, "another mediafs", str(daemon.process.pid))
    daemon.stop()


def stale_mount(case):
    """kill -9 leaves "Transport endpoint is not connected": the next start clears it."""
    daemon = case.fresh()
    daemon.start()
    with open(daemon.path("kept"), "w") as file:
        file.write("kept")
    daemon.kill()
    try:
        os.listdir(daemon.mount)
        check(False, "the dead mount still answers")
    except OSError as error:
        check_equal(os.strerror(error.errno), "Transport endpoint is not connected", "a dead mount's answer")
    daemon.start()
    with open(daemon.path("kept")) as file:
        check_equal(file.read(), "kept", "a file after kill -9")
    daemon.stop()


def no_fuse(case):
    """In a mount namespace of its own /dev/fuse is hidden."""
    daemon = case.fresh()
    script = 'mount -t tmpfs none /dev && exec "$0" mount -c "$1"'
    # Where / is no mount point, as in a chroot, its propagation can't be changed. What is shared must not be hidden.
    own = ["unshare", "-m"]
    if subprocess.run(own + ["true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        own += ["--propagation", "unchanged"]
        with open("/proc/self/mountinfo") as f:
            shared = [line.split()[4] for line in f if " shared:" in line]
        if shared:
            print("skipped: no_fuse: in this chroot the mounts %s are shared" % ", ".join(shared))
            return
    done = subprocess.run(own + ["sh", "-c", script, daemon.program, daemon.file], capture_output=True, text=True,
                          env=clean_environment(), timeout=60, check=False)
    check_equal(done.returncode, 1, "exit status without /dev/fuse: " + done.stderr)
    check("/dev/fuse" in done.stderr and "modprobe fuse" in done.stderr, "no advice: " + done.stderr)


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def vault_troubles(case, s3):
    """A vault that can't be reached or refuses us does not keep the tree from being served, and status says why."""
    secret = os.path.join(case.bench.dir, "wrong.credentials")
    fd = os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b'access_key = "test"\nsecret_key = "wrong-secret-value"\n')
    os.close(fd)
    for vault, words in ((s3.vault("library", endpoint="http://127.0.0.1:%d" % closed_port()), ["127.0.0.1"]),
                         (s3.vault("library", credentials=secret), ["403", "secret_key"]),
                         (s3.vault("no-such-bucket"), ["no-such-bucket"])):
        daemon = case.fresh({"vault": vault})
        daemon.start()
        status = case.bench.wait_until(lambda: (lambda s: s["vault"]["error"] and s)(daemon.ask("status")), 60, "status to say why")
        check_equal(status["vault"]["state"], "unreachable", "the vault's state")
        for word in words:
            check(word in status["vault"]["error"], "%r is not in %r" % (word, status["vault"]["error"]))
        check("wrong-secret-value" not in str(status), "a secret is in status")
        subprocess.run(["touch", daemon.path("works")], check=True)
        daemon.stop()
    os.chmod(secret, 0o644)
    case.fails(case.fresh({"vault": s3.vault("library", credentials=secret)}), secret, "chmod", status=2)
    case.fails(case.fresh({"vault": {"url": "gopher://x"}}), "vault.url", status=2)


def descendants(pid):
    """The process and all below it, as {pid: command line}."""
    with open("/proc/%d/cmdline" % pid, "rb") as file:
        found = {pid: file.read()}
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/children" % (pid, task)) as file:
                for child in file.read().split():
                    found.update(descendants(int(child)))
        except (FileNotFoundError, ProcessLookupError):  # a thread or a child that ended meanwhile
            pass
    return found


def no_secrets(case, s3):
    """Of keys that are right, and of keys and a token that the server refuses, nothing is in the most verbose log, in what the
    state directory holds, in command lines or in what commands say."""
    refused = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "refused-secret-value", "AWS_SESSION_TOKEN": "refused-token-value"}
    s3.make_bucket("secrets")
    for env, secrets in ((refused, ["refused-secret-value", "refused-token-value"]), ({}, [s3.secret_key])):
        vault = s3.vault("secrets", **({"credentials": ""} if env else {}))
        daemon = case.fresh({"vault": vault, "log": {"level": "debug"}, "incoming": {"settle": "100ms"}}, env=env)
        daemon.start()
        write(daemon, "film", "bytes")
        case.bench.wait_until(lambda: daemon.ask("status")["vault"]["error"] if env else "film" in s3.objects("secrets"), 60,
                              "the server's answer")
        said = [str(daemon.ask("status")), daemon.run("config", "show").stdout, daemon.run("doctor").stdout]
        said += [line.decode(errors="replace") for line in descendants(daemon.process.popen.pid).values()]
        daemon.stop()
        files = [daemon.process.log]
        for folder, _, names in os.walk(os.path.join(daemon.local, ".mediafs")):
            files += [os.path.join(folder, name) for name in names]
        for name in files:
            with open(name, "rb") as file:
                said.append(file.read().decode(errors="replace"))
        check(any(" debug " in text for text in said), "no verbose log was seen")
        for secret in secrets:
            for text in said:
                check(secret not in text, "a secret is told: " + text[max(0, text.find(secret) - 200):][:400])


def upload_goes_on(case, s3):
    """A daemon that is killed in the middle of a large upload goes on with it: no part is sent twice that the store had."""
    proxy = case.bench.proxy(s3.endpoint)
    s3.make_bucket("resume")
    daemon = case.fresh({"vault": s3.through(proxy).vault("resume"), "local": NO_EVICTION})
    proxy.set(rate_up_kbs=32768)
    daemon.start()
    with open(daemon.path("film"), "wb") as file:
        for number in range(100):
            file.write(bytes([number]) * (1 << 20))
    noted = os.path.join(daemon.local, ".mediafs/uploads")

    def parts(since=0):
        text = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(proxy._control + "/log?from=%d" % since, timeout=10).read()
        return [line.split("partNumber=")[1].split("&")[0] for line in text.decode().splitlines() if "partNumber=" in line]
    case.bench.wait_until(lambda: len(parts()) > 4, 60, "a part to be done")  # four go at once
    daemon.kill()
    proxy.set(rate_up_kbs=0)
    check_equal(len(os.listdir(noted)), 1, "uploads that are noted")
    sent = parts()
    daemon.start()
    case.bench.wait_until(lambda: "film" in s3.objects("resume"), 120, "the upload to end")
    again = parts()[len(sent):]
    check(len(again) < 7, "all parts were sent again: %r after %r" % (again, sent))
    check_equal(len(again), len(set(again)), "parts sent since the restart")
    case.bench.wait_until(lambda: not os.listdir(noted), 60, "the note to go")
    check_equal(subprocess.run(["cmp", "-", daemon.path("film")], input=s3.read("resume", "film"), check=False).returncode, 0, "cmp")
    daemon.stop()


NO_EVICTION = {"evict_below_free": "20M", "evict_until_free": "24M"}  # of its own, however full this disk is


def write(daemon, name, text):
    with open(daemon.path(name), "w") as file:
        file.write(text)


def read(daemon, name):
    with open(daemon.path(name)) as file:
        return file.read()


def read_fails(daemon, name, number):
    try:
        read(daemon, name)
    except OSError as error:
        return check_equal(error.errno, number, "errno of reading " + name)
    check(False, name + " reads, though nobody has its bytes")


def await_identity(case, daemon, identity):
    def reached():
        vault = daemon.ask("status")["vault"]
        state = "ok" if identity == "ours" else "unreachable"
        return vault if (vault["identity"], vault["state"]) == (identity, state) else None
    return case.bench.wait_until(reached, 60, "the vault to be " + identity)


def fill(case, daemon):
    """One file that only the vault has, and one that is on both branches."""
    daemon.start()
    write(daemon, "far", "in the vault only")
    write(daemon, "near", "on both")
    case.bench.wait_until(daemon.jobs_done, 60, "the files to be in the vault")
    daemon.cli("tier", "evict", daemon.path("far"))
    daemon.stop()


def nothing_is_believed(case, daemon, where):
    """The daemon met something else than its vault: the tree stays whole, and nothing is done."""
    vault = await_identity(case, daemon, "missing")
    for word in (where, ".mediafs/vault-id", "--new-vault"):
        check(word in vault["error"], "%r is not in %r" % (word, vault["error"]))
        check(word in daemon.cli("tier", "--status"), "%r is not in tier --status" % word)
        check(word in daemon.run("doctor", "-c", daemon.file).stdout, "%r is not in doctor" % word)
    check("the vault is not ours" in tail(daemon.process.log, 1000), "the log does not say that the vault is not ours")
    write(daemon, "new", "written meanwhile")
    waits = lambda: [j for j in daemon.ask("jobs", "list")["jobs"] if j["stage"] == "upload" and j["path"] == "new" and j["state"] == "queued" and j["error"]]
    job = case.bench.wait_until(waits, 60, "the upload to wait")[0]
    check_equal(job["tries"], 0, "tries of the upload that waits")
    check("far" in library.tree_files(daemon.mount), "a file that only the vault has is not listed")
    check_equal(daemon.run("tier", "evict", daemon.path("near")).returncode, 1, "exit status of an eviction")
    read_fails(daemon, "far", errno.EHOSTUNREACH)
    check_equal(library.tree_files(daemon.mount), {"far", "near", "new"}, "the listing")
    check_equal(daemon.xattr("far", "state"), "vault-only", "the state of a file that nobody can read now")


def unmounted_vault(case):
    """An empty directory stands where the vault's disk was; the disk comes back."""
    disk = case.bench.folder("unmounted")
    vault, away = disk + "/vault", disk + "/away"
    daemon = case.fresh({"vault": {"url": "file://" + vault}, "local": NO_EVICTION})
    fill(case, daemon)
    os.rename(vault, away)
    os.mkdir(vault)
    daemon.start()
    nothing_is_believed(case, daemon, vault)
    check_equal(os.listdir(vault), [], "what was written to the directory that is not the vault")
    os.rename(away, vault)
    await_identity(case, daemon, "ours")
    check_equal(read(daemon, "far"), "in the vault only", "a file after the disk came back")
    case.bench.wait_until(daemon.jobs_done, 90, "the upload that waited")
    with open(vault + "/new") as file:
        check_equal(file.read(), "written meanwhile", "the object of the file that waited")
    daemon.stop()


def new_vault(case):
    """The vault is gone for good: what is here goes to the new one, the rest is lost until somebody brings it."""
    disk = case.bench.folder("replaced")
    vault, away = disk + "/vault", disk + "/away"
    daemon = case.fresh({"vault": {"url": "file://" + vault}, "local": NO_EVICTION})
    fill(case, daemon)
    os.rename(vault, away)
    os.mkdir(vault)
    daemon.cli("mount", "-c", daemon.file, "--new-vault")
    await_identity(case, daemon, "ours")
    case.bench.wait_until(lambda: os.path.exists(vault + "/near"), 60, "the local file to be uploaded to the new vault")
    check_equal(library.tree_files(daemon.mount), {"far", "near"}, "the listing")
    check_equal(daemon.xattr("far", "state"), "lost", "the state of what only the old vault had")
    check_equal(daemon.ask("status")["vault"]["lost"]["files"], 1, "lost files in status")
    read_fails(daemon, "far", errno.EIO)
    shutil.copy(away + "/far", vault + "/far")
    check_equal(read(daemon, "far"), "in the vault only", "a lost file that was brought to the new vault")
    daemon.cli("unmount", "-c", daemon.file)
    daemon.start()
    await_identity(case, daemon, "ours")
    daemon.stop()


def corrupt_object(case):
    """An object that has rotted is found by `verify --vault`, also where the cache has the right bytes."""
    vault = case.bench.folder("rotten") + "/vault"
    daemon = case.fresh({"vault": {"url": "file://" + vault}, "local": NO_EVICTION})
    fill(case, daemon)
    daemon.start()
    check_equal(read(daemon, "far"), "in the vault only", "a file before its object rots")
    check_equal(daemon.ask("verify", "--vault", daemon.mount)["objects"], 2, "sound objects")
    for name in ("far", "near"):
        st = os.stat(vault + "/" + name)
        with open(vault + "/" + name, "r+b") as file:
            file.write(b"XYZ")
        os.utime(vault + "/" + name, ns=(st.st_atime_ns, st.st_mtime_ns))
    done = daemon.run("verify", "--vault", daemon.mount)
    check_equal(done.returncode, 1, "exit status for rotten objects")
    for name in ("far", "near"):
        check(name + ": its object in the vault" in done.stderr, "%r does not name %s" % (done.stderr, name))
    check_equal(daemon.run("verify", daemon.mount).returncode, 0, "exit status for the local files alone")
    daemon.stop()


def wrong_bucket(case, s3):
    """vault.url names an empty bucket, and then one that does not exist, instead of the one that has the files."""
    for bucket in ("library-full", "library-empty"):
        s3.make_bucket(bucket)
    daemon = case.fresh({"vault": s3.vault("library-full"), "local": NO_EVICTION})
    fill(case, daemon)
    daemon.config["vault"] = s3.vault("library-empty")
    daemon.write_config()
    daemon.start()
    nothing_is_believed(case, daemon, "library-empty")
    check_equal(list(s3.objects("library-empty")), [], "objects in the wrong bucket")
    daemon.stop()
    daemon.config["vault"] = s3.vault("no-such-bucket")
    daemon.write_config()
    daemon.start()
    check("no-such-bucket" in await_identity(case, daemon, "missing")["error"], "status does not name the missing bucket")
    check_equal(library.tree_files(daemon.mount), {"far", "near", "new"}, "the listing without a bucket")
    daemon.stop()
    daemon.config["vault"] = s3.vault("library-full")
    daemon.write_config()
    daemon.start()
    check_equal(read(daemon, "far"), "in the vault only", "a file from the right bucket")
    daemon.stop()


def no_daemon(case):
    daemon = case.fresh()
    for command in (["status"], ["tier", "--status"], ["jobs", "wait"], ["unmount"]):
        done = daemon.run(*command, "-c", daemon.file)
        check_equal(done.returncode, 3, "exit status without a daemon of %s: %s" % (command, done.stderr))
    check_equal(daemon.run("frobnicate").returncode, 2, "exit status of an unknown command")
    check_equal(daemon.run("config", "check", "-c", daemon.file).returncode, 0, "config check")


def ctrl_c(case):
    """In the foreground SIGINT and SIGTERM unmount and end with 0."""
    for number in (signal.SIGINT, signal.SIGTERM):
        daemon = case.fresh()
        daemon.start()
        daemon.process.signal(number)
        check_equal(daemon.process.popen.wait(30), 0, "exit status after signal %d" % number)
        check(not os.path.ismount(daemon.mount), "still mounted after signal %d" % number)


def background(case):
    """Without -f the command returns once the tree is served."""
    daemon = case.fresh()
    done = daemon.run("mount", "-c", daemon.file, bound=60)
    check_equal(done.returncode, 0, "mount in the background: " + done.stderr)
    check_equal(daemon.version(), 0, "the tree when mount has returned")
    daemon.cli("unmount", "-c", daemon.file)
    check(not os.path.ismount(daemon.mount), "still mounted after unmount")


def test(bench):
    need_root()
    binary()
    case = Case(bench)
    for part in (wrong_config, missing_directories, mount_points, second_daemon, stale_mount, no_fuse, no_daemon, ctrl_c,
                 background, unmounted_vault, new_vault, corrupt_object):
        print(part.__name__, flush=True)
        part(case)
    s3 = bench.radosgw()
    s3.make_bucket("library")
    print("vault_troubles", flush=True)
    vault_troubles(case, s3)
    no_secrets(case, s3)
    upload_goes_on(case, s3)
    print("wrong_bucket", flush=True)
    wrong_bucket(case, s3)


if __name__ == "__main__":
    run(test)
