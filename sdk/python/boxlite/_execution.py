# SPDX-License-Identifier: Apache-2.0
"""A command in a box: its streams, its end."""
from __future__ import annotations

import codecs
import collections
import functools
import weakref
from typing import TYPE_CHECKING, Any, Callable, Deque, Generator, List, Optional, Set, Union

from . import boxlite as native
from ._pump import Inbox, Op, Pump
from ._records import ExecResult, ExecUsage

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

# Bytes that a stream holds for a slow reader before the command's writer is stopped, and at which it goes on.
HIGH_WATER = 4 * 1024 * 1024
LOW_WATER = 1024 * 1024
# Bytes of each stream that the result of a command has that was attached to.
ATTACHED_MAX = 1024 * 1024
# Bytes of each stream that a result of SimpleBox.exec keeps; the rest is dropped, and the result says so.
RESULT_MAX = 64 * 1024 * 1024


def decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class Lane(Inbox):
    """What came of one stream and was not read yet. The extension holds it, so it must not hold the execution. bounded: nobody has taken the
    stream yet; the rest is dropped, for nobody who may never come stops a command."""

    def __init__(self, number: int, execution: Execution) -> None:
        self.number = number
        self.claimed = False
        self.bounded = False
        self.chunks: Deque[bytes] = collections.deque()
        self.size = 0
        self.paused = False
        self.ended = False
        self._execution: Callable[[], Optional[Execution]] = weakref.ref(execution)

    def __call__(self, data: bytes) -> None:
        """A piece of output, in the drain."""
        execution = self._execution()
        if execution is None or (self.bounded and self.size + len(data) > ATTACHED_MAX):  # nobody can or will read it
            return
        self.chunks.append(data)
        self.size += len(data)
        if self.size >= HIGH_WATER and not self.paused:
            self.paused = True
            execution._native.pause(self.number, True)
        self.tell()

    def end(self) -> None:
        self.ended = True
        self.tell()

    def take(self) -> bytes:
        data = self.chunks.popleft()
        self.size -= len(data)
        if self.paused and self.size <= LOW_WATER:
            self._resume()
        return data

    def _resume(self) -> None:
        execution = self._execution()
        if execution is not None and not execution._pump.native.closed:
            execution._native.pause(self.number, False)
        self.paused = False

    def drop(self) -> None:
        """Nobody reads any more: nothing that comes stops its writer."""
        self.chunks.clear()
        self.size = 0
        self._execution = _nobody
        self.paused = False


def _nobody() -> None:
    return None


class Collector:
    """Takes all of a stream, up to a limit."""

    def __init__(self, limit: int = RESULT_MAX) -> None:
        self.parts: List[bytes] = []
        self.room = limit
        self.truncated = False

    def __call__(self, data: bytes) -> None:
        if len(data) > self.room:
            data = data[:self.room]
            self.truncated = True
        self.room -= len(data)
        if data:
            self.parts.append(data)

    def text(self) -> str:
        return decode(b"".join(self.parts))


class ExecStream:
    """Output as it comes, in pieces of text that are not lines: `async for piece in execution.stdout()`. What is no UTF-8 is replaced; a
    character that comes in two pieces is one. Ends when the command has ended.

    A reader that is slower than the command stops it, as a pipe does; aclose(), or dropping the stream, lets it go on and drops the rest.
    Only one task reads at a time (RuntimeError). Errors while reading: RuntimeError, when the box failed.
    """

    def __init__(self, execution: Execution, lane: Lane) -> None:
        self._execution = execution
        self._lane: Optional[Lane] = lane
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __aiter__(self) -> ExecStream:
        return self

    async def __anext__(self) -> str:
        text = await self._read()
        if text is None:
            raise StopAsyncIteration
        return text

    async def _read(self) -> Optional[str]:
        """The next piece; None at the end."""
        while True:
            lane = self._lane
            if lane is None:
                return None
            self._execution._claim(lane)
            if lane.chunks:
                text = self._decoder.decode(lane.take())
            elif lane.ended:
                text = self._decoder.decode(b"", True)
                self._lane = None
                self._execution._ended_well()
                return text or None
            else:
                await lane.more(self._execution._pump, "this stream")
                continue
            if text:
                return text

    async def aclose(self) -> None:
        """Nothing more is read."""
        self._drop()

    def _drop(self) -> None:
        lane, self._lane = self._lane, None
        if lane is None:
            return
        paused = lane.paused
        lane.drop()
        if paused and not self._execution._pump.native.closed:
            self._execution._native.pause(lane.number, False)

    def __del__(self) -> None:
        lane = getattr(self, "_lane", None)
        if lane is not None and lane.claimed and self._execution._pump.forks == native._fork_count():
            self._drop()


class ExecStdout(ExecStream):
    """stdout of a command; with a terminal all it writes."""


class ExecStderr(ExecStream):
    """stderr of a command."""


class _Done:
    """Awaitable, for a call that was done at once."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class ExecStdin:
    """stdin of a command."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._closed = False
        self._room: Optional[Op] = None
        self._told = False

    async def send_input(self, data: Union[bytes, bytearray, memoryview]) -> None:
        """Writes all of data; waits while the command does not read. RuntimeError "invalid state: ..." after close(), or when the command
        has ended or closed its end."""
        if isinstance(data, str) or not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"stdin takes bytes, not {type(data).__name__}")
        data = bytes(data)
        x = self._execution
        if not self._told:
            self._told = True
            x._native.on_writable(functools.partial(_tell_room, weakref.ref(self)))  # the extension must not hold the execution
        at = 0
        while True:
            at += x._native.stdin_write(data, at)
            if at >= len(data):
                return
            if self._room is None or self._room.answered:
                self._room = x._pump.local_op()
                x._end().then(self._room)
            await self._room

    def close(self) -> _Done:
        """Ends stdin behind what was written. May be repeated, and awaited."""
        if not self._closed:
            self._execution._native.stdin_close()
            self._closed = True
        return _Done()

    def is_closed(self) -> bool:
        return self._closed


def _tell_room(ref: weakref.ref[ExecStdin]) -> None:
    stdin = ref()
    if stdin is not None and stdin._room is not None:
        stdin._room()


class Execution:
    """A command in a box. It goes on when this object is dropped, and when a task that waits for it is cancelled, unless kill_on_cancel was
    given. `async with execution:` kills it at the end of the block if it still runs."""

    def __init__(self, pump: Pump, execution: native._Execution, *, attached: bool = False, kill_on_cancel: bool = False) -> None:
        self._pump = pump
        self._native = execution
        self._attached = attached
        self._kill_on_cancel = kill_on_cancel
        self._lanes = (Lane(1, self), Lane(2, self))
        self._taken = [False, False]
        self._stdin: Optional[ExecStdin] = None
        self._end_op: Optional[Op] = None
        self._result: Optional[ExecResult] = None
        self._result_has: Set[int] = set()  # the streams that went into it

    def __repr__(self) -> str:
        return f"<Execution {self._native.id()}>"

    def id(self) -> str:
        """Its id, for Box.attach."""
        return self._native.id()

    # --- streams ---

    def stdin(self) -> ExecStdin:
        """Its stdin; once (RuntimeError)."""
        if self._stdin is not None:
            raise RuntimeError("stdin was taken already")
        self._stdin = ExecStdin(self)
        return self._stdin

    def stdout(self) -> ExecStdout:
        """Its stdout; once (RuntimeError)."""
        return ExecStdout(self, self._take(1))

    def stderr(self) -> ExecStderr:
        """Its stderr; once (RuntimeError). With a terminal nothing comes here."""
        return ExecStderr(self, self._take(2))

    def _take(self, number: int) -> Lane:
        if self._taken[number - 1]:
            raise RuntimeError(f"{'stdout' if number == 1 else 'stderr'} was taken already")
        self._taken[number - 1] = True
        lane = self._lanes[number - 1]
        lane.bounded = False
        return lane

    def _claim(self, lane: Lane) -> None:
        """From now on the lane gets what comes. Until then the library keeps it: nothing is lost, and the command is not stopped."""
        if lane.claimed:
            return
        lane.claimed = True
        if self._end_op is None or not self._end_op.answered:
            self._native.on_output(lane.number, lane)
        elif self._result is not None and lane.number in self._result_has:
            lane.chunks.append((self._result.stdout if lane.number == 1 else self._result.stderr).encode())
        else:
            lane.chunks.append(self._kept(lane))
        if self._attached:
            self._claim_all()
        self._end().then(lane.end)

    def _claim_all(self) -> None:
        """What a command that was attached to writes is kept in the box, and comes only when it is asked for before the end."""
        for lane, taken in zip(self._lanes, self._taken):
            if not lane.claimed:
                lane.bounded = not taken
                self._claim(lane)

    def _collect(self, number: int, to: Callable[[bytes], None]) -> None:
        """All of a stream goes to a callable, in the drain."""
        self._take(number).claimed = True
        self._native.on_output(number, to)

    # --- its end ---

    def _end(self) -> Op:
        """Answered when it has ended and its output was delivered."""
        if self._end_op is None:
            self._end_op = self._pump.post(self._native.wait)
        return self._end_op

    def _ended_well(self) -> None:
        """At the end of a stream: raises when the box failed."""
        error = self._end().error
        if error is not None:
            raise error

    async def wait(self) -> ExecResult:
        """Waits for the end. The result has, of the streams that were not taken, what the command wrote: the first and last 512 KiB of each.
        RuntimeError when the box failed. May be called again."""
        if self._attached:
            self._claim_all()
        end = self._end()
        try:
            await end
        except BaseException:
            if self._kill_on_cancel and not end.answered:
                self._kill_behind()
            raise
        if self._result is None:
            self._result_has = {n for n in (1, 2) if not self._taken[n - 1]}
            texts = [decode(self._kept(self._lanes[n - 1])) if n in self._result_has else "" for n in (1, 2)]
            self._result = self._make_result(*texts)
        return self._result

    def _kept(self, lane: Lane) -> bytes:
        """After the end: what nobody took."""
        if lane.bounded:
            return b"".join(lane.chunks)
        try:
            return self._native.kept(lane.number)
        except native.NativeError as e:
            if e.kind != "stopped":  # the runtime was shut down: it is lost
                raise
            return b""

    def _make_result(self, stdout: str, stderr: str) -> ExecResult:
        r = self._native.result()
        if r is None:
            raise native._native_error("internal", "the command's end is not known")
        usage = ExecUsage(user_us=r["user_us"], system_us=r["system_us"], wall_us=r["wall_us"], max_rss_bytes=r["max_rss_bytes"])
        return ExecResult(r["exit_code"], stdout, stderr, r["message"] or None, oom_killed=r["oom_killed"], timed_out=r["timed_out"],
                          killed=r["killed"], signal=r["signal"], stdout_truncated=r["stdout_truncated"],
                          stderr_truncated=r["stderr_truncated"], usage=usage)

    async def kill(self) -> None:
        """Kills it (SIGKILL) and everything it started. Nothing happens when it has ended."""
        await self._pump.post(self._native.kill)

    def _kill_behind(self) -> None:
        """The same, without waiting for the answer."""
        try:
            self._pump.post(self._native.kill)
        except native.NativeError:  # closed: it is killed by that
            pass

    async def signal(self, number: int) -> None:
        """Sends a signal (1 to 64, as Linux has them); on a terminal to its foreground process group."""
        await self._pump.post(self._native.signal, number)

    async def resize_tty(self, rows: int, cols: int) -> None:
        """Sets the size of its terminal. RuntimeError "invalid state: ..." when it has none."""
        await self._pump.post(self._native.resize, rows, cols)

    async def __aenter__(self) -> Execution:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        if not self._end().answered:
            self._kill_behind()
            if kind is None:
                await self._end().within(None)
