# SPDX-License-Identifier: Apache-2.0
"""Loops of every kind, and how things end: forks, exits, deaths."""
import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pyworld
from pyworld import Shared, boxtest, raises

import boxlite

ALPINE = {"image": "alpine:latest", "memory_mib": 512}
# What programs that are run by these tests begin with.
BEGIN = "import asyncio, os, signal, sys, boxlite\nALPINE = {'image': 'alpine:latest', 'memory_mib': 512}\n"


async def work(n=3):
    box = await Shared.get()
    executions = await asyncio.gather(*(box.exec("sh", ["-c", f"echo {i}; exit {i}"]) for i in range(n)))
    texts = ["".join([t async for t in e.stdout()]) for e in executions]
    assert texts == [f"{i}\n" for i in range(n)]
    return [(await e.wait()).exit_code for e in executions]


def test_uvloop_is_as_good_as_asyncio():
    try:
        import uvloop
    except ImportError:
        raise boxtest.Skip("uvloop is not installed (Debian: python3-uvloop)") from None
    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(work(20)) == list(range(20))
    finally:
        loop.close()
    assert asyncio.run(work()) == [0, 1, 2]


def test_several_loops_one_after_the_other():
    for _ in range(3):
        assert asyncio.run(work()) == [0, 1, 2]


def test_threads_each_with_a_loop():
    asyncio.run(Shared.get())
    results = {}

    def thread(n):
        results[n] = asyncio.run(work(5))

    threads = [threading.Thread(target=thread, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert results == {n: list(range(5)) for n in range(6)}, results


def test_a_command_that_one_loop_began_is_waited_for_in_another():
    async def begin():
        return await (await Shared.get()).exec("sh", ["-c", "sleep 0.3; echo late; exit 8"])

    async def end(execution):
        return await execution.wait()

    execution = asyncio.run(begin())
    assert asyncio.run(end(execution)) == boxlite.ExecResult(8, "late\n", "")


def test_an_answer_for_a_loop_that_is_closed_is_dropped():
    async def begin():
        task = asyncio.ensure_future((await Shared.get()).exec("sleep", ["0.1"]))
        await asyncio.sleep(0)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(begin())
    loop.close()
    assert asyncio.run(work()) == [0, 1, 2]
    task._log_destroy_pending = False
    del task
    gc.collect()


def test_loops_and_runtimes_leave_no_descriptor(world):
    def descriptors():
        gc.collect()
        found = {}
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found[int(fd)] = os.readlink("/proc/self/fd/" + fd)
        return found

    async def in_one_loop():
        for _ in range(3):
            own = boxlite.Boxlite(boxlite.Options(home_dir=world.home.path))
            await own.list_info()
            ref = weakref.ref(own._pump)
            del own
            gc.collect()
            assert ref() is None  # nothing holds a runtime that nobody uses

    asyncio.run(work())
    asyncio.run(in_one_loop())
    before = descriptors()
    for _ in range(3):
        asyncio.run(work())
        asyncio.run(in_one_loop())
        with boxlite.Boxlite(boxlite.Options(home_dir=world.home.path)) as own:
            asyncio.run(own.list_info())
    after = descriptors()
    assert len(after) <= len(before), {fd: to for fd, to in after.items() if before.get(fd) != to}


def test_a_fork_is_refused_with_a_message_and_disturbs_nothing():
    asyncio.run(work())
    runtime = boxlite.Boxlite.default()
    box = boxlite.SyncBoxlite.default().get("shared")
    execution = box.exec("sh", ["-c", "sleep 0.5; exit 4"])
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = []
            for call in (lambda: box.exec("true"), boxlite.SyncBoxlite._over(runtime).list_info, lambda: execution.wait()):
                try:
                    call()
                    said.append("worked")
                except RuntimeError as e:
                    said.append(str(e))
            runtime.close()
            fresh = boxlite.SyncBoxlite.default()  # one of its own
            said.append(str(any(i.name == "shared" and i.state.running for i in fresh.list_info())))
            del box, execution, runtime
            gc.collect()
            os.write(write, "\n".join(said).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as f:
        said = f.read().decode().split("\n")
    os.waitpid(pid, 0)
    assert len(said) == 4 and all("forked" in s for s in said[:3]) and said[3] == "True", said
    assert execution.wait().exit_code == 4
    assert asyncio.run(work()) == [0, 1, 2]


def names(world):
    return {b["Names"] for b in world.home.boxes()}


def test_the_interpreters_exit_leaves_no_box_behind(world):
    began = names(world)
    program = BEGIN + """
async def main():
    box = await boxlite.Boxlite.default().create(boxlite.BoxOptions(**ALPINE, auto_remove=True), "left")
    execution = await box.exec("sleep", ["1000"])
    print(await boxlite.Boxlite.default().get_info("left"))
    if sys.argv[1] == "exit": sys.exit(3)
    if sys.argv[1] == "error": raise KeyError("in the middle")
    if sys.argv[1] == "detached": return
asyncio.run(main())
"""
    for how, code in (("exit", 3), ("error", 1), ("end", 0)):
        done = world.python(program, how)
        assert done.code == code and "running=True" in done.text, done
        assert names(world) == began, how
    program = BEGIN + """
box = boxlite.SyncSimpleBox(**ALPINE, name="left").start()
print(box.exec("echo", "up").stdout)
"""
    done = world.python(program)
    assert (done.code, done.text) == (0, "up\n\n") and names(world) == began, done


def test_ctrl_c_leaves_no_box_behind(world):
    began = names(world)
    program = BEGIN + """
async def main():
    async with boxlite.SimpleBox(**ALPINE, name="left") as box:
        print("up", flush=True)
        await box.exec("sleep", "1000")
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": pyworld.PACKAGE}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as p:
        assert p.stdout.readline() == b"up\n"
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60)
    assert p.returncode in (1, 130, -signal.SIGINT) and names(world) == began, p.returncode


def test_a_killed_programs_boxes_end(world):
    program = BEGIN + """
with boxlite.SyncSimpleBox(**ALPINE, name="left") as box:
    print(box.info().state.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = world.python(program)
    assert done.code == -signal.SIGKILL, done
    boxtest.wait_for(lambda: not os.path.exists(f"/proc/{int(done.text)}"), "the box's supervisor has ended")
    boxtest.wait_for(lambda: "left" not in names(world), "the box is removed by who looks next")


def test_a_detached_box_stays(world):
    program = BEGIN + """
async def main():
    box = await boxlite.Boxlite.default().create(boxlite.BoxOptions(**ALPINE, detach=True), "stays")
    await box.start()
asyncio.run(main())
"""
    assert world.python(program).code == 0
    runtime = boxlite.SyncBoxlite.default()
    box = runtime.get("stays")
    assert box.info().state.running and box.exec("echo", ["still here"]).wait().stdout == "still here\n"
    runtime.remove("stays", force=True)


def test_an_exception_in_a_callback_is_reported():
    seen = []
    old, sys.unraisablehook = sys.unraisablehook, lambda u: seen.append(u.exc_value)
    try:
        runtime = boxlite.Boxlite.default()

        def done(_result, _error):
            raise KeyError("lost?")

        async def call():
            runtime._pump.native.list_info(done)
            await runtime.list_info()
        asyncio.run(call())
    finally:
        sys.unraisablehook = old
    assert [type(e) for e in seen] == [KeyError], seen


def test_a_thousand_commands_leave_no_memory_and_no_reference():
    async def many(box, n):
        for _ in range(n // 50):
            executions = await asyncio.gather(*(box.exec("true") for _ in range(50)))
            await asyncio.gather(*(e.wait() for e in executions))

    async def all_of_them():
        box = await Shared.get()
        await many(box, 100)
        gc.collect()
        objects, memory = len(gc.get_objects()), resident()
        references = sys.getrefcount(box._native), sys.getrefcount(box._pump.native), sys.getrefcount(None)
        await many(box, 1000)
        gc.collect()
        assert len(gc.get_objects()) < objects + 200, (objects, len(gc.get_objects()))
        assert (sys.getrefcount(box._native), sys.getrefcount(box._pump.native)) == references[:2]
        assert abs(sys.getrefcount(None) - references[2]) < 500
        assert resident() < memory + (4 << 20), (memory, resident())

    asyncio.run(all_of_them())


def resident():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_import_is_quick_and_brings_no_asyncio(world):
    done = world.python("import sys, boxlite\nprint(sorted({'asyncio', 'inspect', 'dataclasses', 'subprocess'} & set(sys.modules)))")
    assert done.text == "[]\n", done
