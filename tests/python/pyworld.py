# SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: the package of this build, one home that is the default one, and one registry that serves the guide's images as
docker.io's mirror.

A test file defines functions test_*; those that take an argument get the World. run.py runs several files in one process, for homes and
templates cost seconds. An `async def` test runs in a loop of its own.
"""
import asyncio
import compileall
import contextlib
import glob
import inspect
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import boxtest
import mkimage
import registry

PACKAGE = os.path.join(boxtest.BUILD, "python")
sys.path.insert(0, PACKAGE)

# Seconds for anything that hangs: far more than it takes.
DEADLINE = boxtest.DEADLINE


def zstd(data):
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def pip_layer():
    """A layer with pip, compiled, as the image of that name has it; and without Debian's mark that forbids its use."""
    wheels = glob.glob("/usr/share/python-wheels/pip-*.whl")
    if not wheels:
        raise boxtest.Skip("python3-pip-whl is not installed")
    place = "usr/lib/python3/dist-packages"
    with tempfile.TemporaryDirectory() as d:
        with zipfile.ZipFile(wheels[0]) as z:
            z.extractall(d)
        compileall.compile_dir(d, quiet=2, stripdir=d, prependdir="/" + place)
        entries = []
        for folder, dirs, names in os.walk(d):
            dirs.sort()
            relative = os.path.relpath(folder, d)
            for name in sorted(names):
                with open(os.path.join(folder, name), "rb") as f:
                    entries.append(mkimage.file(os.path.normpath(os.path.join(place, relative, name)), f.read(),
                                                mtime=int(os.path.getmtime(os.path.join(folder, name)))))
    return mkimage.tar([*entries, mkimage.whiteout("usr/lib/python3.11/EXTERNALLY-MANAGED")])


def serve_python(reg):
    """python:slim: the default image, and pip."""
    layout = boxtest.python_image()
    blobs = os.path.join(layout, "blobs", "sha256")

    def blob(descriptor):
        return os.path.join(blobs, descriptor["digest"].split(":")[1])

    with open(os.path.join(layout, "index.json"), encoding="utf-8") as f:
        top = json.load(f)["manifests"][0]
    with open(blob(top), encoding="utf-8") as f:
        manifest = json.load(f)
    with open(blob(manifest["config"]), encoding="utf-8") as f:
        config = json.load(f)
    layer = pip_layer()
    config["rootfs"]["diff_ids"].append(registry.digest_of(layer))
    reg.image("library/python", "slim", [*map(blob, manifest["layers"]), zstd(layer)], config, media_type=manifest["layers"][0]["mediaType"])


class World:
    def __init__(self):
        self.home = boxtest.Home()
        os.environ.update(self.home.env)
        for name in ("BOXLITE_ENGINE", "BOXLITE_CONFIG"):
            os.environ.pop(name, None)
        self.registry = registry.FaultyRegistry()
        self.registry.__enter__()
        serve_python(self.registry)
        for name in ("node", "alpine"):
            self.registry.layout(boxtest.busybox_image(), "library/" + name, {"node": "alpine", "alpine": "latest"}[name])
        with open(os.path.join(self.home.path, "config.json"), "w", encoding="utf-8") as f:
            json.dump({"image_registries": [{"host": "docker.io", "mirrors": [self.registry.host]},
                                            {"host": self.registry.host, "transport": "http"}]}, f)

    # Another Python with the same home, for what ends a process.
    def python(self, program, *args, input=None, env=None, timeout=DEADLINE, interpreter=sys.executable):
        """Runs a program (text) to its end: a boxtest.Result."""
        environment = {**os.environ, "PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        done = subprocess.run([interpreter, "-c", program, *args], input=input, stdin=subprocess.DEVNULL if input is None else None,
                              capture_output=True, env=environment, timeout=timeout, check=False)
        return boxtest.Result(done.returncode, done.stdout, done.stderr)

    def running(self):
        return [b for b in self.home.boxes() if b["Status"] == "Running"]

    def close(self):
        self.registry.__exit__(None, None, None)


@contextlib.contextmanager
def raises(kind, text=""):
    """The block raises exactly this kind, and its text has these words. Gives a list with the exception."""
    caught = []
    try:
        yield caught
    except kind as e:
        assert text in str(e), f"{type(e).__name__} says {str(e)!r}, not {text!r}"
        caught.append(e)
        return
    raise AssertionError(f"no {kind.__name__} was raised")


def call(function, world):
    """Runs a test of either kind."""
    arguments = [world] if inspect.signature(function).parameters else []
    if not inspect.iscoroutinefunction(function):
        function(*arguments)
        return
    asyncio.run(asyncio.wait_for(function(*arguments), DEADLINE))


class Shared:
    """One box of busybox for all tests that need nothing of their own."""

    box = None

    @classmethod
    async def get(cls):
        import boxlite

        if cls.box is None:
            cls.box = await boxlite.Boxlite.default().create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512), "shared")
        return cls.box


def captured(function, *args):
    """What a call prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*args)
    return out.getvalue()
