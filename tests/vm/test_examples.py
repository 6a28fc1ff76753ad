#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/c do what they say: each is run on a real machine, and its output compared."""
import glob
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest

IMAGE = "busybox:examples"
PROGRAMS = os.path.join(boxtest.BUILD, "examples", "c")


def load(home):
    if not home.ok("images", "-q").text.strip():
        home.ok("load", boxtest.busybox_image(), "--name", IMAGE)


def example(home, name, *args):
    load(home)
    env = {**home.env, "BOXLITE_LIBEXEC": boxtest.BUILD}
    r = subprocess.run([os.path.join(PROGRAMS, "example_" + name), IMAGE, *args], env=env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=boxtest.DEADLINE)
    return boxtest.Result(r.returncode, r.stdout, r.stderr)


def same(result, *lines):
    assert result.code == 0 and result.text.splitlines() == list(lines), result


def engine(home):
    return json.loads(home.ok("info", "--format", "json").text)["engine"]


def test_every_example_is_run(home):
    sources = {os.path.basename(p)[:-2] for p in glob.glob(os.path.join(boxtest.SOURCE, "examples", "c", "*.c"))}
    tests = {name[len("test_the_example_"):] for name in globals() if name.startswith("test_the_example_")}
    assert sources == tests, sources ^ tests


def test_the_example_simple(home):
    same(example(home, "simple"), "hello from a box", "Linux", "exit code 0")


def test_the_example_run(home):
    r = example(home, "run")
    same(r, "6 * 7 = 42", f"exit code 3, on {engine(home)}")
    assert b" ms, " in r.err, r


def test_the_example_stream(home):
    same(example(home, "stream"), "stdout: one", "stderr: wrong", "stdout: two", "exit: 0")


def test_the_example_tty(home):
    same(example(home, "tty"), 'the terminal shows "24 80"', 'the terminal shows "40 120"', 'the terminal shows "ready"', 'the terminal shows "# "',
         'the terminal shows "alive"', "exit code 5")


def test_the_example_stdin(home):
    same(example(home, "stdin"), "100000000")


def test_the_example_limits(home):
    same(example(home, "limits"), "open files: 2048", "capabilities: 81",
         "too much memory: exit code 137, out of memory: Killed: out of memory; give the box more (memory_mib)",
         "a second of processor time: exit code 137", "the box goes on: yes")


def test_the_example_timeout(home):
    same(example(home, "timeout"), "exit code 143, timed out: yes", "ready", "cleaning up", "exit code 7",
         "exit code 137; left behind: nothing")


def test_the_example_images(home):
    load(home)
    ident = json.loads(home.ok("image", "inspect", IMAGE).text)[0]["Id"][:19]
    r = example(home, "images")
    lines = r.text.splitlines()
    assert r.code == 0 and lines[0].startswith("docker.io/library/example:tagged for linux/") and lines[0].endswith(", 1 layers"), r
    assert sorted(lines[1:3]) == [f"busybox:examples {ident}", f"example:tagged {ident}"], r
    assert lines[3] == "names removed: 1", r


def test_the_example_many(home):
    same(example(home, "many"), *[f"{i}: {i * i}" for i in range(10)])


def test_the_example_loop(home):
    same(example(home, "loop"), "line 1", "line 2", "line 3", "exit code 0; the loop did other things meanwhile: yes")


def test_the_example_persist(home):
    same(example(home, "persist"), "made", "found", "written before the stop", "written before the stop", "and added to", "found",
         "in memory")


def test_the_example_pause(home):
    same(example(home, "pause"), "paused", "refused: it is paused", "in memory")


def test_the_example_files(home):
    folder = os.path.join(home.path, "copied")
    os.mkdir(folder)
    same(example(home, "files", folder), "read: back from the host", "copied")
    with open(os.path.join(folder, "results", "answer")) as f:
        assert f.read() == "back from the host"


if __name__ == "__main__":
    boxtest.main(globals())
