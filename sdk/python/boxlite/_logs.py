# SPDX-License-Identifier: Apache-2.0
"""Logs of a box: what its main process wrote, and the machine's console."""
from __future__ import annotations

import collections
import weakref
from typing import Deque, Optional, Tuple

from . import boxlite as native
from ._pump import Inbox, Op, Pump
from ._records import Record

STREAMS = ("console", "stdout", "stderr", "notice")
# Bytes that wait for a slow reader; what comes beyond is left out, and a notice says so.
WAITING_MAX = 8 * 1024 * 1024


class LogPiece(Record):
    """stream: stdout, stderr, console, or notice: a line of the library that says what is missing. time: when it was written, seconds of unix
    time; None for the console. text: cut anywhere, not at ends of lines; what is no UTF-8 is replaced."""

    stream: str
    time: Optional[float]
    text: str


class _Queue(Inbox):
    """What came and was not read. The extension holds it, so it must not hold the stream."""

    def __init__(self) -> None:
        self.pieces: Deque[Tuple[LogPiece, int]] = collections.deque()  # and its bytes
        self.size = 0
        self.ended = False
        self.left_out = 0

    def __call__(self, stream: int, time_ns: int, data: bytes) -> None:
        if self.size + len(data) > WAITING_MAX:
            self.left_out += len(data)
            return
        self.size += len(data)
        piece = LogPiece(stream=STREAMS[stream] if 0 <= stream < len(STREAMS) else "notice", time=time_ns / 1e9 if time_ns else None,
                         text=data.decode("utf-8", "replace"))
        self.pieces.append((piece, len(data)))
        self.tell()

    def end(self) -> None:
        self.ended = True
        self.tell()

    def drop(self) -> None:
        self.pieces.clear()
        self.size = 0

    def take(self) -> Optional[LogPiece]:
        if self.pieces:
            piece, size = self.pieces.popleft()
            self.size -= size
            return piece
        if self.left_out:
            text, self.left_out = f"{self.left_out} bytes were left out: they came faster than they were read\n", 0
            return LogPiece(stream="notice", time=None, text=text)
        return None


class LogStream:
    """Pieces of a log, in order: `async for piece in box.logs()`. Errors while reading are RuntimeError."""

    def __init__(self, pump: Pump, box: native._Box, tail: int, since_ms: int, follow: bool, console: bool) -> None:
        self._pump = pump
        self._queue = queue = _Queue()
        self._done = Op(pump)
        self._done.then(queue.end)
        number = box.logs(self._done, queue, tail, since_ms, follow, console)
        self._cancel = weakref.finalize(self, _cancel, pump, self._done, box, number)
        self._cancel.atexit = False

    def __aiter__(self) -> LogStream:
        return self

    async def __anext__(self) -> LogPiece:
        piece = await self._read()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _read(self) -> Optional[LogPiece]:
        while True:
            piece = self._queue.take()
            if piece is not None:
                return piece
            if not self._cancel.alive:
                return None
            if self._queue.ended:
                self._cancel.detach()
                await self._done  # raises when it failed
                return None
            await self._queue.more(self._pump, "this log")

    async def aclose(self) -> None:
        """Nothing more is read."""
        self._queue.drop()
        self._cancel()


def _cancel(pump: Pump, done: Op, box: native._Box, number: int) -> None:
    if done.answered or pump.forks != native._fork_count() or pump.native.closed:
        return
    try:
        box.cancel_logs(number)
    except native.NativeError:  # shut down: it is ended by that
        pass
