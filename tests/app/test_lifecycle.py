"""A mount's life as users of fstab, mount(8), systemd and containers expect it. In a mount namespace of its own, where the
machine's mount helpers, /dev/fuse and fuse.conf can be replaced."""
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys

from daemon import binary
from files import errno_of, read_text, write, written
from harness import Failure, check, check_equal, clean_environment, need_programs, run, skip

USER = pwd.getpwnam("nobody").pw_uid  # fusermount3 wants a name
OWN = "MEDIAFS_TEST_OWN_MOUNTS"


def into_own_namespace():
    if os.geteuid() != 0:
        return
    if os.environ.get(OWN):  # what others serve must not be held here when they unmount it
        with open("/proc/self/mountinfo") as file:
            points = [line.split()[4] for line in file if " - fuse" in line and " - fusectl" not in line]
        for point in reversed(points):
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL, check=False)
        return
    enter = ["unshare", "--mount", "--propagation", "slave"]
    if subprocess.run(enter + ["true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        print("skipped: no mount namespace can be made here")
        sys.exit(77)
    os.environ[OWN] = "1"
    os.execvp(enter[0], enter + [sys.executable] + sys.argv)


def mount_record(point, table="self"):
    """The uppermost mount there: its fields after the dash with the point's own options, or None."""
    found = None
    with open("/proc/%s/mountinfo" % table) as file:
        for line in file:
            words = line.split()
            if words[4] == point:
                at = words.index("-")
                found = {"id": words[0], "minor": int(words[2].split(":")[1]), "options": words[5].split(","),
                         "type": words[at + 1], "source": words[at + 2], "super": words[at + 3].split(",")}
    return found


def fresh(bench, config=None, **options):
    base = bench.folder("case")
    os.chmod(bench.dir, 0o755)
    settings = {"mount": {"path": base + "/Media"}, "local": {"path": base + "/local"}}
    for section, values in (config or {}).items():
        settings.setdefault(section, {}).update(values)
    return bench.daemon(settings, **options)


def mediafs(*args, env=None, bound=60, **options):
    return subprocess.run([binary(), *args], capture_output=True, text=True, timeout=bound, check=False,
                          env=clean_environment(env), **options)


def done(finished, what, status=0):
    check_equal(finished.returncode, status, what + ": " + finished.stdout + finished.stderr)
    return finished


def end(daemon):
    done(mediafs("unmount", "--force", daemon.mount), "unmount")
    check(mount_record(daemon.mount) is None, "still mounted")


def options_of_the_mount(bench):
    daemon = fresh(bench)
    write(daemon.local + "/film", "film")
    os.mkdir(daemon.local + "/Incoming")
    arrived = written(daemon.local + "/Incoming/The.Long.Way.Home.2021.1080p.mkv", "a film that is to be filed")
    command = ["mount", daemon.file, daemon.mount]
    done(mediafs(*command, "-o", "ro,noexec,nosuid,nodev,noatime,nofail,_netdev,x-systemd.requires=a.mount,user"), "mount")
    record = mount_record(daemon.mount)
    check_equal(record["type"], "fuse.mediafs", "the type")
    check_equal(record["source"], daemon.file, "the source")
    for option in ("ro", "noexec", "nosuid", "nodev", "noatime"):
        check(option in record["options"], "%s is not in %s" % (option, record["options"]))
    check_equal(read_text(daemon.path("film")), "film", "a film")
    for action, args in ((write, (daemon.path("new"), "x")), (os.unlink, (daemon.path("film"),)),
                         (os.mkdir, (daemon.path("dir"),)), (os.rename, (daemon.path("film"), daemon.path("f"))),
                         (os.chmod, (daemon.path("film"), 0o600)), (os.truncate, (daemon.path("film"), 0)),
                         (os.setxattr, (daemon.path("film"), "user.x", b"y")), (os.utime, (daemon.path("film"),))):
        check_equal(errno_of(action, *args), "EROFS", action.__name__)
    daemon.cli("jobs", "wait")
    check_equal(sorted(name for name in os.listdir(daemon.local) if name != ".mediafs"), ["Incoming", "film"],
                "names on the SSD: no sidecars, nothing filed")
    check(os.path.exists(arrived), "it was filed in a tree that is read-only")
    end(daemon)
    done(mediafs(*command, "-o", "fsname=nas,nosubtype,dev,suid,exec,rw"), "mount")
    record = mount_record(daemon.mount)
    check_equal((record["type"], record["source"]), ("fuse", "nas"), "type and source")
    for option in ("rw", "ro", "nodev", "nosuid", "noexec"):
        check_equal(option in record["options"], option == "rw", option)
    check("allow_other" in record["super"], "allow_other: %s" % record["super"])
    ahead = "/sys/class/bdi/0:%d/read_ahead_kb" % record["minor"]
    if os.access(ahead, os.W_OK):
        check_equal(read_text(ahead).strip(), "1536", "what the kernel asks for at once")
    write(daemon.path("new"), "x")
    bench.wait_until(lambda: not os.path.exists(arrived), 60, "what arrived meanwhile to be filed")
    again = done(mediafs("mount", "--local", bench.folder("other"), daemon.mount), "a second mount", 1)
    check("fuse" in again.stderr and "mounted there already" in again.stderr, again.stderr)
    end(daemon)
    done(mediafs("mount", daemon.local, daemon.mount, "-o", "noallow_other"), "the SSD's directory as source")
    check("allow_other" not in mount_record(daemon.mount)["super"], "noallow_other")
    end(daemon)


def options_that_are_wrong(bench):
    daemon = fresh(bench)
    command = ["mount", daemon.file, daemon.mount, "-o"]
    for options, words in (("rw,nosuchthing", ["nosuchthing", "unknown"]), ("uid=nosuchuser_", ["uid", "nosuchuser_"]),
                           ("umask=9", ["mount.umask", "octal"]), ("fsname", ["fsname", "value"]),
                           ("share=/x", ["share", daemon.file]),
                           ("remount,ro", ["remount", "a new mount"]), ("ro=1", ["ro", "no value"])):
        failed = done(mediafs(*command, options), options, 2)
        for word in words:
            check(word in failed.stderr, "%r is not in %r" % (word, failed.stderr))
    check(mount_record(daemon.mount) is None, "mounted all the same")
    done(mediafs(*command, "nosuchthing", "--sloppy"), "sloppy")
    end(daemon)


def replace_helpers(bench, **helpers):
    """What mount(8) finds where it looks for helpers; the real ones are hidden."""
    folder = bench.folder("sbin")
    for name, target in helpers.items():
        os.symlink(target, os.path.join(folder, name.replace("_", ".")))
    place = os.path.realpath("/sbin")
    for tool in ("mount.fuse3", "mount.fuse"):
        if os.path.exists(os.path.join(place, tool)):
            shutil.copy(os.path.join(place, tool), os.path.join(folder, "real." + tool))
    subprocess.run(["mount", "--bind", folder, place], check=True)
    return folder, place


def mount(*args):
    return subprocess.run(["mount", *args], capture_output=True, text=True, check=False, timeout=60,
                          env=clean_environment())


def mounted_by_mount(bench):
    """mount(8) with our helper, from a command line and from fstab; and by libfuse's, which calls the program."""
    need_programs("mount")
    daemon = fresh(bench)
    fstab = written(bench.dir + "/fstab", "%s %s fuse.mediafs noauto,nofail,_netdev,uid=%d,x-systemd.automount 0 0\n"
                  % (daemon.file, daemon.mount, USER))
    folder, place = replace_helpers(bench, mount_fuse_mediafs=binary(), mount_mediafs=binary())
    try:
        for args in (["-t", "fuse.mediafs", daemon.file, daemon.mount, "-o", "noexec"],
                     ["-t", "mediafs", "-o", "noexec", daemon.local, daemon.mount]):
            done(mount(*args), "mount")
            record = mount_record(daemon.mount)
            check_equal(record["type"], "fuse.mediafs", "the type")
            check("noexec" in record["options"], "noexec")
            end(daemon)
        done(mount("-T", fstab, daemon.mount), "mount from fstab")
        check_equal(os.stat(daemon.local).st_uid, 0, "the owner on the SSD")
        check_equal(os.stat(daemon.mount).st_uid, USER, "uid= of fstab")
        again = done(mount("-T", written(bench.dir + "/fstab2", read_text(fstab).replace("noauto", "auto")), "-a"),
                     "mount -a over what is mounted")
        check_equal(again.stderr, "", "what mount -a complains of")
        subprocess.run(["umount", daemon.mount], check=True)
        bad = mount("-t", "fuse.mediafs", daemon.file, daemon.mount, "-o", "bogus")
        check(bad.returncode != 0 and "bogus" in bad.stderr, "an unknown option by mount(8): %r" % bad.stderr)
        os.unlink(folder + "/mount.fuse.mediafs")
        real = folder + "/real.mount.fuse3"
        if os.path.exists(real):
            os.rename(real, folder + "/mount.fuse")
            # Without a program's name it would look for mediafs in the system's own folders.
            done(mount("-t", "fuse", binary() + "#" + daemon.file, daemon.mount, "-o", "ro"), "mount by mount.fuse")
            check("ro" in mount_record(daemon.mount)["options"], "ro by mount.fuse")
            end(daemon)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def as_user(*command, **options):
    return subprocess.run(["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", *command],
                          capture_output=True, text=True, check=False, timeout=60, **options)


def owners_and_modes(bench):
    need_programs("setpriv")
    daemon = fresh(bench, {"mount": {"uid": USER, "gid": USER, "umask": "027"}})
    write(daemon.local + "/film", "film")
    os.chmod(daemon.local + "/film", 0o4600)
    os.mkdir(daemon.local + "/Movies", 0o700)
    daemon.start()
    for path in ("film", "Movies", "."):
        st = os.stat(daemon.path(path))
        check_equal((st.st_uid, st.st_gid), (USER, USER), "the owner of " + path)
        check_equal(stat.S_IMODE(st.st_mode), 0o750, "the mode of " + path)
    listed = {entry.name: entry.stat() for entry in os.scandir(daemon.mount)}
    check_equal(listed["film"].st_uid, USER, "the owner as listed")
    script = 'set -e; cd "$0"; cat film; echo more >> film; mv film Movies/f; echo x > Movies/new; rm Movies/new'
    done(as_user("sh", "-c", script, daemon.mount), "what the shown owner may do")
    check_equal(as_user("setpriv", "--reuid", str(USER), "cat", daemon.path("Movies/f")).stdout, "filmmore\n", "the film")
    other = subprocess.run(["setpriv", "--reuid", str(USER + 1), "--regid", str(USER + 1), "--clear-groups", "cat",
                            daemon.path("Movies/f")], capture_output=True, text=True, check=False)
    check("Permission denied" in other.stderr, "what others may do: " + other.stderr)
    # They change the file beneath, and what is shown stays.
    os.chown(daemon.path("Movies/f"), 7, 8)
    os.chmod(daemon.path("Movies/f"), 0o640)
    beneath, shown = os.stat(daemon.local + "/Movies/f"), os.stat(daemon.path("Movies/f"))
    check_equal((beneath.st_uid, beneath.st_gid, stat.S_IMODE(beneath.st_mode)), (7, 8, 0o640), "what chown and chmod did")
    check_equal((shown.st_uid, shown.st_gid, stat.S_IMODE(shown.st_mode)), (USER, USER, 0o750), "what is shown after it")
    daemon.stop()


def open_fuse_to_all(bench, conf=""):
    """/dev/fuse as udev makes it, and a fuse.conf, in this namespace."""
    folder = bench.folder("dev")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "dev,mode=755", "dev", folder], check=True)
    os.mknod(folder + "/fuse", stat.S_IFCHR | 0o666, os.makedev(10, 229))
    os.chmod(folder + "/fuse", 0o666)
    write(folder + "/fuse.conf", conf)
    os.chmod(folder + "/fuse.conf", 0o644)
    subprocess.run(["mount", "--bind", folder + "/fuse", "/dev/fuse"], check=True)
    subprocess.run(["mount", "--bind", folder + "/fuse.conf", "/etc/fuse.conf"], check=True)

    def undo():
        for place in ("/etc/fuse.conf", "/dev/fuse", folder):
            subprocess.run(["umount", "-l", place], check=True)
    return folder + "/fuse.conf", undo


def without_root(bench):
    need_programs("setpriv", "fusermount3")
    if not os.path.exists("/etc/fuse.conf"):
        skip("there is no /etc/fuse.conf to put one over")
    os.chmod(bench.dir, 0o755)
    conf, undo = open_fuse_to_all(bench)
    home = bench.folder("home")
    for name in ("Media", "local", "run"):
        os.mkdir(os.path.join(home, name))
        os.chown(os.path.join(home, name), USER, USER)
    os.chown(home, USER, USER)
    env = clean_environment({"XDG_RUNTIME_DIR": home + "/run", "HOME": home})
    command = [binary(), "mount", "--local", home + "/local", home + "/Media"]
    try:
        refused = done(as_user(*command, "-o", "allow_other", env=env), "allow_other", 1)
        for word in ("user_allow_other", "/etc/fuse.conf"):
            check(word in refused.stderr, "%r is not in %r" % (word, refused.stderr))
        done(as_user(*command, "-o", "noexec,ro,rw", env=env), "mount without root")
        record = mount_record(home + "/Media")
        check_equal(record["type"], "fuse.mediafs", "the type")
        check("noexec" in record["options"], "noexec: %s" % record["options"])
        done(as_user("sh", "-c", 'echo x > "$0"/f && cat "$0"/f', home + "/Media"), "its owner writes")
        check_equal(errno_of(os.listdir, home + "/Media"), "EACCES", "somebody else, and be it root")
        status = done(as_user(binary(), "status", "--json", env=env), "status").stdout
        check('"passthrough"' in status and "CAP_SYS_ADMIN" in status, "no reason for no passthrough: " + status)
        told = read_text(home + "/local/.mediafs/mediafs.log")
        for text, where in ((told, "log"), (as_user(binary(), "doctor", env=env).stdout, "doctor")):
            for word in ("only", "user_allow_other", "/etc/fuse.conf"):
                check(word in text, "%r is not in what the %s says: %s" % (word, where, text))
        done(as_user(binary(), "unmount", home + "/Media", env=env), "unmount without root")
        check(mount_record(home + "/Media") is None, "still mounted")
        write(conf, "# as told\nuser_allow_other\n")
        done(as_user(*command, "-o", "allow_other", env=env), "allow_other with user_allow_other")
        check("f" in os.listdir(home + "/Media"), "others see it")
        done(as_user(binary(), "unmount", home + "/Media", env=env), "unmount")
    finally:
        subprocess.run(["umount", "-l", home + "/Media"], stderr=subprocess.DEVNULL, check=False)
        undo()


def told_systemd(bench):
    for name in (bench.dir + "/notify", "\0mediafs-test-%d" % os.getpid()):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name)
            manager.settimeout(60)
            daemon = fresh(bench, env={"NOTIFY_SOCKET": name.replace("\0", "@")})
            daemon.process = bench_process(bench, daemon)
            told = ""
            while "READY=1" not in told:
                told = manager.recv(4096).decode()
            lines = told.split("\n")
            check("MAINPID=%d" % daemon.process.pid in lines, "the process: %r" % told)
            check(any(line.startswith("STATUS=") and daemon.mount in line for line in lines), "no status: %r" % told)
            check_equal(read_text(daemon.path(".mediafs/version")).strip(), "0", "the tree answers")
            daemon.process.signal(signal.SIGTERM)
            check("STOPPING=1" in manager.recv(4096).decode().split("\n"), "no word of the stop")
            check_equal(daemon.process.popen.wait(60), 0, "exit status")


def bench_process(bench, daemon):
    from harness import Process
    return Process(bench, daemon.name, [daemon.program, "mount", "-c", daemon.file, "-f"], env=daemon.env)


class Child:
    """A process that says "ready" on its standard output and waits for its input to end."""

    def __init__(self, argv, **options):
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
        line = self.popen.stdout.readline()
        if line != "ready\n":
            raise Failure("%s: %r" % (argv, line))

    def end(self):
        self.popen.stdin.close()
        self.popen.wait(60)
        self.popen.stdout.close()


def waiting(script):
    return [sys.executable, "-c", "import os, sys\n" + script + "\nprint('ready', flush=True)\nsys.stdin.read()"]


def busy(bench):
    daemon = fresh(bench)
    daemon.start()
    film = written(daemon.path("film"), "film")
    os.mkdir(daemon.path("dir"))
    shutil.copy("/bin/cat", daemon.path("cat"))
    mapped = ("import ctypes; c = ctypes.CDLL(None); f = open(%r, 'rb')\n"
              "c.mmap(None, ctypes.c_size_t(4), 1, 1, f.fileno(), ctypes.c_long(0)); f.close()" % film)
    other = "os.chdir('/')\n"
    cases = [(waiting("os.chdir(%r)" % daemon.path("dir")), "works in", "dir", {}),
             (waiting("f = open(%r)" % film), "has open", "film", {}),
             (waiting(mapped), "has mapped", "film", {}),
             (["unshare", "-m", "--propagation", "slave"] + waiting(other + "f = open(%r)" % film), "has open", "film", {}),
             (["sh", "-c", 'echo ready; exec "$0"', daemon.path("cat")], "runs", "cat", {})]
    for argv, how, what, options in cases:
        child = Child(argv, **options)
        if how == "runs":
            bench.wait_until(lambda: os.readlink("/proc/%d/exe" % child.popen.pid).startswith(daemon.mount), 30, "exec")
        refused = done(daemon.run("unmount"), how, 1)
        for word in ("in use by 1 process", "pid %d" % child.popen.pid, how, daemon.path(what), "--lazy", "--force"):
            check(word in refused.stderr, "%r is not in %r" % (word, refused.stderr))
        check_equal(read_text(daemon.path("film")), "film", "served as before")
        child.end()
    child = Child(cases[1][0])
    answer = daemon.ask("unmount", status=1)
    check_equal([user["pid"] for user in answer["users"]], [child.popen.pid], "the users in JSON")
    held = open(film, "r+")
    daemon.cli("unmount", "--lazy")
    check(mount_record(daemon.mount) is None, "still mounted after --lazy")
    held.write("more")
    held.flush()
    os.fsync(held.fileno())
    check_equal(os.pread(held.fileno(), 10, 0), b"more", "what is open goes on")
    check(daemon.alive(), "the daemon ended before the last file was closed")
    held.close()
    check(daemon.alive(), "the daemon ended before the last file was closed")
    child.end()
    check_equal(daemon.process.popen.wait(60), 0, "its end with the last file")
    daemon.start()
    held = open(film)
    done(daemon.run("unmount", "--force"), "--force")
    check(mount_record(daemon.mount) is None, "still mounted after --force")
    held.close()


def hold_connection(daemon):
    """The daemon's own descriptor of /dev/fuse: while it is here the connection lives, whatever becomes of the daemon."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(daemon.process.pid)
    device = next(int(fd) for fd in os.listdir("/proc/%d/fd" % daemon.process.pid)
                  if os.readlink("/proc/%d/fd/%s" % (daemon.process.pid, fd)) == "/dev/fuse")
    held = libc.syscall(438, process, device, 0)  # pidfd_getfd
    os.close(process)
    if held < 0:
        skip("pidfd_getfd: " + os.strerror(ctypes.get_errno()))
    return held


def forced(bench):
    """`unmount --force` where the daemon does not answer, and where there is none."""
    daemon = fresh(bench)
    daemon.start()
    minor = mount_record(daemon.mount)["minor"]
    if not os.path.exists("/sys/fs/fuse/connections/%d/abort" % minor):
        skip("fusectl is not mounted")
    daemon.process.signal(signal.SIGSTOP)
    looking = subprocess.Popen(["stat", daemon.mount + "/other"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    failed = done(daemon.run("unmount", "--force"), "a daemon that is stopped", 1)
    check("kill -9 %d" % daemon.process.pid in failed.stderr, failed.stderr)
    check(mount_record(daemon.mount) is None, "still mounted")
    check(looking.wait(60) != 0, "who waited was told")
    daemon.kill()
    daemon.start()
    held = hold_connection(daemon)
    daemon.kill()
    refused = done(mediafs("unmount", daemon.mount), "no daemon", 3)
    check("--force" in refused.stderr, refused.stderr)
    done(mediafs("unmount", "--force", daemon.mount), "no daemon, --force")
    check(mount_record(daemon.mount) is None, "still mounted")
    os.close(held)


def stuck(bench):
    """The daemon is gone, and its connection is not: somebody has its descriptor. Whoever looks at the tree waits."""
    daemon = fresh(bench)
    other = fresh(bench, {"mount": {"path": daemon.mount}})
    daemon.start()
    write(daemon.path("film"), "film")
    record = mount_record(daemon.mount)
    if not os.path.exists("/sys/fs/fuse/connections/%d/abort" % record["minor"]):
        skip("fusectl is not mounted")
    held = hold_connection(daemon)
    daemon.kill()
    looking = subprocess.Popen(["stat", daemon.mount + "/other"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    waiting_file = "/sys/fs/fuse/connections/%d/waiting" % record["minor"]
    bench.wait_until(lambda: int(read_text(waiting_file)) > 0, 30, "somebody to wait for the dead daemon")
    # Another library at the same place touches nothing that is not its own, and says so instead of waiting.
    refused = done(other.run("mount", bound=120), "another library", 1)
    check("does not answer" in refused.stderr, refused.stderr)
    daemon.start()
    check_equal(read_text(daemon.path("film")), "film", "the film after the restart")
    check(looking.wait(60) != 0, "who waited was told")
    looking.stderr.close()
    os.close(held)
    daemon.stop()


def answers_before_it_ends(bench):
    """SIGTERM while a change waits for the share: it is carried out, and said so."""
    nas = fresh(bench)
    nas.start()
    os.mkdir(nas.path("far"))
    write(nas.path("far/film"), "film")
    daemon = fresh(bench, {"share": {"path": nas.mount, "timeout": "60s"}})
    daemon.start()
    check_equal(read_text(daemon.path("far/film")), "film", "the share's film")
    film = open(daemon.path("far/film"))
    nas.process.signal(signal.SIGSTOP)
    try:
        change = subprocess.Popen([sys.executable, "-c", "import os; os.fchmod(0, 0o600)"], stdin=film, text=True,
                                  stderr=subprocess.PIPE)
        waits = "/sys/fs/fuse/connections/%d/waiting" % mount_record(nas.mount)["minor"]
        bench.wait_until(lambda: int(read_text(waits)) > 0, 30, "the change to be under way")
        daemon.process.signal(signal.SIGTERM)
        bench.wait_until(lambda: mount_record(daemon.mount) is None, 30, "the mount to go")
    finally:
        nas.process.signal(signal.SIGCONT)
    check_equal(change.communicate(timeout=60)[1], "", "what fchmod complains of")
    errno_of(film.close)
    check_equal(stat.S_IMODE(os.stat(nas.path("far/film")).st_mode), 0o600, "the mode on the share")
    check_equal(daemon.process.popen.wait(60), 0, "exit status")
    nas.stop()


def findings(daemon):
    return json.loads(daemon.run("doctor", "--json").stdout)["findings"]


def seen_by_containers(bench):
    """A mount made where mounts are shared appears in a namespace that was made before it; elsewhere doctor says so."""
    daemon = fresh(bench)
    base = os.path.dirname(daemon.mount)
    subprocess.run(["mount", "--bind", base, base], check=True)
    subprocess.run(["mount", "--make-rprivate", base], check=True)
    try:
        finding = next(f for f in findings(daemon) if "containers" in f["what"])
        check_equal(finding["grade"], "warning", "a private mount: %s" % finding)
        for word in ("make-rshared", base, "rslave"):
            check(word in finding["advice"], "%r is not in %s" % (word, finding))
        subprocess.run(["mount", "--make-rshared", base], check=True)
        finding = next(f for f in findings(daemon) if "namespaces" in f["what"])
        check_equal(finding["grade"], "ok", "a shared mount: %s" % finding)
        inside = Child(["unshare", "-m", "--propagation", "slave"] + waiting(""))
        daemon.start()
        write(daemon.path("film"), "film")
        check(mount_record(daemon.mount, inside.popen.pid) is not None, "not seen within")
        seen = subprocess.run(["nsenter", "-t", str(inside.popen.pid), "-m", "cat", daemon.path("film")], check=True,
                              capture_output=True, text=True).stdout
        check_equal(seen, "film", "the film within")
        daemon.stop()
        check(mount_record(daemon.mount, inside.popen.pid) is None, "still seen within after unmount")
        inside.end()
    finally:
        subprocess.run(["umount", "-l", base], check=True)


if __name__ == "__main__":
    into_own_namespace()
    run(options_of_the_mount, options_that_are_wrong, mounted_by_mount, owners_and_modes, without_root, told_systemd, busy,
        forced, stuck, answers_before_it_ends, seen_by_containers)
