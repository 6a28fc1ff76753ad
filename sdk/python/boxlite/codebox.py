# SPDX-License-Identifier: Apache-2.0
"""CodeBox: Python code in a box, by an interpreter that stays and keeps its variables."""
from __future__ import annotations

import functools
import json
import os
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Union

from . import _check as check
from . import boxlite as native
from ._execution import RESULT_MAX, Collector, Execution
from ._pump import Gate, Op
from ._records import Record
from .errors import ExecError, ParseError
from .simplebox import SimpleBox

if TYPE_CHECKING:
    from ._runtime import Boxlite

    Path = Union[str, os.PathLike[str]]

# Where the image has Python: the first of them that runs.
PYTHONS = ("python3", "python", "/usr/local/bin/python")
# Seconds that code has to end after it was interrupted, before its interpreter is killed.
GRACE = 2.0
# Bytes of an answer: what the interpreter sends of a value is less.
ANSWER_MAX = 4 * 1024 * 1024
INTERRUPT = 2


class CodeError(Record):
    """The exception that ended a run. traceback: its text, without frames that are not the code's."""

    type: str
    message: str
    traceback: str


class CodeResult(str):
    """What a run wrote to stdout, as a str; and more:

    stderr: what it wrote there, tracebacks included. value: of the last statement when that is an expression, if JSON can say it exactly, else
    None; value_repr: its repr, None when there was no value or it was None. error: a CodeError, or None. exit_code: 0, 1 after an exception, the
    code of SystemExit, or how the interpreter died. timed_out: it was ended after `timeout`. fresh: it began without the variables of earlier
    runs (the first, and the one after the interpreter was killed or had died). truncated: a part of the output was dropped.
    """

    stderr: str
    value: Any
    value_repr: Optional[str]
    error: Optional[CodeError]
    exit_code: int
    timed_out: bool
    fresh: bool
    truncated: bool

    @property
    def stdout(self) -> str:
        return str(self)

    def raise_for_error(self) -> CodeResult:
        """Raises ExecError when the run failed, else gives the result itself."""
        if self.exit_code != 0:
            raise ExecError("python", self.exit_code, self.stderr)
        return self


class _Part:
    """One stream of a run: splits the code's output from the frames that answer. See _interpreter.py."""

    def __init__(self, nonce: bytes, done: Any) -> None:
        self.mark = b"\0\x1e" + nonce
        self.head = len(self.mark) + 9
        self.output = Collector(RESULT_MAX)
        self.answer = b""
        self.ended = False
        self.done = done
        self._buffer = b""

    def __call__(self, data: bytes) -> None:
        buffer = self._buffer + data
        while not self.ended:
            at = buffer.find(self.mark)
            if at < 0:
                keep = self._begun(buffer)
                self.output(buffer[:len(buffer) - keep])
                self._buffer = buffer[len(buffer) - keep:]
                return
            if len(buffer) < at + self.head:
                break
            size = self._size(buffer[at + self.head - 8:at + self.head])
            if len(buffer) < at + self.head + size:
                break
            self.output(buffer[:at])
            self.answer += buffer[at + self.head:at + self.head + size]
            self.ended = buffer[at + self.head - 9:at + self.head - 8] == b"e" or len(self.answer) >= ANSWER_MAX
            buffer = buffer[at + self.head + size:]
        self._buffer = buffer
        if self.ended:
            self.done()

    def _begun(self, buffer: bytes) -> int:
        """How many bytes at the end may be the beginning of a mark."""
        for n in range(min(len(self.mark) - 1, len(buffer)), 0, -1):
            if self.mark.startswith(buffer[-n:]):
                return n
        return 0

    @staticmethod
    def _size(digits: bytes) -> int:
        try:
            return min(int(digits, 16), ANSWER_MAX)
        except ValueError:  # the code knows the nonce and lies: its own answer is lost
            return 0

    def rest(self) -> bytes:
        """What came behind the last frame: of threads and children that still write."""
        rest, self._buffer = self._buffer, b""
        return rest


class _Run:
    """A request that was sent, and its answer."""

    def __init__(self, session: _Session, nonce: str) -> None:
        self.op: Op = session.execution._pump.local_op()
        self.parts = [_Part(nonce.encode(), self._part_done) for _ in range(2)]

    def _part_done(self) -> None:
        if all(p.ended for p in self.parts):
            self.op()

    def answer(self) -> Dict[str, Any]:
        try:
            document = json.loads(self.parts[0].answer)
            if isinstance(document, dict) and isinstance(document.get("code"), int):
                return document
        except (ValueError, RecursionError):
            pass
        raise ParseError("the interpreter in the box gave an answer that is none")


class _Session:
    """An interpreter in a box."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.stdin = execution.stdin()
        self.run: Optional[_Run] = None
        self.runs = 0
        self._idle = [Collector(RESULT_MAX), Collector(RESULT_MAX)]  # what came between two runs
        ref = weakref.ref(self)  # the extension holds what it calls, and must not hold the execution
        for i in (0, 1):
            execution._collect(i + 1, functools.partial(_take, ref, i))
        execution._end().then(functools.partial(_ended, ref))

    def take(self, i: int, data: bytes) -> None:
        run = self.run
        if run is None or run.parts[i].ended:
            self._idle[i](data)
            return
        part = run.parts[i]
        part(data)
        if part.ended:
            self._idle[i](part.rest())

    @property
    def alive(self) -> bool:
        return not self.execution._end().answered

    async def begin(self, code: str, name: str) -> _Run:
        nonce = os.urandom(16).hex()
        request = json.dumps({"code": code, "name": name}).encode()
        run = _Run(self, nonce)
        for i, idle in enumerate(self._idle):  # it is the output of what earlier runs left behind
            for piece in idle.parts:
                run.parts[i].output(piece)
            self._idle[i] = Collector(RESULT_MAX)
        self.run = run
        await self.stdin.send_input(b"%d %s\n" % (len(request), nonce.encode()) + request)
        return run

    async def settle(self) -> bool:
        """Ends the run that is under way: an interrupt, then a kill. Is the interpreter still there?"""
        if self.run is None or self.run.op.answered:
            return self.alive
        await self._interrupt()
        if not await self.run.op.within(GRACE):
            await self.kill()
        return self.alive

    async def _interrupt(self) -> None:
        try:
            await self.execution.signal(INTERRUPT)
        except native.NativeError:  # it ended meanwhile
            pass

    def interrupt_behind(self) -> None:
        """The same, without waiting."""
        try:
            self.execution._pump.post(self.execution._native.signal, INTERRUPT)
        except native.NativeError:
            pass

    async def kill(self) -> None:
        try:
            await self.execution.kill()
        except native.NativeError:
            pass
        await self.execution._end().within(None)


def _take(ref: weakref.ref[_Session], i: int, data: bytes) -> None:
    session = ref()
    if session is not None:
        session.take(i, data)


def _ended(ref: weakref.ref[_Session]) -> None:
    session = ref()
    if session is not None and session.run is not None:
        session.run.op()


class CodeBox(SimpleBox):
    """A SimpleBox that runs Python code: `async with CodeBox() as box: print(await box.run("print(6 * 7)"))`.

    Variables, imports and functions stay from run to run, as in a notebook; stateless=True: each run has an interpreter of its own. The code is
    free to do what it likes to its interpreter; it reaches nothing but its box.
    """

    def __init__(self, image: str = "python:slim", memory_mib: Optional[int] = None, cpus: Optional[int] = None,
                 runtime: Optional[Boxlite] = None, name: Optional[str] = None, auto_remove: bool = True, reuse_existing: bool = False,
                 stateless: bool = False, **options: Any) -> None:
        super().__init__(image=image, memory_mib=memory_mib, cpus=cpus, runtime=runtime, name=name, auto_remove=auto_remove,
                         reuse_existing=reuse_existing, **options)
        self._stateless = check.flag("stateless", stateless)
        self._session: Optional[_Session] = None
        self._gate = Gate()

    async def stop(self) -> None:
        self._session = None
        await super().stop()

    # --- code ---

    async def run(self, code: str, timeout: Optional[float] = None, *, stateless: Optional[bool] = None) -> CodeResult:
        """Runs code to its end: what it wrote to stdout, with more about it (CodeResult). An exception of the code is no exception here.

        timeout in seconds: the run is interrupted (KeyboardInterrupt: variables stay), and its interpreter killed when it does not end in 2
        seconds; the box stays. Nothing is raised: timed_out says so. One run at a time; others wait for their turn. A task that is cancelled
        interrupts its run. RuntimeError when the box failed, ExecError when the image has no Python.
        """
        check.text("code", code)
        limit = check.seconds("timeout", timeout) or None
        pump = self._started()._pump
        await self._gate.enter(pump)
        try:
            if self._stateless if stateless is None else check.flag("stateless", stateless):
                session = await self._new_session()
                try:
                    return await self._run_in(session, code, limit, True)
                finally:
                    session.execution._kill_behind()
            kept = self._session
            if kept is not None and await kept.settle():
                return await self._run_in(kept, code, limit, False)
            self._session = None
            self._session = session = await self._new_session()
            return await self._run_in(session, code, limit, True)
        finally:
            self._gate.leave()

    async def _new_session(self) -> _Session:
        with open(os.path.join(os.path.dirname(__file__), "_interpreter.py"), encoding="utf-8") as f:
            program = f.read()
        box = self._started()
        for python in PYTHONS:
            op = box._exec_op(python, ["-c", program], None, False, None, None, None, False, False, True)
            try:
                return _Session(Execution(box._pump, await op))
            except native.NativeError as e:
                if e.kind != "execution" or "not found" not in str(e):
                    raise
        raise ExecError("python", 127, f"the image has no Python: {', '.join(PYTHONS)} were not found")

    async def _run_in(self, session: _Session, code: str, limit: Optional[float], fresh: bool) -> CodeResult:
        session.runs += 1
        try:
            try:
                run = await session.begin(code, f"<run {session.runs}>")
            except native.NativeError:  # it died before it read: the end says how
                if session.run is None or not await session.execution._end().within(GRACE):
                    raise
                run = session.run
            timed_out = not await run.op.within(limit)
            if timed_out:
                await session.settle()
        except BaseException:
            session.interrupt_behind()  # the next run settles it
            raise
        return self._result(session, run, timed_out, fresh)

    @staticmethod
    def _result(session: _Session, run: _Run, timed_out: bool, fresh: bool) -> CodeResult:
        answer: Dict[str, Any] = {}
        if all(p.ended for p in run.parts):
            answer = run.answer()
        else:
            for part in run.parts:
                part.output(part.rest())
            session.execution._ended_well()  # the box failed: that is an error
            end = session.execution._native.result() or {}
            code, why = end.get("exit_code", -1), end.get("message") or "the interpreter ended"
            if not timed_out:
                why += f" (exit code {code}); variables are lost"
            answer = {"code": code, "error": {"type": "SystemExit", "message": why, "traceback": ""}}
        result = CodeResult(run.parts[0].output.text())
        result.stderr = run.parts[1].output.text()
        result.value = answer.get("value")
        result.value_repr = _text_or_none(answer.get("repr"))
        result.error = _error(answer.get("error"))
        result.exit_code = answer["code"]
        result.timed_out = timed_out
        result.fresh = fresh
        result.truncated = any(p.output.truncated for p in run.parts)
        if timed_out:
            result.error = CodeError(type="TimeoutError", message="the run was ended after its timeout",
                                     traceback=result.error.traceback if result.error is not None else "")
            result.exit_code = result.exit_code or 124
        session.run = None if not timed_out or run.op.answered else run
        return result

    async def run_script(self, script_path: Path, timeout: Optional[float] = None) -> CodeResult:
        """Runs a file of the host, as run does. OSError when it cannot be read."""
        with open(check.path("script_path", script_path), encoding="utf-8") as f:
            return await self.run(f.read(), timeout)

    # --- packages ---

    async def install_package(self, package: str, *, index_url: Optional[str] = None, timeout: Optional[float] = None) -> str:
        """Installs a package with pip; what pip wrote. As install_packages."""
        return await self.install_packages(package, index_url=index_url, timeout=timeout)

    async def install_packages(self, *packages: str, index_url: Optional[str] = None, timeout: Optional[float] = None) -> str:
        """Installs packages with the image's pip, for the runs that follow too; what pip wrote to stdout.

        index_url: else the one that the box is configured for (PIP_INDEX_URL in env, pip.conf), else pypi.org: the box's network must let it
        through. ExecError when pip fails.
        """
        if not packages:
            raise ValueError("install_packages needs the name of a package")
        argv = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore"]
        if index_url is not None:
            argv += ["--index-url", check.text("index_url", index_url)]
        argv += check.texts("packages", list(packages))
        return await self._pip(argv, packages, timeout)

    async def _pip(self, argv: List[str], packages: Sequence[str], timeout: Optional[float]) -> str:
        for python in PYTHONS:
            done = await self.exec(python, *argv, timeout=timeout)
            if done.exit_code != 127:
                break
        if done.exit_code != 0:
            why = f"timed out after {timeout} seconds" if done.timed_out else done.stderr
            raise ExecError("pip install " + " ".join(packages), done.exit_code, why)
        if self._session is not None:
            await self.run("import importlib; importlib.invalidate_caches()")
        return done.stdout


def _text_or_none(value: Any) -> Optional[str]:
    return value if isinstance(value, str) else None


def _error(document: Any) -> Optional[CodeError]:
    if not isinstance(document, dict):
        return None
    return CodeError(**{k: str(document.get(k, "")) for k in ("type", "message", "traceback")})
