# SPDX-License-Identifier: Apache-2.0
"""Ways to a port of a box. Bytes move while something of this program waits for its runtime: a loop, or a call of the synchronous API."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional, Union

from . import _check as check
from . import boxlite as native
from ._pump import Pump

if TYPE_CHECKING:
    import socket
    from types import TracebackType
    from typing import Type

PIECE = 65536


class SocketAddress(check.Checked):
    """Where a forwarder listens: SocketAddress.tcp(host, port) or SocketAddress.unix(path)."""

    __slots__ = ("host", "port", "path")
    _checks = {"host": check.optional(check.text), "port": check.integer(0, 65535), "path": check.optional(check.path)}
    host: Optional[str]
    port: int
    path: Optional[str]

    def __init__(self, host: Optional[str], port: int, path: Optional[str]) -> None:
        self.host = host
        self.port = port
        self.path = path

    @staticmethod
    def tcp(host: str = "127.0.0.1", port: int = 0) -> SocketAddress:
        """An IPv4 address of this host; port 0: one that is free."""
        return SocketAddress(host, port, None)

    @staticmethod
    def unix(path: Union[str, os.PathLike[str]]) -> SocketAddress:
        """A socket at an absolute path."""
        if not os.path.isabs(path):
            raise ValueError(f"the path of a socket must be absolute: {path}")
        return SocketAddress(None, 0, path)  # type: ignore[arg-type]


class BoxConnection:
    """A connection to a port of a box: bytes, both ways. Closed when it is dropped."""

    def __init__(self, pump: Pump, connected: socket.socket) -> None:
        self._pump = pump
        self._socket = connected
        connected.setblocking(False)

    async def read(self, max: int = PIECE) -> bytes:
        """At least one byte and at most max; b"" at the end. OSError when the connection broke."""
        check.integer(1, 2**31 - 1)("max", max)
        while True:
            try:
                return self._socket.recv(max)
            except BlockingIOError:
                await self._pump.ready(self._socket.fileno(), False)

    async def write(self, data: Union[bytes, bytearray, memoryview]) -> None:
        """All of data; waits while the box does not take it. OSError when the connection broke."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left):]
            except BlockingIOError:
                await self._pump.ready(self._socket.fileno(), True)

    async def shutdown_write(self) -> None:
        """Nothing more is written; reading goes on."""
        self._socket.shutdown(1)

    async def close(self) -> None:
        """May be repeated."""
        self._socket.close()

    async def __aenter__(self) -> BoxConnection:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        self._socket.close()


class TunnelForwarder:
    """What listens on this host for a tunnel; connections go to the box. Ends when it is dropped."""

    def __init__(self, pump: Pump, forwarder: native._Forwarder) -> None:
        self._pump = pump
        self._native = forwarder
        self._address = forwarder.address()

    @property
    def local_addr(self) -> str:
        """ "127.0.0.1:8080", or the path of its socket."""
        return self._address

    async def wait(self) -> None:
        """Until it listens no more."""
        await self._pump.post(self._native.wait)

    async def close(self) -> None:
        """Listens no more; connections that are open go on. May be repeated."""
        await self._pump.post(self._native.close)

    async def __aenter__(self) -> TunnelForwarder:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        await self.close()


class BoxTunnel:
    """A way to a TCP port of a box, whatever listens there on its loopback address. For one use: connect or forward (RuntimeError)."""

    def __init__(self, pump: Pump, tunnel: native._Tunnel) -> None:
        self._pump = pump
        self._native: Optional[native._Tunnel] = tunnel

    def _use(self) -> native._Tunnel:
        tunnel, self._native = self._native, None
        if tunnel is None:
            raise RuntimeError("invalid state: the tunnel was used already: make another one")
        return tunnel

    def uri(self) -> Optional[str]:
        """Where others reach it: None, a box of this host is reached by its programs only."""
        return self._native.uri() if self._native is not None else None

    async def connect(self) -> BoxConnection:
        """A connection; starts the box. When nothing listens there it comes to its end at once."""
        import socket

        return BoxConnection(self._pump, socket.socket(fileno=self._use().connect()))

    async def forward(self, address: Optional[SocketAddress] = None) -> TunnelForwarder:
        """Listens on this host; None: a free port of 127.0.0.1. RuntimeError "network error: ..." when the address is taken."""
        where = address if address is not None else SocketAddress.tcp()
        if not isinstance(where, SocketAddress):
            raise check.fail("address", "SocketAddress", where)
        return TunnelForwarder(self._pump, self._use().forward(where.host, where.port, where.path))


class NetworkHandle:
    """The way into a box's network, which needs no network of the box."""

    def __init__(self, pump: Pump, box: native._Box) -> None:
        self._pump = pump
        self._box = box

    async def tunnel(self, port: int) -> BoxTunnel:
        """A tunnel to a TCP port of the box. Nothing is connected yet."""
        return BoxTunnel(self._pump, self._box.tunnel(check.integer(1, 65535)("port", port)))
