#!/usr/bin/env python3
"""A proxy between the clients of an S3 server and the server: it counts, and gives the way the shape of a network.

  bench/s3_proxy.py --upstream HOST:PORT [--delay-ms 20] [--mb-s 50]

One way of --delay-ms as a delay line (what is on its way is not held up by what came before), --mb-s at most on each
connection and in each direction, and one more round trip before the first byte of a new connection (the handshake, which
loopback hides). TLS and slow start are not modelled; nothing is lost. Prints its port; each line on stdin is answered with
the counters so far as JSON: requests, those of each kind (LIST GET HEAD PUT POST DELETE), connections, and bytes up and
down. Ends with its stdin. Plain HTTP only. Needs Python 3.9.
"""
import argparse
import collections
import fcntl
import json
import os
import re
import socket
import sys
import threading
import time

KIB = 1 << 10
PIECE = 256 * KIB
FIRST_PIECE = 64 * KIB  # on an idle line: what comes first should not wait for the rest
LINE_AHEAD = 0.02  # the bottleneck's buffer, in seconds of its rate; then the sender has to wait
QUEUED = 16 << 20
LISTING = re.compile(rb"[?&](list-type|prefix|delimiter|marker|max-keys)=")
LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
CHUNKED = re.compile(rb"(?im)^transfer-encoding:.*chunked")


class Counters:
    def __init__(self):
        self.lock, self.found = threading.Lock(), collections.Counter()

    def add(self, **more):
        with self.lock:
            self.found.update(more)

    def text(self):
        with self.lock:
            return json.dumps(self.found)


class Requests:
    """Counts the requests of a connection by its framing alone."""

    def __init__(self, counters):
        self.counters, self.head, self.body, self.chunked = counters, b"", 0, False

    def feed(self, data):
        while data:
            if self.chunked:
                self.head = (self.head + data)[-5:]
                self.chunked = self.head != b"0\r\n\r\n"
                self.head = self.head if self.chunked else b""
                return
            if self.body:
                skipped = min(self.body, len(data))
                self.body -= skipped
                data = data[skipped:]
                continue
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            head, data = self.head.split(b"\r\n\r\n", 1)
            self.head = b""
            method, target = (head.split(b" ", 2) + [b""])[:2]
            kind = "LIST" if method == b"GET" and LISTING.search(target) else method.decode("latin-1")
            self.counters.add(**{"requests": 1, kind: 1})
            length = LENGTH.search(head)
            self.body = int(length.group(1)) if length else 0
            self.chunked = bool(CHUNKED.search(head))


def shut(end, how):
    try:
        end.shutdown(how)
    except OSError:
        pass  # it is


class Way:
    """One direction of a connection."""

    def __init__(self, source, target, name, shape, counters):
        self.source, self.target, self.name, self.counters = source, target, name, counters
        self.delay, self.rate = shape
        self.requests = Requests(counters) if name == "up" else None
        self.born = time.monotonic()

    def run(self):
        try:
            if self.delay or self.rate:
                self.run_delayed()
            elif self.requests or not hasattr(os, "splice"):
                self.run_plain()
            else:
                self.run_unseen()
        except OSError:
            pass
        shut(self.target, socket.SHUT_WR)
        shut(self.source, socket.SHUT_RD)

    def seen(self, data):
        self.counters.add(**{self.name: len(data)})
        if self.requests:
            self.requests.feed(bytes(data))

    def run_plain(self):
        view = memoryview(bytearray(PIECE))
        while count := self.source.recv_into(view):
            self.seen(view[:count])
            self.target.sendall(view[:count])

    def run_unseen(self):
        """From socket to socket within the kernel: on few processors the clients should have them."""
        out, into = os.pipe()
        try:
            fcntl.fcntl(into, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4 * PIECE)
            while count := os.splice(self.source.fileno(), into, 4 * PIECE):
                self.counters.add(**{self.name: count})
                while count:
                    count -= os.splice(out, self.target.fileno(), count)
        finally:
            os.close(out)
            os.close(into)

    def run_delayed(self):
        self.queue, self.queued, self.moved = collections.deque(), 0, threading.Condition()
        sender = threading.Thread(target=self.send_when_due, daemon=True)
        sender.start()
        view = memoryview(bytearray(PIECE))
        free = self.born + 2 * self.delay if self.requests else 0.0  # the line is busy until then
        try:
            while True:
                busy = free > time.monotonic()
                count = self.source.recv_into(view[:PIECE if busy else FIRST_PIECE])
                if not count:
                    break
                self.seen(view[:count])
                now = time.monotonic()
                free = max(now, free) + (count / self.rate if self.rate else 0)
                with self.moved:
                    self.queue.append((free + self.delay, bytes(view[:count])))
                    self.queued += count
                    self.moved.notify_all()
                    while self.queued > QUEUED and sender.is_alive():
                        self.moved.wait(1)
                if free - now > LINE_AHEAD:
                    time.sleep(free - now - LINE_AHEAD / 2)
        finally:
            with self.moved:
                self.queue.append((0, b""))
                self.moved.notify_all()
            sender.join()

    def send_when_due(self):
        try:
            while True:
                with self.moved:
                    while not self.queue:
                        self.moved.wait()
                    due, data = self.queue[0]
                if not data:
                    return
                wait = due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                self.target.sendall(data)
                with self.moved:
                    self.queue.popleft()
                    self.queued -= len(data)
                    self.moved.notify_all()
        except OSError:
            shut(self.source, socket.SHUT_RD)


def serve(client, upstream, shape, counters):
    counters.add(connections=1)
    with client:
        try:
            server = socket.create_connection(upstream)
        except OSError:
            return
        with server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = [Way(client, server, "up", shape, counters), Way(server, client, "down", shape, counters)]
            threads = [threading.Thread(target=way.run, daemon=True) for way in ways]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--mb-s", type=float, default=0)
    a = parser.parse_args()
    host, port = a.upstream.rsplit(":", 1)
    shape = (a.delay_ms / 1000, a.mb_s * 1e6)
    sys.setswitchinterval(0.0005)
    counters = Counters()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, (host, int(port)), shape, counters), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(counters.text(), flush=True)


if __name__ == "__main__":
    main()
