# SPDX-License-Identifier: Apache-2.0
"""The extension, called wrongly: whatever it is given, it answers with an exception."""
import asyncio
import gc
import itertools
import os

from pyworld import Shared, raises

import boxlite
import boxlite.boxlite as native

def ignore(*_args):
    """An answer that nobody wants."""


ODD = (ignore, None, True, -1, 0, 2**31, 2**63, 2**200, 1.5, float("nan"), "", "x", "\0", "\udc80", "x" * 200_000, b"", b"\0", b"x" * 200_000, [], [1], ["x"],
       ["\0"], ("x",), {}, {"a": 1}, object(), Exception("x"))


class Liar:
    """A sequence that is none."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        raise KeyError(i)


def methods(thing):
    return [getattr(thing, n) for n in dir(thing) if not n.startswith("__") and callable(getattr(type(thing), n))]


def abuse(function, most=3):
    """Calls it with odd arguments, of any number up to `most`, and with odd last ones."""
    calls = 0
    for n in range(most + 1):
        for args in itertools.islice(itertools.product(ODD + (Liar(),), repeat=n), 0, None, 1 if n < 2 else 7 if n == 2 else 301):
            calls += 1
            try:
                function(*args)
            except (TypeError, ValueError, OverflowError, RuntimeError, OSError, MemoryError, KeyError, AttributeError):
                pass
    for args in ((ignore,) + (odd,) * n for n in range(1, 13) for odd in ODD):
        calls += 1
        try:
            function(*args)
        except (TypeError, ValueError, OverflowError, RuntimeError, OSError, KeyError):
            pass
    return calls


async def test_whatever_is_passed_nothing_crashes(world):
    own = boxlite.Boxlite(boxlite.Options(home_dir=world.home.path))
    runtime = own._pump.native
    box = await Shared.get()
    execution = await box.exec("sleep", ["1000"])
    calls = 0
    for thing in (box._native, execution._native, box._native.tunnel(9)):
        for method in methods(thing):
            if method.__name__ in ("start", "stop", "restart", "connect", "forward", "set_detached", "kill", "signal", "exec", "attach", "logs",
                                   "write_file", "read_file", "copy_in", "copy_out", "mkdir", "remove_file", "rename", "stat", "list_dir",
                                   "stdin_close", "wait") or (thing is box._native and method.__name__ == "pause"):
                continue  # would do what is said in those that are right by chance; they come below, with a runtime that is closed
            calls += abuse(method)
    for method in methods(runtime):
        if method.__name__ not in ("close", "shutdown", "image_prune", "image_remove", "image_save", "image_load", "remove", "drain",
                                   "image_pull", "image_warm", "create"):
            calls += abuse(method)
    calls += abuse(native._Runtime) + abuse(native._Box) + abuse(native._Execution) + abuse(native.has_feature) + abuse(native._native_error)
    await execution.kill()
    await own.list_info()
    own.close()
    for method in methods(runtime):
        calls += abuse(method)
    gc.collect()
    assert calls > 10_000, calls
    assert (await (await box.exec("echo", ["fine"])).wait()).stdout == "fine\n"


async def test_every_call_on_a_closed_runtime_says_so(world):
    own = boxlite.Boxlite(boxlite.Options(home_dir=world.home.path))
    box = await own.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512), "abused")
    execution = await box.exec("sh", ["-c", "echo x; sleep 1000"])
    tunnel = await box.network.tunnel(9)
    forwarder = await tunnel.forward()
    stream = execution.stdout()
    assert await stream.__anext__() == "x\n"
    own.close()
    for call in (box.start, box.stop, box.info, box.metrics, box.wait, box.processes, lambda: box.exec("true"), box.attach,
                 lambda: box.copy_in("/etc/hostname", "/x"), lambda: box.read_file("/x"), execution.wait, execution.kill,
                 lambda: execution.signal(1), lambda: execution.resize_tty(1, 1), lambda: execution.stdin().send_input(b"x"),
                 stream.__anext__, forwarder.wait, forwarder.close, lambda: box.network.tunnel(9), own.list_info, own.images.list,
                 lambda: own.images.pull("x"), lambda: own.create(boxlite.BoxOptions()), own.metrics, own.info):
        with raises(RuntimeError, "stopped: "):
            await call()
    with raises(RuntimeError, "stopped: "):
        box.engine
    for thing in (box._native, execution._native, forwarder._native):
        for method in methods(thing):
            abuse(method, most=2)
    del box, execution, tunnel, forwarder, stream
    gc.collect()
    runtime = boxlite.Boxlite.default()
    while (await runtime.get_info("abused")).state.running:
        await asyncio.sleep(0.02)
    await runtime.remove("abused", force=True)


async def test_a_call_of_python_code_in_the_middle_of_another_does_no_harm():
    """Callables and sequences of the caller run while arguments are taken, and in the drain."""
    runtime = boxlite.Boxlite.default()
    box = await Shared.get()

    class Sequence(list):
        def __getitem__(self, i):
            self.clear()
            gc.collect()
            return super().__getitem__(i)

    with raises(IndexError):
        box._native.exec(lambda *a: None, "true", Sequence(["a", "b"]), [], None, None, 0.0, False, True, False, (0, 0), (0,) * 5)

    seen = []

    def done(result, error):
        seen.append(runtime._pump.native)
        with raises(RuntimeError, "being drained already"):
            runtime._pump.native.drain(0)
        runtime._pump.native.list_info(lambda result, error: seen.append(len(result)))
        gc.collect()

    runtime._pump.native.list_info(done)
    while len(seen) < 2:
        await runtime.list_info()

    own = boxlite.Boxlite(boxlite.Options(home_dir=os.environ["BOXLITE_HOME"]))
    closed = []
    own._pump.native.list_info(lambda result, error: (own._pump.native.close(), closed.append(result is not None)))
    own._pump.native.list_info(lambda result, error: closed.append(error is None))
    own._pump.native.drain(10_000)  # the first answer closes it: the second one is answered all the same
    assert closed[0] is True and len(closed) == 2 and own._pump.native.closed, closed
