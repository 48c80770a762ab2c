"""What a media server does: it watches the mount and sees each film at the moment that it is filed; a player decodes an
evicted film and seeks to its end first."""
import ctypes
import os
import select
import struct
import subprocess
import time

from harness import Failure, check, check_equal, need_programs, run

IN_CREATE, IN_MOVED_TO = 0x100, 0x80


class Watch:
    """inotify on folders of the mount, as Plex and Jellyfin do it."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self.folders = {}

    def add(self, folder):
        wd = self.libc.inotify_add_watch(self.fd, os.fsencode(folder), IN_CREATE | IN_MOVED_TO)
        if wd < 0:
            raise Failure("inotify_add_watch %s: %s" % (folder, os.strerror(ctypes.get_errno())))
        self.folders[wd] = folder

    def wait_for(self, path, bound):
        """Until an event names `path`."""
        deadline = time.monotonic() + bound
        while time.monotonic() < deadline:
            if not select.select([self.fd], [], [], 0.5)[0]:
                continue
            data, at = os.read(self.fd, 65536), 0
            while at < len(data):
                wd, _, _, size = struct.unpack_from("iIII", data, at)
                name = data[at + 16:at + 16 + size].rstrip(b"\0").decode()
                at += 16 + size
                if os.path.join(self.folders[wd], name) == path:
                    check(os.path.exists(path), "%s was told before it was there" % path)
                    return
        raise Failure("nobody told that %s was filed" % path)


def make_film(path, container):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=40", "-f", "lavfi",
                    "-i", "sine=duration=40", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "3M", "-g", "50", "-c:a", "aac",
                    "-f", container, path], check=True)


def ffmpeg(*args):
    done = subprocess.run(["ffmpeg", "-v", "error", *args], capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == 0 and not done.stderr.strip(), "ffmpeg %s: %s" % (" ".join(args), done.stderr.strip()))
    return done.stdout


def play(evicted, original):
    """Probes it, decodes its last seconds, then the whole; each frame equals the original's."""
    probe = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", evicted],
                           capture_output=True, text=True, timeout=120, check=False)
    check_equal(probe.stdout.split(), ["h264", "aac"], "ffprobe of " + evicted)
    for seek in (["-sseof", "-3"], ["-ss", "20"], []):
        frames = [ffmpeg(*seek, "-i", path, "-map", "0:v", "-f", "framemd5", "-") for path in (evicted, original)]
        check(frames[1].count("\n") > 20, "too few frames decoded")
        check_equal(frames[0], frames[1], "frames of %s after %s" % (evicted, seek))


def test(bench):
    need_programs("ffmpeg", "ffprobe")
    s3 = bench.radosgw()
    s3.make_bucket("library")
    daemon = bench.daemon({"vault": s3.vault("library")})
    daemon.start()
    watch = Watch()
    for number, (name, container) in enumerate((("mkv", "matroska"), ("mp4", "mp4"))):
        original = os.path.join(bench.dir, "film." + name)
        make_film(original, container)
        title = "Paper Lantern %s (%d)" % (("One", "Two")[number], 2001 + number)
        filed = daemon.path("Movies", title, title + "." + name)
        os.makedirs(os.path.dirname(filed))
        watch.add(os.path.dirname(filed))
        release = "Paper.Lantern.%s.%d.1080p.WEB.x264-GRP.%s" % (("One", "Two")[number], 2001 + number, name)
        subprocess.run(["cp", original, daemon.path("Incoming", release)], check=True)
        watch.wait_for(filed, 60)
        bench.wait_until(daemon.jobs_done, 60, "the film to be in the vault")
        daemon.cli("tier", "evict", filed)
        check_equal(daemon.xattr(os.path.relpath(filed, daemon.mount), "branch"), "vault", "the branch after an eviction")
        play(filed, original)
    daemon.stop()


if __name__ == "__main__":
    run(test)
