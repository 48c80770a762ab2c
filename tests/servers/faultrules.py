"""Faults of single requests, for faultproxy.py --http: many tests can share one proxy, each with rules for its own keys.

POST /rule?match=REGEX&fault=FAULT[&count=N][&status=N][&code=TEXT][&retry_after=N][&location=URL]
  match        on "METHOD /path HTTP/1.1"; the first rule that matches and is not used up counts
  count        only the first N requests that match (0: all)
Faults; "the middle" is that of the response's body, or of its head where there is no body:
  hole         no answer, ever
  reset_up     RST after half of the request's body, of which the server sees nothing
  status       an answer of ours instead of the server's: status, code, retry_after, location
  lose         the server does it; then RST
  stall        the answer stops in the middle
  reset_down   RST in the middle of the answer
  truncate     FIN in the middle of the answer
  flip         another byte in the middle of a body that is no XML; other ETags
  length       Content-Length is 7 too large; FIN after the body
  garbage      200 with a body that is no XML
  drip         the answer comes, a byte every 100 ms
GET /log?from=N: "METHOD /path" of each request since number N (from 0), one on a line.
"""
import asyncio
import re

FAULTS = ("hole", "reset_up", "status", "lose", "stall", "reset_down", "truncate", "flip", "length", "garbage", "drip")
NEEDS_ANSWER = FAULTS[3:]


class Rule:
    def __init__(self, pairs):
        self.match = re.compile(pairs.pop("match"))
        self.fault = pairs.pop("fault")
        self.left = int(pairs.pop("count", 0)) or float("inf")
        self.pairs = pairs
        if self.fault not in FAULTS:
            raise ValueError(self.fault)

    def takes(self, line):
        if self.left <= 0 or not self.match.search(line):
            return False
        self.left -= 1
        return True


def middle(head, body):
    return len(head) + len(body) // 2 if body else len(head) // 2


def flipped(head, body):
    def other(match):
        digit = match.group(2)
        return match.group(1) + (b"1" if digit == b"0" else b"0")
    head = re.sub(rb'(?i)(\netag:\s*(?:W/)?"?)([0-9a-f])', other, head)
    if body.startswith(b"<"):
        return head, re.sub(rb"(<ETag>(?:&quot;|\")?)([0-9a-f])", other, body)
    if body:
        at = len(body) // 2
        body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
    return head, body


def plain(head, body):
    """The same answer without chunks."""
    if not re.search(rb"(?i)\ntransfer-encoding:.*chunked", head):
        return head, body
    whole, at = b"", 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            break
        whole += body[end + 2:end + 2 + size]
        at = end + 4 + size
    return re.sub(rb"(?i)\ntransfer-encoding:[^\r]*", b"\nContent-Length: %d" % len(whole), head), whole


def with_length(head, length):
    return re.sub(rb"(?i)\ncontent-length:[^\r]*", b"\nContent-Length: %d" % length, head)


def length_of(head):
    found = re.search(rb"(?i)\ncontent-length:\s*(\d+)", head)
    return int(found.group(1)) if found else 0


async def alter(rule, head, body, bodiless, write, cut):
    """Sends what the rule makes of the answer; returns whether the connection goes on. cut(hard) raises."""
    head, body = plain(head, body)
    whole = head + (b"" if bodiless else body)
    if rule.fault in ("stall", "reset_down", "truncate"):
        await write(whole[:middle(head, b"" if bodiless else body)])
        if rule.fault == "stall":
            await asyncio.sleep(3600)  # ends with the client's connection
        cut(rule.fault == "reset_down")
    elif rule.fault == "flip":
        head, body = flipped(head, body)
        await write(head + (b"" if bodiless else body))
    elif rule.fault == "length":
        await write(with_length(head, length_of(head) + 7) + (b"" if bodiless else body))
        cut(False)
    elif rule.fault == "garbage":
        text = b"<html><<&;not \xff XML"
        await write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + (b"" if bodiless else text))
    elif rule.fault == "drip":
        for at in range(len(whole)):
            await write(whole[at:at + 1])
            await asyncio.sleep(0.1)
    return True
