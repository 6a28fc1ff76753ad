# SPDX-License-Identifier: Apache-2.0
"""The synchronous names: the same without asyncio, in any number of threads."""
import asyncio
import os
import signal
import threading
import time

from pyworld import Shared, raises

import boxlite

ALPINE = {"image": "alpine:latest", "memory_mib": 512}


def shared():
    runtime = boxlite.SyncBoxlite.default()
    asyncio.run(Shared.get())
    return runtime.get("shared")


def test_a_box_is_made_used_and_removed():
    runtime = boxlite.SyncBoxlite.default().start()
    box = runtime.create(boxlite.BoxOptions(**ALPINE), "sync")
    with box:
        execution = box.exec("sh", ["-c", "echo one; read x; echo $x; echo e >&2; exit 3"])
        stdin, stdout = execution.stdin(), execution.stdout()
        assert next(stdout) == "one\n" and execution.id
        stdin.send_input(b"two\n")
        stdin.close()
        assert "".join(stdout) == "two\n" and "".join(execution.stderr()) == "e\n" and stdin.is_closed()
        assert execution.wait().exit_code == 3
        with box.exec("sleep", ["1000"]) as sleeping:
            sleeping.signal(0 + signal.SIGTERM)
            assert sleeping.wait().exit_code == 143
        box.write_file("/f", "text")
        assert box.read_file("/f") == b"text" and box.stat("/f").size == 4
        assert box.info().state.running and box.metrics().commands_executed_total == 2 and box.details()["id"] == box.id
        assert box.id in {i.id for i in runtime.list_info()}
    with raises(RuntimeError, "stopped: "):
        box.exec("true")
    assert runtime.get_info("sync").state.status == "stopped"
    same, created = runtime.get_or_create(boxlite.BoxOptions(**ALPINE), "sync")
    assert same.id == box.id and not created
    runtime.remove("sync")
    assert runtime.get("sync") is None and runtime.metrics().boxes_created_total >= 1
    assert {i.tag for i in runtime.images.list()} >= {"latest"}


def test_simple_and_code_boxes_mirror_the_asynchronous_ones():
    with boxlite.SyncSimpleBox(**ALPINE) as box:
        number = box.id
        assert box.exec("echo", "hi") == boxlite.ExecResult(0, "hi\n", "") and box.created
        assert box.exec("no-such-program").exit_code == 127
    with boxlite.SyncCodeBox(memory_mib=512) as box:
        assert box.run("x = 6\nprint(x * 7)") == "42\n" and box.run("x").value == 6
        assert box.run("import time; time.sleep(1000)", timeout=0.3).timed_out
        assert box.run("x").value == 6
    runtime = boxlite.SyncBoxlite.default()
    assert runtime.get(number) is None


def test_it_refuses_to_stop_a_running_loop():
    async def inside():
        with raises(RuntimeError, "event loop"):
            boxlite.SyncBoxlite.default().list_info()
    asyncio.run(inside())


def test_threads_share_one_runtime():
    box = shared()
    codes = {}

    def work(n):
        for i in range(30):
            execution = box.exec("sh", ["-c", f"echo {n}.{i}; exit {n}"])
            said = list(execution.stdout())
            assert "".join(said) == f"{n}.{i}\n", (n, i, said, execution.wait())
            codes[n, i] = execution.wait().exit_code

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert codes == {(n, i): n for n in range(8) for i in range(30)}, codes


def test_threads_that_wait_and_a_loop_share_one_runtime():
    box = shared()
    stop = threading.Event()
    counts = []

    def blocking():
        while not stop.is_set():
            counts.append(box.exec("true").wait().exit_code)

    async def loop():
        mine = await boxlite.Boxlite.default().get("shared")
        for _ in range(20):
            executions = await asyncio.gather(*(mine.exec("true") for _ in range(3)))
            counts.extend(r.exit_code for r in await asyncio.gather(*(e.wait() for e in executions)))

    thread = threading.Thread(target=blocking)
    thread.start()
    try:
        asyncio.run(asyncio.wait_for(loop(), 60))
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive() and len(counts) > 60 and not any(counts)


def test_ctrl_c_ends_a_wait_and_kill_on_cancel_then_kills():
    box = shared()
    for kill in (False, True):
        execution = box.exec("sleep", ["1000"], kill_on_cancel=kill)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with raises(KeyboardInterrupt):
            execution.wait()
        timer.join()
        if not kill:
            execution.kill()
        assert execution.wait().exit_code == 137


def test_what_another_thread_closes_ends_the_wait(world):
    own = boxlite.SyncBoxlite(boxlite.Options(home_dir=world.home.path))
    box = own.create(boxlite.BoxOptions(**ALPINE, auto_remove=True), "closed")
    execution = box.exec("sleep", ["1000"])
    timer = threading.Timer(0.3, own.close)
    timer.start()
    with raises(RuntimeError, "stopped: the runtime was closed"):
        execution.wait()
    timer.join()
    runtime = boxlite.SyncBoxlite.default()
    end = time.monotonic() + 30
    while (info := runtime.get_info("closed")) is not None and info.state.running:
        assert time.monotonic() < end
    if info is not None:
        runtime.remove("closed", force=True)


def test_a_tunnel_works_also_while_another_thread_waits():
    box = shared()
    with box.exec("nc", ["-ll", "-p", "7778", "-e", "cat"]):
        def ask(text):
            while True:
                with box.network.tunnel(7778).connect() as connection:
                    try:
                        connection.write(text)
                        connection.shutdown_write()
                        got = b""
                        while piece := connection.read():
                            got += piece
                    except OSError:
                        continue
                    if got == text:
                        return got

        assert ask(b"alone") == b"alone"
        execution = box.exec("sleep", ["1000"])
        waiting = threading.Thread(target=execution.wait)
        waiting.start()
        others = [threading.Thread(target=ask, args=(b"x" * 100_000,)) for _ in range(3)]
        for t in others:
            t.start()
        for t in others:
            t.join(60)
        assert not any(t.is_alive() for t in others)
        execution.kill()
        waiting.join(60)
        assert not waiting.is_alive()


def test_logs_and_processes():
    runtime = boxlite.SyncBoxlite.default()
    box = runtime.create(boxlite.BoxOptions(**ALPINE, cmd=["echo", "logged"]), "logged")
    box.start()
    assert box.wait() == 0 and "".join(p.text for p in box.logs()) == "logged\n"
    assert any(p.pid for p in shared().processes())
    runtime.remove("logged", force=True)
