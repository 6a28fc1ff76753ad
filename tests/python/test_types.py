# SPDX-License-Identifier: Apache-2.0
"""The package's types: consistent to mypy --strict, the stubs true of what is there at run time, and a user's program is judged by them."""
import glob
import os
import shutil
import subprocess
import tempfile
import unittest.mock

import pyworld
from pyworld import boxtest


def mypy(*argv):
    """Debian's, whatever else is first in PATH."""
    tool = "/usr/bin/" + argv[0]
    if not os.path.exists(tool):
        raise boxtest.Skip(f"{argv[0]} is not installed (Debian: mypy)")
    with tempfile.TemporaryDirectory() as d:
        cache = ["--cache-dir", d] if argv[0] == "mypy" else []
        done = subprocess.run([tool, *cache, *argv[1:]], cwd=d, capture_output=True, check=False,
                              env={**os.environ, "MYPYPATH": pyworld.PACKAGE, "PYTHONPATH": pyworld.PACKAGE})
    return boxtest.Result(done.returncode, done.stdout, done.stderr)


def test_the_package_is_typed_strictly():
    done = mypy("mypy", "--strict", "--python-version", "3.9", "-p", "boxlite")
    assert done.code == 0, done


def test_the_examples_are_typed_strictly():
    done = mypy("mypy", "--strict", "--python-version", "3.9", *sorted(glob.glob(os.path.join(boxtest.SOURCE, "examples", "python", "*.py"))))
    assert done.code == 0, done


def test_stubs_say_what_is_there():
    """The extension and the package's names. Modules with an underscore have their types in themselves."""
    with tempfile.NamedTemporaryFile("w", suffix=".allow") as allow:
        allow.write("boxlite\\.(_(?!_).*|(codebox|errors|interactivebox|simplebox|sync_api|__main__)\\..*)\n")
        allow.flush()
        done = mypy("stubtest", "boxlite", "--allowlist", allow.name, "--ignore-unused-allowlist")
    assert done.code == 0, done


def test_a_stub_that_lies_is_found():
    with tempfile.TemporaryDirectory() as d:
        shutil.copytree(os.path.join(pyworld.PACKAGE, "boxlite"), d + "/boxlite", symlinks=True)
        with open(d + "/boxlite/boxlite.pyi", "a", encoding="utf-8") as f:
            f.write("def no_such_function() -> int: ...\n")
        with unittest.mock.patch.object(pyworld, "PACKAGE", d), unittest.mock.patch.dict(os.environ, LD_LIBRARY_PATH=boxtest.BUILD):
            done = mypy("stubtest", "boxlite.boxlite")
    assert done.code != 0 and "no_such_function is not present at runtime" in done.text, done


def test_a_users_mistakes_are_found_by_the_types():
    program = """
import asyncio
import boxlite
from boxlite.boxlite import SecurityOptions

async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="python:slim", security=SecurityOptions.maximum()))
    execution = await box.exec("python", ["-c", "1"])
    result = await execution.wait()
    code: int = result.exit_code
    async with boxlite.CodeBox() as codes:
        text: str = await codes.run("1 + 1")
    async for piece in execution.stdout():
        print(piece.upper())
"""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as f:
        f.write(program)
        f.flush()
        done = mypy("mypy", "--strict", f.name)
        assert done.code == 0, done
        f.write("""    boxlite.BoxOptions(cpus="two")
    wrong: str = result.exit_code
    box.no_such_method()
""")
        f.flush()
        done = mypy("mypy", "--strict", f.name)
        assert done.code == 1 and done.text.count("error:") == 3, done
