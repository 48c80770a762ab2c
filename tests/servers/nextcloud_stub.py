#!/usr/bin/env python3
"""nextcloud_stub.py [--port N] [--never-overwrite] [--lie]: what mediafs uses of a Nextcloud's WebDAV, in memory.

Files are below /remote.php/dav/files/me, chunked uploads (version 2) below /remote.php/dav/uploads/me. It keeps
properties and OC-Checksum, takes X-OC-Mtime, and gives each new content a random ETag.
  --never-overwrite   a MOVE onto something is 412, whatever Overwrite says
  --lie               stores other bytes than were sent, and another checksum for one of all ones
GET /requests answers [[method, path], ...] of all requests so far. Prints "READY endpoint=... user=me password=... pid=...".
"""
import argparse
import base64
import email.utils
import json
import os
import secrets
import sys
import threading
import time
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ports import PortBlock  # noqa: E402

USER, PASSWORD = "me", "stub-password"
FILES, UPLOADS = "remote.php/dav/files/" + USER, "remote.php/dav/uploads/" + USER
LOCK, REQUESTS, ARGS = threading.Lock(), [], None


class Node:
    def __init__(self, data=None):
        self.data, self.etag, self.mtime, self.props, self.checksum = data, secrets.token_hex(8), time.time(), {}, ""

    def copy(self):
        new = Node(self.data)
        new.props, new.checksum = dict(self.props), self.checksum
        return new


TREE = {path: Node() for path in ("", "remote.php", "remote.php/dav", FILES, UPLOADS)}


def parent(path):
    return path.rpartition("/")[0]


def below(path):
    return [p for p in TREE if p.startswith(path + "/")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.reply = (status, body, headers)  # sent when the lock is free again

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        self.path_ = unquote(urlsplit(self.path).path).strip("/")
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:  # cut off: it never was
            self.close_connection = True
            return
        wanted = "Basic " + base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()
        with LOCK:
            if self.path_ == "requests":
                self.answer(200, json.dumps(REQUESTS).encode())
            elif self.headers.get("Authorization") != wanted:
                self.answer(401, WWW_Authenticate='Basic realm="stub"')
            else:
                REQUESTS.append([self.command, self.path_])
                getattr(self, "on_" + self.command.lower())(body)
        try:
            self.send(*self.reply)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_PUT = do_DELETE = do_MKCOL = do_MOVE = do_COPY = do_PROPFIND = do_PROPPATCH = handle_any

    def destination(self):
        return unquote(urlsplit(self.headers["Destination"]).path).strip("/")

    def on_get(self, _):
        node = TREE.get(self.path_)
        if not node:
            return self.answer(404)
        if node.data is None:
            return self.answer(405)
        first, last = 0, len(node.data) - 1
        if self.headers.get("Range"):
            start, _, end = self.headers["Range"].split("=")[1].partition("-")
            first, last = int(start), min(int(end), last)
            if first > last:
                return self.answer(416)
        return self.answer(206 if self.headers.get("Range") else 200, node.data[first:last + 1], ETag='"%s"' % node.etag,
                           Content_Range="bytes %d-%d/%d" % (first, last, len(node.data)))

    def take_headers(self, node):
        checksum = self.headers.get("OC-Checksum", "")
        node.checksum = "SHA1:" + "2" * 40 if ARGS.lie and checksum.endswith("1" * 40) else checksum
        if self.headers.get("X-OC-Mtime"):
            node.mtime = int(self.headers["X-OC-Mtime"])

    def on_put(self, body):
        above = TREE.get(parent(self.path_))
        if not above or above.data is not None:
            return self.answer(409)
        if self.path_ in TREE and TREE[self.path_].data is None:
            return self.answer(409)
        chunk = self.path_.startswith(UPLOADS + "/")
        if chunk and not (self.path_.rpartition("/")[2].isdigit() and self.headers.get("OC-Total-Length")):
            return self.answer(400)
        if ARGS.lie and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        status = 204 if self.path_ in TREE else 201
        TREE[self.path_] = Node(body)
        self.take_headers(TREE[self.path_])
        return self.answer(status, X_OC_MTime="accepted")

    def on_mkcol(self, _):
        if self.path_ in TREE:
            return self.answer(405)
        if TREE.get(parent(self.path_)) is None or TREE[parent(self.path_)].data is not None:
            return self.answer(409)
        if self.path_.startswith(UPLOADS + "/") and not self.headers.get("Destination"):
            return self.answer(400)
        TREE[self.path_] = Node()
        return self.answer(201)

    def on_delete(self, _):
        if self.path_ not in TREE:
            return self.answer(404)
        for path in below(self.path_) + [self.path_]:
            del TREE[path]
        return self.answer(204)

    def join_chunks(self):
        folder = parent(self.path_)
        chunks = sorted(below(folder))
        data = b"".join(TREE[path].data for path in chunks)
        if len(data) != int(self.headers.get("OC-Total-Length", -1)):
            return None
        for path in chunks + [folder]:
            del TREE[path]
        node = Node(data)
        self.take_headers(node)
        return node

    def on_move(self, _, copy=False):
        to, joined = self.destination(), self.path_.startswith(UPLOADS + "/") and self.path_.endswith("/.file")
        if not joined and self.path_ not in TREE:
            return self.answer(404)
        above = TREE.get(parent(to))
        if not above or above.data is not None:
            return self.answer(409)
        if to in TREE and (self.headers.get("Overwrite") == "F" or ARGS.never_overwrite):
            return self.answer(412)
        node = self.join_chunks() if joined else TREE[self.path_].copy() if copy else TREE[self.path_]
        if node is None:
            return self.answer(400)
        for path in below(to):
            del TREE[path]
        if not joined and not copy:
            for path in below(self.path_):
                TREE[to + path[len(self.path_):]] = TREE.pop(path)
            del TREE[self.path_]
        TREE[to] = node
        return self.answer(201)

    def on_copy(self, body):
        return self.on_move(body, copy=True)

    def response(self, path, names):
        node = TREE[path]
        known = {"{DAV:}resourcetype": "<d:collection/>" if node.data is None else "",
                 "{DAV:}getlastmodified": email.utils.formatdate(node.mtime, usegmt=True),
                 "{DAV:}getetag": "&quot;%s&quot;" % node.etag}
        if node.data is not None:
            known["{DAV:}getcontentlength"] = str(len(node.data))
        if node.checksum:
            known["{http://owncloud.org/ns}checksums"] = "<o:checksum>%s</o:checksum>" % escape(node.checksum)
        known.update({name: escape(value) for name, value in node.props.items()})
        parts = {200: "", 404: ""}
        for name in names:
            space, tag = name[1:].split("}")
            prefix = {"DAV:": "d", "http://owncloud.org/ns": "o"}.get(space, "x")
            element = '<%s:%s%s>%s</%s:%s>' % (prefix, tag, ' xmlns:x="%s"' % escape(space) if prefix == "x" else "",
                                               known.get(name, ""), prefix, tag)
            parts[200 if name in known else 404] += element
        href = "/" + quote(path) + ("/" if node.data is None else "")
        return "<d:response><d:href>%s</d:href>%s</d:response>" % (href, "".join(
            "<d:propstat><d:prop>%s</d:prop><d:status>HTTP/1.1 %d Status</d:status></d:propstat>" % (text, status)
            for status, text in parts.items() if text))

    def multistatus(self, inside):
        text = '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:o="http://owncloud.org/ns">%s</d:multistatus>' % inside
        return self.answer(207, text.encode(), Content_Type="application/xml; charset=utf-8")

    def on_propfind(self, body):
        if self.path_ not in TREE:
            return self.answer(404)
        names = [element.tag for element in ET.fromstring(body).find("{DAV:}prop")]
        paths = [self.path_]
        if self.headers.get("Depth") == "1":
            paths += [path for path in below(self.path_) if parent(path) == self.path_]
        return self.multistatus("".join(self.response(path, names) for path in paths))

    def on_proppatch(self, body):
        node = TREE.get(self.path_)
        if not node:
            return self.answer(404)
        names = ""
        for element in ET.fromstring(body).find("{DAV:}set/{DAV:}prop"):
            if element.tag == "{DAV:}lastmodified":
                node.mtime = int(element.text)
            else:
                node.props[element.tag] = element.text or ""
            names += '<x:%s xmlns:x="%s"/>' % (element.tag.split("}")[1], escape(element.tag[1:].split("}")[0]))
        return self.multistatus("<d:response><d:href>/%s</d:href><d:propstat><d:prop>%s</d:prop><d:status>HTTP/1.1 200 OK"
                                "</d:status></d:propstat></d:response>" % (quote(self.path_), names))


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int)
    parser.add_argument("--never-overwrite", action="store_true")
    parser.add_argument("--lie", action="store_true")
    ARGS = parser.parse_args()
    block = None if ARGS.port else PortBlock()
    port = ARGS.port or block.first
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("READY endpoint=http://127.0.0.1:%d/%s user=%s password=%s pid=%d" % (port, FILES, USER, PASSWORD, os.getpid()),
          flush=True)
    above = os.getppid()
    while os.getppid() == above:
        time.sleep(0.5)
    if block:
        block.close()


if __name__ == "__main__":
    main()
