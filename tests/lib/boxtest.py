# SPDX-License-Identifier: Apache-2.0
"""What the VM tests share: a home of their own, the command, waiting for events, and a count of what was left behind.

A test file defines functions named test_*, each taking a Home, and ends with `boxtest.main(globals())`, which prints TAP.
The home is made once per file (templates and images are shared by its tests) and removed at the end; after the last test no
process, mount, socket or temporary file of that home may be left.
"""
import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

import mkimage

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BOXLITE_BUILD", os.path.join(SOURCE, "build")))
BOXLITE = os.path.join(BUILD, "boxlite")
DEADLINE = float(os.environ.get("BOXLITE_TEST_DEADLINE", "120"))


class Skip(Exception):
    """This machine cannot run the test; the reason is the text."""


class OtherHardware(Skip):
    """The test needs a machine of another kind: no failure, even where all must run."""


def busybox_image():
    """An image with busybox and little else, as an OCI layout; made once per build directory."""
    path = os.path.join(BUILD, "test-images", "busybox")
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        made = tempfile.mkdtemp(prefix="partial-", dir=os.path.dirname(path))
        try:
            mkimage.busybox(made)
            os.chmod(made, 0o755)
            with contextlib.suppress(OSError):  # another test file was quicker
                os.rename(made, path)
        except mkimage.NoBusybox as why:
            raise Skip(str(why)) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return path


def python_image():
    """The default image, as an OCI layout: what `make image` has made, else made once per build directory."""
    made = os.path.join(SOURCE, "build", "image")
    path = made if os.path.exists(os.path.join(made, "index.json")) else os.path.join(BUILD, "image")
    if not os.path.exists(os.path.join(path, "index.json")):
        with open(BUILD + "/image.lock", "w", encoding="ascii") as lock:  # other test files want it too
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = subprocess.run(["make", "-C", SOURCE, "image", "BUILD=" + BUILD], capture_output=True, check=False)
        if made.returncode != 0:
            raise Skip(f"the default image cannot be made here: {made.stderr[-500:].decode(errors='replace')}")
    return path


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def text(self):
        return self.out.decode()

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out[-2000:]!r}\n--- stderr\n{self.err[-3000:].decode(errors='replace')}"


class Home:
    """A home directory, and the command in it."""

    def __init__(self, path=None, env=None, prefix=()):
        self.path = path or tempfile.mkdtemp(prefix="bxt-")
        self.prefix = list(prefix)
        # Machines with an image mounted are made behind a test's back, and would be counted as left: for tests that ask.
        self.env = {**os.environ, "BOXLITE_HOME": self.path, "NO_COLOR": "1", "BOXLITE_IMAGE_TEMPLATES": "off", **(env or {})}
        self.env.pop("BOXLITE_ENGINE", None)

    def argv(self, *args):
        return [*self.prefix, BOXLITE, *map(str, args)]

    def popen(self, *args, env=None, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.argv(*args), env={**self.env, **(env or {})}, **kw)

    def run(self, *args, input=None, env=None, timeout=DEADLINE, **kw):
        p = self.popen(*args, env=env, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL, **kw)
        try:
            out, err = p.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            raise AssertionError(f"{args}: no end after {timeout} s\n{Result(None, out or b'', err or b'')}") from None
        return Result(p.returncode, out or b"", err or b"")

    def ok(self, *args, **kw):
        r = self.run(*args, **kw)
        assert r.code == 0, f"{args}: {r}"
        return r

    def boxes(self):
        return json.loads(self.ok("ps", "-a", "--format", "json").text)

    def remove_all(self):
        for box in self.boxes():
            self.run("rm", "-f", box["ID"])

    # What is left of a home: processes that name it or hold files of it open.
    def processes(self):
        found = {}
        real = os.path.realpath(self.path)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        target = os.readlink(f"/proc/{pid}/fd/{fd}")
                        if target.startswith(real + "/"):
                            found[int(pid)] = open(f"/proc/{pid}/comm").read().strip()
        return found

    def wait_no_processes(self, what="the home", deadline=20.0):
        wait_for(lambda: not self.processes(), f"no process of {what}: {self.processes()}", deadline)

    def leftovers(self):
        """Files that nothing refers to: in tmp, and directories of boxes without a row."""
        rows = {b["ID"] for b in self.boxes()}
        left = []
        for name in sorted(os.listdir(os.path.join(self.path, "tmp"))):
            left.append("tmp/" + name)
        for name in sorted(os.listdir(os.path.join(self.path, "boxes"))):
            if name not in rows:
                left.append("boxes/" + name)
        return left

    def mounts(self):
        with open("/proc/self/mountinfo") as f:
            return [line for line in f if self.path in line]

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


def wait_for(condition, what, deadline=20.0):
    """Waits for something another process does and of which there is no event to be had here."""
    end = time.monotonic() + deadline
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        select.select([], [], [], pause)
        pause = min(pause * 1.5, 0.1)


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, home, *args, rows=24, cols=80, term="xterm"):
        self.master, slave = pty.openpty()
        self.resize(rows, cols)
        self.process = subprocess.Popen(home.argv(*args), env={**home.env, "TERM": term}, stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.output = b""

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def write(self, data):
        os.write(self.master, data)

    def expect(self, needle, deadline=60.0):
        """Reads until needle appears; gives everything up to it and drops it from the buffer."""
        end = time.monotonic() + deadline
        while needle not in self.output:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"no {needle!r} on the terminal; it shows {self.output!r}")
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"the terminal closed before {needle!r}; it shows {self.output!r}")
            self.output += data
        at = self.output.index(needle) + len(needle)
        seen, self.output = self.output[:at], self.output[at:]
        return seen

    def wait(self, deadline=60.0):
        end = time.monotonic() + deadline
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self.master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.output += os.read(self.master, 65536)
        assert self.process.poll() is not None, f"did not end; the terminal shows {self.output!r}"
        return self.process.returncode

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def chosen_tests(names):
    """The functions test_* of a file, or those of them that the command line names."""
    tests = [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f)]
    chosen = sys.argv[1:]
    return [(n, f) for n, f in tests if any(c in n for c in chosen)] if chosen else tests


def run_tests(tests, call):
    """Runs call(function) for each and prints its line of TAP; how many failed."""
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        title = name[len("test_"):].replace("_", " ")
        began = time.monotonic()
        try:
            call(function)
            print(f"ok {number} - {title} # {time.monotonic() - began:.2f} s", flush=True)
        except Skip as why:
            if os.environ.get("BOXLITE_TEST_MUST_RUN") == "1" and not isinstance(why, OtherHardware):
                failed += 1
                print(f"not ok {number} - {title} (must run here, but: {why})", flush=True)
            else:
                print(f"ok {number} - {title} # SKIP {why}", flush=True)
        except BaseException as e:
            failed += 1
            print(f"not ok {number} - {title}", flush=True)
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
            if isinstance(e, KeyboardInterrupt):
                break
    return failed


def main(names, make_home=None):
    tests = chosen_tests(names)
    print(f"1..{len(tests) + 1}", flush=True)
    home = (make_home or Home)()
    failed = run_tests(tests, lambda function: function(home))
    try:
        home.remove_all()
        home.wait_no_processes()
        assert not home.leftovers(), f"left behind: {home.leftovers()}"
        assert not home.mounts(), f"still mounted: {home.mounts()}"
        print(f"ok {len(tests) + 1} - nothing is left behind", flush=True)
    except BaseException:
        failed += 1
        print(f"not ok {len(tests) + 1} - nothing is left behind", flush=True)
        for line in traceback.format_exc().splitlines():
            print("# " + line, flush=True)
    for pid in home.processes():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    if not (failed and os.environ.get("BOXLITE_TEST_KEEP")):
        home.close()
    sys.exit(1 if failed else 0)
