"""A mediafs daemon under test: started, killed, restarted, asked. Made by Bench.daemon()."""
import json
import os
import subprocess

from harness import Failure, Process, clean_environment, need_root, skip, tail, to_toml


def binary():
    path = os.environ.get("MEDIAFS_TEST_BINARY")
    if not path:
        skip("MEDIAFS_TEST_BINARY does not name the program (ctest sets it)")
    return path


def defaults(bench):
    """A configuration that fits a test: quick to settle, small reserves. Sections given by the test go over it."""
    return {
        "mount": {"path": bench.dir + "/Media"},
        "local": {"reserve": "16M", "evict_below_free": "50%", "evict_until_free": "55%"},
        "incoming": {"settle": "500ms"},
    }


class Daemon:
    """config: {"section": {"key": value}}; what is not given comes from defaults(). local.path is made when missing."""

    def __init__(self, bench, config, env=None, program=None, name="mediafs"):
        need_root()
        if not os.path.exists("/dev/fuse"):
            skip("/dev/fuse is missing")
        self.bench, self.env, self.name = bench, dict(env or {}), bench.unique(name)
        self.program = program or binary()
        self.config = {section: dict(values) for section, values in defaults(bench).items()}
        for section, values in config.items():
            if isinstance(values, list):
                self.config[section] = values
            else:
                self.config.setdefault(section, {}).update(values)
        self.local = self.config["local"].setdefault("path", os.path.join(bench.dir, "local"))
        self.mount = self.config["mount"]["path"]
        for folder in (self.local, self.mount):
            os.makedirs(folder, exist_ok=True)
        self.file = os.path.join(bench.dir, self.name + ".toml")
        self.process = None
        self.write_config()
        self._token = bench.guard.add("umount", self.mount)
        bench.diagnostics[self.name + " jobs list"] = self._jobs_text

    def write_config(self):
        fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(to_toml(self.config))

    # Life ---------------------------------------------------------------------------------------------------------

    def start(self, bound=60, flags=()):
        """Returns when the tree is served."""
        self.process = Process(self.bench, self.name, [self.program, "mount", "-c", self.file, "-f", *flags], env=self.env)
        self.bench.wait_until(self._served, bound, "%s to serve %s" % (self.name, self.mount))

    def _served(self):
        if not self.process.alive():
            raise Failure("%s ended with %d instead of serving: %s"
                          % (self.name, self.process.popen.returncode, tail(self.process.log, 5).strip()))
        try:
            with open(os.path.join(self.mount, ".mediafs/version")) as file:
                return file.read().strip() != ""
        except OSError:
            return False

    def alive(self):
        return self.process is not None and self.process.alive()

    def kill(self):
        """kill -9; the stale mount stays, as after a crash."""
        self.process.kill()

    def restart(self, bound=60):
        """kill -9 and start again over what is left."""
        if self.alive():
            self.kill()
        self.start(bound)

    def stop(self, *flags, bound=120):
        """`mediafs unmount`, and the daemon's own end."""
        env = clean_environment(dict(self.env, MEDIAFS_CONFIG=self.file))
        with Process(self.bench, self.name + "-unmount", [self.program, "unmount", *flags], env=env) as unmount:
            # Both are polled: the daemon is our child, and stays a zombie to the command until it is reaped.
            def ended():
                self.process.alive()
                return not unmount.alive()
            self.bench.wait_until(ended, bound, "mediafs unmount to end")
            if unmount.popen.returncode:
                raise Failure("mediafs unmount: status %d: %s" % (unmount.popen.returncode, tail(unmount.log, 5)))
        status = self.process.popen.wait(bound)
        self.process.stop()
        if status:
            raise Failure("%s ended with status %d after unmount" % (self.name, status))

    def clear(self):
        """Ends the daemon in whatever state it is, and takes a stale mount away."""
        if self.process:
            self.process.kill()
        subprocess.run(["umount", "-l", self.mount], stderr=subprocess.DEVNULL, check=False)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.clear()

    # Questions ----------------------------------------------------------------------------------------------------

    def path(self, *parts):
        return os.path.join(self.mount, *parts)

    def run(self, *args, bound=120, data=None):
        """mediafs ARGS, its configuration in the environment; the finished process with stdout and stderr as text."""
        env = clean_environment(dict(self.env, MEDIAFS_CONFIG=self.file))
        return subprocess.run([self.program, *args], input=data, capture_output=True, text=True, env=env,
                              timeout=bound, check=False)

    def cli(self, *args, bound=120, status=0):
        """The same; fails unless it ends with `status`. Returns standard output."""
        done = self.run(*args, bound=bound)
        if done.returncode != status:
            raise Failure("mediafs %s: status %d instead of %d: %s%s"
                          % (" ".join(args), done.returncode, status, done.stdout, done.stderr))
        return done.stdout

    def ask(self, *args, **options):
        """The same with --json, parsed."""
        text = self.cli(*args, "--json", **options)
        try:
            return json.loads(text)
        except ValueError:
            raise Failure("mediafs %s --json is not one JSON value: %s" % (" ".join(args), text[:500])) from None

    def version(self):
        with open(self.path(".mediafs/version")) as file:
            return int(file.read())

    def changelog(self):
        """[(version, path)], newest first."""
        with open(self.path(".mediafs/changelog"), newline="") as file:
            lines = [line.rstrip("\n").split("\t", 1) for line in file]
        return [(int(number), path) for number, path in lines]

    def xattr(self, path, name):
        return os.getxattr(self.path(path), "user.mediafs." + name).decode()

    def jobs_done(self):
        """Whether `mediafs jobs wait` finds nothing to wait for within a few seconds."""
        try:
            return self.run("jobs", "wait", bound=5).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _jobs_text(self):
        return self.run("jobs", "list", bound=10).stdout if self.process else ""
