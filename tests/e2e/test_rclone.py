"""One bucket, rclone and mediafs: names with every hard case there and back (many_names: 2,000); keys that can't be paths; limits."""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.parse

from harness import check, check_equal, clean_environment, need_programs, run

BUCKET = "names"
COUNT = 480  # each way: every hard case
MANY = 1000
STEP = 7919  # seconds between two files' times
HARD = [piece.encode() for piece in (
    "e\u0301", "\u00e9", "\U0001f3ac", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u6620\u753b", "\uc601\ud654", "\u05d0\u05d1",
    "\u202eRTL", "\u200b", "\ufeff", "\ufffd", "\ufffe", "\uff0f", "\uff0e", "\u2400", "\u240a", "'", '"', "`", "%2F", "%", "%00", "%zz",
    "+", "&", "&amp;", "<", ">", "<Key>", "\\", "\n", "\r\n", "\t", "\x01", "\x1b[31m", "\x7f", "\u0080", " ", "  ", ".", "..x", "...", "#",
    "?", "*", "[", "]", "{", "}", "~", "$", "$(x)", ":", ";", "|", "!", "@", "=", ",", "^", "(", ")", "-", "--", "a", "A", "\u00df", "SS",
    "\u0130", "i\u0307", "CON", "NUL", "x?versionId=1", "x&uploads", "]]>", "\u2028")] + [b"latin\xfc", b"\xfe\xff", b"\xed\xa0\x80"]


EXACT = ["--no-unicode-normalization"]  # or two names that look alike are one to rclone
# Not in a folder's name: radosgw tells those of a listing as they are, which is no XML, and rclone can't read it.
NO_FOLDERS = [b"\x01", b"\x1b[31m", "\ufffe".encode()]


def names():
    """COUNT paths below a folder, as bytes."""
    out = []
    for n, piece in enumerate(HARD):
        alone = piece.decode("latin1").strip(".") != ""
        out += [piece + b"n%d" % n, b"n%d" % n + piece, b"in %d" % n + piece + b"the middle.mkv"]
        out += [(b"d%d" % n + (b"" if piece in NO_FOLDERS else piece)) + b"/f" + piece] + ([piece] if alone else [])
    out += [b" lead", b"trail ", b"trail.", b".hidden", b"..two", b"~tilde", b"-dash", b"case/x", b"case/X", b"Case/x", b"CASE/x"]
    out += [b"n" * 255, "\u6620".encode() * 85, b"deep/" * 40 + b"f"]
    key = b"k" * (1024 - len(b"theirs/") - 4 * 251 + 0)
    out += [b"/".join([b"p" * 250] * 4) + b"/" + key[:1024 - 7 - 4 * 251]]
    out = list(dict.fromkeys(out))
    at = 0
    while len(out) < COUNT:
        out.append(b"more/%d/" % (at % 17) + HARD[at % len(HARD)] + b" %d" % at)
        at += 1
    return out


def content(name):
    return name[:40] * (len(name) % 5) + b"%d" % len(name)


def fill(folder):
    """Makes the files; {path: (size, whole seconds, bytes)}."""
    there = {}
    for n, name in enumerate(names()):
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content(name))
        when = 1_000_000_000 + n * STEP
        os.utime(path, ns=(when * 10**9, when * 10**9 + 123456789))
        there[name] = (len(content(name)), when, content(name))
    return there


def look(folder):
    """The same of what is there."""
    there, top = {}, os.fsencode(folder)
    for at, _, files in os.walk(top):
        for name in files:
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                data = file.read()
            stat = os.stat(path)
            there[os.path.relpath(path, top)] = (stat.st_size, int(stat.st_mtime), data)
    return there


def same(got, wanted, what):
    missing, more = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
    check(not missing and not more, "%s: %d missing %r, %d more %r" % (what, len(missing), missing[:5], len(more), more[:5]))
    other = [(name, got[name], wanted[name]) for name in wanted if got[name] != wanted[name]]
    check(not other, "%s: %d differ: %r" % (what, len(other), other[:3]))


def standard(name):
    """A name as rclone's listings show it: control characters as symbols, and those symbols quoted."""
    shown = {chr(c): chr(0x2400 + c) for c in range(32)}
    shown.update({chr(c): "\u201b" + chr(c) for c in range(0x2401, 0x2422)}, **{"\x7f": "\u2421"})
    return "".join(shown.get(c, c) for c in name.decode())


def is_text(name):
    """Others have no name of their own in JSON."""
    try:
        return name.decode() is not None
    except UnicodeDecodeError:
        return False


def listing(s3, folder):
    """{path: (size, MD5)} as rclone lsjson has it. Its times would be a request for each, one after the other."""
    flags = ["--fast-list", "--no-modtime", "--hash", "-R", "--files-only"]
    listed = json.loads(s3.rclone("lsjson", *flags, "s3:%s/%s" % (BUCKET, folder)))
    return {entry["Path"]: (entry["Size"], entry["Hashes"]["md5"]) for entry in listed}


def raw_put(s3, key, data):
    """A PUT of a key that rclone would not write."""
    now = datetime.datetime.now(datetime.timezone.utc)
    when, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    host = urllib.parse.urlsplit(s3.endpoint).netloc
    path = "/" + BUCKET + "/" + urllib.parse.quote(key, safe="/-_.~")
    digest = hashlib.sha256(data).hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    canonical = "PUT\n%s\n\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n%s\n%s"
    canonical %= (path, host, digest, when, signed, digest)
    scope = "%s/%s/s3/aws4_request" % (day, s3.region)
    to_sign = "AWS4-HMAC-SHA256\n%s\n%s\n%s" % (when, scope, hashlib.sha256(canonical.encode()).hexdigest())
    secret = ("AWS4" + s3.secret_key).encode()
    for part in (day, s3.region, "s3", "aws4_request"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, to_sign.encode(), hashlib.sha256).hexdigest()
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("PUT", path, skip_host=True)
    for name, value in (("host", host), ("x-amz-date", when), ("x-amz-content-sha256", digest), ("content-length", str(len(data))),
                        ("authorization", "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s"
                         % (s3.access_key, scope, signed, signature))):
        connection.putheader(name, value)
    connection.endheaders(data)
    check_equal(connection.getresponse().status, 200, "the PUT of %r" % key)


def start(bench, s3, **more):
    daemon = bench.daemon({"local": {"reserve": "1M", "evict_below_free": "2M", "evict_until_free": "3M"},
                           "checksum": {"sidecar": "none"}, "vault": s3.vault(BUCKET, cache_size="64M", **more)})
    daemon.start()
    return daemon


def both_ways(bench):
    need_programs("rclone")
    s3 = bench.radosgw()
    s3.make_bucket(BUCKET)
    source = bench.folder("source")
    wanted = fill(source)
    s3.rclone("copy", *EXACT, "--transfers", "16", "--no-check-dest", source, "s3:%s/theirs" % BUCKET)

    daemon = start(bench, s3)
    bench.wait_until(lambda: daemon.ask("status")["vault"].get("files") == COUNT, 60, "the first listing")
    began = time.monotonic()
    theirs = look(daemon.path("theirs"))
    print("%d files listed and read in %.1f s" % (len(theirs), time.monotonic() - began))
    # A listing tells when an object was written; its own time is known once the file was asked for whole.
    same({name: (size, data) for name, (size, _, data) in theirs.items()},
         {name: (size, data) for name, (size, _, data) in wanted.items()}, "what rclone wrote, in the mount")
    daemon.cli("tier", "fetch", daemon.path("theirs"), bound=300)
    same(look(daemon.path("theirs")), wanted, "what rclone wrote, fetched")
    check_equal(daemon.ask("status")["vault"]["escaped"]["files"], 0, "files under other names")

    same_too = fill(daemon.path("ours"))
    bench.wait_until(lambda: daemon.ask("status")["vault"]["files"] == 2 * COUNT and daemon.jobs_done(), 120, "the uploads")
    ours = os.path.join(daemon.local, "ours")
    s3.rclone("check", *EXACT, "--fast-list", "--checkers", "16", ours, "s3:%s/ours" % BUCKET)
    listed = listing(s3, "ours")
    check_equal(len(listed), COUNT, "rclone lsjson's entries")
    text = {standard(name): (size, hashlib.md5(data).hexdigest()) for name, (size, _, data) in same_too.items() if is_text(name)}
    same({name: facts for name, facts in listed.items() if "\ufffd" not in name},
         {name: facts for name, facts in text.items() if "\ufffd" not in name}, "rclone lsjson")
    copied = bench.folder("copied")
    s3.rclone("copy", *EXACT, "--fast-list", "--transfers", "16", "s3:%s/ours" % BUCKET, copied)
    same(look(copied), same_too, "what rclone copied of what mediafs wrote")
    daemon.stop()


def odd_keys(bench):
    s3 = bench.radosgw()
    s3.make_bucket(BUCKET)
    escaped = {"a//b": "a/\u201b{}/b", "/lead": "\u201b{}/lead", "x/../y": "x/\u201b{2E}\u201b{2E}/y", "full/": "full/\u201b{}",
               "f": "f\u201b{file}", "L" * 300: "L" * 249 + "\u201b{+}/" + "L" * 51}
    for key in escaped:
        raw_put(s3, key.encode(), ("of " + key).encode())
    raw_put(s3, b"f/below", b"below")
    for marker in (b"empty/", b"kept/sub/"):
        raw_put(s3, marker, b"")
    raw_put(s3, b"latin\xe2\x80\x9bFC", b"latin")

    daemon = start(bench, s3)
    bench.wait_until(lambda: daemon.ask("status")["vault"].get("files") == len(escaped) + 2, 60, "the first listing")
    check_equal(daemon.ask("status")["vault"]["escaped"]["files"], len(escaped), "files under other names")
    check("can't be paths" in daemon.cli("status"), "status says nothing")
    check("can't be paths: %d" % len(escaped) in daemon.run("doctor").stdout, "doctor says nothing")
    for key, path in escaped.items():
        with open(daemon.path(path), "rb") as file:
            check_equal(file.read(), ("of " + key).encode(), "what is read of " + path)
    with open(daemon.path("f/below"), "rb") as file:
        check_equal(file.read(), b"below", "what is read below f")
    with open(os.path.join(os.fsencode(daemon.mount), b"latin\xfc"), "rb") as file:
        check_equal(file.read(), b"latin", "what is read of a name that is no UTF-8")
    for folder in ("empty", "kept/sub"):
        check_equal(os.listdir(daemon.path(folder)), [], folder)

    for n, path in enumerate(escaped.values()):  # each way to be rid of them
        if n % 2:
            os.remove(daemon.path(path))
        else:
            os.rename(daemon.path(path), daemon.path("renamed %d" % n))
    os.rmdir(daemon.path("empty"))
    os.rename(daemon.path("kept"), daemon.path("elsewhere"))
    wanted = {"renamed %d" % n: ("of " + key).encode() for n, key in enumerate(escaped) if n % 2 == 0}
    wanted.update({"f/below": b"below", "latin\u201bFC": b"latin"})
    bench.wait_until(daemon.jobs_done, 60, "the jobs")
    for key, data in wanted.items():
        check_equal(s3.read(BUCKET, key) if "\u201b" not in key else data, data, "the object " + key)
    daemon.stop()

    # Nothing of it comes back where the catalogue is made anew.
    shutil.rmtree(daemon.local)
    os.mkdir(daemon.local)
    daemon.start(flags=["--new-vault"])
    bench.wait_until(lambda: daemon.ask("status")["vault"].get("files") == len(wanted), 60, "the library to be rebuilt")
    check_equal(sorted(os.listdir(os.fsencode(daemon.mount))),
                sorted([b"f", b"latin\xfc", b"Incoming"] + [key.encode() for key in wanted if key.startswith("renamed")]),
                "what there is")
    check_equal(daemon.ask("status")["vault"]["escaped"]["files"], 0, "files under other names")
    daemon.stop()


def limits(bench):
    """Changed while it runs, by those who watch a line; a read that waits for its turn is not lost by it."""
    s3 = bench.radosgw()
    s3.make_bucket(BUCKET)
    data = os.urandom(8 << 20)
    for key in ("a", "b"):
        s3.put(BUCKET, key, data)
    daemon = start(bench, s3, upload_limit="5M", download_limit="1K")
    bench.wait_until(lambda: daemon.ask("status")["vault"].get("files") == 2, 60, "the first listing")
    check_equal(daemon.ask("tier", "limit"), {"upload_bytes_per_second": 5 << 20, "download_bytes_per_second": 1 << 10},
                "the limits")
    fetch = subprocess.Popen([daemon.program, "tier", "fetch", daemon.path("a"), daemon.path("b")], stdout=subprocess.DEVNULL,
                             env=clean_environment({"MEDIAFS_CONFIG": daemon.file}))
    bench.wait_until(lambda: daemon.ask("status")["transfers"], 30, "a fetch to be under way")
    check_equal(daemon.ask("tier", "limit", "--download", "0")["download_bytes_per_second"], 0, "the new limit")
    check_equal(fetch.wait(120), 0, "the fetch that had to wait")
    for key in ("a", "b"):
        with open(os.path.join(daemon.local, key), "rb") as file:
            check(file.read() == data, key + " has other bytes")
    check_equal(daemon.ask("status")["vault"]["limits"], {"upload_bytes_per_second": 5 << 20, "download_bytes_per_second": 0},
                "the limits that status tells")
    check("upload limit" in daemon.cli("status"), "status does not tell the limit")
    check("--upload" in daemon.run("tier", "limit", "--upload", "fast").stderr, "a limit that is none is taken")
    daemon.stop()


def many_names(bench):
    global COUNT
    COUNT = MANY
    both_ways(bench)


run(both_ways, many_names, odd_keys, limits)
