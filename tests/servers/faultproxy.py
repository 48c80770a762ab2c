#!/usr/bin/env python3
"""faultproxy.py: a TCP and HTTP proxy that injects faults (Python 3.9 or newer, standard library only).

  faultproxy.py --upstream HOST:PORT [--listen PORT] [--control PORT] [--http] [--set KEY=VALUE ...] [--seed N]

Ports that are not given are picked. Prints "READY endpoint=... control=... pid=..." and runs until SIGTERM or the
death of its parent. The control port speaks plain HTTP (curl is enough):
  GET  /                          settings and counters as JSON
  POST /set?KEY=VALUE&...         change settings, for running connections too
  POST /reset                     all faults off, counters to zero
  POST /kill                      reset (TCP RST) every connection that is open now
  POST /rule?..., GET /log?...    faults of single requests, and what was asked for: see faultrules.py (--http)
Settings (0 or empty: off):
  latency_ms, jitter_ms           delay of each chunk, each way; plus a random 0..jitter_ms
  rate_up_kbs, rate_down_kbs      KiB/s a connection, to and from the server
  drop_after, drop_after_up       close cleanly after N bytes of a connection from, or to, the server
  reset_after, reset_after_up     the same with a TCP RST
  truncate                        close after N bytes of a response's body (--http, obeys http_match)
  blackhole                       accept and read, never answer; running connections stall as well
  refuse                          stop listening: connection refused
  fail_fraction                   0..1: the part of connections that drop, reset and truncate hit (1)
  http_status                     answer requests with this status instead of forwarding them (--http)
  http_fraction, http_count       0..1: the part of requests that get it (1); stop after that many (0: never)
  http_match                      regular expression on "METHOD /path"; for http_status, truncate, lose_reply
  retry_after                     seconds, in a Retry-After header of injected answers
  lose_reply                      0..1: the request is done by the server, its answer is lost (--http)
"""
import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import struct
import sys
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faultrules  # noqa: E402
from ports import PortBlock  # noqa: E402

CHUNK = 65536
DEFAULTS = dict(
    latency_ms=0.0, jitter_ms=0.0, rate_up_kbs=0.0, rate_down_kbs=0.0, drop_after=0, drop_after_up=0,
    reset_after=0, reset_after_up=0, truncate=0, blackhole=0, refuse=0, fail_fraction=1.0, http_status=0,
    http_fraction=1.0, http_count=0, http_match="", retry_after=0, lose_reply=0.0)
COUNTERS = ("connections", "open", "requests", "injected", "dropped", "truncated", "lost", "up", "down")
S3_CODES = {403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown"}


class Cut(Exception):
    """This connection ends here: by RST if hard, else by FIN."""

    def __init__(self, hard):
        super().__init__()
        self.hard = hard


def header(pattern, head):
    return re.search(rb"(?im)^" + pattern, head)


def reset(writer):
    sock = writer.get_extra_info("socket")
    if sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()


class Proxy:
    def __init__(self, upstream, http, seed):
        self.upstream, self.http = upstream, http
        self.random = random.Random(seed)
        self.settings = dict(DEFAULTS)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.connections = set()
        self.rules, self.log = [], []
        self.server = None

    def set(self, key, value):
        default = DEFAULTS[key]
        if not isinstance(default, str):
            value = type(default)(float(value))
        elif key == "http_match":
            re.compile(value)
        self.settings[key] = value

    def chance(self, key):
        return self.random.random() < self.settings[key]

    def rule_for(self, line):
        return next((rule for rule in self.rules if rule.takes(line)), None)

    async def hole(self):
        while self.settings["blackhole"]:
            await asyncio.sleep(0.05)

    async def listen(self, port):
        if self.settings["refuse"] and self.server:
            self.server.close()
            self.server = None
        elif not self.settings["refuse"] and not self.server:
            self.server = await asyncio.start_server(self.accept, "127.0.0.1", port, limit=1 << 20, reuse_address=True)

    async def accept(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.counters["connections"] += 1
        self.counters["open"] += 1
        self.connections.add(connection)
        try:
            await connection.run()
        except Cut as cut:
            if cut.hard:
                reset(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            self.counters["open"] -= 1
            self.connections.discard(connection)
            connection.close()


class Pipe:
    """One direction of a connection: all that is written is delayed, throttled and cut as the settings say."""

    def __init__(self, connection, reader, writer, up):
        self.connection, self.proxy = connection, connection.proxy
        self.reader, self.writer, self.up, self.sent = reader, writer, up, 0

    async def send(self, data):
        settings = self.proxy.settings
        await self.proxy.hole()
        delay = settings["latency_ms"] + self.proxy.random.random() * settings["jitter_ms"]
        if delay:
            await asyncio.sleep(delay / 1000)
        await self._cut(data)
        self.sent += len(data)
        self.proxy.counters["up" if self.up else "down"] += len(data)
        self.writer.write(data)
        await self.writer.drain()
        rate = self._rate()
        if rate:
            await asyncio.sleep(len(data) / 1024 / rate)

    def _rate(self):
        return self.proxy.settings["rate_up_kbs" if self.up else "rate_down_kbs"]

    async def _cut(self, data):
        if not self.connection.unlucky:
            return
        suffix = "_up" if self.up else ""
        for key, hard in (("drop_after" + suffix, False), ("reset_after" + suffix, True)):
            limit = self.proxy.settings[key]
            if limit and self.sent + len(data) >= limit:
                self.writer.write(data[:max(0, limit - self.sent)])
                if not hard:
                    await self.writer.drain()
                self.proxy.counters["dropped"] += 1
                raise Cut(hard)

    async def read(self, most=CHUNK):
        rate = self._rate()
        return await self.reader.read(max(1024, min(most, int(rate * 1024 / 10))) if rate else most)

    async def raw(self):
        while True:
            data = await self.read()
            if not data:
                return
            await self.send(data)

    async def head(self):
        """The start line and headers, or b"" at the end of the stream."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                await self.send(error.partial)
            return b""

    async def body(self, head, sink, limit=0):
        """Streams one body to sink; limit > 0 cuts after that many of its bytes."""
        out = Limited(self.proxy, sink, limit)
        if header(rb"transfer-encoding:.*chunked", head):
            await self._chunks(out)
            return
        length = header(rb"content-length:\s*(\d+)", head)
        await self._copy(int(length.group(1)) if length else 0, out)

    async def _copy(self, left, out):
        while left:
            data = await self.read(min(CHUNK, left))
            if not data:
                raise ConnectionError
            left -= len(data)
            await out.body(data)

    async def _chunks(self, out):
        while True:
            line = await self.reader.readuntil(b"\r\n")
            await out.frame(line)
            size = int(line.split(b";")[0], 16)
            await self._copy(size, out)
            tail = await self.reader.readuntil(b"\r\n")
            await out.frame(tail)
            if size == 0:
                while tail != b"\r\n":  # trailers
                    tail = await self.reader.readuntil(b"\r\n")
                    await out.frame(tail)
                return


class Limited:
    """Counts a body's bytes on their way to a sink, and cuts at the limit."""

    def __init__(self, proxy, sink, limit):
        self.proxy, self.frame, self.limit, self.sent = proxy, sink, limit, 0

    async def body(self, data):
        if self.limit and self.sent + len(data) >= self.limit:
            await self.frame(data[:self.limit - self.sent])
            self.proxy.counters["truncated"] += 1
            raise Cut(False)
        self.sent += len(data)
        await self.frame(data)


class Connection:
    def __init__(self, proxy, reader, writer):
        self.proxy, self.reader, self.writer, self.upstream = proxy, reader, writer, None
        self.unlucky = proxy.chance("fail_fraction")

    def close(self):
        for writer in (self.writer, self.upstream):
            if writer:
                writer.close()

    async def run(self):
        try:
            reader, self.upstream = await asyncio.open_connection(*self.proxy.upstream, limit=1 << 20)
        except OSError:
            reset(self.writer)
            return
        up, down = Pipe(self, self.reader, self.upstream, True), Pipe(self, reader, self.writer, False)
        if self.proxy.http:
            while await self.exchange(up, down):
                pass
        else:
            await self.tunnel(up, down)

    async def tunnel(self, up, down):
        there, back = asyncio.ensure_future(up.raw()), asyncio.ensure_future(down.raw())
        try:
            done, _ = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if there in done and not there.exception() and self.upstream.can_write_eof():
                self.upstream.write_eof()  # half closed: the answer may still come
                await back
            for task in done:
                task.result()
        finally:
            there.cancel()
            back.cancel()

    async def exchange(self, up, down):
        """One request and its response; whether the connection goes on."""
        settings = self.proxy.settings
        head = await up.head()
        if not head:
            return False
        self.proxy.counters["requests"] += 1
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        hit = not settings["http_match"] or re.search(settings["http_match"], line)
        self.proxy.log.append(" ".join(line.split(" ")[:2]))
        rule = self.proxy.rule_for(line)
        if rule:
            return await self.by_rule(rule, up, down, head)
        await self.proxy.hole()
        if hit and settings["http_status"] and self.proxy.chance("http_fraction"):
            return await self.inject_as_set(up, down, head)
        lose = bool(hit and settings["lose_reply"] and self.proxy.chance("lose_reply"))
        limit = settings["truncate"] if hit and self.unlucky else 0
        await up.send(head)
        sending = asyncio.ensure_future(up.body(head, up.send))
        try:
            return await self.respond(down, sending, lose, limit, line.startswith("HEAD ")) and await sending is None
        finally:
            sending.cancel()

    async def respond(self, down, sending, lose, limit, bodiless):
        status = 0
        while status < 200:  # 100 Continue and its like come before the answer
            head = await self.first_of(down.head(), sending)
            if not head:
                return False
            status = int(head.split(b" ", 2)[1])
            if lose and status >= 200:
                self.proxy.counters["lost"] += 1
                raise Cut(True)
            await down.send(head)
        if not bodiless and status not in (204, 304):
            if not header(rb"(content-length|transfer-encoding):", head):
                await down.raw()
                return False
            await down.body(head, down.send, limit)
        return not header(rb"connection:\s*close", head)

    async def by_rule(self, rule, up, down, head):
        self.proxy.counters["injected"] += 1
        if rule.fault == "hole":
            while await self.reader.read(CHUNK):
                pass
            raise Cut(True)
        if rule.fault == "reset_up":
            length = header(rb"content-length:\s*(\d+)", head)
            await self.reader.readexactly(int(length.group(1)) // 2 if length and not header(rb"expect:", head) else 0)
            raise Cut(True)
        if rule.fault == "status":
            return await self.inject(up, down, head, rule.pairs)
        return await self.altered(rule, up, down, head)

    async def altered(self, rule, up, down, head):
        await up.send(head)
        sending = asyncio.ensure_future(up.body(head, up.send))
        gone = asyncio.ensure_future(self.client_gone(sending))
        working = asyncio.ensure_future(self.alter(rule, down, head.startswith(b"HEAD "), sending))
        try:
            await asyncio.wait({gone, working}, return_when=asyncio.FIRST_COMPLETED)
            return working.done() and await working
        finally:
            for task in (sending, gone, working):
                task.cancel()

    async def client_gone(self, sending):
        await asyncio.wait({sending})
        while not self.reader.at_eof():
            await asyncio.sleep(0.05)

    async def alter(self, rule, down, bodiless, sending):
        answer = await down.head()
        while answer.startswith(b"HTTP/1.1 100"):
            await down.send(answer)
            answer = await down.head()
        body = bytearray()

        async def keep(data):
            body.extend(data)
        if not bodiless and answer.split(b" ", 2)[1] not in (b"204", b"304"):
            await down.body(answer, keep)
        await sending
        if rule.fault == "lose":
            raise Cut(True)

        def cut(hard):
            raise Cut(hard)
        return await faultrules.alter(rule, answer, bytes(body), bodiless, down.send, cut)

    async def first_of(self, answer, sending):
        """Awaits the answer, but lets a cut of the upload win."""
        task = asyncio.ensure_future(answer)
        try:
            await asyncio.wait({task, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(sending.exception(), Cut):
                raise sending.exception()
            return await task
        finally:
            task.cancel()

    async def inject_as_set(self, up, down, head):
        settings, counters = self.proxy.settings, self.proxy.counters
        reply = {"status": settings["http_status"], "retry_after": settings["retry_after"]}
        counters["injected"] += 1
        if settings["http_count"] and counters["injected"] >= settings["http_count"]:
            settings["http_status"] = 0
        return await self.inject(up, down, head, reply)

    async def inject(self, up, down, head, reply):
        status = int(reply["status"])
        expects = header(rb"expect:", head)

        async def forget(_):
            pass
        if not expects:
            await up.body(head, forget)
        body = b"" if head.startswith(b"HEAD ") else (
            '<?xml version="1.0"?><Error><Code>%s</Code><Message>injected</Message></Error>'
            % (reply.get("code") or S3_CODES.get(status, "Injected"))).encode()
        lines = ["HTTP/1.1 %d Injected" % status, "Content-Type: application/xml", "Content-Length: %d" % len(body)]
        if int(reply.get("retry_after", 0)):
            lines.append("Retry-After: %d" % int(reply["retry_after"]))
        if "location" in reply:
            lines.append("Location: " + reply["location"])
        if expects:  # its body may or may not follow
            lines.append("Connection: close")
        await down.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return not expects


class Control:
    def __init__(self, proxy, port):
        self.proxy, self.port = proxy, port

    async def serve(self, reader, writer):
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
            try:
                status = self.handle(urlsplit(request))
                await self.proxy.listen(self.port)
            except (KeyError, ValueError, re.error) as error:
                print("faultproxy: bad setting: %r" % error, file=sys.stderr)
                status = 400
            body = json.dumps({"settings": self.proxy.settings, "counters": self.proxy.counters}).encode() + b"\n"
            if request.startswith("/log"):
                body = "".join(line + "\n" for line in self.proxy.log[self.since(request):]).encode()
            writer.write(b"HTTP/1.1 %d Control\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                         b"Connection: close\r\n\r\n" % (status, len(body)) + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def since(self, request):
        return int(dict(parse_qsl(urlsplit(request).query)).get("from", 0))

    def handle(self, url):
        proxy = self.proxy
        if url.path == "/set":
            for key, value in parse_qsl(url.query, keep_blank_values=True):
                proxy.set(key, value)
            for connection in proxy.connections:
                connection.unlucky = proxy.chance("fail_fraction")
        elif url.path == "/rule":
            proxy.rules.append(faultrules.Rule(dict(parse_qsl(url.query, keep_blank_values=True))))
        elif url.path == "/reset":
            proxy.settings.update(DEFAULTS)
            proxy.rules.clear()
            proxy.log.clear()
            proxy.counters.update({key: 0 for key in COUNTERS if key != "open"})
        elif url.path == "/kill":
            for connection in list(proxy.connections):
                reset(connection.writer)
        elif url.path not in ("/", "/log"):
            return 404
        return 200


async def until_the_end():
    parent, stop = os.getppid(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(stop.wait(), 0.5)
        except asyncio.TimeoutError:
            pass


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--listen", type=int)
    parser.add_argument("--control", type=int)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    block = None if args.listen and args.control else PortBlock()
    listen, control = args.listen or block.first, args.control or block.first + 1
    host, port = args.upstream.rsplit(":", 1)
    proxy = Proxy((host, int(port)), args.http, args.seed)
    for pair in args.set:
        proxy.set(*pair.split("=", 1))
    await proxy.listen(listen)
    await asyncio.start_server(Control(proxy, listen).serve, "127.0.0.1", control)
    print("READY endpoint=http://127.0.0.1:%d control=http://127.0.0.1:%d pid=%d" % (listen, control, os.getpid()),
          flush=True)
    await until_the_end()
    if block:
        block.close()
    os._exit(0)  # connections that hang in a black hole are no reason to stay


if __name__ == "__main__":
    asyncio.run(main())
