# SPDX-License-Identifier: Apache-2.0
# mypy: ignore-errors
"""The interpreter that CodeBox keeps in a box. This file runs there, by whatever Python 3 the image has; it imports nothing of ours.

Requests come on stdin: a line "<bytes> <nonce>", then so many bytes of JSON {"code": ..., "name": ...}. Answers go between the output of the
code, on both streams: frames "\\0\\x1e" nonce kind length(8 hex digits) payload, kind "m" (more) or "e" (the last one). A frame is one
write of at most PIPE_BUF bytes, so threads that write at the same time do not come between. On stderr there is one empty frame: all output
of the run came before the frames. The nonce is the host's, new for each run.
"""
import ast
import json
import linecache
import os
import select
import signal
import sys
import traceback
import types

FRAME = 3900
VALUE_MAX = 1 << 20
TEXT_MAX = 1 << 18


class Runner:
    def __init__(self):
        # The code gets an empty stdin, and may close what it likes: requests and answers have descriptors of their own.
        self.requests, self.out, self.err = os.dup(0), os.dup(1), os.dup(2)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        sys.stdin = open(0, closefd=False)
        self.pending = b""
        self.running = False
        self.pid = os.getpid()
        self.module = types.ModuleType("__main__")
        self.module.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = self.module
        signal.signal(signal.SIGINT, self.interrupt)

    def interrupt(self, *_):
        if self.running:
            raise KeyboardInterrupt

    # --- requests and answers ---

    def more(self):
        try:
            data = os.read(self.requests, 1 << 20)
        except BlockingIOError:  # the code made it so
            select.select([self.requests], [], [])
            return
        if not data:
            os._exit(0)
        self.pending += data

    def request(self):
        while b"\n" not in self.pending:
            self.more()
        line, _, self.pending = self.pending.partition(b"\n")
        size, nonce = line.split()
        while len(self.pending) < int(size):
            self.more()
        text, self.pending = self.pending[:int(size)], self.pending[int(size):]
        return json.loads(text.decode()), nonce

    @staticmethod
    def frame(fd, nonce, kind, payload):
        data = b"\0\x1e" + nonce + kind + b"%08x" % len(payload) + payload
        while data:
            try:
                data = data[os.write(fd, data):]
            except BlockingIOError:
                select.select([], [fd], [])

    def answer(self, nonce, document):
        data = json.dumps(document).encode()
        pieces = [data[i:i + FRAME] for i in range(0, len(data), FRAME)]
        for piece in pieces[:-1]:
            self.frame(self.out, nonce, b"m", piece)
        self.frame(self.out, nonce, b"e", pieces[-1])
        self.frame(self.err, nonce, b"e", b"")

    # --- a run ---

    def evaluate(self, code, name):
        """Runs the code; the value of its last statement when that is an expression, as a pair (is there one, value)."""
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        space = self.module.__dict__
        exec(compile(tree, name, "exec"), space)
        if last is None:
            return False, None
        return True, eval(compile(ast.Expression(last.value), name, "eval"), space)

    @staticmethod
    def describe(answer, value):
        """The value for the host: its repr, and as JSON what JSON can say exactly."""
        answer["repr"] = repr(value)[:VALUE_MAX]
        if exact(value):
            text = json.dumps(value)
            if len(text) <= VALUE_MAX:
                answer["value"] = value

    @staticmethod
    def error(answer, e):
        """Of the traceback, what is the code's."""
        frames = None if isinstance(e, SyntaxError) else e.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == FILE:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(e), e, frames))
        answer["error"] = {"type": type(e).__name__, "message": str(e)[:TEXT_MAX], "traceback": text[-TEXT_MAX:]}
        sys.stderr.write(text)

    def run(self, request):
        answer = {"code": 0}
        try:
            try:
                self.running = True
                found, value = self.evaluate(request["code"], request["name"])
                if found and value is not None:
                    self.describe(answer, value)
            finally:
                self.running = False
        except SystemExit as e:
            answer["code"] = 0 if e.code is None else e.code & 255 if isinstance(e.code, int) else 1
            if e.code is not None and not isinstance(e.code, int):
                print(e.code, file=sys.stderr)
        except BaseException as e:
            answer["code"] = 1
            self.error(answer, e)
        return answer

    @staticmethod
    def flush():
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # closed or replaced by the code
                pass

    def serve(self):
        while True:
            request, nonce = self.request()
            try:
                answer = self.run(request)
            except BaseException as e:  # its repr, its stderr: whatever the code left us
                answer = {"code": 1, "error": {"type": type(e).__name__, "message": "", "traceback": ""}}
            self.running = False
            self.flush()
            if os.getpid() != self.pid:  # a fork of the code's, which is done
                os._exit(answer["code"])
            self.answer(nonce, answer)


def exact(value, depth=0):
    """Is it the same after a way through JSON?"""
    if value is None or type(value) in (bool, str):
        return True
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 64
    if type(value) is float:
        return value - value == 0
    if depth > 20:
        return False
    if type(value) is list:
        return all(exact(v, depth + 1) for v in value)
    return type(value) is dict and all(type(k) is str and exact(v, depth + 1) for k, v in value.items())


FILE = exact.__code__.co_filename
Runner().serve()
