# SPDX-License-Identifier: Apache-2.0
"""SimpleBox: one box for a block of code."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional, TypeVar, Union

from . import boxlite as native
from ._execution import Collector, Execution
from ._network import BoxTunnel, NetworkHandle
from ._options import BoxOptions, CopyOptions
from ._records import BoxInfo, BoxMetrics, CopyResult, ExecResult
from ._runtime import Box, Boxlite

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import Type

    Path = Union[str, os.PathLike[str]]

S = TypeVar("S", bound="SimpleBox")

# What a shell says of a command that is not there, and of one that cannot be run.
NOT_FOUND, CANNOT_RUN = 127, 126


class SimpleBox:
    """One box: `async with SimpleBox(image="python:slim") as box: result = await box.exec("python", "-c", code)`.

    It is made and started at the beginning of the block, or by start(), and stopped at its end, or by stop(); auto_remove: it is then removed.
    memory_mib in MiB. runtime: a Boxlite, else Boxlite.default(). name, and with it reuse_existing: the box of that name when there is
    one. Everything else is as in BoxOptions.

    ValueError without image and rootfs_path. Failures are RuntimeError (NativeError), as those of Boxlite and Box.
    """

    def __init__(self, image: Optional[str] = None, rootfs_path: Union[str, os.PathLike[str], None] = None, memory_mib: Optional[int] = None,
                 cpus: Optional[int] = None, runtime: Optional[Boxlite] = None, name: Optional[str] = None, auto_remove: bool = True,
                 reuse_existing: bool = False, **options: Any) -> None:
        if not image and not rootfs_path:
            raise ValueError("SimpleBox needs an image or a rootfs_path")
        if runtime is not None and not isinstance(runtime, Boxlite):
            raise TypeError(f"runtime must be a Boxlite, not {type(runtime).__name__}")
        self._options = BoxOptions(image=image, rootfs_path=rootfs_path, memory_mib=memory_mib, cpus=cpus, auto_remove=auto_remove, **options)
        self._runtime_given = runtime
        self._name = name
        self._reuse = reuse_existing
        self._box: Optional[Box] = None
        self._created: Optional[bool] = None

    # --- its life ---

    @property
    def _runtime(self) -> Boxlite:
        return self._runtime_given if self._runtime_given is not None else Boxlite.default()

    def _started(self) -> Box:
        if self._box is None:
            raise RuntimeError("Box not started. Use 'async with', or call start() first.")
        return self._box

    async def start(self: S) -> S:
        """Makes and starts the box. Nothing happens when it is started."""
        if self._box is not None:
            return self
        runtime = self._runtime

        def late(answer: Any, _error: Optional[BaseException]) -> None:
            if answer is not None and self._options.auto_remove:
                made, created = answer if self._reuse else (answer, True)
                if created:
                    self._remove_behind(runtime, made.id)

        box, created = await runtime._create_op(self._options, self._name, self._reuse, late), True
        if self._reuse:
            box, created = box
        self._box = Box(runtime._pump, box)
        self._created = created
        try:
            await self._box.start()
        except BaseException:  # cancelled, too: nothing may stay behind
            failed, self._box = self._box, None
            if self._options.auto_remove and created:
                self._remove_behind(runtime, failed.id)
            raise
        return self

    @staticmethod
    def _remove_behind(runtime: Boxlite, box_id: str) -> None:
        """Removes a box whose start nobody waits for any more, without waiting."""
        try:
            runtime._pump.post(runtime._pump.native.remove, box_id, True)
        except native.NativeError:  # shut down: it goes with that
            pass

    async def stop(self) -> None:
        """Stops the box, and removes it unless auto_remove=False. It can be started again: a new box, unless it was kept."""
        box, self._box = self._box, None
        if box is None:
            return
        try:
            await box.stop()
        except native.NativeError as e:
            if e.kind != "stopped":  # it ended by itself
                raise
        finally:
            await self._after_stop(box)

    async def _after_stop(self, box: Box) -> None:
        """One that failed while it ran, or was another program's, is not removed by its stop."""
        if not self._options.auto_remove:
            return
        try:
            await self._runtime.remove(box.id, force=True)
        except native.NativeError as e:
            if e.kind not in ("not_found", "stopped"):
                raise

    async def shutdown(self) -> None:
        """The same as stop()."""
        await self.stop()

    async def __aenter__(self: S) -> S:
        return await self.start()

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        try:
            await self.stop()
        except native.NativeError:
            if kind is None:  # else what went wrong in the block says more
                raise

    # --- what it is ---

    @property
    def id(self) -> str:
        return self._started().id

    @property
    def name(self) -> Optional[str]:
        return self._started().name

    @property
    def created(self) -> Optional[bool]:
        """Was the box made by start()? None before."""
        return self._created

    @property
    def network(self) -> NetworkHandle:
        return self._started().network

    async def tunnel(self, port: int) -> BoxTunnel:
        """As NetworkHandle.tunnel."""
        return await self.network.tunnel(port)

    async def info(self) -> BoxInfo:
        """What the box is and does now."""
        return await self._started().info()

    async def metrics(self) -> BoxMetrics:
        """What the box takes and did since its start."""
        return await self._started().metrics()

    # --- commands ---

    async def exec(self, cmd: str, *args: str, env: Optional[Dict[str, str]] = None, user: Optional[str] = None,
                   timeout: Optional[float] = None, cwd: Optional[str] = None, kill_on_cancel: bool = False) -> ExecResult:
        """Runs a command to its end; its stdin is empty.

        timeout in seconds: then its processes are ended, and the result says timed_out; nothing is raised. One that does not exist gives
        exit code 127 and the reason in stderr, one that cannot be run 126. Of each stream at most 64 MiB are kept (stdout_truncated,
        stderr_truncated). A task that is cancelled leaves the command running, unless kill_on_cancel.
        """
        op = self._started()._exec_op(cmd, args, env, False, user, timeout, cwd, True, False, kill_on_cancel)
        try:
            handle = await op
        except native.NativeError as e:
            if e.kind != "execution":
                raise
            return ExecResult(NOT_FOUND if "not found" in str(e) else CANNOT_RUN, "", f"{e}\n", str(e))
        execution = Execution(self._started()._pump, handle, kill_on_cancel=kill_on_cancel)
        return await self._collect(execution)

    @staticmethod
    async def _collect(execution: Execution) -> ExecResult:
        out, err = Collector(), Collector()
        execution._collect(1, out)
        execution._collect(2, err)
        try:
            result = await execution.wait()
        except native.NativeError as e:
            return ExecResult(-1, out.text(), err.text(), str(e))
        result.stdout, result.stderr = out.text(), err.text()
        result.stdout_truncated, result.stderr_truncated = out.truncated, err.truncated
        return result

    # --- files ---

    async def copy_in(self, host_path: Path, container_dest: str, *, overwrite: bool = True, follow_symlinks: bool = False,
                      include_parent: bool = True) -> CopyResult:
        """As Box.copy_in."""
        how = CopyOptions(overwrite=overwrite, follow_symlinks=follow_symlinks, include_parent=include_parent)
        return await self._started().copy_in(host_path, container_dest, how)

    async def copy_out(self, container_src: str, host_dest: Path, *, overwrite: bool = True, follow_symlinks: bool = False,
                       include_parent: bool = True) -> CopyResult:
        """As Box.copy_out."""
        how = CopyOptions(overwrite=overwrite, follow_symlinks=follow_symlinks, include_parent=include_parent)
        return await self._started().copy_out(container_src, host_dest, how)
