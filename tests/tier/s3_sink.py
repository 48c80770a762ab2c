"""An S3 server for uploads that are too large to be kept: it checks each part's MD5 and size, and forgets the bytes."""
import base64
import hashlib
import http.server
import threading
import urllib.parse

CHUNK = 1 << 20


class Sink:
    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.uploads, self.objects, self.parts_sent = [], {}, {}, 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"sink": self}))
        self.server.daemon_threads = True
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sink = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def take(self):
        """The body's (size, MD5 in hex); a fault is noted where it is not what the request says."""
        left, md5 = int(self.headers["Content-Length"]), hashlib.md5()
        size, buffer = left, bytearray(CHUNK)
        while left:
            got = self.rfile.readinto(memoryview(buffer)[:min(left, CHUNK)])
            if not got:
                raise ConnectionError
            md5.update(memoryview(buffer)[:got])
            left -= got
        if base64.b64encode(md5.digest()).decode() != self.headers["Content-MD5"]:
            self.sink.faults.append("a part's MD5 is not what was said")
        return size, md5.hexdigest()

    def query(self):
        path, _, query = self.path.partition("?")
        return urllib.parse.unquote(path), dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def do_PUT(self):
        _, query = self.query()
        number, (size, md5) = int(query["partNumber"]), self.take()
        with self.sink.lock:
            parts = self.sink.uploads[query["uploadId"]]["parts"]
            if number in parts or not 1 <= number <= 10000:
                self.sink.faults.append("part %d" % number)
            parts[number] = (size, md5)
            self.sink.parts_sent += 1
        self.answer(200, headers=[("ETag", '"%s"' % md5)])

    def do_POST(self):
        path, query = self.query()
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        with self.sink.lock:
            if "uploads" in query:
                name = "upload%d" % len(self.sink.uploads)
                meta = [(k, v) for k, v in self.headers.items() if k.lower().startswith("x-amz-meta-")]
                self.sink.uploads[name] = {"parts": {}, "meta": meta}
                body = "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>" % name
                return self.answer(200, body.encode())
            upload = self.sink.uploads.pop(query["uploadId"])
            parts = [upload["parts"][number] for number in sorted(upload["parts"])]
            if sorted(upload["parts"]) != list(range(1, len(parts) + 1)) or text.count("<PartNumber>") != len(parts):
                self.sink.faults.append("the parts are not all of 1 to %d" % len(parts))
            whole = hashlib.md5(b"".join(bytes.fromhex(md5) for _, md5 in parts)).hexdigest()
            self.sink.objects[path] = {"size": sum(size for size, _ in parts), "parts": [size for size, _ in parts],
                                       "etag": '"%s-%d"' % (whole, len(parts)), "meta": upload["meta"]}
            body = ("<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>"
                    % self.sink.objects[path]["etag"].replace('"', "&quot;"))
        return self.answer(200, body.encode())

    def do_HEAD(self):
        there = self.sink.objects.get(self.query()[0])
        if not there:
            return self.answer(404, headers=[("Content-Length", "0")])
        return self.answer(200, headers=[("Content-Length", str(there["size"])), ("ETag", there["etag"])] + there["meta"])

    def do_DELETE(self):
        self.sink.faults.append("an upload was aborted")
        self.answer(204)
