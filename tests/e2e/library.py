"""What the end-to-end tests ask of a library at the end: each a question that a user would ask."""
import hashlib
import os
import subprocess

from harness import Failure, check, check_equal
from releases import sha1


def tree_files(root, hidden=False):
    """{path below root} of all files; hidden ones (sidecars, what rsync left of a broken transfer) only if asked for."""
    out = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if hidden or not f.startswith(".")]
        for name in names:
            if hidden or not name.startswith("."):
                out.add(os.path.relpath(os.path.join(folder, name), root))
    return out


def expected_of(releases):
    """{place: bytes} of every file of the releases."""
    return {place: data for release in releases for data, place in release.files.values()}


def check_places(daemon, expected):
    """Each file under its right name, and nothing else; Incoming is empty of files."""
    found = tree_files(daemon.mount)
    check_equal(sorted(found - set(expected)), [], "files that nobody dropped")
    check_equal(sorted(set(expected) - found), [], "files that are not in the library")


def check_sidecars(daemon, expected):
    """`sha1sum` itself is asked: the sidecar's digest and the name make its line."""
    for place in expected:
        folder, name = os.path.split(daemon.path(place))
        with open(os.path.join(folder, "." + name + ".sha1")) as file:
            text = file.read()
        check(len(text) == 41 and text.endswith("\n"), "%s: its sidecar is %r" % (place, text))
        line = "%s  %s\n" % (text.strip(), os.path.join(folder, name))
        done = subprocess.run(["sha1sum", "-c", "--status"], input=line, text=True, check=False)
        check(done.returncode == 0, "%s: sha1sum -c fails on its sidecar" % place)


def check_objects(s3, bucket, expected, mtime_ns):
    """Every object has the right size, bytes and mtime as rclone reads it; nothing else is there but .mediafs/."""
    objects = {key: entry for key, entry in s3.objects(bucket, hashes=True).items() if not key.startswith(".mediafs/")}
    check_equal(sorted(set(objects) - set(expected)), [], "objects that nobody dropped")
    check_equal(sorted(set(expected) - set(objects)), [], "files that are not in the vault")
    seconds = "%d" % (mtime_ns // 10**9)
    for place, data in expected.items():
        entry = objects[place]
        check_equal(entry["Size"], len(data), "size of the object %s" % place)
        done = subprocess.run(["date", "-u", "-d", entry["ModTime"], "+%s"], capture_output=True, text=True, check=True)
        check_equal(done.stdout.strip(), seconds, "mtime of the object %s" % place)
        md5 = entry.get("Hashes", {}).get("md5")
        if md5:
            check_equal(md5, hashlib.md5(data).hexdigest(), "md5 of the object %s" % place)
        else:  # of a multipart upload: the bytes themselves
            check_equal(sha1(s3.read(bucket, place)), sha1(data), "bytes of the object %s" % place)


def check_reads_back(daemon, expected, streamed_share=0.5):
    """Every file is identical through the mount, most of it streamed from the vault."""
    streamed = total = 0
    for place, data in sorted(expected.items()):
        total += len(data)
        if daemon.xattr(place, "branch") == "vault":
            streamed += len(data)
        with open(daemon.path(place), "rb") as file:
            got = file.read()
        if got != data:
            raise Failure("%s reads back %d bytes that differ from the %d dropped" % (place, len(got), len(data)))
    check(streamed >= total * streamed_share, "only %d of %d bytes were streamed from the vault" % (streamed, total))
    return streamed, total


def check_changes(daemon, expected):
    """The data version grew by exactly the number of visible changes, and the changelog names each once."""
    changes = daemon.changelog()
    paths = [path for _, path in changes]
    check_equal(sorted(set(paths) - set(expected)), [], "changes that nobody made")
    check_equal(sorted(set(expected) - set(paths)), [], "changes that the changelog lacks")
    check_equal(sorted(p for p in set(paths) if paths.count(p) > 1), [], "changes that the changelog has twice")
    check_equal(daemon.version(), len(expected), "the data version")
    check_equal([number for number, _ in changes], list(range(len(expected), 0, -1)), "the changelog's numbers")


def check_version_txt(daemon):
    """To the byte: the 16-bit version, a newline, newest first as many lines as fit, NULs up to 1,024 bytes."""
    body = b"\n"
    for number, path in daemon.changelog():
        line = b"%d\t%s\n" % ((number - 1) % 65535 + 1, os.fsencode(path))
        if 2 + len(body) + len(line) > 1024:
            break
        body += line
    version = (daemon.version() - 1) % 65535 + 1 if daemon.version() else 0
    with open(daemon.path(".mediafs/version.txt"), "rb") as file:
        check_equal(file.read(), (version.to_bytes(2, "big") + body).ljust(1024, b"\0"), "version.txt")


def check_no_dead_jobs(daemon):
    report = daemon.ask("jobs", "list", "--state", "dead")
    check_equal(report["jobs"], [], "dead jobs")
