# SPDX-License-Identifier: Apache-2.0
"""The box protocol once more, from docs/PROTOCOL.md alone: what the command does not let a test say or see, said and seen on box.sock."""
import os
import select
import socket
import struct
import time

HELLO, PING, PONG, OK, ERROR = 1, 2, 3, 4, 5
EXEC, STARTED, EXIT, SIGNAL, RESIZE, ATTACH = 0x20, 0x21, 0x22, 0x23, 0x24, 0x25
DATA, EOF, CREDIT, CLAIM, CLOSE, TRUNCATED = 0x30, 0x31, 0x32, 0x33, 0x34, 0x35
BOX_INFO, BOX_INFO_GET, BOX_STOP, BOX_GONE, BOX_PAUSE, BOX_RESUME = 0x40, 0x41, 0x42, 0x43, 0x50, 0x51
STDIN, STDOUT, STDERR = 0, 1, 2
WINDOW, KEEP = 1 << 20, 512 << 10


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode(fields):
    """A protobuf message of [(number, int | bytes | str)]."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def decode(data):
    """{number: last value}, numbers as int, the rest as bytes."""
    fields, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(data):
        key = number()
        if key & 7 == 0:
            fields[key >> 3] = number()
        else:
            assert key & 7 == 2, (key, data)
            size = number()
            fields[key >> 3] = data[at:at + size]
            at += size
    return fields


class Stream:
    """What came on one stream: bytes and end of each lane, and the messages in their order."""

    def __init__(self, number):
        self.number, self.data, self.ended, self.order = number, {STDOUT: bytearray(), STDERR: bytearray()}, set(), []
        self.started = self.exit = self.error = self.truncated = None
        self.answers = {}

    @property
    def code(self):
        return self.exit.get(1, 0)


class Link:
    """A program's connection to a running box. `grant`: credit is given back for all that comes."""

    def __init__(self, home, box):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(home.path, "boxes", box, "box.sock"))
        self.buffer, self.streams, self.last, self.request = b"", {}, 0, 0
        self.hello = self.gone = self.info = None
        self.answers = {}
        self.grant = True
        self.send(HELLO, 0, [(1, 1), (2, "test")])
        self.until(lambda: self.hello)

    def close(self):
        self.socket.close()

    def send(self, kind, stream, fields=(), lane=0, raw=None):
        payload = encode(fields) if raw is None else raw
        assert len(payload) <= 65536
        self.socket.sendall(struct.pack("<IHHII", len(payload), kind, lane << 8, stream, 0) + payload)

    def exec(self, *args, claim=6, stdin=False, detached=False, main=False, timeout_ms=0):
        self.last += 1
        s = self.streams[self.last] = Stream(self.last)
        name = "main" if main else os.urandom(6).hex()
        self.send(EXEC, s.number, [(1, name), *((2, a) for a in args), (9, timeout_ms), (11, int(main)), (12, int(detached)),
                                   (13, int(stdin)), (14, claim)])
        s.id = name
        return s

    def attach(self, name):
        self.last += 1
        s = self.streams[self.last] = Stream(self.last)
        self.send(ATTACH, s.number, [(1, name)])
        return s

    def claim(self, s, lane):
        self.send(CLAIM, s.number, [(1, lane)])

    def credit(self, s, lane, amount):
        self.send(CREDIT, s.number, [(1, lane), (2, amount)])

    def signal(self, s, signo, tree=False):
        """The answer: None, or the error's fields."""
        self.request += 1
        n = self.request
        self.send(SIGNAL, s.number, [(1, n), (2, signo), (3, int(tree))])
        self.until(lambda: n in s.answers)
        return s.answers[n]

    def post(self, kind):
        """A request about the box; its number."""
        self.request += 1
        self.send(kind, 0, [(1, self.request)])
        return self.request

    def ask(self, kind):
        n = self.post(kind)
        self.until(lambda: n in self.answers)
        assert self.answers[n] is None, self.answers[n]

    def quiet(self, seconds):
        """The box says nothing for so long."""
        assert not select.select([self.socket], [], [], seconds)[0], self.socket.recv(1 << 20)

    def stop(self, grace_ms, force=False):
        """Stops the box; returns when it is down."""
        self.send(BOX_STOP, 0, [(1, 1), (2, grace_ms), (3, int(force))])
        self.until(lambda: self.gone)

    def write(self, s, data):
        for at in range(0, len(data), 65536):
            self.send(DATA, s.number, lane=STDIN, raw=data[at:at + 65536])

    def end(self, s):
        self.send(EOF, s.number, lane=STDIN)

    def until(self, condition, deadline=60.0):
        """Reads until the condition holds."""
        end = time.monotonic() + deadline
        while not condition():
            left = end - time.monotonic()
            assert left > 0 and select.select([self.socket], [], [], left)[0], f"nothing more came; gone: {self.gone}"
            data = self.socket.recv(1 << 20)
            assert data, f"the box closed the connection; gone: {self.gone}"
            self.buffer += data
            self.take_frames()

    def take_frames(self):
        at = 0
        while len(self.buffer) - at >= 16:
            size, kind, flags, stream, reserved = struct.unpack_from("<IHHII", self.buffer, at)
            assert reserved == 0 and size <= 65536 and not flags & ~0x300, (size, kind, flags, reserved)
            if len(self.buffer) - at < 16 + size:
                break
            self.take(kind, flags >> 8, stream, self.buffer[at + 16:at + 16 + size])
            at += 16 + size
        self.buffer = self.buffer[at:]

    def take(self, kind, lane, stream, payload):
        if stream == 0:
            if kind == HELLO:
                self.hello = decode(payload)
            elif kind == BOX_GONE:
                self.gone = decode(payload)
            elif kind == BOX_INFO:
                self.info = decode(payload)
            elif kind == OK:
                self.answers[decode(payload)[1]] = None
            elif kind == ERROR:
                fields = decode(payload)
                self.answers[fields.get(1, 0)] = fields
            return
        s = self.streams[stream]
        if kind == DATA:
            s.data[lane] += payload
            if self.grant:
                self.credit(s, lane, len(payload))
            return
        s.order.append(kind)
        fields = {} if kind == EOF else decode(payload)
        if kind == EOF:
            s.ended.add(lane)
        elif kind == STARTED:
            s.started = fields
        elif kind == EXIT:
            s.exit = fields
        elif kind == TRUNCATED:
            s.truncated = fields
        elif kind == OK:
            s.answers[fields.get(1, 0)] = None
        elif kind == ERROR and fields.get(1, 0):
            s.answers[fields[1]] = fields
        elif kind == ERROR:
            s.error = fields
