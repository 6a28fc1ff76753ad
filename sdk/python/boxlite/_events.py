# SPDX-License-Identifier: Apache-2.0
"""What happens in a home, as it happens."""
from __future__ import annotations

import collections
import time
import weakref
from typing import Any, Deque, Dict, Optional

from . import boxlite as native
from ._pump import Inbox, Pump
from ._records import Event

# Events that wait for a slow reader; those beyond are gone, and events.lost says so.
WAITING_MAX = 10_000


class _Queue(Inbox):
    """What came and was not read. The extension holds it, so it must not hold the stream."""

    def __init__(self) -> None:
        self.events: Deque[Event] = collections.deque()
        self.lost = False

    def __call__(self, values: Dict[str, Any]) -> None:
        if len(self.events) >= WAITING_MAX:
            self.lost = True
            return
        self.events.append(Event._of(values))
        self.tell()

    def take(self) -> Optional[Event]:
        if self.events:
            return self.events.popleft()
        if self.lost:
            self.lost = False
            return Event(type="events.lost", time=time.time(), box_id="", box_name="", image="", execution_id="", program="", health="",
                         message="they came faster than they were read", exit_code=None, oom_killed=False)
        return None


class EventStream:
    """Events, in order and without end: `async for event in runtime.events()`. One at a time for each runtime."""

    def __init__(self, pump: Pump, since_ms: int) -> None:
        self._pump = pump
        self._queue = _Queue()
        if pump.events_are_read:
            raise RuntimeError("invalid state: the events of this runtime are read already")
        pump.native.on_event(self._queue, since_ms)
        pump.events_are_read = True
        self._end = weakref.finalize(self, _end, pump)
        self._end.atexit = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        event = await self._read()
        if event is None:
            raise StopAsyncIteration
        return event

    async def _read(self) -> Optional[Event]:
        while self._end.alive:
            event = self._queue.take()
            if event is not None:
                return event
            await self._queue.more(self._pump, "these events")
        return None

    async def aclose(self) -> None:
        """Nothing more is read."""
        self._end()
        self._queue.tell()


def _end(pump: Pump) -> None:
    pump.events_are_read = False
    if pump.forks == native._fork_count() and not pump.native.closed:
        pump.native.on_event(None, 0)
