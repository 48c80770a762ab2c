#!/usr/bin/env python3
"""The first listing of a large vault: its rate beside `rclone lsf -R --fast-list` over the same server, and its memory.

  bench/listing.py --program BUILD/app/mediafs --work /var/tmp/bench [--objects 1000000] [--kill]

As root. The server is a stub of this script's own that answers S3's list (version 2) with made-up keys and keeps no
object but the marker; mediafs takes the listing into an empty catalogue. --kill ends mediafs with SIGKILL half-way, and
prints how many pages were asked for twice. At last mediafs is started again and 10,000 files are looked at, as a media
server's scan does: how many requests that makes (but those that ask whether the vault is there and ours). Needs Python 3.9 and rclone; changes nothing outside --work.
"""
import hashlib
import http.server
import os
import re
import shutil
import signal
import socketserver
import subprocess
import threading
import time
import urllib.parse

from mounts import Mediafs, arguments, new_folder, wait_for

PER_FOLDER = 100
PAGE = 1000


def key_of(n):
    return "Shows/Show %05d (2011)/Show %05d - S01E%03d.mkv" % (n // PER_FOLDER, n // PER_FOLDER, n % PER_FOLDER)


def number_after(key):
    numbers = re.match(r"Shows/Show (\d+) \(2011\)/Show \d+ - S01E(\d+)", key)
    return int(numbers[1]) * PER_FOLDER + int(numbers[2]) + 1 if numbers else 0


def entry(n):
    return ("<Contents><Key>%s</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;%032x&quot;</ETag>"
            "<Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>" % (urllib.parse.quote(key_of(n)), n, 1000 + n))


class Stub(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, objects):
        super().__init__(("127.0.0.1", 0), Answer)
        # Made before anything is measured: its own work is no part of the rates.
        self.pages = [("".join(map(entry, range(n, min(n + PAGE, objects))))).encode() for n in range(0, objects, PAGE)]
        self.objects, self.kept, self.asked, self.others = objects, {}, [], 0
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def page(self, query):
        prefix = query.get("prefix", [""])[0]
        first = int(query["continuation-token"][0]) if "continuation-token" in query else number_after(
            query.get("start-after", [""])[0])
        if prefix.startswith(".mediafs") or first >= self.server.objects:
            return b"<IsTruncated>false</IsTruncated>"
        self.server.asked.append(first)
        page, skipped = divmod(first, PAGE)
        body = self.server.pages[page]
        if skipped:
            body = b"<Contents>" + body.split(b"<Contents>", skipped + 1)[-1]
        last = min((page + 1) * PAGE, self.server.objects)
        if last == self.server.objects:
            return body + b"<IsTruncated>false</IsTruncated>"
        return body + b"<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>" % last

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        self.server.others += "/.mediafs/" not in url.path
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        if "list-type" in query:
            return self.send(200, b'<?xml version="1.0"?><ListBucketResult><Name>library</Name><EncodingType>url</EncodingType>'
                             + self.page(query) + b"</ListBucketResult>", Content_Type="application/xml")
        if "uploads" in query:
            return self.send(200, b'<?xml version="1.0"?><ListMultipartUploadsResult><IsTruncated>false</IsTruncated>'
                             b"</ListMultipartUploadsResult>")
        kept = self.server.kept.get(url.path)
        if kept is None:
            return self.send(404)
        wanted = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        body, headers = kept
        if not wanted:
            return self.send(200, body, **headers)
        part = body[int(wanted[1]):int(wanted[2]) + 1]
        return self.send(206, part, Content_Range="bytes %s-%d/%d" % (wanted[1], int(wanted[1]) + len(part) - 1, len(body)),
                         **headers)

    do_HEAD = do_GET

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"ETag": '"%s"' % hashlib.md5(body).hexdigest(), "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        headers.update({k.replace("-", "_"): v for k, v in self.headers.items() if k.lower().startswith("x-amz-meta-")})
        self.server.kept[urllib.parse.urlsplit(self.path).path] = (body, headers)
        self.send(200, ETag=headers["ETag"])

    def do_DELETE(self):
        self.server.kept.pop(urllib.parse.urlsplit(self.path).path, None)
        self.send(204)


def rclone_seconds(stub):
    environment = dict(os.environ, RCLONE_CONFIG="/dev/null")
    environment.pop("AWS_CA_BUNDLE", None)
    remote = ":s3,provider=Other,access_key_id=a,secret_access_key=b,endpoint='%s',list_url_encode=true,list_version=2:library" % stub.url
    began = time.monotonic()
    done = subprocess.run(["rclone", "lsf", "-R", "--fast-list", "--files-only", remote], env=environment, check=True,
                          stdout=subprocess.PIPE)
    took = time.monotonic() - began
    assert done.stdout.count(b"\n") == stub.objects, done.stdout.count(b"\n")
    return took


def peak_mib(m):
    with open("/proc/%d/status" % m.process.pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def objects_listed(m):
    return (m.status().get("vault") or {}).get("first_listing_objects") or 0


def listed(m):
    return m.setting("vault.listed") == "yes"


def scan(m, stub, files):
    """Looks at so many; how many requests that made."""
    asked, seen = stub.others, 0
    shows = m.mount + "/Shows"
    for name in sorted(os.listdir(shows)):
        with os.scandir(shows + "/" + name) as entries:
            seen += sum(entry.stat().st_size >= 1000 for entry in entries)
        if seen >= files:
            break
    return seen, stub.others - asked


def main():
    parser = arguments(__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--kill", action="store_true")
    a = parser.parse_args()
    stub = Stub(a.objects)
    theirs = rclone_seconds(stub)
    base = new_folder(a.work, "mediafs-listing")
    os.makedirs(base + "/disk")
    with open(base + "/credentials", "w") as f:
        f.write("access_key = a\nsecret_key = b\n")
    os.chmod(base + "/credentials", 0o600)
    m = Mediafs(a.program, base + "/mediafs.toml", base + "/log", mount={"path": base + "/mount"},
                local={"path": base + "/disk", "state": base + "/state", "reserve": "1G", "evict_below_free": "1G",
                       "evict_until_free": "2G"},
                vault={"url": "s3://library", "endpoint": stub.url, "credentials": base + "/credentials"})
    stub.asked.clear()
    try:
        began = time.monotonic()
        m.start()
        if a.kill:
            wait_for(lambda: objects_listed(m) > a.objects // 2, 3600, "half of the listing", 0.2)
            served = sum(len(os.listdir(m.mount + "/Shows/" + name)) for name in os.listdir(m.mount + "/Shows")[:20])
            m.process.send_signal(signal.SIGKILL)
            m.process.wait()
            print("served meanwhile: %d files of 20 folders" % served)
            m.stop()
            m.start()
        wait_for(lambda: listed(m), 3600, "the listing", 0.1)
        ours = time.monotonic() - began
        print("%d objects; rclone lsf %.1f s, mediafs %.1f s: %.2f times its time" % (a.objects, theirs, ours, ours / theirs))
        print("resident at most %.0f MiB (goal: 200)" % peak_mib(m))
        if a.kill:
            print("pages asked for again after the kill: %d" % (len(stub.asked) - len(set(stub.asked))))
        m.stop()
        m.start()
        wait_for(lambda: (m.status().get("vault") or {}).get("state") == "ok", 60, "the vault to answer", 0.1)
        print("a look at %d files after a restart: %d requests" % scan(m, stub, 10_000))
    finally:
        m.stop()
    with open(base + "/log") as log:
        print("progress in the log: %d lines" % log.read().count("listed for the first time"))
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
