# SPDX-License-Identifier: Apache-2.0
"""What calls give: plain objects with attributes, compared by value."""
from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Type, TypeVar

R = TypeVar("R", bound="Record")


class Record:
    """Attributes are those that a class names in its annotations; made from keywords."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    @classmethod
    def _of(cls: Type[R], values: Dict[str, Any]) -> R:
        return cls(**values)


def rfc3339(milliseconds: int) -> Optional[str]:
    """Unix time as text, in UTC; None for 0."""
    import time

    if not milliseconds:
        return None
    seconds, rest = divmod(milliseconds, 1000)
    fraction = f".{rest:03d}" if rest else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


class BoxStateInfo(Record):
    """status: configured, running, stopping, stopped, paused, failed or unknown. pid: of the box's supervisor, None when it has none."""

    status: str
    running: bool
    pid: Optional[int]


class PublishedPort(Record):
    """A port of the box on the host."""

    guest_port: int
    host_ip: str
    host_port: int
    protocol: str


class NetworkInfo(Record):
    """mode: enabled or disabled. published_ports: None when they are not known."""

    mode: str
    allow_net: List[str]
    published_ports: Optional[List[PublishedPort]]


class HealthState:
    """States of HealthStatus."""

    NONE = "None"
    STARTING = "Starting"
    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


class HealthStatus(Record):
    """Of a box that is checked. state: see HealthState; failures: in a row; last_check: RFC 3339, or None."""

    state: str
    failures: int
    last_check: Optional[str]

    @staticmethod
    def _of_facts(facts: Dict[str, str]) -> Optional[HealthStatus]:
        """From boxlite_box_details; None when the box is not checked."""
        if "health_interval_ms" not in facts:
            return None
        return HealthStatus(state=facts.get("health", "none").capitalize(), failures=int(facts.get("health_failures", 0)),
                            last_check=rfc3339(int(facts.get("health_checked_at_ms", 0))))


class BoxInfo(Record):
    """What a box is and does. Times are RFC 3339 text in UTC; started_at is None before the first start. auto_stop, auto_delete: seconds.
    health_status: None for a box that is not checked, and in list_info."""

    id: str
    name: Optional[str]
    state: BoxStateInfo
    created_at: str
    started_at: Optional[str]
    image: str
    cpus: int
    memory_mib: int
    network: Optional[NetworkInfo]
    auto_stop: int
    auto_delete: int
    auto_resume: bool
    health_status: Optional[HealthStatus]

    @classmethod
    def _of(cls, values: Dict[str, Any], facts: Optional[Dict[str, str]] = None) -> BoxInfo:
        v = dict(values)
        network = v["network"]
        if network is not None:
            ports = network["published_ports"]
            network = NetworkInfo(mode=network["mode"], allow_net=network["allow_net"],
                                  published_ports=None if ports is None else [PublishedPort(**p) for p in ports])
        return cls(id=v["id"], name=v["name"], state=BoxStateInfo(status=v["status"], running=v["running"], pid=v["pid"] or None),
                   created_at=rfc3339(v["created_at"] * 1000) or "", started_at=rfc3339(v["started_at"]), image=v["image"], cpus=v["cpus"],
                   memory_mib=v["memory_mib"], network=network, auto_stop=v["auto_stop"], auto_delete=v["auto_delete"],
                   auto_resume=v["auto_resume"], health_status=HealthStatus._of_facts(facts or {}))


class Event(Record):
    """What has happened in a home, whichever program did it. Strings that say nothing are "".

    type: box.created, box.started, box.stopped, box.failed, box.removed, box.paused, box.resumed, box.health (health: starting, healthy or
    unhealthy), box.oom (a command was killed for want of memory: execution_id),
    box.network_refused (message), exec.started, exec.ended, image.pulled, image.loaded,
    image.imported, image.tagged, image.removed, events.current (all that was kept was told), events.lost (some were not read in time and are
    gone). Others may be added. time: unix time, seconds. program: first word of a command. exit_code: of the command, or of the box's main
    process, or None.
    """

    type: str
    time: float
    box_id: str
    box_name: str
    image: str
    execution_id: str
    program: str
    health: str
    message: str
    exit_code: Optional[int]
    oom_killed: bool


class RuntimeMetrics(Record):
    """What happened through a runtime since it was opened; num_running_boxes is of the home, of all programs."""

    boxes_created_total: int
    boxes_failed_total: int
    num_running_boxes: int
    total_commands_executed: int
    total_exec_errors: int


class BoxMetrics(Record):
    """What a box takes and did since its last start; all 0 when it does not run. cpu_percent: of one host processor. Bytes, milliseconds.
    The stages of its start are None when they are not known."""

    cpu_percent: float
    memory_bytes: int
    commands_executed_total: int
    exec_errors_total: int
    bytes_sent_total: int
    bytes_received_total: int
    total_create_duration_ms: int
    guest_boot_duration_ms: int
    network_bytes_sent: int
    network_bytes_received: int
    network_tcp_connections: int
    network_tcp_errors: int
    stage_filesystem_setup_ms: Optional[int]
    stage_image_prepare_ms: Optional[int]
    stage_guest_rootfs_ms: Optional[int]
    stage_box_config_ms: Optional[int]
    stage_box_spawn_ms: Optional[int]
    stage_container_init_ms: Optional[int]


STAGES = ("filesystem_setup", "image_prepare", "guest_rootfs", "box_config", "box_spawn", "container_init")


def box_metrics(values: Dict[str, Any], facts: Dict[str, str]) -> BoxMetrics:
    """From the figures, and from the facts (boxlite_box_details), which have the stages in microseconds."""
    stages = {f"stage_{s}_ms": int(facts[f"stage_{s}_us"]) // 1000 if f"stage_{s}_us" in facts else None for s in STAGES}
    return BoxMetrics(**values, **stages)


class ProcessInfo(Record):
    """A process of a box, as the box sees it. parent 0: it was started from outside, as commands are. state: a letter: R runs, S sleeps, D waits
    for a device, T is stopped, Z has ended. Microseconds, bytes, milliseconds."""

    pid: int
    parent: int
    uid: int
    state: str
    threads: int
    cpu_us: int
    memory_bytes: int
    age_ms: int
    name: str
    command: str


class ImageInfo(Record):
    """An image of the runtime. id: sha256 of its configuration. size_bytes: compressed."""

    reference: str
    repository: str
    tag: str
    id: str
    cached_at: str
    size_bytes: Optional[int]

    @classmethod
    def _of(cls, values: Dict[str, Any]) -> ImageInfo:
        return cls(**{**values, "cached_at": rfc3339(values["cached_at"] * 1000) or ""})


class ImagePullResult(Record):
    """reference: as it was given. config_digest: sha256:..."""

    reference: str
    config_digest: str
    layer_count: int


class ImageRemoveResult(Record):
    """What was removed, or would be. bytes: freed on the host's disk. blobs_kept: that go with the next prune."""

    bytes: int
    images: int
    blobs: int
    disks: int
    templates: int
    blobs_kept: int
    references: List[str]


class CopyResult(Record):
    """What a copy has done. left_out: pipes, sockets, devices, and links that lead nowhere or out of what is copied."""

    files: int
    folders: int
    links: int
    bytes: int
    left_out: int


class FileInfo(Record):
    """A file in a box. type: file, folder, link or other. size: bytes of a file. mode: permissions."""

    name: str
    link_target: str
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int


class ExecUsage(Record):
    """What a command used: microseconds of processor and of the clock, bytes of memory at most."""

    user_us: int
    system_us: int
    wall_us: int
    max_rss_bytes: int


class ExecResult:
    """How a command ended.

    exit_code: 0 to 255; 128+N when signal N ended it; 127 or 126 (of SimpleBox.exec) when it was not found or cannot be run; -1 when the box
    failed before it was known. stdout, stderr: text, what is no UTF-8 replaced. error_message: why it was killed or lost, or None.
    Extensions: oom_killed (for lack of memory), timed_out, killed (by kill or stop), signal (0: none), stdout_truncated and stderr_truncated
    (a part was dropped), usage.

    Two results are equal when exit_code, stdout, stderr and error_message are.
    """

    __slots__ = ("exit_code", "stdout", "stderr", "error_message", "oom_killed", "timed_out", "killed", "signal", "stdout_truncated",
                 "stderr_truncated", "usage")

    def __init__(self, exit_code: int, stdout: str, stderr: str, error_message: Optional[str] = None, *, oom_killed: bool = False,
                 timed_out: bool = False, killed: bool = False, signal: int = 0, stdout_truncated: bool = False,
                 stderr_truncated: bool = False, usage: Optional[ExecUsage] = None) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.error_message = error_message
        self.oom_killed = oom_killed
        self.timed_out = timed_out
        self.killed = killed
        self.signal = signal
        self.stdout_truncated = stdout_truncated
        self.stderr_truncated = stderr_truncated
        self.usage = usage

    def _key(self) -> Tuple[int, str, str, Optional[str]]:
        return (self.exit_code, self.stdout, self.stderr, self.error_message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExecResult) and other._key() == self._key()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (f"ExecResult(exit_code={self.exit_code!r}, stdout={self.stdout!r}, stderr={self.stderr!r}, "
                f"error_message={self.error_message!r})")
