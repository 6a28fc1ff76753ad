# SPDX-License-Identifier: Apache-2.0
"""BoxLite: programs that you do not trust, in small virtual machines ("boxes"), from any OCI image.

    import asyncio
    import boxlite

    async def main():
        async with boxlite.SimpleBox(image="python:slim") as box:
            result = await box.exec("python", "-c", "print(6 * 7)")
            print(result.stdout)

    asyncio.run(main())

Without a usable KVM boxes run on QEMU's emulation, which the QEMU project does not treat as a security boundary: the jail round the machine is
the outer wall then. `await box.exec(...)`, then `box.engine` (of Box) or `await Boxlite.default().info()` say which it is.

A module is imported when the first of its names is used. __init__.pyi names them all, with their types.
"""
from typing import Any, List

from .boxlite import NativeError, version as _version

__version__: str = _version()

# What is written in Python of what the extension boxlite.boxlite has in the existing BoxLite: from boxlite.boxlite import SecurityOptions.
_MODULES = {
    "_options": ("AdvancedBoxOptions", "BoxOptions", "ContainerCapabilities", "CopyOptions", "HealthCheckOptions", "ImageRegistry",
                 "NetworkSpec", "Options", "Secret", "SecurityOptions"),
    "_records": ("BoxInfo", "BoxMetrics", "BoxStateInfo", "CopyResult", "Event", "ExecResult", "ExecUsage", "FileInfo", "HealthState",
                 "HealthStatus", "ImageInfo", "ImagePullResult", "ImageRemoveResult", "NetworkInfo", "ProcessInfo", "PublishedPort",
                 "RuntimeMetrics"),
    "_runtime": ("Box", "Boxlite", "ImageHandle", "SnapshotHandle", "VolumeHandle"),
    "_network": ("BoxConnection", "BoxTunnel", "NetworkHandle", "SocketAddress", "TunnelForwarder"),
    "_events": ("EventStream",),
    "_logs": ("LogPiece", "LogStream"),
    "_execution": ("ExecStderr", "ExecStdin", "ExecStdout", "Execution"),
}
_NATIVE_NAMES = frozenset(name for names in _MODULES.values() for name in names)
_MODULES.update({
    "simplebox": ("SimpleBox",),
    "codebox": ("CodeBox", "CodeError", "CodeResult"),
    "interactivebox": ("InteractiveBox",),
    "errors": ("BoxliteError", "ExecError", "ParseError", "TimeoutError"),
    "sync_api": ("SyncBox", "SyncBoxConnection", "SyncBoxTunnel", "SyncBoxlite", "SyncCodeBox", "SyncEventStream", "SyncExecStderr", "SyncExecStdin", "SyncExecStdout", "SyncExecution",
                 "SyncImageHandle", "SyncLogStream", "SyncNetworkHandle", "SyncSimpleBox", "SyncTunnelForwarder"),
})
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

_SUBMODULES = frozenset(("codebox", "errors", "interactivebox", "simplebox", "sync_api"))

__all__ = ["NativeError", "__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _SUBMODULES:
        return import_module("." + name, __name__)
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'boxlite' has no attribute {name!r}")
    value = getattr(import_module("." + module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted(set(globals()) | set(__all__))
