# SPDX-License-Identifier: Apache-2.0
"""Boxes, commands, streams and files, as a program with asyncio sees them."""
import asyncio
import contextlib
import gc
import json
import os
import signal
import tempfile
import time

from pyworld import Shared, raises

import boxlite
from boxlite.boxlite import NativeError

ALPINE = {"image": "alpine:latest", "memory_mib": 512}


def runtime():
    return boxlite.Boxlite.default()


@contextlib.asynccontextmanager
async def a_box(name=None, **options):
    """A box of busybox, removed at the end."""
    box = await runtime().create(boxlite.BoxOptions(**{**ALPINE, **options}), name)
    try:
        yield box
    finally:
        await runtime().remove(box.id, force=True)


async def sh(box, script, **kw):
    execution = await box.exec("sh", ["-c", script], **kw)
    return await execution.wait()


async def text_of(stream):
    return "".join([piece async for piece in stream])


# --- a box's life ---

async def test_a_box_is_made_started_by_its_first_command_stopped_and_removed():
    async with a_box("life") as box:
        assert len(box.id) == 12 and box.id.isalnum() and box.name == "life" and box.engine is None
        info = await box.info()
        assert (info.state.status, info.state.running, info.state.pid) == ("configured", False, None), info
        assert info.image == "alpine:latest" and info.cpus == 1 and info.memory_mib == 512 and info.started_at is None, info
        assert info.created_at.endswith("Z") and info.created_at[10] == "T", info
        assert (await sh(box, "echo kept >/root/file; sync")).exit_code == 0
        assert box.engine in ("kvm", "tcg")
        info = await box.info()
        assert info.state.running and info.state.pid > 0 and info.started_at, info
        assert info == await runtime().get_info("life") == (await runtime().list_info())[0]
        await box.stop()
        assert (await runtime().get_info(box.id)).state.status == "stopped"  # it stays until it is removed
        with raises(RuntimeError, "stopped: Handle invalidated after stop(). Use runtime.get()"):
            await box.exec("true")
        again = await runtime().get("life")
        assert again.id == box.id and (await sh(again, "cat /root/file")).stdout == "kept\n"
        with raises(RuntimeError, "invalid state: "):
            await runtime().remove(box.id)
        await again.stop()
    assert await runtime().get("life") is None and await runtime().get_info("life") is None
    with raises(RuntimeError, "box not found: "):
        await runtime().remove("life")


async def test_a_name_is_one_boxs_and_get_or_create_gives_it():
    async with a_box("named") as box:
        with raises(RuntimeError, "invalid argument: box with name 'named' already exists"):
            await runtime().create(boxlite.BoxOptions(**ALPINE), "named")
        same, created = await runtime().get_or_create(boxlite.BoxOptions(**ALPINE), "named")
        assert (same.id, created) == (box.id, False)
    other, created = await runtime().get_or_create(boxlite.BoxOptions(**ALPINE), "named")
    assert created and other.id != box.id
    await runtime().remove(other.id)


async def test_async_with_a_box_starts_and_stops_it():
    async with a_box() as box:
        async with box as same:
            assert same is box and (await box.info()).state.running
        assert (await runtime().get_info(box.id)).state.status == "stopped"


async def test_a_box_with_remove_on_stop_goes_with_its_stop_and_cannot_be_detached():
    box = await runtime().create(boxlite.BoxOptions(**ALPINE, auto_remove=True))
    await box.start()
    await box.stop()
    assert await runtime().get(box.id) is None
    with raises(RuntimeError, "remove-on-stop is incompatible"):
        await runtime().create(boxlite.BoxOptions(**ALPINE, auto_remove=True, detach=True))


async def test_restart_keeps_the_handle():
    async with a_box() as box:
        await sh(box, "echo 1 >/root/x; sync")
        await box.restart()
        assert (await sh(box, "cat /root/x")).stdout == "1\n"


async def test_a_paused_box_refuses_work_until_it_goes_on():
    async with a_box() as box:
        await box.start()
        await box.pause()
        assert (await box.info()).state.status == "paused"
        with raises(RuntimeError, "is paused"):
            await sh(box, "true")
        await box.resume()
        assert (await sh(box, "echo on")).stdout == "on\n"


async def test_the_rules_of_its_network_change():
    async with a_box() as box:
        await box.update_network(["a.example"])  # it does not run yet
        assert (await box.info()).network.allow_net == ["a.example"]
        await box.start()
        await box.update_network(["b.example", "10.0.0.0/8:80"])
        assert (await box.info()).network.allow_net == ["b.example", "10.0.0.0/8:80"]
        with raises(Exception, "a b"):
            await box.update_network(["a b"])
        await box.update_network([])
        assert (await box.info()).network.allow_net == []
        assert json.loads((await box.details())["network_refusals"]) == []


async def test_options_reach_the_box():
    options = {"working_dir": "/made/here", "env": [("A", "1"), ("B", "two words")], "user": "1000:1001"}
    async with a_box(**options) as box:
        result = await sh(box, "pwd; echo $A-$B-$C; id -u; id -g; nproc; awk '/MemTotal/{print int($2/1024)}' /proc/meminfo", env={"C": "ü"})
        lines = result.stdout.split()
        assert lines[:6] == ["/made/here", "1-two", "words-ü", "1000", "1001", "1"], result
        assert 300 < int(lines[6]) <= 512, result
        result = await sh(box, "pwd; id -u; echo $A", user="root", cwd="/tmp", env=[("A", "mine")])
        assert result.stdout == "/tmp\n0\nmine\n", result


async def test_a_main_process_is_attached_to_and_ends_the_box():
    async with a_box(cmd=["sh", "-c", "echo from main; echo wrong >&2; exit 5"]) as box:
        execution = await box.attach()
        assert execution.id() == "main"
        await box.start()
        assert await text_of(execution.stdout()) == "from main\n"
        assert (await text_of(execution.stderr()), (await execution.wait()).exit_code) == ("wrong\n", 5)


async def test_a_detached_command_is_found_again():
    box = await Shared.get()
    first = await box.exec("sh", ["-c", "echo early; sleep 0.5; echo late; exit 7"], detached=True)
    number = first.id()
    del first
    gc.collect()
    again = await box.attach(number)
    result = await again.wait()
    assert (result.exit_code, result.stdout) == (7, "early\nlate\n"), result


# --- how commands end ---

async def test_a_result_has_what_no_stream_took():
    box = await Shared.get()
    result = await sh(box, "echo out; echo err >&2; exit 3")
    assert result == boxlite.ExecResult(3, "out\n", "err\n"), result
    assert not result.oom_killed and not result.timed_out and result.signal == 0 and result.usage.wall_us > 0
    taken = await box.exec("sh", ["-c", "echo out; echo err >&2"])
    stdout = taken.stdout()
    result = await taken.wait()
    assert (result.stdout, result.stderr) == ("", "err\n"), result
    assert await text_of(stdout) == "out\n"  # also after the end
    assert await taken.wait() == result  # and again
    late = await box.exec("echo", ["late"])
    result = await late.wait()
    assert result.stdout == "late\n" and await text_of(late.stdout()) == "late\n"


async def test_what_nobody_reads_stops_no_command_and_is_bounded():
    box = await Shared.get()
    result = await sh(box, "echo begin; dd if=/dev/zero bs=1M count=5 2>/dev/null; echo end")
    assert result.exit_code == 0 and result.stdout_truncated, result.exit_code
    assert result.stdout.startswith("begin\n\0") and result.stdout.endswith("\0end\n")
    assert 500_000 < len(result.stdout) < 1_200_000, len(result.stdout)


async def test_death_by_a_signal_is_128_and_its_number():
    box = await Shared.get()
    result = await sh(box, "kill -TERM $$")
    assert (result.exit_code, result.signal) == (143, 15), result
    execution = await box.exec("sleep", ["1000"])
    await execution.signal(signal.SIGINT)
    assert (await execution.wait()).exit_code == 130
    execution = await box.exec("sleep", ["1000"])
    await execution.kill()
    result = await execution.wait()
    assert (result.exit_code, result.killed) == (137, True), result
    await execution.kill()  # nothing happens


async def test_kill_ends_all_that_the_command_started():
    box = await Shared.get()
    execution = await box.exec("sh", ["-c", "sleep 12345 & sleep 12345"])
    await execution.kill()
    await execution.wait()
    assert (await sh(box, "ps | grep -c '[s]leep 12345'")).stdout.strip() == "0"


async def test_a_timeout_of_exec_raises_nothing():
    box = await Shared.get()
    execution = await box.exec("sleep", ["1000"], timeout_secs=0.2)
    result = await execution.wait()
    assert result.timed_out and result.exit_code in (143, 137), result


async def test_a_command_that_cannot_be_run_raises_spawn_failed():
    box = await Shared.get()
    with raises(NativeError, "spawn_failed") as caught:
        await box.exec("no-such-program")
    assert isinstance(caught[0], RuntimeError) and caught[0].kind == "execution" and "not found" in str(caught[0])
    with raises(RuntimeError, "spawn_failed"):
        await box.exec("true", cwd="/etc/passwd")
    with raises(RuntimeError, "Execution error: "):
        await box.exec("true", user="nobody-of-that-name")
    assert (await sh(box, "true")).exit_code == 0


async def test_cancelling_a_task_does_not_kill_unless_asked():
    box = await Shared.get()
    for kill, left in ((False, "1"), (True, "0")):
        execution = await box.exec("sleep", ["4321"], kill_on_cancel=kill)
        with raises(asyncio.TimeoutError):
            await asyncio.wait_for(execution.wait(), 0.2)
        if kill:
            assert (await execution.wait()).exit_code == 137
        assert (await sh(box, "ps | grep -c '[s]leep 4321'")).stdout.strip() == left, kill
        await execution.kill()
        await execution.wait()


async def test_a_command_goes_on_when_its_object_is_dropped():
    box = await Shared.get()
    execution = await box.exec("sh", ["-c", "dd if=/dev/zero bs=1M count=3 2>/dev/null; echo done >/root/done"])
    stream = execution.stdout()
    await stream.__anext__()
    del execution, stream
    gc.collect()
    assert (await sh(box, "while ! test -e /root/done; do sleep 0.05; done", timeout_secs=60)).exit_code == 0


async def test_the_end_of_an_async_with_kills_its_command():
    box = await Shared.get()
    async with await box.exec("sleep", ["1000"]) as execution:
        pass
    assert (await execution.wait()).exit_code == 137
    with raises(KeyError):
        async with await box.exec("sleep", ["1000"]) as execution:
            raise KeyError
    assert (await execution.wait()).exit_code == 137


async def test_a_command_that_runs_out_of_memory_is_told_and_the_box_stays():
    async with a_box() as box:
        result = await sh(box, "dd if=/dev/zero of=/dev/null bs=600M count=1")
        assert (result.exit_code, result.oom_killed) == (137, True) and result.error_message, result
        assert (await sh(box, "echo alive")).stdout == "alive\n"


async def test_waits_of_a_box_that_is_killed_fail():
    async with a_box() as box:
        execution = await box.exec("sleep", ["1000"])
        reading = asyncio.ensure_future(text_of(execution.stdout()))
        waiting = asyncio.ensure_future(execution.wait())
        await asyncio.sleep(0)
        os.kill((await box.info()).state.pid, signal.SIGKILL)
        with raises(RuntimeError):
            await waiting
        with raises(RuntimeError):
            await reading


# --- streams ---

async def test_streams_give_text_as_it_comes():
    box = await Shared.get()
    execution = await box.exec("sh", ["-c", "echo one; read x; echo two $x; echo three >&2"])
    stdin, stdout = execution.stdin(), execution.stdout()
    assert await stdout.__anext__() == "one\n"
    await stdin.send_input(b"more\n")
    assert await stdout.__anext__() == "two more\n"
    assert await text_of(stdout) == "" and await text_of(execution.stderr()) == "three\n"
    for take in (execution.stdin, execution.stdout, execution.stderr):
        with raises(RuntimeError, "was taken already"):
            take()


async def test_a_character_in_two_pieces_is_one_and_what_is_no_utf8_is_replaced():
    box = await Shared.get()
    execution = await box.exec("sh", ["-c", r"printf '\303'; read x; printf '\244b\377\303'"])
    stdout, stdin = execution.stdout(), execution.stdin()
    reading = asyncio.ensure_future(text_of(stdout))
    await asyncio.sleep(0.2)
    await stdin.send_input(b"\n")
    assert await reading == "äb\ufffd\ufffd"


async def test_megabytes_go_in_and_out():
    box = await Shared.get()
    execution = await box.exec("cat")
    stdin, stdout = execution.stdin(), execution.stdout()
    data = os.urandom(1 << 20).hex().encode() * 4

    async def write():
        await stdin.send_input(data)
        await stdin.close()
    _, text = await asyncio.gather(write(), text_of(stdout))
    assert text.encode() == data and stdin.is_closed()
    with raises(RuntimeError, "invalid state: stdin is closed"):
        await stdin.send_input(b"more")
    execution = await box.exec("sh", ["-c", "exec <&-; sleep 0.2"])
    stdin = execution.stdin()
    with raises(RuntimeError, "invalid state: "):
        while True:
            await stdin.send_input(b"x" * 300_000)


async def test_a_slow_reader_stops_the_writer_and_loses_nothing():
    box = await Shared.get()
    execution = await box.exec("sh", ["-c", "dd if=/dev/zero bs=1M count=20 2>/dev/null; echo written >/root/written"])
    stdout = execution.stdout()
    got = len(await stdout.__anext__())
    await asyncio.sleep(0.5)
    assert (await sh(box, "test -e /root/written")).exit_code == 1  # it waits for us
    got += len(await text_of(stdout))
    assert got == 20 << 20, got


async def test_a_stream_that_is_given_up_stops_nobody():
    box = await Shared.get()
    for give_up in ("close", "drop"):
        execution = await box.exec("sh", ["-c", "dd if=/dev/zero bs=1M count=20 2>/dev/null; exit 9"])
        stdout = execution.stdout()
        await stdout.__anext__()
        if give_up == "close":
            await stdout.aclose()
        else:
            del stdout
        assert (await execution.wait()).exit_code == 9, give_up


async def test_one_task_reads_a_stream():
    box = await Shared.get()
    execution = await box.exec("sleep", ["1000"])
    stdout = execution.stdout()
    first = asyncio.ensure_future(stdout.__anext__())
    await asyncio.sleep(0)
    with raises(RuntimeError, "another task reads this stream"):
        await stdout.__anext__()
    first.cancel()
    second = asyncio.ensure_future(stdout.__anext__())  # the reader that is cancelled is none any more
    await asyncio.sleep(0)
    await execution.kill()
    with raises(StopAsyncIteration):
        await second


async def test_a_terminal_has_a_size_and_a_command_without_one_has_none():
    box = await Shared.get()
    execution = await box.exec("sh", ["-c", "read x; stty size; echo err >&2; exit 4"], tty=True)
    await execution.resize_tty(40, 120)
    stdin, stdout = execution.stdin(), execution.stdout()
    await stdin.send_input(b"\n")
    assert await text_of(stdout) == "\r\n40 120\r\nerr\r\n"
    assert (await execution.wait()).exit_code == 4
    plain = await box.exec("sleep", ["1000"])
    with raises(RuntimeError, "invalid state: the command has no terminal"):
        await plain.resize_tty(40, 120)
    with raises(RuntimeError, "invalid argument: rows and cols"):
        await plain.resize_tty(0, 0)
    await plain.kill()


# --- many at once ---

async def test_a_hundred_commands_at_once():
    box = await Shared.get()
    executions = await asyncio.gather(*(box.exec("sh", ["-c", f"exit {i}"]) for i in range(100)))
    results = await asyncio.gather(*(e.wait() for e in executions))
    assert [r.exit_code for r in results] == list(range(100))


# --- files ---

async def test_files_are_copied_in_and_out(world):
    box = await Shared.get()
    with tempfile.TemporaryDirectory() as d:
        tree = os.path.join(d, "tree")
        os.makedirs(os.path.join(tree, "sub"))
        for name, data in (("a", b"A" * 1000), ("sub/b", b"\0\xff")):
            with open(os.path.join(tree, name), "wb") as f:
                f.write(data)
        done = await box.copy_in(tree, "/data/")
        assert (done.files, done.folders, done.bytes) == (2, 2, 1002), done
        assert (await sh(box, "cd /data/tree && find . | sort | tr '\n' ' '")).stdout == ". ./a ./sub ./sub/b "
        await box.copy_in(tree, "/flat", boxlite.CopyOptions(include_parent=False))
        assert (await box.read_file("/flat/sub/b")) == b"\0\xff"
        await box.copy_out("/data/tree", os.path.join(d, "back") + "/")
        with open(os.path.join(d, "back", "tree", "sub", "b"), "rb") as f:
            assert f.read() == b"\0\xff"
        with raises(RuntimeError, "already exists: "):
            await box.copy_in(os.path.join(tree, "a"), "/data/tree/a", boxlite.CopyOptions(overwrite=False))
        with raises(RuntimeError, "invalid argument: "):
            await box.copy_in(tree, "/x", boxlite.CopyOptions(recursive=False))
        with raises(RuntimeError, "not found: "):
            await box.copy_in(os.path.join(d, "missing"), "/x")
        with raises(RuntimeError, "resource exhausted: "):
            await box.copy_out("/data", d, boxlite.CopyOptions(max_bytes=100))


async def test_files_of_a_box_are_read_written_listed_and_moved():
    box = await Shared.get()
    await box.mkdir("/w/x", parents=True)
    await box.write_file("/w/x/f", b"0123456789", mode=0o640)
    await box.write_file("/w/t", "text ü")
    assert await box.read_file("/w/x/f", offset=2, length=3) == b"234"
    assert (await box.read_file("/w/t")).decode() == "text ü"
    found = await box.stat("/w/x/f")
    assert (found.name, found.type, found.size, found.mode) == ("f", "file", 10, 0o640), found
    assert [(f.name, f.type) for f in await box.list_dir("/w")] == [("t", "file"), ("x", "folder")]
    await box.rename("/w/t", "/w/u")
    with raises(RuntimeError, "already exists: "):
        await box.write_file("/w/u", b"", overwrite=False)
    with raises(RuntimeError):
        await box.remove_file("/w")
    await box.remove_file("/w", recursive=True)
    with raises(RuntimeError, "not found: "):
        await box.stat("/w")


# --- processes, logs, the network ---

async def test_processes_are_listed_and_the_end_of_a_box_is_waited_for():
    box = await Shared.get()
    async with await box.exec("sleep", ["1234"]):
        found = [p for p in await box.processes() if p.command == "sleep 1234"]
        assert len(found) == 1 and found[0].name == "sleep" and found[0].state in "RSD" and found[0].memory_bytes > 0, found
    async with a_box(cmd=["sh", "-c", "exit 6"]) as other:
        await other.start()
        assert await asyncio.wait_for(other.wait(), 60) == 6
        with raises(RuntimeError, "invalid state: "):
            await other.processes()


async def test_logs_have_what_the_main_process_wrote():
    async with a_box(cmd=["sh", "-c", "echo one; echo two >&2; sleep 0.5; echo three; exit 0"]) as box:
        await box.start()
        following = "".join([p.text async for p in box.logs(follow=True) if p.stream in ("stdout", "stderr")])
        assert following == "one\ntwo\nthree\n", following
        pieces = [p async for p in box.logs()]
        assert "".join(p.text for p in pieces if p.stream == "stdout") == "one\nthree\n", pieces
        assert "".join(p.text for p in pieces if p.stream == "stderr") == "two\n" and abs(pieces[0].time - time.time()) < 300, pieces
        assert "".join([p.text async for p in box.logs(tail=1)]) == "three\n"
        assert {p.stream async for p in box.logs(console=True)} <= {"console", "notice"}
    box = await Shared.get()
    log = box.logs(follow=True)
    waiting = asyncio.ensure_future(log.__anext__())
    await asyncio.sleep(0)
    waiting.cancel()
    await log.aclose()
    assert [p async for p in log] == []


async def test_events_tell_what_happens_and_what_has_happened():
    stream = runtime().events()
    with raises(RuntimeError, "are read already"):
        runtime().events()
    async with a_box("eventful") as box:
        assert (await sh(box, "exit 3")).exit_code == 3
        await box.stop()
        seen = []
        while not seen or seen[-1].type != "box.stopped":
            event = await asyncio.wait_for(stream.__anext__(), 60)
            if event.box_id == box.id:
                seen.append(event)
        assert [e.type for e in seen] == ["box.created", "box.started", "exec.started", "exec.ended", "box.stopped"], seen
        assert (seen[3].program, seen[3].exit_code, seen[0].box_name) == ("sh", 3, "eventful") and abs(seen[0].time - time.time()) < 300, seen
        waiting = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        await stream.aclose()
        with raises(StopAsyncIteration):
            await waiting
        past = []
        async for event in runtime().events(since=seen[0].time - 1):
            if event.type == "events.current":
                break
            past.append(event)
        assert [e.type for e in past if e.box_id == box.id] == [e.type for e in seen], past


async def test_the_health_of_a_box_is_checked():
    check = boxlite.HealthCheckOptions(interval=1, timeout=5, retries=1, start_period=0, cmd=["test", "!", "-e", "/root/ill"])
    async with a_box("patient", advanced=boxlite.AdvancedBoxOptions(health_check=check)) as box:
        assert (await box.info()).health_status == boxlite.HealthStatus(state=boxlite.HealthState.NONE, failures=0, last_check=None)
        stream = runtime().events()
        await box.start()

        async def state():
            async for event in stream:
                if event.type == "box.health" and event.health != "starting":
                    return event.health
        assert await asyncio.wait_for(state(), 60) == "healthy"
        status = (await runtime().get_info("patient")).health_status
        assert status.state == boxlite.HealthState.HEALTHY and status.failures == 0 and status.last_check, status
        await sh(box, "touch /root/ill")
        assert await asyncio.wait_for(state(), 60) == "unhealthy"
        await stream.aclose()
        assert (await box.info()).health_status.state == boxlite.HealthState.UNHEALTHY


async def test_a_tunnel_reaches_a_port_of_the_box():
    box = await Shared.get()
    async with await box.exec("nc", ["-ll", "-p", "7777", "-e", "cat"]) as server:
        assert server.id()
        while True:
            async with await (await box.network.tunnel(7777)).connect() as connection:
                with contextlib.suppress(OSError):  # it does not listen yet
                    await connection.write(b"x")
                    if await connection.read() == b"x":
                        break
        data = os.urandom(500_000)
        async with await (await box.network.tunnel(7777)).connect() as connection:
            async def write():
                await connection.write(data)
                await connection.shutdown_write()

            async def read():
                got = b""
                while piece := await connection.read():
                    got += piece
                return got
            assert (await asyncio.gather(write(), read()))[1] == data
        tunnel = await box.network.tunnel(7777)
        assert tunnel.uri() is None
        async with await tunnel.forward() as forwarder:
            host, port = forwarder.local_addr.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"through the forwarder\n")
            assert await reader.readline() == b"through the forwarder\n"
            writer.close()
            with raises(RuntimeError, "the tunnel was used already"):
                await tunnel.connect()
            with raises(RuntimeError, "network error: "):
                await (await box.network.tunnel(7777)).forward(boxlite.SocketAddress.tcp(host, int(port)))
            ended = asyncio.ensure_future(forwarder.wait())
        await ended
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "socket")
            async with await (await box.network.tunnel(7777)).forward(boxlite.SocketAddress.unix(path)) as forwarder:
                assert forwarder.local_addr == path
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"again\n")
                assert await reader.readline() == b"again\n"
                writer.close()
    with raises(ValueError):
        await box.network.tunnel(0)
    with raises(ValueError):
        boxlite.SocketAddress.unix("relative")


async def test_a_published_port_is_told():
    async with a_box(ports=[(0, 80)], network=boxlite.NetworkSpec(allow_net=["192.0.2.1"])) as box:
        await box.start()
        network = (await box.info()).network
        assert (network.mode, network.allow_net) == ("enabled", ["192.0.2.1"]), network
        port = network.published_ports[0]
        assert (port.guest_port, port.host_ip, port.protocol) == (80, "127.0.0.1", "tcp") and port.host_port > 0, port


# --- figures, images ---

async def test_figures_are_true():
    before = await runtime().metrics()
    async with a_box() as box:
        assert (await box.metrics()).commands_executed_total == 0
        await sh(box, "head -c 1000 /dev/zero")
        with raises(RuntimeError):
            await box.exec("no-such-program")
        m = await box.metrics()
        assert (m.commands_executed_total, m.exec_errors_total, m.bytes_received_total) == (1, 1, 1000), m
        assert m.memory_bytes > 1 << 20 and m.total_create_duration_ms > 0 and m.stage_box_spawn_ms >= 0, m
        after = await runtime().metrics()
        assert after.boxes_created_total == before.boxes_created_total + 1
        assert after.total_commands_executed == before.total_commands_executed + 1
        assert after.total_exec_errors == before.total_exec_errors + 1 and after.num_running_boxes >= 1
        details = await box.details()
        assert details["status"] == "running" and details["engine"] == box.engine
    facts = await runtime().info()
    assert facts["engine"] in ("kvm", "tcg") and facts["version"] == boxlite.__version__, facts


async def test_images_are_pulled_listed_named_and_removed(world):
    images = runtime().images
    pulled = await images.pull("node:alpine")
    assert pulled.reference == "node:alpine" and pulled.config_digest.startswith("sha256:") and pulled.layer_count == 1, pulled
    await images.tag("node:alpine", "mine:1")
    found = {i.reference: i for i in await images.list()}
    mine = found["docker.io/library/mine:1"]
    assert (mine.repository, mine.tag, mine.id) == ("mine", "1", pulled.config_digest) and mine.size_bytes > 0, mine
    assert (await images.inspect("mine:1"))["id"] == pulled.config_digest
    with tempfile.TemporaryDirectory() as d:
        await images.save("mine:1", d + "/mine.tar")
        assert (await images.remove("mine:1")).references == ["docker.io/library/mine:1"]
        assert (await images.load(d + "/mine.tar", "mine:2")).layer_count == 1
        await images.remove("mine:2")
    assert (await images.prune(dry_run=True)).images == 0
    missing = world.registry.host + "/never-pulled:1"
    with raises(RuntimeError, "images error: "):
        await images.pull(missing)
    async with a_box(image=missing) as box:
        with raises(RuntimeError, "images error: "):
            await box.start()


# --- SimpleBox ---

async def test_simplebox_collects_and_removes():
    async with boxlite.SimpleBox(**ALPINE) as box:
        number = box.id
        result = await box.exec("sh", "-c", "cat; echo $A; pwd; echo e >&2; exit 2", env={"A": "b"}, cwd="/tmp")  # its stdin is empty
        assert result == boxlite.ExecResult(2, "b\n/tmp\n", "e\n") and box.created, result
        assert (await box.info()).id == number and (await box.metrics()).commands_executed_total == 1
        result = await box.exec("no-such-program")
        assert result.exit_code == 127 and "not found" in result.stderr and result.error_message, result
        result = await box.exec("/etc/passwd")
        assert result.exit_code == 126 and result.stderr, result
        result = await box.exec("sleep", "1000", timeout=0.2)
        assert result.timed_out and result.exit_code != 0, result
        result = await box.exec("sh", "-c", "dd if=/dev/zero bs=1M count=3 2>/dev/null")
        assert len(result.stdout) == 3 << 20 and not result.stdout_truncated
    assert await runtime().get(number) is None
    with raises(RuntimeError, "Box not started"):
        await box.exec("true")


async def test_simplebox_reuses_a_named_box():
    first = boxlite.SimpleBox(**ALPINE, name="again", auto_remove=False)
    await first.start()
    await first.exec("sh", "-c", "echo 1 >/root/x; sync")
    await first.stop()
    second = boxlite.SimpleBox(**ALPINE, name="again", auto_remove=False, reuse_existing=True)
    await second.start()
    assert second.created is False and (await second.exec("cat", "/root/x")).stdout == "1\n"
    await second.shutdown()
    await runtime().remove("again")


async def test_simplebox_leaves_nothing_when_its_start_is_cancelled_or_fails(world):
    before = {b.id for b in await runtime().list_info()}
    for delay in (0, 0.05):
        starting = asyncio.ensure_future(boxlite.SimpleBox(**ALPINE, name="cancelled").start())
        await asyncio.sleep(delay)
        starting.cancel()
        with raises(asyncio.CancelledError):
            await starting
        end = time.monotonic() + 30
        while {b.id for b in await runtime().list_info()} != before:
            assert time.monotonic() < end, await runtime().list_info()
            await asyncio.sleep(0.02)
    with raises(RuntimeError, "images error: "):
        async with boxlite.SimpleBox(image=world.registry.host + "/never-pulled:1"):
            pass
    end = time.monotonic() + 30
    while {b.id for b in await runtime().list_info()} != before:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_simplebox_that_dies_is_removed_all_the_same():
    async with boxlite.SimpleBox(**ALPINE) as box:
        number = box.id
        os.kill((await box.info()).state.pid, signal.SIGKILL)
        with raises(RuntimeError):
            await box.exec("sleep", "1000")
    assert await runtime().get(number) is None


# --- what this version cannot do ---

async def test_what_the_library_cannot_do_is_unsupported_by_name():
    for options, word in (({"volumes": [("/tmp", "/x")]}, "volume"), ({"auto_stop": 10}, "auto_stop"),
                          ({"secrets": [boxlite.Secret("k", "v")]}, "secret")):
        with raises(NativeError, "unsupported: ") as caught:
            await runtime().create(boxlite.BoxOptions(**ALPINE, **options))
        assert word in str(caught[0]).replace("-", "_").lower(), caught[0]
    async with a_box() as box:
        for call in (lambda: box.export(dest="/tmp"), box.clone_box, lambda: box.snapshot.create(name="s"), box.snapshot.list,
                     lambda: runtime().import_box("/x"), runtime().volumes.list):
            with raises(NativeError, "unsupported: "):
                await call()
    with raises(NativeError, "unsupported: "):
        boxlite.Boxlite.rest(None)


# --- the end of a runtime ---

async def test_after_shutdown_everything_is_refused_and_close_fails_what_waits(world):
    own = boxlite.Boxlite(boxlite.Options(home_dir=world.home.path))
    box = await own.create(boxlite.BoxOptions(**ALPINE, auto_remove=True))
    execution = await box.exec("sleep", ["1000"])
    waiting = asyncio.ensure_future(execution.wait())
    await asyncio.sleep(0)
    await own.shutdown()
    await own.shutdown()
    with raises(RuntimeError, "stopped: "):
        await own.metrics()
    assert (await waiting).exit_code == 143
    assert await runtime().get(box.id) is None
    own.close()
    own.close()
    with raises(RuntimeError, "stopped: the runtime was closed"):
        await own.list_info()

    other = boxlite.Boxlite(boxlite.Options(home_dir=world.home.path))
    box = await other.create(boxlite.BoxOptions(**ALPINE))
    execution = await box.exec("sleep", ["1000"])
    waiting = asyncio.ensure_future(execution.wait())
    reading = asyncio.ensure_future(text_of(execution.stdout()))
    await asyncio.sleep(0)
    other.close()
    for task in (waiting, reading):
        with raises(RuntimeError, "stopped: the runtime was closed"):
            await task
    number = box.id
    del box, execution, other
    gc.collect()
    end = time.monotonic() + 30
    while (await runtime().get_info(number)).state.running:  # it ends by itself
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    await runtime().remove(number, force=True)
