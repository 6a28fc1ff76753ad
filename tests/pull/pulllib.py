# SPDX-License-Identifier: Apache-2.0
"""What the tests of boxlite-pull share: starting it with a plan, and looking at what it said and left.

    store = Store()                                       # a directory of blobs, removed at the end of the file
    result = store.pull(reg.host, "library/odd", tag="1") # waits; Result: code, lines, error(), ...
    with store.start(plan) as p: ...                      # does not wait

A test file defines functions test_*, each taking a Store of its own, and ends with main(globals()): TAP, as boxtest.main.
"""
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.dont_write_bytecode = True
import boxtest
import registry

PROGRAM = os.environ.get("BOXLITE_PULL", os.path.join(boxtest.BUILD, "boxlite-pull"))
CODES = {"internal": 1, "invalid": 5, "storage": 7, "image": 8, "network": 9, "resource": 20}
Skip = boxtest.Skip


def endpoint(host, **kw):
    return {"host": host, "plain_http": True, "skip_verify": False, **kw}


def plan(endpoints, repository, tag=None, digest=None, **kw):
    """A plan as the library writes it. endpoints: a host, an endpoint, or a list."""
    found = endpoints if isinstance(endpoints, list) else [endpoints]
    base = {"version": 1, "name": kw.pop("name", f"{repository}:{tag or digest}"), "repository": repository, "os": "linux",
            "arch": registry.ARCHITECTURE, "variant": "", "concurrent": 3, "max_bytes": 1 << 40, "stall_ms": 20000, "timeout_ms": 60000,
            "retries": 3, "endpoints": [e if isinstance(e, dict) else endpoint(e) for e in found]}
    base.update({"tag": tag} if tag else {"digest": digest})
    base.update(kw)
    return base


class Result:
    def __init__(self, code, text, stderr=b"", peak=0):
        self.code, self.text, self.stderr, self.peak = code, text, stderr, peak
        self.lines = text.decode().splitlines()

    def words(self, first):
        return [line.split(" ")[1:] for line in self.lines if line.split(" ")[0] == first]

    @property
    def ok(self):
        return self.code == 0 and len(self.lines) > 0 and self.lines[-1].startswith("ok ")

    def error(self):
        """(code, text) of the last line."""
        assert self.lines and self.lines[-1].startswith("error "), self
        _, code, text = self.lines[-1].split(" ", 2)
        return int(code), text

    def __repr__(self):
        shown = "\n".join(line for line in self.lines if not line.startswith("progress "))
        return f"exit {self.code}\n{shown}\n--- stderr\n{self.stderr.decode(errors='replace')[-6000:]}"


class Running:
    """A pull that goes on."""

    def __init__(self, store, document, prefix=(), env=None):
        data = json.dumps(document).encode()
        self.plan_fd = os.memfd_create("plan")
        os.write(self.plan_fd, data)
        self.read_fd, self.status_fd = os.pipe()
        self.blobs_fd = os.open(store.path, os.O_RDONLY | os.O_DIRECTORY)
        document = {**document, "blobs_fd": self.blobs_fd, "status_fd": self.status_fd}
        os.ftruncate(self.plan_fd, 0)
        os.pwrite(self.plan_fd, json.dumps(document).encode(), 0)
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*prefix, PROGRAM, "--plan-fd", str(self.plan_fd)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.stderr, env={**os.environ, **(env or {})},
                                        pass_fds=(self.plan_fd, self.status_fd, self.blobs_fd), start_new_session=True)
        for fd in (self.plan_fd, self.status_fd, self.blobs_fd):
            os.close(fd)
        self.status = os.fdopen(self.read_fd, "rb", buffering=0)
        self.text = b""
        self.peak = 0

    def read_until(self, needle, deadline=20.0):
        """Reads lines until one begins with needle."""
        end = time.monotonic() + deadline
        while not any(line.startswith(needle.encode()) for line in self.text.split(b"\n")):
            boxtest.select.select([self.status], [], [], max(0, end - time.monotonic()))
            data = os.read(self.status.fileno(), 65536)
            assert data, f"it ended before {needle!r}: {self.text.decode()}"
            self.text += data
            assert time.monotonic() < end, f"no {needle!r}: {self.text.decode()}"

    def said(self, first):
        """What it has said until now, as Result.words."""
        while boxtest.select.select([self.status], [], [], 0)[0] and (data := os.read(self.status.fileno(), 65536)):
            self.text += data
        return Result(None, self.text).words(first)

    def inner(self):
        """The pid of the jailed program."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as f:
                found += [int(p) for p in f.read().split()]
        for pid in reversed(found):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                if b"--jailed" in f.read().split(b"\0"):
                    return pid
        return None

    def note_peak(self):
        pid = self.inner()
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)

    def wait(self, deadline=90.0, peak=False):
        end = time.monotonic() + deadline
        while True:
            if not boxtest.select.select([self.status], [], [], max(0, end - time.monotonic()))[0]:
                self.kill()
                raise AssertionError(f"no end after {deadline} s; it said {self.text.decode()}")
            data = os.read(self.status.fileno(), 65536)
            if not data:
                break
            self.text += data
            if peak:
                self.note_peak()
        self.process.wait(timeout=20)
        self.status.close()
        self.stderr.seek(0)
        return Result(self.process.returncode, self.text, self.stderr.read(), self.peak)

    def kill(self):
        """As kill -9 of everything at once."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


class Store:
    def __init__(self, parent=None):
        self.path = tempfile.mkdtemp(prefix="bxpull-", dir=parent)

    def start(self, document, **kw):
        return Running(self, document, **kw)

    def run(self, document, peak=False, **kw):
        with self.start(document, **kw) as p:
            return p.wait(peak=peak)

    def pull(self, endpoints, repository, tag=None, digest=None, peak=False, prefix=(), **kw):
        return self.run(plan(endpoints, repository, tag, digest, **kw), peak=peak, prefix=prefix)

    def blob(self, digest):
        return os.path.join(self.path, "sha256", digest.removeprefix("sha256:"))

    def partial(self, digest):
        return os.path.join(self.path, "partial", digest.removeprefix("sha256:"))

    def has(self, *digests):
        return all(os.path.exists(self.blob(d)) for d in digests)

    def check(self, *digests, leftovers=()):
        """These blobs are there and right, and no unfinished one but leftovers is."""
        for digest in digests:
            with open(self.blob(digest), "rb") as f:
                assert "sha256:" + hashlib.file_digest(f, "sha256").hexdigest() == digest, f"{digest} is wrong"
                st = os.fstat(f.fileno())
                assert st.st_mode & 0o7777 == 0o444, oct(st.st_mode)
                assert st.st_uid == os.stat(self.path).st_uid
        left = sorted(os.listdir(os.path.join(self.path, "partial")))
        assert left == sorted(d.removeprefix("sha256:") for d in leftovers), left

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


def all_of(image):
    return [image.digest, image.config, *image.layers]


def expect_ok(result, image=None):
    assert result.ok, result
    if image:
        assert result.lines[-1].split(" ")[2] == image.digest, result
    return result


def expect_error(result, code, *words):
    assert result.code == 1, result
    found, text = result.error()
    assert found == CODES[code], f"code {found}, not {CODES[code]}: {text}"
    for word in words:
        assert word in text, f"{word!r} is not said: {text}"
    return text


def real_root():
    """Root of the host, not of a user namespace."""
    with open("/proc/self/uid_map", encoding="ascii") as f:
        return os.geteuid() == 0 and f.read().split() == ["0", "0", "4294967295"]


def processes():
    """Of boxlite-pull, on this machine, that this test started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as f:
            if f"BOXLITE_PULL_TEST={os.getpid()}".encode() in f.read().split(b"\0"):
                if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(PROGRAM):
                    found.append(int(pid))
    return found


def with_store(function):
    """Runs a test with a store of its own; afterwards no process of ours may be left."""
    store = Store()
    try:
        function(store)
        boxtest.wait_for(lambda: not processes(), f"no process is left: {processes()}")
    finally:
        for pid in processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        store.close()


def main(names):
    tests = boxtest.chosen_tests(names)
    print(f"1..{len(tests)}", flush=True)
    os.environ["BOXLITE_PULL_TEST"] = str(os.getpid())
    sys.exit(1 if boxtest.run_tests(tests, with_store) else 0)
