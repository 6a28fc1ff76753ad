# SPDX-License-Identifier: Apache-2.0
"""InteractiveBox: a shell in a box, on this program's terminal."""
from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any, List, Optional

from ._execution import Execution
from .simplebox import SimpleBox

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Type

    from ._runtime import Boxlite

PIECE = 65536


class InteractiveBox(SimpleBox):
    """A SimpleBox whose shell has this program's stdin, stdout and stderr: `async with InteractiveBox(image="alpine") as box: await box.wait()`.

    tty: a terminal for the shell; None: when stdin and stdout are terminals. Then this program's terminal is raw meanwhile, and its size is the
    shell's. wait() ends with the shell and gives its exit code. RuntimeError when tty=True and stdin is no terminal.
    """

    def __init__(self, image: Optional[str] = None, shell: str = "/bin/sh", tty: Optional[bool] = None, memory_mib: Optional[int] = None,
                 cpus: Optional[int] = None, runtime: Optional[Boxlite] = None, name: Optional[str] = None, auto_remove: bool = True,
                 **options: Any) -> None:
        super().__init__(image=image, memory_mib=memory_mib, cpus=cpus, runtime=runtime, name=name, auto_remove=auto_remove, **options)
        self._shell = shell
        self._tty = (os.isatty(0) and os.isatty(1)) if tty is None else tty
        self._execution: Optional[Execution] = None
        self._terminal: Optional[_Terminal] = None
        self._tasks: List[asyncio.Task[None]] = []

    async def start(self) -> InteractiveBox:
        """Starts the box and the shell."""
        import asyncio

        if self._tty and not os.isatty(0):
            raise RuntimeError("invalid argument: tty=True, but stdin is no terminal")
        await super().start()
        if self._execution is not None:
            return self
        self._execution = execution = await self._started().exec(self._shell, tty=self._tty)
        if self._tty:
            self._terminal = _Terminal(execution)
            self._terminal.enter()
            await self._terminal.resize()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(_feed(execution)), loop.create_task(_show(execution.stdout(), 1)),
                       loop.create_task(_show(execution.stderr(), 2))]
        return self

    async def wait(self) -> int:
        """Until the shell ends; its exit code."""
        import asyncio

        if self._execution is None:
            raise RuntimeError("Box not started. Use 'async with', or call start() first.")
        try:
            result = await self._execution.wait()
            await asyncio.gather(*self._tasks[1:])
            return result.exit_code
        finally:
            self._leave()

    def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        if self._terminal is not None:
            self._terminal.leave()
            self._terminal = None

    async def stop(self) -> None:
        self._leave()
        self._execution = None
        await super().stop()

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        self._leave()
        await super().__aexit__(kind, error, traceback)


class _Terminal:
    """This program's terminal, raw, and the shell's size behind it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._saved: Optional[List[Any]] = None
        self._watching = False

    def enter(self) -> None:
        import asyncio
        import signal
        import termios
        import tty

        self._saved = termios.tcgetattr(0)
        tty.setraw(0)
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._resized)
            self._watching = True
        except (RuntimeError, ValueError):  # not the main thread: the size stays
            pass

    def leave(self) -> None:
        import asyncio
        import signal
        import termios

        if self._watching:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
            self._watching = False
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = None

    async def resize(self) -> None:
        size = os.get_terminal_size(0)
        if size.lines > 0 and size.columns > 0:
            await self._execution.resize_tty(size.lines, size.columns)

    def _resized(self) -> None:
        import asyncio

        asyncio.get_running_loop().create_task(self._resize_quietly())

    async def _resize_quietly(self) -> None:
        try:
            await self.resize()
        except (RuntimeError, OSError):  # the shell has ended
            pass


async def _feed(execution: Execution) -> None:
    """stdin of this program to the shell, until its end."""
    stdin = execution.stdin()
    try:
        while True:
            data = await _read_stdin()
            if not data:
                break
            await stdin.send_input(data)
        stdin.close()
    except RuntimeError:  # the shell does not read any more
        pass


async def _read_stdin() -> bytes:
    """What there is on stdin; b"" at its end. A file never waits and cannot be watched."""
    import asyncio

    if stat.S_ISREG(os.fstat(0).st_mode):
        return os.read(0, PIECE)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(0, lambda: None if ready.done() else ready.set_result(None))
    except PermissionError:  # /dev/null and its like cannot be watched either
        return os.read(0, PIECE)
    try:
        await ready
    finally:
        loop.remove_reader(0)
    return os.read(0, PIECE)


async def _show(stream: Any, fd: int) -> None:
    target = sys.stdout if fd == 1 else sys.stderr
    async for text in stream:
        target.write(text)
        target.flush()
