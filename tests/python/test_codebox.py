# SPDX-License-Identifier: Apache-2.0
"""CodeBox: an interpreter that stays in its box."""
import asyncio
import contextlib
import hashlib
import http.server
import io
import tempfile
import threading
import zipfile

from pyworld import raises

import boxlite
from boxlite import codebox
from boxlite.codebox import _Part

PYTHON = {"memory_mib": 512}


class Kept:
    """One CodeBox for all tests that need nothing of their own."""

    box = None

    @classmethod
    async def get(cls):
        if cls.box is None:
            cls.box = await boxlite.CodeBox(**PYTHON).start()
        return cls.box


async def test_variables_stay_from_run_to_run():
    box = await Kept.get()
    first = await box.run("import math\nx = 41\ndef f(n): return n + 1")
    assert isinstance(first, str) and first == "" and first.fresh and first.exit_code == 0 and first.value is None, vars(first)
    second = await box.run("print(f(x))\nmath.floor(2.5)")
    assert second == "42\n" and second.stdout == "42\n" and second.value == 2 and second.value_repr == "2" and not second.fresh
    third = await box.run("class C: pass\nimport pickle\npickle.loads(pickle.dumps(C())).__class__ is C")
    assert third.value is True, vars(third)


async def test_a_result_has_stderr_value_and_exception():
    box = await Kept.get()
    result = await box.run("import sys\nprint('o')\nprint('e', file=sys.stderr)\n{'a': [1, 2.5, None, 'ü']}")
    assert (result, result.stderr, result.value) == ("o\n", "e\n", {"a": [1, 2.5, None, "ü"]}), vars(result)
    result = await box.run("{1, 2}")
    assert result.value is None and result.value_repr == "{1, 2}"
    result = await box.run("print('before')\nraise ValueError('wrong ' * 3)")
    assert result == "before\n" and result.exit_code == 1 and result.error.type == "ValueError", vars(result)
    assert result.error.message == "wrong wrong wrong " and "line 2" in result.error.traceback and result.stderr == result.error.traceback
    assert "raise ValueError" in result.error.traceback and "_interpreter" not in result.error.traceback
    with raises(boxlite.ExecError, "exit code 1"):
        result.raise_for_error()
    result = await box.run("this is no python")
    assert result.error.type == "SyntaxError" and "this is no python" in result.stderr, vars(result)
    result = await box.run("raise SystemExit(7)")
    assert (result.exit_code, result.error) == (7, None)
    assert (await box.run("x")).value == 41  # all of them stayed in one interpreter
    assert (await box.run("'fine'")).raise_for_error().value == "fine"


async def test_output_of_children_and_in_any_amount_is_the_runs():
    box = await Kept.get()
    result = await box.run("import os, subprocess\nprint('a', flush=True)\nsubprocess.run(['echo', 'b'])\nos.system('echo c >&2')\nprint('d')")
    assert (result, result.stderr) == ("a\nb\nd\n", "c\n"), vars(result)
    result = await box.run("print('x' * 3_000_000)\n'y' * 500_000")
    assert len(result) == 3_000_001 and len(result.value) == 500_000 and not result.truncated
    result = await box.run("import threading, time\n"
                           "t = threading.Thread(target=lambda: [print('t', flush=True) or time.sleep(0.001) for _ in range(50)])\n"
                           "t.start()\n'v' * 100_000")
    assert result.value == "v" * 100_000 and set(result) <= {"t", "\n"}
    await box.run("t.join()")
    assert await box.run("import sys; sys.stdin.read(); input_gone = True; print(input_gone)") == "True\n"  # stdin is empty


async def test_runs_wait_for_their_turn():
    box = await Kept.get()
    await box.run("seen = []")
    results = await asyncio.gather(*(box.run(f"seen.append({i}); len(seen)") for i in range(10)))
    assert sorted(r.value for r in results) == list(range(1, 11))
    assert (await box.run("sorted(seen)")).value == list(range(10))


async def test_a_timeout_ends_the_run_and_not_the_box():
    box = await Kept.get()
    grace, codebox.GRACE = codebox.GRACE, 0.5
    result = await box.run("print('begun', flush=True)\nimport time\ntime.sleep(1000)", timeout=0.5)
    assert result == "begun\n" and result.timed_out and result.exit_code != 0 and result.error.type == "TimeoutError", vars(result)
    result = await box.run("x")
    assert (result.value, result.fresh) == (41, False)  # it was interrupted: variables stayed
    result = await box.run("while True:\n  try:\n    time.sleep(1000)\n  except KeyboardInterrupt:\n    pass", timeout=0.2)
    assert result.timed_out, vars(result)
    result = await box.run("'x' in dir()")
    assert (result.value, result.fresh) == (False, True)  # it had to be killed
    codebox.GRACE = grace


async def test_a_run_that_is_cancelled_is_interrupted_and_the_next_one_works():
    box = await Kept.get()
    await box.run("import time; kept = 1")
    with raises(asyncio.TimeoutError):
        await asyncio.wait_for(box.run("time.sleep(1000)"), 0.3)
    result = await asyncio.wait_for(box.run("kept"), 30)
    assert (result.value, result.fresh) == (1, False), vars(result)


async def test_an_interpreter_that_dies_is_replaced():
    box = await Kept.get()
    result = await box.run("import os; print('last', flush=True); os._exit(9)")
    assert result == "last\n" and result.exit_code == 9 and "variables are lost" in result.error.message, vars(result)
    result = await box.run("1 + 1")
    assert (result.value, result.fresh) == (2, True)
    result = await box.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert result.exit_code == 137, vars(result)
    pid = (await box.run("import os; os.getpid()")).value
    assert (await box.exec("sh", "-c", f"kill -9 {pid}")).exit_code == 0  # between two runs
    result = await box.run("2 + 2")
    assert result.value == 4 or result.exit_code == 137, vars(result)
    assert (await box.run("2 + 2")).value == 4


async def test_code_cannot_take_its_interpreter_away():
    box = await Kept.get()
    for code in ("import os, sys\nfor fd in (0, 1, 2): os.close(fd)", "import sys; sys.stdout = sys.stderr = None",
                 "import os, fcntl\nfor fd in range(3, 8):\n  try: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)\n  except OSError: pass",
                 "import os; os.fork()", "class R:\n  def __repr__(self): raise KeyError\nR()", "class E(Exception):\n"
                 "  def __str__(self): 1/0\nraise E", "import sys; sys.setrecursionlimit(200)\ndef f(): f()\nf()", "globals().clear()"):
        result = await asyncio.wait_for(box.run(code), 60)
        assert isinstance(result, boxlite.CodeResult), code
        after = await asyncio.wait_for(box.run("21 * 2"), 60)
        assert after.value == 42, (code, vars(result), vars(after))
    await box.run("import os; os._exit(0)")  # it has no stdout any more


async def test_stateless_runs_know_nothing_of_each_other():
    box = await Kept.get()
    await box.run("x = 1")
    result = await box.run("x", stateless=True)
    assert result.error.type == "NameError" and result.fresh
    assert (await box.run("x")).value == 1
    other = boxlite.CodeBox(**PYTHON, stateless=True)
    async with other:
        await other.run("y = 1")
        assert (await other.run("'y' in dir()")).value is False
        assert (await other.run("y = 1", stateless=False)).fresh and (await other.run("y", stateless=False)).value == 1


async def test_a_script_of_the_host_runs():
    box = await Kept.get()
    with tempfile.NamedTemporaryFile("w", suffix=".py") as f:
        f.write("print('from a file')\n")
        f.flush()
        assert await box.run_script(f.name) == "from a file\n"
    with raises(OSError):
        await box.run_script("/no/such/file")


async def test_an_image_without_python_says_so():
    async with boxlite.CodeBox(image="node:alpine", memory_mib=512) as box:
        with raises(boxlite.ExecError, "the image has no Python"):
            await box.run("1")


def wheel(name, version, files):
    """A wheel of these files {path: text}."""
    out = io.BytesIO()
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(out, "w") as z:
        record = ""
        for path, text in {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                           f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}.items():
            z.writestr(path, text)
            record += f"{path},,\n"
        z.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return out.getvalue()


@contextlib.contextmanager
def index(**packages):
    """A package index on the host's loopback: {name: wheel}. Gives its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            parts = self.path.strip("/").split("/")
            body = None
            if parts[0] == "simple" and len(parts) == 2 and parts[1] in packages:
                file = f"{parts[1]}-1.0-py3-none-any.whl"
                digest = hashlib.sha256(packages[parts[1]]).hexdigest()
                body = f'<a href="/files/{file}#sha256={digest}">{file}</a>'.encode()
            elif parts[0] == "files":
                body = packages.get(parts[1].split("-")[0])
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html" if parts[0] == "simple" else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_packages_are_installed_from_a_configured_index_and_imported_in_the_same_session():
    with index(greeting=wheel("greeting", "1.0", {"greeting/__init__.py": "TEXT = 'hello'\n"})) as port:
        host = "host.boxlite.internal"
        env = {"PIP_INDEX_URL": f"http://{host}:{port}/simple", "PIP_TRUSTED_HOST": host}
        network = boxlite.NetworkSpec(allow_net=[f"{host}:{port}"])
        async with boxlite.CodeBox(**PYTHON, network=network, env=env) as box:
            assert (await box.run("import greeting")).error.type == "ModuleNotFoundError"
            assert "Successfully installed greeting-1.0" in await box.install_package("greeting")
            assert (await box.run("import greeting; greeting.TEXT")).value == "hello"
            with raises(ValueError):
                await box.install_packages()
            await box.exec("rm", "-r", "/usr/lib/python3/dist-packages/pip")
            with raises(boxlite.ExecError, "No module named pip"):
                await box.install_packages("greeting")


async def test_the_kept_box_goes():
    box = await Kept.get()
    number = box.id
    await box.stop()
    with raises(RuntimeError, "Box not started"):
        await box.run("1")
    assert await boxlite.Boxlite.default().get(number) is None


# --- frames, without a box ---

def frame(nonce, kind, payload):
    return b"\0\x1e" + nonce + kind + b"%08x" % len(payload) + payload


def test_frames_are_found_however_they_are_cut():
    nonce = b"n" * 32
    data = b"out" + frame(nonce, b"m", b'{"a"') + b"between\0\x1e" + frame(nonce, b"e", b": 1}") + b"after"
    for size in (1, 2, 7, 33, len(data)):
        done = []
        part = _Part(nonce, lambda: done.append(1))
        rest = b""
        for at in range(0, len(data), size):
            piece = data[at:at + size]
            if part.ended:
                rest += piece
            else:
                part(piece)
                if part.ended:
                    rest += part.rest()
        assert (part.output.text(), part.answer, rest, done) == ("outbetween\0\x1e", b'{"a": 1}', b"after", [1]), size


def test_frames_that_lie_neither_hang_nor_grow():
    nonce = b"n" * 32
    part = _Part(nonce, lambda: None)
    part(b"\0\x1e" + nonce + b"m" + b"zzzzzzzz")  # no length
    part(b"\0\x1e" + nonce + b"m" + b"ffffffff")  # 4 GiB
    for _ in range(100):
        part(b"x" * 100_000)
    assert part.ended and len(part.answer) < 9 << 20, len(part.answer)
