# SPDX-License-Identifier: Apache-2.0
"""What a box shall be, and where its runtime keeps things. Source of the defaults: <boxlite.h>, whose setters the settings name."""
from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from . import _check as check

Setting = Tuple[Any, ...]
Env = Union[Sequence[Tuple[str, str]], Dict[str, str]]

_U32 = 2**32 - 1
_LIMIT = check.optional(check.integer(1, 2**63 - 1))


class SecurityOptions(check.Checked):
    """What holds a box's machine on the host, and what its commands may take.

    jailer_enabled: namespaces, a root of its own, another user, no capabilities, a control group, Landlock round the machine's process.
    seccomp_enabled: its filters of system calls, and that of the commands in the box (as Docker's default profile). max_open_files
    (files), max_file_size (bytes), max_memory (bytes of virtual memory) and max_cpu_time (seconds) are limits of each process in the box,
    max_processes of the whole box; None: no limit. network_enabled=False:
    the box has no network. close_fds: nothing is inherited, whatever it says.

    Box creation fails with "invalid argument: ..." when a limit is out of range. A box without SecurityOptions has all walls and no limits.
    """

    __slots__ = ("jailer_enabled", "seccomp_enabled", "max_open_files", "max_file_size", "max_processes", "max_memory", "max_cpu_time",
                 "network_enabled", "close_fds")
    _checks = {"jailer_enabled": check.flag, "seccomp_enabled": check.flag, "max_open_files": _LIMIT, "max_file_size": _LIMIT,
               "max_processes": _LIMIT, "max_memory": _LIMIT, "max_cpu_time": _LIMIT, "network_enabled": check.flag,
               "close_fds": check.flag}

    jailer_enabled: bool
    seccomp_enabled: bool
    max_open_files: Optional[int]
    max_file_size: Optional[int]
    max_processes: Optional[int]
    max_memory: Optional[int]
    max_cpu_time: Optional[int]
    network_enabled: bool
    close_fds: bool

    def __init__(self, jailer_enabled: bool = False, seccomp_enabled: bool = False, max_open_files: Optional[int] = None,
                 max_file_size: Optional[int] = None, max_processes: Optional[int] = None, max_memory: Optional[int] = None,
                 max_cpu_time: Optional[int] = None, network_enabled: bool = True, close_fds: bool = True) -> None:
        self.jailer_enabled = jailer_enabled
        self.seccomp_enabled = seccomp_enabled
        self.max_open_files = max_open_files
        self.max_file_size = max_file_size
        self.max_processes = max_processes
        self.max_memory = max_memory
        self.max_cpu_time = max_cpu_time
        self.network_enabled = network_enabled
        self.close_fds = close_fds

    @staticmethod
    def development() -> SecurityOptions:
        """No walls but the machine itself and no limits: to find out whether a wall is in the way."""
        return SecurityOptions(close_fds=False)

    @staticmethod
    def standard() -> SecurityOptions:
        """All walls, no limits."""
        return SecurityOptions(jailer_enabled=True, seccomp_enabled=True)

    @staticmethod
    def maximum() -> SecurityOptions:
        """All walls; 1024 open files, files of 1 GiB, 100 processes: for code that nobody has read. A host that gives neither namespaces nor
        Landlock to hold the machine refuses to start such a box."""
        return SecurityOptions(jailer_enabled=True, seccomp_enabled=True, max_open_files=1024, max_file_size=2**30, max_processes=100)

    def _settings(self) -> List[Setting]:
        rows: List[Setting] = [("jailer_enabled", self.jailer_enabled), ("seccomp_enabled", self.seccomp_enabled),
                               ("security_network_enabled", self.network_enabled), ("close_fds", self.close_fds)]
        for name in ("max_open_files", "max_file_size", "max_processes", "max_memory", "max_cpu_time"):
            if getattr(self, name) is not None:
                rows.append((name, getattr(self, name)))
        return rows


class ContainerCapabilities(check.Checked):
    """What root in the box may do, as Docker has it: names with or without CAP_, or ALL, added to or dropped from Docker's default."""

    __slots__ = ("add", "drop")
    _checks = {"add": check.texts, "drop": check.texts}
    add: List[str]
    drop: List[str]

    def __init__(self, add: Sequence[str] = (), drop: Sequence[str] = ()) -> None:
        self.add = list(add) if isinstance(add, tuple) else add  # type: ignore[assignment]
        self.drop = list(drop) if isinstance(drop, tuple) else drop  # type: ignore[assignment]


class HealthCheckOptions(check.Checked):
    """How the health of a box is checked while it runs. interval, timeout, start_period (after the start, in which failures do not count): in
    seconds. retries: failures in a row that make it unhealthy. cmd (extension): what is run in the box, 0 is healthy; None: whether the
    box's agent answers. BoxInfo.health_status and Boxlite.events tell; nothing else is done about a box that is unwell."""

    __slots__ = ("interval", "timeout", "retries", "start_period", "cmd")
    _checks = {"interval": check.integer(1, 86400), "timeout": check.integer(1, 86400), "retries": check.integer(1, 1000),
               "start_period": check.integer(0, 86400), "cmd": check.optional(check.texts)}
    interval: int
    timeout: int
    retries: int
    start_period: int
    cmd: Optional[List[str]]

    def __init__(self, interval: int = 30, timeout: int = 10, retries: int = 3, start_period: int = 60,
                 cmd: Optional[Sequence[str]] = None) -> None:
        self.interval = interval
        self.timeout = timeout
        self.retries = retries
        self.start_period = start_period
        self.cmd = cmd  # type: ignore[assignment]

    def _setting(self) -> Setting:
        return ("health_check", self.cmd, self.interval * 1000, self.timeout * 1000, self.start_period * 1000 or -1, self.retries)


class AdvancedBoxOptions(check.Checked):
    """Security, health and capabilities of a box."""

    __slots__ = ("security", "health_check", "capabilities")
    _checks = {"security": check.optional(check.instance(SecurityOptions)),
               "health_check": check.optional(check.instance(HealthCheckOptions)),
               "capabilities": check.optional(check.instance(ContainerCapabilities))}
    security: Optional[SecurityOptions]
    health_check: Optional[HealthCheckOptions]
    capabilities: Optional[ContainerCapabilities]

    def __init__(self, security: Optional[SecurityOptions] = None, health_check: Optional[HealthCheckOptions] = None,
                 capabilities: Optional[ContainerCapabilities] = None) -> None:
        self.security = security
        self.health_check = health_check
        self.capabilities = capabilities

    def _settings(self) -> List[Setting]:
        rows = self.security._settings() if self.security is not None else []
        if self.health_check is not None:
            rows.append(self.health_check._setting())
        if self.capabilities is not None:
            rows += [("capabilities_add", self.capabilities.add), ("capabilities_drop", self.capabilities.drop)]
        return rows


def _mode(name: str, value: Any) -> Any:
    if check.text(name, value) not in ("enabled", "disabled"):
        raise ValueError(f'{name} must be "enabled" or "disabled", is {value!r}')
    return value


class NetworkSpec(check.Checked):
    """The network of a box: mode "enabled" or "disabled"; with allow_net it reaches only what the rules name ("pypi.org", "*.pypi.org",
    "192.0.2.7", "10.1.0.0/16", each with an optional ":port"). A rule that makes no sense makes creation fail, naming it."""

    __slots__ = ("mode", "allow_net")
    _checks = {"mode": _mode, "allow_net": check.texts}
    mode: str
    allow_net: List[str]

    def __init__(self, mode: str = "enabled", allow_net: Sequence[str] = ()) -> None:
        self.mode = mode
        self.allow_net = list(allow_net) if isinstance(allow_net, tuple) else allow_net  # type: ignore[assignment]

    def _settings(self) -> List[Setting]:
        return [("network_" + self.mode,), *(("allow_net", rule) for rule in self.allow_net)]


class Secret(check.Checked):
    """A value that the box never sees: it sees `placeholder`, and what it sends to `hosts` carries the value."""

    __slots__ = ("name", "value", "hosts", "placeholder")
    _checks = {"name": check.text, "value": check.text, "hosts": check.texts, "placeholder": check.optional(check.text)}
    name: str
    value: str
    hosts: List[str]
    placeholder: Optional[str]

    def __init__(self, name: str, value: str, hosts: Sequence[str] = (), placeholder: Optional[str] = None) -> None:
        self.name = name
        self.value = value
        self.hosts = list(hosts) if isinstance(hosts, tuple) else hosts  # type: ignore[assignment]
        self.placeholder = placeholder

    def get_placeholder(self) -> str:
        """What the box sees."""
        return self.placeholder if self.placeholder is not None else f"<BOXLITE_SECRET:{self.name}>"

    def __repr__(self) -> str:
        return f"Secret(name={self.name!r}, value=[REDACTED], hosts={self.hosts!r})"


# --- volumes and ports: tuples or dictionaries ---

def _fields(name: str, item: Any, known: Dict[str, str]) -> Dict[str, Any]:
    """A dictionary's fields under their first names; an unknown one is a TypeError."""
    found: Dict[str, Any] = {}
    for key, value in item.items():
        if key not in known:
            raise TypeError(f"{name} has no field {key!r}: {', '.join(sorted(known))}")
        found[known[key]] = value
    return found


def _read_only(name: str, value: Any) -> bool:
    if value in ("ro", "rw"):
        return bool(value == "ro")
    return bool(check.flag(name, value))


_VOLUME_KEYS = {"source": "host", "host": "host", "host_path": "host", "guest": "guest", "guest_path": "guest", "read_only": "ro", "ro": "ro"}
_PORT_KEYS = {"guest_port": "guest", "guest": "guest", "host_port": "host", "host": "host", "protocol": "protocol", "host_ip": "ip"}


def _volume(name: str, item: Any) -> Tuple[str, str, bool]:
    if isinstance(item, dict):
        f = _fields(name, item, _VOLUME_KEYS)
    elif isinstance(item, (tuple, list)) and 2 <= len(item) <= 3:
        f = dict(zip(("host", "guest", "ro"), item))
    else:
        raise TypeError(f"{name} must be (host, guest), (host, guest, read_only) or a dict, not {item!r}")
    if "host" not in f or "guest" not in f:
        raise TypeError(f"{name} must have a host path and a guest path")
    return check.path(name, f["host"]), check.text(name, f["guest"]), _read_only(name + " read_only", f.get("ro", False))


def _port(name: str, item: Any) -> Tuple[int, int, bool, Optional[str]]:
    if isinstance(item, dict):
        f = _fields(name, item, _PORT_KEYS)
    elif isinstance(item, (tuple, list)) and 2 <= len(item) <= 4:
        f = dict(zip(("host", "guest", "protocol", "ip"), item))
    else:
        raise TypeError(f"{name} must be (host, guest[, protocol[, host_ip]]) or a dict, not {item!r}")
    if "guest" not in f:
        raise TypeError(f"{name} must have a guest port")
    host = f.get("host")
    protocol = check.text(name + " protocol", f.get("protocol", "tcp"))
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"{name} protocol must be tcp or udp, is {protocol!r}")
    ip = f.get("ip")
    return (0 if host is None else check.integer(0, 65535)(name + " host", host), check.integer(1, 65535)(name + " guest", f["guest"]),
            protocol == "udp", None if ip is None else check.text(name + " host_ip", ip))


def _list_of(one: Any) -> check.Check:
    def judge(name: str, value: Any) -> Any:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise check.fail(name, "a list", value)
        for i, item in enumerate(value):
            one(f"{name}[{i}]", item)
        return list(value)
    return judge


def _env(name: str, value: Any) -> Any:
    return check.pairs(name, value)


class BoxOptions(check.Checked):
    """What a new box shall be. All are keywords; None, or an empty list, is the default.

    image: its name ("alpine:latest"); pulled at the first start when it is not there. rootfs_path: a folder in OCI layout instead.
    cpus: 1 to 32 (1). memory_mib: 128 to 65536 MiB (1024), a hard limit. disk_size_gb: GiB (10, and at least what the image takes; space is
    taken as it is used). working_dir: of commands, made when missing. env: over the image's; pairs, or a dict. user: name|uid[:group|gid].
    network: a NetworkSpec. ports: (host, guest[, "tcp"[, host_ip]]), host 0: one that is free. volumes, secrets: see their errors.
    security: SecurityOptions, or in advanced. auto_remove=True or auto_delete > 0: removed when it stops. auto_resume=False: a command does
    not start it again once it was stopped. detach: it outlives this program. entrypoint, cmd: its main process, with which it ends; without
    either it idles. engine (extension): "kvm", "tcg" or "auto".

    Wrong types are TypeError, values that cannot be meant ValueError; the rest is judged when the box is made: a RuntimeError
    "invalid argument: ..." or "unsupported: ...", naming the field.
    """

    _checks = {
        "image": check.optional(check.text), "rootfs_path": check.optional(check.path), "cpus": check.optional(check.integer(1, 255)),
        "memory_mib": check.optional(check.integer(1, 2**31 - 1)), "disk_size_gb": check.optional(check.integer(1, 2**31 - 1)),
        "working_dir": check.optional(check.text), "env": _env, "volumes": _list_of(_volume),
        "network": check.optional(check.instance(NetworkSpec)), "ports": _list_of(_port), "auto_remove": check.optional(check.flag),
        "auto_stop": check.optional(check.integer(0, _U32)), "auto_delete": check.optional(check.integer(0, _U32)),
        "auto_resume": check.optional(check.flag), "detach": check.optional(check.flag), "entrypoint": check.optional(check.texts),
        "cmd": check.optional(check.texts), "user": check.optional(check.text),
        "advanced": check.optional(check.instance(AdvancedBoxOptions)), "secrets": _list_of(check.instance(Secret)),
        "security": check.optional(check.instance(SecurityOptions)), "engine": check.optional(check.text),
    }
    __slots__ = tuple(_checks)

    image: Optional[str]
    rootfs_path: Optional[str]
    cpus: Optional[int]
    memory_mib: Optional[int]
    disk_size_gb: Optional[int]
    working_dir: Optional[str]
    env: List[Tuple[str, str]]
    volumes: List[Any]
    network: Optional[NetworkSpec]
    ports: List[Any]
    auto_remove: Optional[bool]
    auto_stop: Optional[int]
    auto_delete: Optional[int]
    auto_resume: Optional[bool]
    detach: Optional[bool]
    entrypoint: Optional[List[str]]
    cmd: Optional[List[str]]
    user: Optional[str]
    advanced: Optional[AdvancedBoxOptions]
    secrets: List[Secret]
    security: Optional[SecurityOptions]
    engine: Optional[str]

    def __init__(self, *, image: Optional[str] = None, rootfs_path: Union[str, os.PathLike[str], None] = None, cpus: Optional[int] = None,
                 memory_mib: Optional[int] = None, disk_size_gb: Optional[int] = None, working_dir: Optional[str] = None,
                 env: Env = (), volumes: Sequence[Any] = (), network: Optional[NetworkSpec] = None, ports: Sequence[Any] = (),
                 auto_remove: Optional[bool] = None, auto_stop: Optional[int] = None, auto_delete: Optional[int] = None,
                 auto_resume: Optional[bool] = None, detach: Optional[bool] = None, entrypoint: Optional[Sequence[str]] = None,
                 cmd: Optional[Sequence[str]] = None, user: Optional[str] = None, advanced: Optional[AdvancedBoxOptions] = None,
                 secrets: Sequence[Secret] = (), security: Optional[SecurityOptions] = None, engine: Optional[str] = None) -> None:
        values = dict(locals())
        for name in self._checks:
            setattr(self, name, values[name])

    def _advanced(self) -> List[Setting]:
        advanced = self.advanced if self.advanced is not None else AdvancedBoxOptions()
        if self.security is None:
            return advanced._settings()
        if advanced.security is not None and advanced.security != self.security:
            raise ValueError("security and advanced.security say different things: give one of them")
        return AdvancedBoxOptions(self.security, advanced.health_check, advanced.capabilities)._settings()

    def _settings(self) -> List[Setting]:
        """The rows of the extension's table (src/options.c)."""
        rows: List[Setting] = []
        for name in ("rootfs_path", "cpus", "memory_mib", "disk_size_gb", "working_dir", "user", "auto_remove", "auto_stop", "auto_delete",
                     "auto_resume", "detach", "entrypoint", "cmd", "engine"):
            if getattr(self, name) is not None:
                rows.append((name, getattr(self, name)))
        rows += (("env", k, v) for k, v in self.env)
        rows += (("volume", *_volume("volumes", v)) for v in self.volumes)
        rows += (("port", *_port("ports", p)) for p in self.ports)
        rows += (("secret", s.name, s.value, s.placeholder, s.hosts) for s in self.secrets)
        if self.network is not None:
            rows += self.network._settings()
        return rows + self._advanced()


# --- the runtime's ---

class ImageRegistry(check.Checked):
    """A registry that images are pulled from. host: host[:port]. transport: "https" or "http". search: tried, in order, for names without a
    registry. Without credentials those of docker's configuration are used. Checked when the runtime is opened: RuntimeError."""

    __slots__ = ("host", "transport", "skip_verify", "search", "username", "password", "bearer_token")
    _checks = {"host": check.text, "transport": check.text, "skip_verify": check.flag, "search": check.flag,
               "username": check.optional(check.text), "password": check.optional(check.text), "bearer_token": check.optional(check.text)}
    host: str
    transport: str
    skip_verify: bool
    search: bool
    username: Optional[str]
    password: Optional[str]
    bearer_token: Optional[str]

    def __init__(self, host: str, transport: str = "https", skip_verify: bool = False, search: bool = False,
                 username: Optional[str] = None, password: Optional[str] = None, bearer_token: Optional[str] = None) -> None:
        self.host = host
        self.transport = transport
        self.skip_verify = skip_verify
        self.search = search
        self.username = username
        self.password = password
        self.bearer_token = bearer_token

    def __repr__(self) -> str:
        login = "basic" if self.username is not None else "bearer" if self.bearer_token is not None else "none"
        return (f"ImageRegistry(host={self.host!r}, transport={self.transport!r}, skip_verify={self.skip_verify}, search={self.search}, "
                f"auth={login})")

    def _row(self) -> Setting:
        if self.transport not in ("https", "http"):
            raise _config_error(f"registry {self.host}: unsupported registry transport {self.transport!r}: https or http")
        return (self.host, self.transport == "http", self.skip_verify, self.search, self.username, self.password, self.bearer_token)


def _config_error(what: str) -> Exception:
    from . import boxlite as native

    return native._native_error("config", what)


class Options(check.Checked):
    """Where a runtime keeps things, and where images come from. home_dir: absolute; None: $BOXLITE_HOME, else ~/.boxlite."""

    __slots__ = ("home_dir", "image_registries")
    _checks = {"home_dir": check.optional(check.path), "image_registries": _list_of(check.instance(ImageRegistry))}
    home_dir: Optional[str]
    image_registries: List[ImageRegistry]

    def __init__(self, home_dir: Union[str, os.PathLike[str], None] = None, image_registries: Sequence[ImageRegistry] = ()) -> None:
        self.home_dir = home_dir  # type: ignore[assignment]
        self.image_registries = image_registries  # type: ignore[assignment]


class CopyOptions(check.Checked):
    """How to copy. recursive: folders too. overwrite: files that are there are replaced, else they are an error. follow_symlinks: links stand
    for what they lead to. include_parent: a folder comes to be in the destination under its own name; False: its content does.

    Extensions: keep_owner (out of a box that takes root), all_links (out of a box also links that lead out of what is copied), user (who
    reads or writes in the box; None: root), max_bytes (out of a box: more is an error; None: any number).
    """

    __slots__ = ("recursive", "overwrite", "follow_symlinks", "include_parent", "keep_owner", "all_links", "user", "max_bytes")
    _checks = {"recursive": check.flag, "overwrite": check.flag, "follow_symlinks": check.flag, "include_parent": check.flag,
               "keep_owner": check.flag, "all_links": check.flag, "user": check.optional(check.text),
               "max_bytes": check.optional(check.integer(1, 2**63 - 1))}
    recursive: bool
    overwrite: bool
    follow_symlinks: bool
    include_parent: bool
    keep_owner: bool
    all_links: bool
    user: Optional[str]
    max_bytes: Optional[int]

    def __init__(self, recursive: bool = True, overwrite: bool = True, follow_symlinks: bool = False, include_parent: bool = True,
                 keep_owner: bool = False, all_links: bool = False, user: Optional[str] = None, max_bytes: Optional[int] = None) -> None:
        self.recursive = recursive
        self.overwrite = overwrite
        self.follow_symlinks = follow_symlinks
        self.include_parent = include_parent
        self.keep_owner = keep_owner
        self.all_links = all_links
        self.user = user
        self.max_bytes = max_bytes

    def _arguments(self) -> Setting:
        return (self.recursive, self.overwrite, self.follow_symlinks, self.include_parent, self.keep_owner, self.all_links, self.user,
                self.max_bytes or 0)
