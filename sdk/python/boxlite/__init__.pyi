# SPDX-License-Identifier: Apache-2.0
# The names of the package, for type checkers; at run time __init__.py imports each when it is used.
from .boxlite import NativeError as NativeError
from ._events import EventStream as EventStream
from ._execution import (ExecStderr as ExecStderr, ExecStdin as ExecStdin, ExecStdout as ExecStdout, Execution as Execution)
from ._logs import (LogPiece as LogPiece, LogStream as LogStream)
from ._network import (BoxConnection as BoxConnection, BoxTunnel as BoxTunnel, NetworkHandle as NetworkHandle, SocketAddress as
    SocketAddress, TunnelForwarder as TunnelForwarder)
from ._options import (AdvancedBoxOptions as AdvancedBoxOptions, BoxOptions as BoxOptions, ContainerCapabilities as
    ContainerCapabilities, CopyOptions as CopyOptions, HealthCheckOptions as HealthCheckOptions, ImageRegistry as ImageRegistry,
    NetworkSpec as NetworkSpec, Options as Options, Secret as Secret, SecurityOptions as SecurityOptions)
from ._records import (BoxInfo as BoxInfo, BoxMetrics as BoxMetrics, BoxStateInfo as BoxStateInfo, CopyResult as CopyResult, Event
    as Event, ExecResult as ExecResult, ExecUsage as ExecUsage, FileInfo as FileInfo, HealthState as HealthState, HealthStatus as
    HealthStatus, ImageInfo as ImageInfo, ImagePullResult as ImagePullResult, ImageRemoveResult as ImageRemoveResult, NetworkInfo
    as NetworkInfo, ProcessInfo as ProcessInfo, PublishedPort as PublishedPort, RuntimeMetrics as RuntimeMetrics)
from ._runtime import (Box as Box, Boxlite as Boxlite, ImageHandle as ImageHandle, SnapshotHandle as SnapshotHandle, VolumeHandle
    as VolumeHandle)
from .codebox import (CodeBox as CodeBox, CodeError as CodeError, CodeResult as CodeResult)
from .errors import (BoxliteError as BoxliteError, ExecError as ExecError, ParseError as ParseError, TimeoutError as TimeoutError)
from .interactivebox import InteractiveBox as InteractiveBox
from .simplebox import SimpleBox as SimpleBox
from .sync_api import (SyncBox as SyncBox, SyncBoxConnection as SyncBoxConnection, SyncBoxTunnel as SyncBoxTunnel, SyncBoxlite as
    SyncBoxlite, SyncCodeBox as SyncCodeBox, SyncEventStream as SyncEventStream, SyncExecStderr as SyncExecStderr, SyncExecStdin
    as SyncExecStdin, SyncExecStdout as SyncExecStdout, SyncExecution as SyncExecution, SyncImageHandle as SyncImageHandle,
    SyncLogStream as SyncLogStream, SyncNetworkHandle as SyncNetworkHandle, SyncSimpleBox as SyncSimpleBox, SyncTunnelForwarder as
    SyncTunnelForwarder)

__version__: str

def __dir__() -> list[str]: ...
