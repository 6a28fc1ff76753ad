# SPDX-License-Identifier: Apache-2.0
"""The guide for AI agents (guide.txt, byte for byte as its readers have it): every block of code runs, and what its tables and sentences
promise is true. Each test names the words that it holds to; a test at the end counts the blocks.

Whole programs run verbatim in a Python of their own. Fragments run verbatim in an async function, after a prelude that the test names.
"""
import ast
import asyncio
import os
import re
import textwrap
import time

from pyworld import raises

import boxlite
from boxlite.boxlite import SecurityOptions

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "guide.txt"), encoding="utf-8") as f:
    GUIDE = f.read()
# How a line of code begins in the guide; prose does not.
CODE = re.compile(r"(import |from |async def |def |runtime = |options = |security = |result = |# BAD)")
RAN = set()


def compiles(text):
    try:
        ast.parse("async def f():\n" + textwrap.indent(text, "    "))
    except SyntaxError:
        return False
    return True


def blocks():
    """The pieces of the guide that are Python: from a line of code to the last line with which it still compiles."""
    lines = GUIDE.split("\n")
    found, at = [], 0
    while at < len(lines):
        if not CODE.match(lines[at]):
            at += 1
            continue
        end = max((e for e in range(at + 1, len(lines) + 1) if compiles("\n".join(lines[at:e]))), default=at + 1)
        found.append("\n".join(lines[at:end]).rstrip() + "\n")
        at = end
    return found


BLOCKS = blocks()


def block(words):
    """The one block with these words."""
    found = [b for b in BLOCKS if words in b]
    assert len(found) == 1, (words, len(found))
    RAN.add(BLOCKS.index(found[0]))
    return found[0]


def promises(*sentences):
    """This test holds to these words of the guide."""
    for sentence in sentences:
        assert sentence in GUIDE, f"the guide does not say: {sentence}"
    return lambda function: function


async def fragment(text, **prelude):
    """Runs a block inside an async function, after the prelude's names: what it left in its variables."""
    names = {"asyncio": asyncio, "boxlite": boxlite, **prelude}
    body = textwrap.indent(text, "    ") + "\n    return locals()\n"
    exec("async def fragment():\n" + body, names)
    return await names["fragment"]()


def runtime():
    return boxlite.Boxlite.default()


class Guide:
    """One box of python:slim as the guide makes it, for tests that need nothing of their own."""

    box = None

    @classmethod
    async def get(cls):
        if cls.box is None:
            cls.box = await runtime().create(boxlite.BoxOptions(image="python:slim", cpus=1, memory_mib=512,
                                                                security=SecurityOptions.maximum()))
        return cls.box


# --- configuration ---

@promises("""Persistent envpython:slim1512 MiB10 GBState survives restarts""", "Code executionpython:slim1512 MiBNone",
          "Data analysispython:slim22048 MiB", "Multi-tool agentpython:slim21024 MiB")
async def test_workload_types_are_options_of_a_box():
    box = await runtime().create(boxlite.BoxOptions(image="python:slim", cpus=1, memory_mib=512, disk_size_gb=10), "persistent")
    try:
        await (await box.exec("sh", ["-c", "echo state >/root/state; sync"])).wait()
        size = (await (await box.exec("sh", ["-c", "df -B1G / | awk 'NR==2{print $2}'"])).wait()).stdout
        assert 8 <= int(size) <= 10, size
        await box.stop()
        box = await runtime().get("persistent")
        assert (await (await box.exec("cat", ["/root/state"])).wait()).stdout == "state\n"  # state survives restarts
    finally:
        await runtime().remove("persistent", force=True)


@promises("Starter Configuration")
async def test_the_starter_configuration_makes_a_box():
    options = (await fragment(block('options = boxlite.BoxOptions(\n    image="python:slim",\n    cpus=2')))["options"]
    assert (options.image, options.cpus, options.memory_mib, options.working_dir) == ("python:slim", 2, 1024, "/workspace")
    box = await runtime().create(options)
    try:
        result = await (await box.exec("python", ["-c", "import os; print(os.getcwd(), os.cpu_count())"])).wait()
        assert result.stdout == "/workspace 2\n", result
        memory = int((await (await box.exec("sh", ["-c", "awk '/MemTotal/{print $2}' /proc/meminfo"])).wait()).stdout)
        assert 800 << 10 < memory <= 1024 << 10, memory
        details = await box.details()
        assert (details["jailer_enabled"], details["max_processes"]) in (("1", "100"), ("yes", "100"), ("true", "100")), details
    finally:
        await runtime().remove(box.id, force=True)


@promises("development()OffOffNoneDebugging sandbox issues", "standard()OnOn (Linux)NoneGeneral workloads",
          "maximum()OnOn (Linux)max_open_files=1024, max_file_size=1GiB, max_processes=100Untrusted AI code")
async def test_presets_are_what_the_table_says():
    limits = ("max_open_files", "max_file_size", "max_processes", "max_memory", "max_cpu_time")
    for preset, walls, numbers in ((SecurityOptions.development(), False, {}), (SecurityOptions.standard(), True, {}),
                                   (SecurityOptions.maximum(), True, {"max_open_files": 1024, "max_file_size": 1 << 30,
                                                                     "max_processes": 100})):
        assert (preset.jailer_enabled, preset.seccomp_enabled) == (walls, walls)
        assert {n: getattr(preset, n) for n in limits} == {n: numbers.get(n) for n in limits}
    box = await Guide.get()
    result = await (await box.exec("sh", ["-c", "ulimit -n; ulimit -f; cat /sys/fs/cgroup/pids.max"])).wait()
    assert result.stdout.split()[0] == "1024" and int(result.stdout.split()[1]) * 512 == 1 << 30, result
    script = "trap 'kill -9 0' EXIT; n=0; while [ $n -lt 150 ]; do sleep 1000 & n=$((n + 1)); echo $n; done"
    many = await (await box.exec("sh", ["-c", script])).wait()
    assert many.exit_code == 137 and 80 < len(many.stdout.split()) < 100 and "fork" in many.stderr.lower(), many


@promises("security.max_open_files = 2048", "network_enabled = False  # Disable network for strict isolation",
          "close_fdsboolClose inherited file descriptors", "max_open_filesint | NoneLimit open file descriptors",
          "max_file_sizeint | NoneMaximum file size in bytes", "max_processesint | NoneMaximum number of processes",
          "max_memoryint | NoneMaximum virtual memory in bytes", "max_cpu_timeint | NoneMaximum CPU time in seconds",
          "network_enabledboolAllow network access from sandbox")
async def test_a_preset_is_customized_and_every_field_holds():
    security = (await fragment(block("security.max_open_files = 2048")))["security"]
    assert security.max_open_files == 2048 and security.network_enabled is False and security.max_processes == 100
    security.max_memory = 1 << 30
    security.max_cpu_time = 1
    security.max_file_size = 1 << 20
    box = await runtime().create(boxlite.BoxOptions(image="python:slim", security=security))
    try:
        result = await (await box.exec("sh", ["-c", "ulimit -n; ulimit -v; ls /sys/class/net"])).wait()
        assert result.stdout == f"2048\n{1 << 20}\nlo\n", result
        spin = await (await box.exec("python", ["-c", "while True: pass"])).wait()
        assert spin.exit_code == 137, spin
        big = await (await box.exec("sh", ["-c", "dd if=/dev/zero of=/root/big bs=1M count=2"])).wait()
        assert big.exit_code == 128 + 25, big  # SIGXFSZ
        memory = await (await box.exec("python", ["-c", "bytearray(2 ** 31)"])).wait()
        assert memory.exit_code == 1 and "MemoryError" in memory.stderr, memory
        inherited = await (await box.exec("sh", ["-c", "ls /proc/$$/fd"])).wait()
        assert set(inherited.stdout.split()) <= {"0", "1", "2", "10", "255"}, inherited
    finally:
        await runtime().remove(box.id, force=True)


@promises("To prevent an agent from accessing the network", "# No ports= means no incoming connections either")
async def test_network_isolation_gives_a_box_without_network():
    options = (await fragment(block("No ports= means no incoming connections")))["options"]
    box = await runtime().create(options)
    try:
        result = await (await box.exec("python", ["-c", "import socket\n"
                                                  "try: socket.create_connection(('192.168.127.1', 53), 3)\n"
                                                  "except OSError as e: print('no way')"])).wait()
        assert result.stdout == "no way\n", result
        info = await box.info()
        assert info.network is None or (info.network.mode, info.network.published_ports or []) == ("disabled", []), info
    finally:
        await runtime().remove(box.id, force=True)


@promises("Cap CPU usage", "Hard memory limit")
async def test_resource_limits_are_limits():
    options = (await fragment(block("# Hard memory limit"), SecurityOptions=SecurityOptions))["options"]
    assert (options.cpus, options.memory_mib) == (1, 512)
    box = await Guide.get()  # which is made with these
    result = await (await box.exec("sh", ["-c", "nproc; awk '/MemTotal/{print $2}' /proc/meminfo"])).wait()
    cpus, memory = map(int, result.stdout.split())
    assert cpus == 1 and memory <= 512 << 10, result


# --- concurrency ---

@promises("A single box can run many exec() calls. Each call spawns a new process inside the same VM.")
def test_the_concurrency_program_runs(world):
    text = block("# Run agent tools concurrently in the same box")
    done = world.python(text + "\nasyncio.run(main())\n")
    assert (done.code, done.text) == (0, "Exit code: 0\n" * 3), done
    assert not [b for b in world.home.boxes() if b["Image"] == "python:slim" and b["Status"] != "Running"], world.home.boxes()


@promises("Use separate boxes when you need strict isolation between agents, different images, or independent resource limits.",
          "Each agent gets its own box.")
async def test_one_box_per_agent():
    before = {i.id for i in await runtime().list_info()}
    names = {"asyncio": asyncio, "boxlite": boxlite}
    exec(block("async def run_isolated_agent"), names)
    gathered = []
    real = asyncio.gather

    async def gather(*tasks):
        gathered.extend(await real(*tasks))
        return gathered
    names["asyncio"] = type("asyncio", (), {"gather": staticmethod(gather)})
    await names["main"]()
    assert gathered == ["agent 1\n", "", "agent 3\n"], gathered  # node:alpine holds no Python
    assert {i.id for i in await runtime().list_info()} == before
    async with boxlite.SimpleBox(image="node:alpine", memory_mib=512) as box:
        result = await box.exec("python", "-c", "1")
        assert result.exit_code == 127 and "not found" in result.stderr, result


# --- timeouts ---

async def processes(box, words):
    result = await (await box.exec("python", ["-c", "import glob\n"
                                              "print(sum(%r in open(f, 'rb').read().replace(b'\\0', b' ').decode()"
                                              " for f in glob.glob('/proc/[1-9]*/cmdline') if '/self/' not in f) - 1)" % words])).wait()
    return int(result.stdout)


@promises("asyncio.wait_for() cancels the Python coroutine but does not kill the guest process.",
          "The following pattern leaves a zombie process running inside the box")
async def test_the_bad_pattern_leaves_its_process():
    box = await Guide.get()
    printed = []
    began = time.monotonic()
    names = await fragment(block("# BAD: process keeps running"), box=box, print=printed.append)
    assert printed == ["Timed out"] and time.monotonic() - began >= 5
    assert await processes(box, "time.sleep(9999)") == 1  # still running in the VM
    await names["execution"].kill()
    assert (await names["execution"].wait()).exit_code == 137
    assert await processes(box, "time.sleep(9999)") == 0


@promises("Always kill the execution in the timeout handler")
async def test_the_correct_pattern_kills():
    box = await Guide.get()
    run = (await fragment(block("async def exec_with_timeout")))["exec_with_timeout"]
    result = await run(box, "python", ["-c", "print('fine')"])
    assert (result.exit_code, result.stdout) == (0, "fine\n")
    with raises(asyncio.TimeoutError):
        await run(box, "python", ["-c", "import time; time.sleep(8888)"], timeout=0.5)
    assert await processes(box, "time.sleep(8888)") == 0


@promises("For maximum safety, combine timeout handling with a try/finally block", "guaranteed process cleanup")
async def test_the_defensive_helper_kills_on_any_failure():
    box = await Guide.get()
    run = (await fragment(block("# Best-effort kill on any failure")))["safe_exec"]
    assert (await run(box, "true")).exit_code == 0
    with raises(asyncio.TimeoutError):
        await run(box, "python", ["-c", "import time; time.sleep(7777)"], timeout=0.5)
    assert await processes(box, "time.sleep(7777)") == 0


# --- memory ---

@promises("When a guest process exceeds this limit, the Linux OOM killer terminates the offending process inside the VM",
          "but the box itself stays running", "The process exit code will be 137 (128 + SIGKILL)",
          "The box remains running and can accept new exec() calls")
async def test_running_out_of_memory_is_137_and_the_box_stays():
    box = await Guide.get()
    printed = []
    names = await fragment(block("x = bytearray(2**30)"), box=box, print=printed.append)
    assert names["completed"].exit_code == 137 and names["completed"].oom_killed, names["completed"]
    assert printed == ["Process was OOM-killed", f"stderr: {names['completed'].stderr}"]
    assert (await (await box.exec("echo", ["alive"])).wait()).stdout == "alive\n"
    assert (await box.info()).state.running


# --- the terminal ---

@promises("use resize_tty() to set the terminal dimensions", "only works on executions started with tty=True",
          "Calling it on a non-TTY execution returns an error")
async def test_the_terminal_fragment_lists_and_its_size_is_set():
    printed, held = [], {}
    real = boxlite.Box.exec

    async def execute(self, *args, **kw):
        held["box"], held["execution"] = self, await real(self, *args, **kw)
        return held["execution"]

    def show(text):
        """The listing was seen: the driver ends the shell, which the fragment would wait for."""
        printed.append(text)
        if re.search(r"drwx\S+ .* etc", "".join(printed)) and "end" not in held:
            held["end"] = asyncio.ensure_future(end())

    async def end():
        inside = await real(held["box"], "sh", ["-c", "stty size </dev/pts/0"])
        held["size"] = (await inside.wait()).stdout
        await held["execution"].kill()

    boxlite.Box.exec = execute
    try:
        await asyncio.wait_for(fragment(block('execution = await box.exec("sh", tty=True)'), print=show), 60)
        await held["end"]
    finally:
        boxlite.Box.exec = real
        await runtime().remove(held["box"].id, force=True)
    assert "ls -la" in "".join(printed) and held["size"] == "40 120\n", held


# --- the whole ---

@promises("Putting it all together: security configuration, concurrent execution with timeouts, and cleanup.")
def test_the_complete_example_runs(world):
    done = world.python(block("hello from secure sandbox"))
    assert (done.code, done.text) == (0, "Exit code: 0\nTask 0 exit code: 0\nTask 1 exit code: 0\n"), done
    assert done.err == b"", done


def test_every_block_of_the_guide_ran():
    for text in BLOCKS:
        assert compiles(text)
    rest = GUIDE
    for text in BLOCKS:
        rest = rest.replace(text, "")
    assert not re.search(r"^( {4}|import |from |async |await |def )", rest, re.M), "code that is in no block"
    assert len(BLOCKS) == 12 and RAN == set(range(12)), (len(BLOCKS), set(range(len(BLOCKS))) - RAN)


async def test_the_guides_box_goes():
    if Guide.box is not None:
        await runtime().remove(Guide.box.id, force=True)
    Guide.box = None
