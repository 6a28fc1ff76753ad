# SPDX-License-Identifier: Apache-2.0
"""How answers of the library reach Python: without threads, in any number of event loops, or by blocking.

The library answers posted calls while somebody drains its runtime. A Pump is a native runtime and who drains it:

* each asyncio loop that ever waited here watches the runtime's descriptor (a duplicate of its own, so that neither a loop nor the runtime
  has to outlive the other) and drains without waiting;
* a thread of the synchronous API drains and waits (block), Ctrl-C included.

One at a time has the role of drainer; whoever finds it taken is told of the answer by who has it. An Op is one answer to come. It can be
awaited in a loop, and the same coroutine can be driven by run_blocking, for an Op yields itself where no loop runs: so every method is
written once. asyncio itself is imported by who uses it, not by us.
"""
from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Dict, Generator, List, Optional, Set, Tuple, TypeVar

from . import boxlite as native

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

# Seconds: how long the interpreter's exit waits for boxes to stop before they are killed; the library kills after 10.
EXIT_DEADLINE = 15.0


def running_loop() -> Optional[asyncio.AbstractEventLoop]:
    """The loop that runs in this thread, if any."""
    module = sys.modules.get("asyncio")
    return module._get_running_loop() if module is not None else None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Op:
    """One answer to come: what a posted call is given as `done`, and what is awaited.

    late(value, error) is called, in the drain, with an answer that nobody waits for any more because the waiter was cancelled.
    """

    __slots__ = ("pump", "answered", "value", "error", "deadline", "watch", "late", "_abandoned", "_waiters", "_then", "__weakref__")

    def __init__(self, pump: Pump, late: Optional[Callable[[Any, Optional[BaseException]], None]] = None) -> None:
        self.pump = pump
        self.answered = False
        self.value: Any = None
        self.error: Optional[BaseException] = None
        self.deadline: Optional[float] = None  # of block, on time.monotonic()
        self.watch: Optional[Tuple[int, bool]] = None  # of block: a descriptor that is wanted instead, for writing?
        self.late = late
        self._abandoned = False
        self._waiters: List[asyncio.Future[None]] = []
        self._then: List[Callable[[], None]] = []

    def __call__(self, value: Any = None, error: Optional[BaseException] = None) -> None:
        """The answer; only the first one counts."""
        if self.answered:
            return
        self.value, self.error, self.answered = value, error, True
        for function in self._then:
            function()
        for future in list(self._waiters):
            self._wake(future)
        self._tell_late()

    def then(self, function: Callable[[], None]) -> None:
        """Calls function at the answer, in the drain; at once when it is there."""
        if self.answered:
            function()
        else:
            self._then.append(function)

    @staticmethod
    def _wake(future: asyncio.Future[None]) -> None:
        loop = future.get_loop()
        if loop is running_loop():
            _resolve(future)
            return
        try:
            loop.call_soon_threadsafe(_resolve, future)
        except RuntimeError:  # that loop is closed: nobody waits there any more
            pass

    def _tell_late(self) -> None:
        if self._abandoned and self.answered and self.late is not None:
            late, self.late = self.late, None
            late(self.value, self.error)

    def _wait(self, seconds: Optional[float]) -> Generator[Any, None, None]:
        """Until the answer is there or so many seconds are over."""
        if self.answered:
            return
        loop = running_loop()
        try:
            if loop is None:
                self.deadline = None if seconds is None else time.monotonic() + seconds
                yield self
            else:
                yield from self._wait_in(loop, seconds)
        except BaseException:  # cancelled, Ctrl-C, or the coroutine is closed
            self._abandoned = True
            self._tell_late()
            raise

    def _wait_in(self, loop: asyncio.AbstractEventLoop, seconds: Optional[float]) -> Generator[Any, None, None]:
        self.pump.attach(loop)
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append(future)
        timer = None if seconds is None else loop.call_later(seconds, _resolve, future)
        try:
            if not self.answered:  # by another thread, just now
                yield from future
        finally:
            self._waiters.remove(future)
            if timer is not None:
                timer.cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._wait(None)
        if self.error is not None:
            raise self.error
        return self.value

    def within(self, seconds: Optional[float]) -> _Within:
        """Awaited: is the answer there, so many seconds later at most? Does not raise its error."""
        return _Within(self, seconds)


class Inbox:
    """What comes in the drain and is kept until it is read: who waits for more of it, one at a time."""

    reader: Optional[Op] = None

    async def more(self, pump: Pump, what: str) -> None:
        """Waits until tell is called."""
        if self.reader is not None:
            raise RuntimeError(f"another task reads {what}")
        op = self.reader = pump.local_op()
        try:
            await op
        finally:
            if self.reader is op:
                self.reader = None

    def tell(self) -> None:
        reader, self.reader = self.reader, None
        if reader is not None:
            reader()


class _Within:
    __slots__ = ("op", "seconds")

    def __init__(self, op: Op, seconds: Optional[float]) -> None:
        self.op, self.seconds = op, seconds

    def __await__(self) -> Generator[Any, None, bool]:
        yield from self.op._wait(self.seconds)
        return self.op.answered


def _is_ready(watch: Optional[Tuple[int, bool]], bell: int = -1) -> bool:
    """Is the descriptor ready? With a bell: waits until it is, or the bell rings."""
    import select

    assert watch is not None
    fd, write = watch
    poll = select.poll()
    poll.register(fd, select.POLLOUT if write else select.POLLIN)
    if bell >= 0:
        poll.register(bell, select.POLLIN)
    return any(ready == fd for ready, _ in poll.poll(0 if bell < 0 else None))


class _Ready:
    """Awaited: a descriptor is ready."""

    __slots__ = ("pump", "fd", "write")

    def __init__(self, pump: Pump, fd: int, write: bool) -> None:
        self.pump, self.fd, self.write = pump, fd, write

    def __await__(self) -> Generator[Any, None, None]:
        loop = running_loop()
        if loop is None:
            op = Op(self.pump)
            op.watch = (self.fd, self.write)
            yield op
            return
        self.pump.attach(loop)
        future: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if self.write else (loop.add_reader, loop.remove_reader)
        add(self.fd, _resolve, future)
        try:
            yield from future
        finally:
            remove(self.fd)


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine that awaits Ops only, by draining in this thread."""
    if running_loop() is not None:
        coroutine.close()
        raise RuntimeError("the synchronous API would stop the event loop that runs in this thread: "
                           "use the names without Sync and await them, or call this in a thread of its own")
    failure: Optional[BaseException] = None
    while True:
        try:
            op = coroutine.send(None) if failure is None else coroutine.throw(failure)
        except StopIteration as end:
            result: T = end.value
            return result
        failure = None
        try:
            op.pump.block(op)
        except BaseException as e:  # Ctrl-C: the coroutine cleans up
            failure = e


class Gate:
    """Lets one coroutine through at a time, of any loop and thread, in the order they came."""

    def __init__(self) -> None:
        self._flag = threading.Lock()
        self._queue: List[Op] = []

    async def enter(self, pump: Pump) -> None:
        while not self._flag.acquire(blocking=False):
            turn = pump.local_op()
            self._queue.append(turn)
            if self._flag.acquire(blocking=False):  # it was left before we stood in the queue
                if turn in self._queue:
                    self._queue.remove(turn)
                return
            try:
                await turn
            except BaseException:
                if turn in self._queue:
                    self._queue.remove(turn)
                else:  # it was our turn: it is the next one's now
                    self._next()
                raise

    def leave(self) -> None:
        self._flag.release()
        self._next()

    def _next(self) -> None:
        if self._queue:
            self._queue.pop(0)()


class _Watch:
    """A loop's duplicate of the runtime's descriptor, and its reader. It goes with the loop, or with the runtime."""

    __slots__ = ("loop", "fd")

    def __init__(self, pump: Pump, loop: asyncio.AbstractEventLoop) -> None:
        self.fd = os.dup(pump.native.fd())
        self.loop = weakref.ref(loop, self._loop_is_gone)
        try:
            loop.add_reader(self.fd, _ready, weakref.ref(pump), self)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _loop_is_gone(self, _ref: object) -> None:
        self._close()

    def _end_here(self) -> None:
        loop = self.loop()
        if loop is not None and self.fd >= 0:
            loop.remove_reader(self.fd)
        self._close()

    def end(self) -> None:
        """From any thread."""
        loop = self.loop()
        if loop is None or loop.is_closed():
            self._close()
        elif loop is running_loop():
            self._end_here()
        else:
            try:
                loop.call_soon_threadsafe(self._end_here)
            except RuntimeError:  # closed meanwhile
                self._close()


def _ready(pump_ref: weakref.ref[Pump], watch: _Watch) -> None:
    """The runtime's descriptor is readable, in the watch's loop."""
    pump = pump_ref()
    if pump is None or pump.native.closed:
        watch._end_here()
    else:
        pump._drain_now()


def _end_watches(watches: Dict[int, _Watch]) -> None:
    for watch in list(watches.values()):
        watch.end()
    watches.clear()


class Pump:
    """A native runtime, and who drains it."""

    def __init__(self, runtime: native._Runtime) -> None:
        self.native = runtime
        self.forks = native._fork_count()
        self._watches: Dict[int, _Watch] = {}  # by id(loop)
        weakref.finalize(self, _end_watches, self._watches).atexit = False
        self._local: Set[Op] = set()
        self._role = threading.Condition(threading.Lock())
        self.events_are_read = False
        self._taken = False
        self._bells: Set[int] = set()  # of threads that watch a descriptor while another one drains
        _open.add(self)

    # --- answers ---

    def post(self, function: Callable[..., None], *args: Any, late: Optional[Callable[[Any, Optional[BaseException]], None]] = None) -> Op:
        """Calls function(op, *args), which posts; the op is its answer."""
        op = Op(self, late)
        function(op, *args)
        return op

    def local_op(self) -> Op:
        """An op that is answered in Python; with an error when the runtime is closed."""
        op = Op(self)
        if self.native.closed:
            op(None, native._native_error("stopped", "the runtime was closed"))
            return op
        self._local.add(op)
        op.then(lambda: self._local.discard(op))
        return op

    # --- asyncio ---

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watches the runtime in this loop, which runs in this thread, from now on."""
        watch = self._watches.get(id(loop))
        if watch is None or watch.loop() is not loop:
            self._watches[id(loop)] = _Watch(self, loop)

    def _drain_now(self) -> None:
        if not self._role.acquire(blocking=False):
            return  # somebody takes the role or gives it back; the descriptor stays readable
        try:
            if self._taken:
                return
            self._taken = True
        finally:
            self._role.release()
        self._drain(0)

    def _drain(self, timeout_ms: int, *watch: Any) -> None:
        """With the role, which is given back."""
        try:
            self.native.drain(timeout_ms, *watch)
        finally:
            with self._role:
                self._taken = False
                self._role.notify_all()
                for bell in self._bells:
                    os.write(bell, b"!")

    # --- blocking ---

    def ready(self, fd: int, write: bool) -> _Ready:
        return _Ready(self, fd, write)

    def block(self, op: Op) -> None:
        """Until op is answered, its deadline is over, or what it watches is ready."""
        while not op.answered:
            left = None if op.deadline is None else op.deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            with self._role:
                if op.answered:
                    return
                if not self._taken:
                    self._taken = True
                    bell = None
                elif op.watch is None:
                    self._role.wait(left)
                    continue
                else:
                    bell = os.pipe()
                    self._bells.add(bell[1])
            if bell is not None:
                if self._watch(op.watch, bell):
                    return
                continue
            if op.watch is None:
                self._drain(-1 if left is None else min(int(left * 1000) + 1, 2**31 - 1))
            else:
                self._drain(-1, *op.watch)
                if _is_ready(op.watch):
                    return

    def _watch(self, watch: Optional[Tuple[int, bool]], bell: Tuple[int, int]) -> bool:
        """Another thread drains: until it has done with that, or what is watched is ready."""
        try:
            return _is_ready(watch, bell[0])
        finally:
            with self._role:
                self._bells.discard(bell[1])
            os.close(bell[0])
            os.close(bell[1])

    # --- the end ---

    def close(self) -> None:
        """Frees the runtime: what is not answered fails, boxes that are not detached end by themselves."""
        if self.forks != native._fork_count():
            return  # the parent's
        self.native.close()
        error = native._native_error("stopped", "the runtime was closed")
        for op in list(self._local):
            op(None, error)
        _end_watches(self._watches)

    def shutdown_at_exit(self) -> None:
        if self.native.closed:
            return
        try:
            op = self.post(self.native.shutdown, 0)
            op.deadline = time.monotonic() + EXIT_DEADLINE
            self.block(op)
        except native.NativeError:  # it was shut down already
            pass
        finally:
            self.close()


_open: weakref.WeakSet[Pump] = weakref.WeakSet()


def _at_exit() -> None:
    """No box that is not detached outlives the interpreter."""
    for pump in list(_open):
        if pump.forks == native._fork_count():
            pump.shutdown_at_exit()


atexit.register(_at_exit)
