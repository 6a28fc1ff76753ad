# SPDX-License-Identifier: Apache-2.0
"""Options, results and errors, without a box: types, defaults, what is refused."""
import copy
import os
import pickle

from pyworld import raises

import boxlite
from boxlite._logs import _Queue
from boxlite.boxlite import NativeError, SecurityOptions


def test_options_are_unset_until_they_are_set():
    options = boxlite.BoxOptions()
    for name in ("image", "rootfs_path", "cpus", "memory_mib", "disk_size_gb", "working_dir", "network", "auto_remove", "auto_stop",
                 "auto_delete", "auto_resume", "detach", "entrypoint", "cmd", "user", "advanced", "security", "engine"):
        assert getattr(options, name) is None, name
    assert (options.env, options.volumes, options.ports, options.secrets) == ([], [], [], [])
    options.cpus, options.cmd, options.env = 4, [], {"A": "b"}
    assert (options.cpus, options.cmd, options.env) == (4, [], [("A", "b")])
    assert options == copy.copy(options) == pickle.loads(pickle.dumps(options)) and options != boxlite.BoxOptions()
    assert "cpus=4" in repr(options)


def test_wrong_types_are_type_errors():
    wrong = [{"image": 1}, {"cpus": "2"}, {"cpus": True}, {"cpus": 2.0}, {"memory_mib": None, "env": "A=b"}, {"env": [("A",)]},
             {"env": [("A", 1)]}, {"env": 5}, {"volumes": "/a:/b"}, {"volumes": [("/a",)]}, {"volumes": [{"host": "/a"}]},
             {"volumes": [{"host": "/a", "guest": "/b", "mode": "ro"}]}, {"ports": [(1, 2, 3)]}, {"ports": [80]}, {"ports": {"a": 1}},
             {"network": "isolated"}, {"network": {"mode": "enabled"}}, {"auto_remove": 1}, {"detach": "yes"}, {"entrypoint": "sh"},
             {"cmd": [1]}, {"user": 1000}, {"advanced": SecurityOptions()}, {"secrets": ["s"]}, {"security": "maximum"}, {"allow_net": []},
             {"cap_add": ["ALL"]}, {"rootfs_path": 5}]
    for values in wrong:
        with raises(TypeError):
            boxlite.BoxOptions(**values)
    with raises(TypeError):
        boxlite.BoxOptions("alpine:latest")
    options = boxlite.BoxOptions()
    with raises(TypeError, "cpus must be int"):
        options.cpus = "2"
    with raises(AttributeError):
        options.cpu = 2
    for make in (lambda: SecurityOptions(jailer_enabled=1), lambda: SecurityOptions(max_processes="100"), lambda: boxlite.NetworkSpec(5),
                 lambda: boxlite.NetworkSpec(allow_net="pypi.org"), lambda: boxlite.Secret("n", 5), lambda: boxlite.Options(5),
                 lambda: boxlite.Options(image_registries=["docker.io"]), lambda: boxlite.ImageRegistry(None),
                 lambda: boxlite.HealthCheckOptions(interval="1"), lambda: boxlite.ContainerCapabilities(add="ALL"),
                 lambda: boxlite.CopyOptions(recursive=1), lambda: boxlite.AdvancedBoxOptions(security=5)):
        with raises(TypeError):
            make()


def test_wrong_values_are_value_errors():
    for values in ({"cpus": 0}, {"cpus": -1}, {"memory_mib": 0}, {"disk_size_gb": 0}, {"auto_delete": -1}, {"ports": [(70000, 80)]},
                   {"ports": [(80, 0)]}, {"ports": [(80, 80, "sctp")]}, {"image": "a\0b"}, {"env": [("A=B", "c")]}, {"env": {"": "c"}}):
        with raises(ValueError):
            boxlite.BoxOptions(**values)
    for make in (lambda: SecurityOptions(max_processes=0), lambda: SecurityOptions(max_memory=2**64),
                 lambda: boxlite.NetworkSpec(mode="isolated"), lambda: boxlite.SimpleBox(), lambda: boxlite.SimpleBox(image="")):
        with raises(ValueError):
            make()
    with raises(TypeError):
        boxlite.SimpleBox(image="alpine", cpu=1)
    with raises(TypeError):
        boxlite.SimpleBox(image="alpine", runtime="default")


def test_volumes_and_ports_come_as_tuples_or_dicts():
    rows = boxlite.BoxOptions(volumes=[("/h", "/g"), ("/h", "/g", True), ("/h", "/g", "ro"), {"source": "/h", "guest_path": "/g", "ro": True}],
                              ports=[(8080, 80), (0, 80, "tcp", "0.0.0.0"), {"guest_port": 80}])._settings()
    assert [r for r in rows if r[0] == "volume"] == [("volume", "/h", "/g", ro) for ro in (False, True, True, True)]
    assert [r for r in rows if r[0] == "port"] == [("port", 8080, 80, False, None), ("port", 0, 80, False, "0.0.0.0"), ("port", 0, 80, False, None)]


def test_security_in_two_places_must_agree():
    maximum = SecurityOptions.maximum()
    options = boxlite.BoxOptions(security=maximum, advanced=boxlite.AdvancedBoxOptions(security=SecurityOptions.maximum()))
    assert ("max_processes", 100) in options._settings()
    options.advanced = boxlite.AdvancedBoxOptions(security=SecurityOptions.standard())
    with raises(ValueError, "security and advanced.security"):
        options._settings()


async def test_what_the_library_judges_has_its_prefixes():
    runtime = boxlite.Boxlite.default()
    for options, text in (({"cpus": 200}, "cpus"), ({"memory_mib": 1}, "memory"), ({"working_dir": "relative"}, "workdir"),
                          ({"network": boxlite.NetworkSpec(allow_net=["not a rule!"])}, "not a rule!"),
                          ({"engine": "xen"}, "engine"), ({"network": boxlite.NetworkSpec("disabled", ["a.b"])}, "network"),
                          ({"advanced": boxlite.AdvancedBoxOptions(capabilities=boxlite.ContainerCapabilities(add=["NO_SUCH"]))}, "NO_SUCH"),
                          ({"image": "???"}, "image"), ({"user": "x" * 300}, "user")):
        with raises(RuntimeError) as caught:
            await runtime.create(boxlite.BoxOptions(**options))
        assert str(caught[0]).startswith(("invalid argument: ", "unsupported: ")) and text in str(caught[0]), caught[0]
    with raises(RuntimeError, "invalid argument: "):
        await runtime.create(boxlite.BoxOptions(), "no such name!")
    with raises(TypeError):
        await runtime.create({"image": "alpine"})


def test_secrets_hide():
    secret = boxlite.Secret("key", "hunter2", hosts=["api.example"])
    assert "hunter2" not in repr(secret) and "REDACTED" in repr(secret) and "api.example" in repr(secret)
    assert secret.get_placeholder() == "<BOXLITE_SECRET:key>"
    secret.placeholder = "$KEY"
    assert secret.get_placeholder() == "$KEY"
    registry = boxlite.ImageRegistry("r.example", username="u", password="hunter2")
    assert "hunter2" not in repr(registry) and "r.example" in repr(registry)
    assert "hunter2" not in repr(boxlite.Options(image_registries=[registry]))


def test_homes_and_registries_are_checked():
    with raises(RuntimeError, "configuration error: "):
        boxlite.Boxlite(boxlite.Options(home_dir="relative"))
    for registry, text in ((boxlite.ImageRegistry(""), "host"), (boxlite.ImageRegistry("https://r.example/v2"), "host[:port]"),
                           (boxlite.ImageRegistry("r.example", transport="gopher"), "unsupported registry transport"),
                           (boxlite.ImageRegistry("r.example", username="u"), "username and password")):
        with raises(RuntimeError, text):
            boxlite.Boxlite(boxlite.Options(home_dir="/nonexistent/home", image_registries=[registry]))
    assert not os.path.exists("/nonexistent")
    with raises(RuntimeError, "already exists: "):
        boxlite.Boxlite.init_default(boxlite.Options())
    assert boxlite.Boxlite.default() is boxlite.Boxlite.default()


def test_results_compare_by_value_and_errors_say_what():
    assert boxlite.ExecResult(0, "a", "b") == boxlite.ExecResult(0, "a", "b", None, oom_killed=True) != boxlite.ExecResult(1, "a", "b")
    error = boxlite.ExecError("ls", 2, "no such file")
    assert (error.command, error.exit_code, error.stderr) == ("ls", 2, "no such file")
    assert all(word in str(error) for word in ("ls", "2", "no such file"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert issubclass(boxlite.ExecError, boxlite.BoxliteError) and issubclass(boxlite.TimeoutError, boxlite.BoxliteError)
    assert issubclass(boxlite.ParseError, boxlite.BoxliteError)
    assert issubclass(NativeError, RuntimeError) and not issubclass(NativeError, boxlite.BoxliteError)


def test_names_are_where_programs_look_for_them():
    import boxlite.boxlite as extension
    for name in boxlite.__all__:
        assert getattr(boxlite, name) is not None and name in dir(boxlite), name
    for name in boxlite._NATIVE_NAMES:
        assert getattr(extension, name) is getattr(boxlite, name), name
    with raises(AttributeError):
        boxlite.NoSuchName
    with raises(AttributeError):
        extension.NoSuchName
    assert boxlite.errors.ExecError is boxlite.ExecError and boxlite.__version__ == extension.version()


def test_without_a_loop_an_await_says_so():
    call = boxlite.Boxlite.default().list_info()
    call.close()  # a coroutine like any other: nothing has happened yet


def test_what_waits_of_a_log_is_counted_in_bytes():
    queue = _Queue()
    queue(1, 0, "é".encode() * 10)
    queue(1, 0, b"x")
    assert queue.take().text == "é" * 10 and queue.size == 1
    queue.drop()
    assert queue.size == 0 and queue.take() is None
