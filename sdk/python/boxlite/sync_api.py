# SPDX-License-Identifier: Apache-2.0
"""The same without asyncio: each method waits in this thread, by draining the runtime. Names are those of the asynchronous classes with Sync
before them, and so are arguments, results and errors; what is asynchronous there is a plain method here.

May be used in any number of threads at once, but not in one where an event loop runs (RuntimeError).
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple, Type, TypeVar, Union

from ._events import EventStream
from ._execution import Execution, ExecStdin, ExecStream
from ._logs import LogPiece, LogStream
from ._network import PIECE, BoxConnection, BoxTunnel, NetworkHandle, SocketAddress, TunnelForwarder
from ._options import BoxOptions, CopyOptions, Env, Options
from ._pump import run_blocking as run
from ._records import (BoxInfo, BoxMetrics, CopyResult, Event, ExecResult, FileInfo, ImageInfo, ImagePullResult, ImageRemoveResult, ProcessInfo,
                       RuntimeMetrics)
from ._runtime import Box, Boxlite, ImageHandle
from .codebox import CodeBox, CodeResult
from .simplebox import SimpleBox

if TYPE_CHECKING:
    import os
    from types import TracebackType

    Path = Union[str, os.PathLike[str]]

B = TypeVar("B", bound="SyncSimpleBox")


class SyncExecStream:
    """Output as it comes: `for piece in execution.stdout()`. See ExecStream."""

    def __init__(self, stream: ExecStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = run(self._stream._read())
        if text is None:
            raise StopIteration
        return text

    def close(self) -> None:
        """Nothing more is read."""
        run(self._stream.aclose())


class SyncExecStdout(SyncExecStream):
    """stdout of a command; with a terminal all it writes."""


class SyncExecStderr(SyncExecStream):
    """stderr of a command."""


class SyncExecStdin:
    """stdin of a command. See ExecStdin."""

    def __init__(self, stdin: ExecStdin) -> None:
        self._stdin = stdin

    def send_input(self, data: Union[bytes, bytearray, memoryview]) -> None:
        run(self._stdin.send_input(data))

    def close(self) -> None:
        self._stdin.close()

    def is_closed(self) -> bool:
        return self._stdin.is_closed()


class SyncExecution:
    """A command in a box. See Execution."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @property
    def id(self) -> str:
        return self._execution.id()

    def stdin(self) -> SyncExecStdin:
        return SyncExecStdin(self._execution.stdin())

    def stdout(self) -> SyncExecStdout:
        return SyncExecStdout(self._execution.stdout())

    def stderr(self) -> SyncExecStderr:
        return SyncExecStderr(self._execution.stderr())

    def wait(self) -> ExecResult:
        return run(self._execution.wait())

    def kill(self) -> None:
        run(self._execution.kill())

    def signal(self, number: int) -> None:
        run(self._execution.signal(number))

    def resize_tty(self, rows: int, cols: int) -> None:
        run(self._execution.resize_tty(rows, cols))

    def __enter__(self) -> SyncExecution:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        run(self._execution.__aexit__(kind, error, traceback))


class SyncBoxConnection:
    """A connection to a port of a box. See BoxConnection."""

    def __init__(self, connection: BoxConnection) -> None:
        self._connection = connection

    def read(self, max: int = PIECE) -> bytes:
        return run(self._connection.read(max))

    def write(self, data: Union[bytes, bytearray, memoryview]) -> None:
        run(self._connection.write(data))

    def shutdown_write(self) -> None:
        run(self._connection.shutdown_write())

    def close(self) -> None:
        run(self._connection.close())

    def __enter__(self) -> SyncBoxConnection:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        self.close()


class SyncTunnelForwarder:
    """What listens on this host for a tunnel. Its bytes move while a call of this module waits: wait() serves until close(), from another
    thread. See TunnelForwarder."""

    def __init__(self, forwarder: TunnelForwarder) -> None:
        self._forwarder = forwarder

    @property
    def local_addr(self) -> str:
        return self._forwarder.local_addr

    def wait(self) -> None:
        run(self._forwarder.wait())

    def close(self) -> None:
        run(self._forwarder.close())

    def __enter__(self) -> SyncTunnelForwarder:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        self.close()


class SyncBoxTunnel:
    """A way to a port of a box. See BoxTunnel."""

    def __init__(self, tunnel: BoxTunnel) -> None:
        self._tunnel = tunnel

    def uri(self) -> Optional[str]:
        return self._tunnel.uri()

    def connect(self) -> SyncBoxConnection:
        return SyncBoxConnection(run(self._tunnel.connect()))

    def forward(self, address: Optional[SocketAddress] = None) -> SyncTunnelForwarder:
        return SyncTunnelForwarder(run(self._tunnel.forward(address)))


class SyncNetworkHandle:
    """The way into a box's network. See NetworkHandle."""

    def __init__(self, network: NetworkHandle) -> None:
        self._network = network

    def tunnel(self, port: int) -> SyncBoxTunnel:
        return SyncBoxTunnel(run(self._network.tunnel(port)))


class SyncLogStream:
    """Pieces of a log: `for piece in box.logs()`. See LogStream."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[LogPiece]:
        return self

    def __next__(self) -> LogPiece:
        piece = run(self._stream._read())
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Nothing more is read."""
        run(self._stream.aclose())


class SyncEventStream:
    """What happens in a home: `for event in runtime.events()`. See EventStream."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = run(self._stream._read())
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Nothing more is read."""
        run(self._stream.aclose())


class SyncBox:
    """A box, by reference. See Box."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def __repr__(self) -> str:
        return f"<Sync{repr(self._box)[1:]}"

    @property
    def id(self) -> str:
        return self._box.id

    @property
    def name(self) -> Optional[str]:
        return self._box.name

    @property
    def engine(self) -> Optional[str]:
        return self._box.engine

    @property
    def network(self) -> SyncNetworkHandle:
        return SyncNetworkHandle(self._box.network)

    def start(self) -> None:
        run(self._box.start())

    def stop(self) -> None:
        run(self._box.stop())

    def restart(self) -> None:
        run(self._box.restart())

    def pause(self) -> None:
        run(self._box.pause())

    def resume(self) -> None:
        run(self._box.resume())

    def info(self) -> BoxInfo:
        return run(self._box.info())

    def metrics(self) -> BoxMetrics:
        return run(self._box.metrics())

    def details(self) -> Dict[str, str]:
        return run(self._box.details())

    def wait(self) -> int:
        return run(self._box.wait())

    def update_network(self, allow_net: Sequence[str]) -> None:
        """As Box.update_network."""
        run(self._box.update_network(allow_net))

    def processes(self) -> List[ProcessInfo]:
        return run(self._box.processes())

    def logs(self, *, tail: Optional[int] = None, since: Optional[float] = None, follow: bool = False,
             console: bool = False) -> SyncLogStream:
        return SyncLogStream(self._box.logs(tail=tail, since=since, follow=follow, console=console))

    def exec(self, command: str, args: Optional[Sequence[str]] = None, env: Optional[Env] = None, tty: bool = False,
             user: Optional[str] = None, timeout_secs: Optional[float] = None, cwd: Optional[str] = None, *, kill_on_cancel: bool = False,
             detached: bool = False) -> SyncExecution:
        return SyncExecution(run(self._box.exec(command, args, env, tty, user, timeout_secs, cwd, kill_on_cancel=kill_on_cancel,
                                                detached=detached)))

    def attach(self, execution_id: Optional[str] = None) -> SyncExecution:
        return SyncExecution(run(self._box.attach(execution_id)))

    def copy_in(self, host_path: Path, container_dest: str, copy_options: Optional[CopyOptions] = None) -> CopyResult:
        return run(self._box.copy_in(host_path, container_dest, copy_options))

    def copy_out(self, container_src: str, host_dest: Path, copy_options: Optional[CopyOptions] = None) -> CopyResult:
        return run(self._box.copy_out(container_src, host_dest, copy_options))

    def read_file(self, path: str, *, offset: int = 0, length: Optional[int] = None, user: Optional[str] = None) -> bytes:
        return run(self._box.read_file(path, offset=offset, length=length, user=user))

    def write_file(self, path: str, data: Union[bytes, str], *, mode: Optional[int] = None, parents: bool = False, overwrite: bool = True,
                   user: Optional[str] = None) -> None:
        run(self._box.write_file(path, data, mode=mode, parents=parents, overwrite=overwrite, user=user))

    def list_dir(self, path: str, *, user: Optional[str] = None) -> List[FileInfo]:
        return run(self._box.list_dir(path, user=user))

    def stat(self, path: str, *, follow_symlinks: bool = False, user: Optional[str] = None) -> FileInfo:
        return run(self._box.stat(path, follow_symlinks=follow_symlinks, user=user))

    def mkdir(self, path: str, *, parents: bool = False, user: Optional[str] = None) -> None:
        run(self._box.mkdir(path, parents=parents, user=user))

    def remove_file(self, path: str, *, recursive: bool = False, user: Optional[str] = None) -> None:
        run(self._box.remove_file(path, recursive=recursive, user=user))

    def rename(self, path: str, to: str, *, overwrite: bool = True, user: Optional[str] = None) -> None:
        run(self._box.rename(path, to, overwrite=overwrite, user=user))

    def __enter__(self) -> SyncBox:
        self.start()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        self.stop()


class SyncImageHandle:
    """The images of a runtime. See ImageHandle."""

    def __init__(self, images: ImageHandle) -> None:
        self._images = images

    def pull(self, reference: str) -> ImagePullResult:
        return run(self._images.pull(reference))

    def list(self) -> List[ImageInfo]:
        return run(self._images.list())

    def load(self, path: Path, name: Optional[str] = None) -> ImagePullResult:
        return run(self._images.load(path, name))

    def save(self, references: Union[str, Sequence[str]], path: Path, format: Optional[str] = None) -> None:
        run(self._images.save(references, path, format))

    def tag(self, source: str, target: str) -> None:
        run(self._images.tag(source, target))

    def remove(self, reference: str, force: bool = False) -> ImageRemoveResult:
        return run(self._images.remove(reference, force))

    def prune(self, *, all: bool = False, dry_run: bool = False, older_than_secs: int = 0, keep_bytes: int = 0) -> ImageRemoveResult:
        return run(self._images.prune(all=all, dry_run=dry_run, older_than_secs=older_than_secs, keep_bytes=keep_bytes))

    def warm(self, reference: str, *, cpus: Optional[int] = None, memory_mib: Optional[int] = None) -> None:
        run(self._images.warm(reference, cpus=cpus, memory_mib=memory_mib))

    def inspect(self, reference: str) -> Dict[str, str]:
        return run(self._images.inspect(reference))


class SyncBoxlite:
    """A home directory that is open. See Boxlite. `with SyncBoxlite.default() as runtime:` shuts it down at the end of the block."""

    def __init__(self, options: Optional[Options] = None) -> None:
        self._runtime = Boxlite(options)

    @classmethod
    def _over(cls, runtime: Boxlite) -> SyncBoxlite:
        new = cls.__new__(cls)
        new._runtime = runtime
        return new

    @classmethod
    def default(cls) -> SyncBoxlite:
        """Over Boxlite.default()."""
        return cls._over(Boxlite.default())

    @classmethod
    def init_default(cls, options: Options) -> None:
        Boxlite.init_default(options)

    def start(self) -> SyncBoxlite:
        """Nothing is to be done: it is open."""
        return self

    def stop(self) -> None:
        """Shuts it down and closes it."""
        self.shutdown()
        self.close()

    def create(self, options: BoxOptions, name: Optional[str] = None) -> SyncBox:
        return SyncBox(run(self._runtime.create(options, name)))

    def get_or_create(self, options: BoxOptions, name: Optional[str] = None) -> Tuple[SyncBox, bool]:
        box, created = run(self._runtime.get_or_create(options, name))
        return SyncBox(box), created

    def get(self, id_or_name: str) -> Optional[SyncBox]:
        box = run(self._runtime.get(id_or_name))
        return None if box is None else SyncBox(box)

    def get_info(self, id_or_name: str) -> Optional[BoxInfo]:
        return run(self._runtime.get_info(id_or_name))

    def list_info(self, _state: Optional[object] = None) -> List[BoxInfo]:
        return run(self._runtime.list_info())

    def remove(self, id_or_name: str, force: bool = False) -> None:
        run(self._runtime.remove(id_or_name, force))

    def metrics(self) -> RuntimeMetrics:
        return run(self._runtime.metrics())

    def info(self) -> Dict[str, str]:
        return run(self._runtime.info())

    def events(self, since: Optional[float] = None) -> SyncEventStream:
        return SyncEventStream(self._runtime.events(since))

    @property
    def images(self) -> SyncImageHandle:
        return SyncImageHandle(self._runtime.images)

    def shutdown(self, timeout: Optional[float] = None) -> None:
        run(self._runtime.shutdown(timeout))

    def close(self) -> None:
        self._runtime.close()

    def __enter__(self) -> SyncBoxlite:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        self.stop()


class SyncSimpleBox:
    """One box for a block of code: `with SyncSimpleBox(image="python:slim") as box: box.exec("python", "-c", code)`. See SimpleBox."""

    def __init__(self, image: Optional[str] = None, rootfs_path: Union[str, os.PathLike[str], None] = None, memory_mib: Optional[int] = None,
                 cpus: Optional[int] = None, runtime: Union[SyncBoxlite, Boxlite, None] = None, name: Optional[str] = None,
                 auto_remove: bool = True, reuse_existing: bool = False, **options: Any) -> None:
        self._box = SimpleBox(image=image, rootfs_path=rootfs_path, memory_mib=memory_mib, cpus=cpus, runtime=_plain(runtime), name=name,
                              auto_remove=auto_remove, reuse_existing=reuse_existing, **options)

    @property
    def id(self) -> str:
        return self._box.id

    @property
    def name(self) -> Optional[str]:
        return self._box.name

    @property
    def created(self) -> Optional[bool]:
        return self._box.created

    @property
    def network(self) -> SyncNetworkHandle:
        return SyncNetworkHandle(self._box.network)

    def tunnel(self, port: int) -> SyncBoxTunnel:
        return self.network.tunnel(port)

    def start(self: B) -> B:
        run(self._box.start())
        return self

    def stop(self) -> None:
        run(self._box.stop())

    def shutdown(self) -> None:
        self.stop()

    def info(self) -> BoxInfo:
        return run(self._box.info())

    def metrics(self) -> BoxMetrics:
        return run(self._box.metrics())

    def exec(self, cmd: str, *args: str, env: Optional[Dict[str, str]] = None, user: Optional[str] = None, timeout: Optional[float] = None,
             cwd: Optional[str] = None, kill_on_cancel: bool = False) -> ExecResult:
        return run(self._box.exec(cmd, *args, env=env, user=user, timeout=timeout, cwd=cwd, kill_on_cancel=kill_on_cancel))

    def copy_in(self, host_path: Path, container_dest: str, *, overwrite: bool = True, follow_symlinks: bool = False,
                include_parent: bool = True) -> CopyResult:
        return run(self._box.copy_in(host_path, container_dest, overwrite=overwrite, follow_symlinks=follow_symlinks,
                                     include_parent=include_parent))

    def copy_out(self, container_src: str, host_dest: Path, *, overwrite: bool = True, follow_symlinks: bool = False,
                 include_parent: bool = True) -> CopyResult:
        return run(self._box.copy_out(container_src, host_dest, overwrite=overwrite, follow_symlinks=follow_symlinks,
                                      include_parent=include_parent))

    def __enter__(self: B) -> B:
        return self.start()

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        run(self._box.__aexit__(kind, error, traceback))


class SyncCodeBox(SyncSimpleBox):
    """Python code in a box: `with SyncCodeBox() as box: print(box.run("print(6 * 7)"))`. See CodeBox."""

    _box: CodeBox

    def __init__(self, image: str = "python:slim", memory_mib: Optional[int] = None, cpus: Optional[int] = None,
                 runtime: Union[SyncBoxlite, Boxlite, None] = None, name: Optional[str] = None, auto_remove: bool = True,
                 reuse_existing: bool = False, stateless: bool = False, **options: Any) -> None:
        self._box = CodeBox(image=image, memory_mib=memory_mib, cpus=cpus, runtime=_plain(runtime), name=name, auto_remove=auto_remove,
                            reuse_existing=reuse_existing, stateless=stateless, **options)

    def run(self, code: str, timeout: Optional[float] = None, *, stateless: Optional[bool] = None) -> CodeResult:
        return run(self._box.run(code, timeout, stateless=stateless))

    def run_script(self, script_path: Path, timeout: Optional[float] = None) -> CodeResult:
        return run(self._box.run_script(script_path, timeout))

    def install_package(self, package: str, *, index_url: Optional[str] = None, timeout: Optional[float] = None) -> str:
        return run(self._box.install_package(package, index_url=index_url, timeout=timeout))

    def install_packages(self, *packages: str, index_url: Optional[str] = None, timeout: Optional[float] = None) -> str:
        return run(self._box.install_packages(*packages, index_url=index_url, timeout=timeout))


def _plain(runtime: Union[SyncBoxlite, Boxlite, None]) -> Optional[Boxlite]:
    return runtime._runtime if isinstance(runtime, SyncBoxlite) else runtime
