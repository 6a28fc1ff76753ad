# SPDX-License-Identifier: Apache-2.0
"""Boxlite: a home that is open. Box: a box in it."""
from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, Union

from . import _check as check
from . import _records as records
from . import boxlite as native
from ._events import EventStream
from ._execution import Execution
from ._logs import LogStream
from ._network import NetworkHandle
from ._options import BoxOptions, CopyOptions, Env, Options
from ._pump import Op, Pump
from ._records import (BoxInfo, BoxMetrics, CopyResult, FileInfo, ImageInfo, ImagePullResult, ImageRemoveResult, ProcessInfo,
                       RuntimeMetrics)
from .errors import unsupported

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    Path = Union[str, os.PathLike[str]]


def _path_bytes(name: str, value: Any) -> bytes:
    return os.fsencode(check.path(name, value))


def _seconds_up(name: str, value: Optional[float]) -> int:
    """Whole seconds for the library, rounded up: None is its default (0), less than 0 endless."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise check.fail(name, "a number of seconds", value)
    if value != value or value > 10**6:
        raise ValueError(f"{name} must be at most 1000000 seconds, is {value}")
    return -1 if value < 0 else max(1, -int(-value // 1))


class Box:
    """A box, by reference: dropping this does not touch the box. After stop() the handle is dead; Boxlite.get gives a new one.

    Every method that waits raises RuntimeError (NativeError), whose text begins with the class of the failure: "stopped: ...",
    "engine reported an error: ...", "images error: ..." and so on. `async with box:` starts it and stops it at the end of the block.
    """

    def __init__(self, pump: Pump, box: native._Box) -> None:
        self._pump = pump
        self._native = box

    def __repr__(self) -> str:
        return f"<Box {self.id}{'' if self.name is None else ' ' + self.name}>"

    @property
    def id(self) -> str:
        """12 characters [0-9A-Za-z]."""
        return self._native.id

    @property
    def name(self) -> Optional[str]:
        return self._native.name

    @property
    def engine(self) -> Optional[str]:
        """What isolates: "kvm" (hardware) or "tcg" (emulation: see docs/PYTHON.md); None before the first start. Extension."""
        return self._native.engine

    @property
    def network(self) -> NetworkHandle:
        """The way into the box's network."""
        return NetworkHandle(self._pump, self._native)

    @property
    def snapshot(self) -> SnapshotHandle:
        """Snapshots of the box."""
        return SnapshotHandle()

    # --- its life ---

    async def start(self) -> None:
        """Starts it; returns when it answers. Nothing happens to one that runs. The first start on a host, of an image, or of a size does
        more: see boxlite_start_box."""
        await self._pump.post(self._native.start)

    async def stop(self) -> None:
        """Stops it: TERM to its processes, then KILL; its disk stays. Nothing happens to one that does not run."""
        await self._pump.post(self._native.stop)

    async def restart(self) -> None:
        """Stops and starts it; the handle stays good. Extension."""
        await self._pump.post(self._native.restart)

    async def pause(self) -> None:
        """Makes its machine stand still: what runs in it waits, and what it is asked for is refused until `resume`. Extension."""
        await self._pump.post(self._native.pause)

    async def resume(self) -> None:
        """Lets a paused box go on. Extension."""
        await self._pump.post(self._native.resume)

    async def info(self) -> BoxInfo:
        """What it is and does now."""
        return BoxInfo._of(await self._pump.post(self._native.info), await self._pump.post(self._native.details))

    async def metrics(self) -> BoxMetrics:
        """What it takes and did since its start. Does not start it."""
        figures = await self._pump.post(self._native.metrics)
        return records.box_metrics(figures, await self._pump.post(self._native.details))

    async def details(self) -> Dict[str, str]:
        """More about it, as named facts: see boxlite_box_details. Extension."""
        facts: Dict[str, str] = await self._pump.post(self._native.details)
        return facts

    async def wait(self) -> int:
        """Until it does not run: the exit code of its main process, 0 when it has none. RuntimeError "engine reported an error: ..." when it
        failed. Extension."""
        code: int = await self._pump.post(self._native.wait)
        return code

    async def update_network(self, allow_net: Sequence[str]) -> None:
        """These rules hold from now on, in place of all it had, and at its later starts; none: everything but what is guarded. Then
        connections that they do not allow are closed. RuntimeError "invalid state: ..." when its network is disabled. Extension."""
        await self._pump.post(self._native.set_allow_net, check.texts("allow_net", allow_net))

    async def processes(self) -> List[ProcessInfo]:
        """Its processes, by number. RuntimeError "invalid state: ..." when it does not run. Extension."""
        return [ProcessInfo._of(p) for p in await self._pump.post(self._native.processes)]

    def logs(self, *, tail: Optional[int] = None, since: Optional[float] = None, follow: bool = False, console: bool = False) -> LogStream:
        """What its main process wrote, of which the last 12 to 16 MiB are kept: `async for piece in box.logs()`. tail: so many lines of the
        end, 0: none. since: unix time, seconds. follow: goes on until the box stops. console: the machine's console instead. Extension."""
        lines = 0 if tail is None else -1 if tail == 0 else check.integer(1, 2**31 - 1)("tail", tail)
        return LogStream(self._pump, self._native, lines, 0 if since is None else int(since * 1000), check.flag("follow", follow),
                         check.flag("console", console))

    # --- commands ---

    def _exec_op(self, command: str, args: Optional[Sequence[str]], env: Optional[Env], tty: bool, user: Optional[str],
                 timeout_secs: Optional[float], cwd: Optional[str], stdin_closed: bool, detached: bool, kill_on_cancel: bool) -> Op:
        flat = [text for pair in (check.pairs("env", env) if env is not None else ()) for text in pair]

        def late(execution: Any, _error: Optional[BaseException]) -> None:
            if execution is not None and kill_on_cancel:
                Execution(self._pump, execution)._kill_behind()

        return self._pump.post(self._native.exec, check.text("command", command), check.texts("args", args) if args is not None else [],
                               flat, None if cwd is None else check.text("cwd", cwd), None if user is None else check.text("user", user),
                               check.seconds("timeout_secs", timeout_secs), check.flag("tty", tty), stdin_closed, detached, (0, 0),
                               (0, 0, 0, 0, 0), late=late)

    async def exec(self, command: str, args: Optional[Sequence[str]] = None, env: Optional[Env] = None, tty: bool = False,
                   user: Optional[str] = None, timeout_secs: Optional[float] = None, cwd: Optional[str] = None, *,
                   kill_on_cancel: bool = False, detached: bool = False) -> Execution:
        """Runs a command, starting the box when it does not run; returns when it runs.

        command: looked up in the box's PATH when it has no slash. env: over the box's; pairs or a dict. tty: a terminal, on which stderr
        comes as stdout. user: name|uid[:group|gid]. timeout_secs: then TERM to all its processes, 2 seconds later KILL; wait() does not
        raise, the result says timed_out. cwd: absolute. Its stdin is open until it is closed.

        Extensions: kill_on_cancel: a task that is cancelled while it waits for the command (here or in wait) kills it. detached: it goes on
        when this program ends, and attach finds it again.

        RuntimeError "Execution error: spawn_failed: ..." when it cannot be run, saying whether it was not found; and those of start.
        """
        execution = await self._exec_op(command, args, env, tty, user, timeout_secs, cwd, False, detached, kill_on_cancel)
        return Execution(self._pump, execution, kill_on_cancel=kill_on_cancel)

    async def attach(self, execution_id: Optional[str] = None) -> Execution:
        """A command that runs already, by id; None: the box's main process, also before the box is started. Its streams begin with what was
        kept."""
        execution = await self._pump.post(self._native.attach, execution_id)
        return Execution(self._pump, execution, attached=True)

    # --- files ---

    async def copy_in(self, host_path: Path, container_dest: str, copy_options: Optional[CopyOptions] = None) -> CopyResult:
        """Copies a file, link or folder of the host into the box. A file goes into container_dest when that is a folder or ends with "/",
        else it becomes it. RuntimeError "not found: ...", "already exists: ...", "storage error: ...". Starts the box."""
        return await self._copy(self._native.copy_in, _path_bytes("host_path", host_path), _path_bytes("container_dest", container_dest),
                                copy_options)

    async def copy_out(self, container_src: str, host_dest: Path, copy_options: Optional[CopyOptions] = None) -> CopyResult:
        """Copies out of the box by the same rules. Names, contents and sizes are those of whoever the box runs: CopyOptions(max_bytes=...)
        bounds them. Starts the box."""
        return await self._copy(self._native.copy_out, _path_bytes("container_src", container_src), _path_bytes("host_dest", host_dest),
                                copy_options)

    async def _copy(self, function: Any, source: bytes, destination: bytes, options: Optional[CopyOptions]) -> CopyResult:
        if options is not None and not isinstance(options, CopyOptions):
            raise check.fail("copy_options", "CopyOptions", options)
        return CopyResult._of(await self._pump.post(function, source, destination, *(options or CopyOptions())._arguments()))

    async def read_file(self, path: str, *, offset: int = 0, length: Optional[int] = None, user: Optional[str] = None) -> bytes:
        """What a file holds, at most 64 MiB. Extension."""
        if length is not None and length <= 0:
            raise ValueError(f"length must be more than 0, is {length}")
        data: bytes = await self._pump.post(self._native.read_file, _path_bytes("path", path),
                                            check.integer(0, 2**63 - 1)("offset", offset), length or 0, user)
        return data

    async def write_file(self, path: str, data: Union[bytes, str], *, mode: Optional[int] = None, parents: bool = False,
                         overwrite: bool = True, user: Optional[str] = None) -> None:
        """Makes or replaces a file, at once when all of it is there; at most 64 MiB. mode: of a new one, else 0o644. Extension."""
        if isinstance(data, str):
            data = data.encode()
        await self._pump.post(self._native.write_file, _path_bytes("path", path), bytes(data), mode or 0, parents, not overwrite, user)

    async def list_dir(self, path: str, *, user: Optional[str] = None) -> List[FileInfo]:
        """What is in a folder, by name; at most 65536 entries. Extension."""
        found = await self._pump.post(self._native.list_dir, _path_bytes("path", path), False, user)
        return [FileInfo._of(f) for f in found]

    async def stat(self, path: str, *, follow_symlinks: bool = False, user: Optional[str] = None) -> FileInfo:
        """What is at a path. Extension."""
        return FileInfo._of(await self._pump.post(self._native.stat, _path_bytes("path", path), follow_symlinks, user))

    async def mkdir(self, path: str, *, parents: bool = False, user: Optional[str] = None) -> None:
        """Makes a folder; parents: and those on the way, and one that is there is fine. Extension."""
        await self._pump.post(self._native.mkdir, _path_bytes("path", path), parents, user)

    async def remove_file(self, path: str, *, recursive: bool = False, user: Optional[str] = None) -> None:
        """Removes a file, a link or an empty folder; recursive: any folder. Extension."""
        await self._pump.post(self._native.remove_file, _path_bytes("path", path), recursive, user)

    async def rename(self, path: str, to: str, *, overwrite: bool = True, user: Optional[str] = None) -> None:
        """Moves a file, link or folder. Extension."""
        await self._pump.post(self._native.rename, _path_bytes("path", path), _path_bytes("to", to), not overwrite, user)

    # --- what this version cannot do ---

    async def export(self, *, options: Optional[object] = None, dest: Path) -> str:
        """RuntimeError "unsupported: ..."."""
        raise unsupported("export: this version of BoxLite does not export boxes")

    async def clone_box(self, *, options: Optional[object] = None, name: Optional[str] = None) -> Box:
        """RuntimeError "unsupported: ..."."""
        raise unsupported("clone_box: this version of BoxLite does not clone boxes")

    async def __aenter__(self) -> Box:
        await self.start()
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        await self.stop()


class SnapshotHandle:
    """Snapshots of a box: each call is RuntimeError "unsupported: ..."."""

    async def create(self, *, options: Optional[object] = None, name: str) -> Any:
        raise unsupported("snapshot.create: this version of BoxLite has no snapshots")

    async def list(self) -> Any:
        raise unsupported("snapshot.list: this version of BoxLite has no snapshots")

    async def get(self, name: str) -> Any:
        raise unsupported("snapshot.get: this version of BoxLite has no snapshots")

    async def remove(self, name: str) -> None:
        raise unsupported("snapshot.remove: this version of BoxLite has no snapshots")

    async def restore(self, name: str) -> None:
        raise unsupported("snapshot.restore: this version of BoxLite has no snapshots")


class VolumeHandle:
    """Volumes: each call is RuntimeError "unsupported: ..."."""

    async def create(self, *args: Any, **kw: Any) -> Any:
        raise unsupported("volumes.create: this version of BoxLite has no volumes")

    async def list(self) -> Any:
        raise unsupported("volumes.list: this version of BoxLite has no volumes")

    async def get(self, id: str) -> Any:
        raise unsupported("volumes.get: this version of BoxLite has no volumes")

    async def remove(self, id: str, force: bool = False) -> None:
        raise unsupported("volumes.remove: this version of BoxLite has no volumes")


class ImageHandle:
    """The images of a runtime. Names are read as Docker reads them. Failures: RuntimeError "images error: ...", "network error: ...",
    "configuration error: ...", "storage error: ..."."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    async def pull(self, reference: str) -> ImagePullResult:
        """Fetches an image from its registry; what is there is not fetched again."""
        return ImagePullResult._of(await self._pump.post(self._pump.native.image_pull, reference))

    async def list(self) -> List[ImageInfo]:
        """All images, newest first."""
        return [ImageInfo._of(i) for i in await self._pump.post(self._pump.native.image_list)]

    async def load(self, path: Path, name: Optional[str] = None) -> ImagePullResult:
        """Takes an image from a folder in OCI layout, an archive of one, or what `docker save` wrote. name: None is the one that it carries.
        Extension."""
        return ImagePullResult._of(await self._pump.post(self._pump.native.image_load, _path_bytes("path", path), name))

    async def save(self, references: Union[str, Sequence[str]], path: Path, format: Optional[str] = None) -> None:
        """Writes images as an OCI layout: format "oci-dir", "oci-archive", or None: a folder when path is one or ends with "/". Extension."""
        names = [references] if isinstance(references, str) else check.texts("references", references)
        await self._pump.post(self._pump.native.image_save, names, _path_bytes("path", path), format)

    async def tag(self, source: str, target: str) -> None:
        """Gives an image a further name. Extension."""
        await self._pump.post(self._pump.native.image_tag, source, target)

    async def remove(self, reference: str, force: bool = False) -> ImageRemoveResult:
        """Removes a name of an image, with the last one the image. RuntimeError "invalid state: ..." when a box stands on it, unless force.
        Extension."""
        return ImageRemoveResult._of(await self._pump.post(self._pump.native.image_remove, reference, force))

    async def prune(self, *, all: bool = False, dry_run: bool = False, older_than_secs: int = 0, keep_bytes: int = 0) -> ImageRemoveResult:
        """Removes what nothing refers to; all: and images that no box stands on. dry_run: only says what would go. Extension."""
        natural = check.integer(0, 2**63 - 1)
        return ImageRemoveResult._of(await self._pump.post(self._pump.native.image_prune, all, dry_run,
                                                           natural("older_than_secs", older_than_secs), natural("keep_bytes", keep_bytes)))

    async def warm(self, reference: str, *, cpus: Optional[int] = None, memory_mib: Optional[int] = None) -> None:
        """Makes at once what the first boxes of an image would wait for; the image must be there. cpus, memory_mib: of those boxes. Extension."""
        size = check.optional(check.integer(1, 2**31 - 1))
        await self._pump.post(self._pump.native.image_warm, reference, size("cpus", cpus) or 0, size("memory_mib", memory_mib) or 0)

    async def inspect(self, reference: str) -> Dict[str, str]:
        """More about an image, as named facts: see boxlite_image_inspect. Extension."""
        facts: Dict[str, str] = await self._pump.post(self._pump.native.image_inspect, reference)
        return facts


class Boxlite:
    """A home directory that is open: boxes, images, figures. Any number of programs, and of runtimes in one program, may use one home.

    It may be used from any thread and any event loop, several at a time. Boxes that were started through it and are not detached end with it:
    with close(), when it is collected, and when the interpreter exits. After a fork the child cannot use it (RuntimeError).

    RuntimeError "configuration error: ..." and "storage error: ..." when the home or a registry is no good.
    """

    _default: Optional[Boxlite] = None
    _default_lock = threading.Lock()

    def __init__(self, options: Optional[Options] = None) -> None:
        if options is not None and not isinstance(options, Options):
            raise check.fail("options", "Options", options)
        options = options or Options()
        rows = tuple(r._row() for r in options.image_registries)
        self._pump = Pump(native._Runtime(options.home_dir, rows))

    @classmethod
    def default(cls) -> Boxlite:
        """The runtime of the default home, one for this process; made at the first call."""
        return cls._the_default(None)

    @classmethod
    def init_default(cls, options: Options) -> None:
        """Says how default() is made. RuntimeError "already exists: ..." when it was made."""
        cls._the_default(options)

    @classmethod
    def _the_default(cls, options: Optional[Options]) -> Boxlite:
        with Boxlite._default_lock:
            known = Boxlite._default
            if known is not None and known._pump.forks == native._fork_count() and not known._pump.native.closed:
                if options is not None:
                    raise native._native_error("already_exists", "the default runtime was made before init_default")
                return known
            Boxlite._default = cls(options)
            return Boxlite._default

    @classmethod
    def rest(cls, options: object) -> Boxlite:
        """RuntimeError "unsupported: ...": this package reaches boxes of this host only."""
        raise unsupported("rest: this version of BoxLite has no client for servers")

    # --- boxes ---

    async def create(self, options: BoxOptions, name: Optional[str] = None) -> Box:
        """Makes a box. Nothing runs yet: its first command, or start(), starts it. It stays until it is removed, unless its options say
        otherwise. RuntimeError "invalid argument: ..." (an option, a name that is taken), "unsupported: ..."."""
        return Box(self._pump, await self._create_op(options, name, False))

    async def get_or_create(self, options: BoxOptions, name: Optional[str] = None) -> Tuple[Box, bool]:
        """The box of that name, whose options stay as they are, or a new one; and whether it was made."""
        box, created = await self._create_op(options, name, True)
        return Box(self._pump, box), created

    def _create_op(self, options: BoxOptions, name: Optional[str], reuse: bool, late: Any = None) -> Op:
        if not isinstance(options, BoxOptions):
            raise check.fail("options", "BoxOptions", options)
        settings = options._settings()
        if name is not None:
            settings.append(("name", check.text("name", name)))
        return self._pump.post(self._pump.native.create, options.image, settings, reuse, late=late)

    async def get(self, id_or_name: str) -> Optional[Box]:
        """A box by id, name, or at least four first characters of an id; None when there is none."""
        try:
            return Box(self._pump, await self._pump.post(self._pump.native.get, id_or_name))
        except native.NativeError as e:
            if e.kind != "not_found":
                raise
            return None

    async def get_info(self, id_or_name: str) -> Optional[BoxInfo]:
        """What a box is and does; None when there is none."""
        try:
            box = await self._pump.post(self._pump.native.get, id_or_name)
            return await Box(self._pump, box).info()
        except native.NativeError as e:
            if e.kind != "not_found":
                raise
            return None

    async def list_info(self, _state: Optional[object] = None) -> List[BoxInfo]:
        """All boxes, newest first."""
        return [BoxInfo._of(i) for i in await self._pump.post(self._pump.native.list_info)]

    async def remove(self, id_or_name: str, force: bool = False) -> None:
        """Removes a box and its disk. RuntimeError "invalid state: ..." when it runs, unless force, "box not found: ..."."""
        await self._pump.post(self._pump.native.remove, id_or_name, force)

    async def import_box(self, path: Path, name: Optional[str] = None, *, untrusted: bool = False) -> Box:
        """RuntimeError "unsupported: ..."."""
        raise unsupported("import_box: this version of BoxLite does not import boxes")

    # --- the rest ---

    def events(self, since: Optional[float] = None) -> EventStream:
        """What happens in this home from now on, whichever program does it: `async for event in runtime.events()`. since: unix time, seconds
        (0: all that is kept): first what has happened since, then an event of type "events.current", then what happens. Extension."""
        return EventStream(self._pump, -1 if since is None else int(since * 1000))

    async def metrics(self) -> RuntimeMetrics:
        """What happened through this runtime since it was opened."""
        return RuntimeMetrics._of(await self._pump.post(self._pump.native.metrics))

    async def info(self) -> Dict[str, str]:
        """Facts about this installation and host, among them `engine`, `kvm.reason` and `home`: see boxlite_runtime_info. Extension."""
        facts: Dict[str, str] = await self._pump.post(self._pump.native.info)
        return facts

    @property
    def images(self) -> ImageHandle:
        return ImageHandle(self._pump)

    @property
    def volumes(self) -> VolumeHandle:
        return VolumeHandle()

    async def shutdown(self, timeout: Optional[float] = None) -> None:
        """Stops what was started through this runtime and is not detached; from now on everything else is refused with "stopped: ...".
        timeout: seconds until what has not stopped is killed; None: 10; less than 0: endless. May be repeated."""
        try:
            await self._pump.post(self._pump.native.shutdown, _seconds_up("timeout", timeout))
        except native.NativeError as e:
            if e.kind != "stopped":
                raise

    def close(self) -> None:
        """Closes it without waiting: boxes that are not detached end by themselves, unanswered calls fail with "stopped: ..."."""
        self._pump.close()

    def __enter__(self) -> Boxlite:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        self.close()

    async def __aenter__(self) -> Boxlite:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        await self.shutdown()
        self.close()
