"""The bucket that vault_bench.py measures with: its objects, whose bytes can be checked, and how they get there.
Needs Python 3.9."""
import concurrent.futures
import datetime
import hashlib
import hmac
import http.client
import random
import re
import threading
import urllib.parse
import xml.etree.ElementTree

KIB, MIB = 1 << 10, 1 << 20
RING_BYTES = 3 * MIB + 4099  # prime to every block size: no two places of a file look alike nearby
RING = random.Random(11).randbytes(RING_BYTES)
RING2 = RING + RING[:2 * MIB]
FILLERS = 8


def content(name, offset, size):
    """The bytes of the object `name` there: a ring that begins at a place of the name's own."""
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    out = bytearray()
    while size > 0:
        at = (start + offset) % RING_BYTES
        piece = RING2[at:at + min(size, 2 * MIB)]
        out += piece
        offset += len(piece)
        size -= len(piece)
    return bytes(out)


def check(name, offset, data):
    """Ends the run where that is not what the object has there."""
    data = memoryview(data)
    for at in range(0, len(data), MIB):
        piece = bytes(data[at:at + MIB])
        if piece != content(name, offset + at, len(piece)):
            raise SystemExit("wrong bytes in %s from %d on" % (name, offset + at))


class Store:
    """An S3 server, by path and with signatures of version 4. Threads: safe."""

    def __init__(self, endpoint, bucket, access_key, secret_key, region):
        self.endpoint, self.bucket, self.region = endpoint.rstrip("/"), bucket, region
        self.access_key, self.secret_key = access_key, secret_key
        url = urllib.parse.urlsplit(self.endpoint)
        if url.scheme != "http":
            raise SystemExit("the endpoint has to be http://: the proxy reads what passes")
        self.address = url.netloc if url.port else url.netloc + ":80"
        self.host = url.netloc
        self.local = threading.local()

    def at(self, endpoint):
        """The same, reached through another address."""
        return Store(endpoint, self.bucket, self.access_key, self.secret_key, self.region)

    def signed(self, method, path, query):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self.host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": now}
        scope = "%s/%s/s3/aws4_request" % (now[:8], self.region)
        request = "\n".join([method, path, query, "".join("%s:%s\n" % h for h in sorted(headers.items())),
                             ";".join(sorted(headers)), "UNSIGNED-PAYLOAD"])
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + self.secret_key).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            self.access_key, scope, ";".join(sorted(headers)), hmac.new(key, text.encode(), hashlib.sha256).hexdigest())
        return headers

    def ask(self, method, key="", query=None, body=b""):
        """(status, body)"""
        path = "/" + urllib.parse.quote(self.bucket + ("/" + key if key else ""))
        text = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote, safe="")
        headers = self.signed(method, path, text)
        for kept in (True, False):  # a kept connection may have been closed meanwhile
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPConnection(self.address, timeout=60)
            try:
                connection.request(method, path + ("?" + text if text else ""), body=body, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.local.connection = None
                if not kept:
                    raise

    def make_bucket(self):
        status, text = self.ask("PUT")
        if status not in (200, 409):
            raise SystemExit("can't make the bucket %s: %d %s" % (self.bucket, status, text[:200]))

    def sizes(self, prefix):
        """{key: bytes} of what is below it."""
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            status, text = self.ask("GET", query=query)
            if status != 200:
                raise SystemExit("can't list %s: %d %s" % (self.bucket, status, text[:200]))
            page = xml.etree.ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", text, count=1))
            found.update((c.findtext("Key"), int(c.findtext("Size"))) for c in page.iter("Contents"))
            if page.findtext("IsTruncated") != "true":
                return found
            token = page.findtext("NextContinuationToken")

    def fill(self, files):
        """Puts {key: bytes} there, but for what is there already."""
        have = self.sizes("")

        def put(item):
            status, text = self.ask("PUT", item[0], body=content(item[0], 0, item[1]))
            if status != 200:
                raise SystemExit("can't put %s: %d %s" % (item[0], status, text[:200]))
        missing = [item for item in files.items() if have.get(item[0]) != item[1]]
        with concurrent.futures.ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(put, missing))

    def remove(self, prefix):
        with concurrent.futures.ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(lambda key: self.ask("DELETE", key), self.sizes(prefix)))
