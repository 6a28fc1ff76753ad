#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py FILE... [NAME...]: runs the tests of files in one process, with one home and one registry; prints TAP. Names choose tests.

After the last one nothing may be left: boxes, processes, files, mounts.
"""
import contextlib
import gc
import importlib.util
import os
import signal
import sys
import traceback

import pyworld
from pyworld import boxtest


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def nothing_is_left(world):
    import boxlite

    with boxlite.SyncBoxlite.default() as runtime:
        if pyworld.Shared.box is not None:
            runtime.remove(pyworld.Shared.box.id, force=True)
        pyworld.Shared.box = None
    gc.collect()
    home = world.home
    boxes = home.boxes()
    assert not boxes, f"left behind: {boxes}"
    home.wait_no_processes()
    assert not home.leftovers(), f"left behind: {home.leftovers()}"
    assert not home.mounts(), f"still mounted: {home.mounts()}"


def main():
    os.environ.pop("LD_PRELOAD", None)  # of the sanitizers, for this process only
    files = [a for a in sys.argv[1:] if a.endswith(".py")]
    words = [a for a in sys.argv[1:] if not a.endswith(".py")]
    tests = []
    for path in files:
        names = vars(load(path))
        tests += [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f) and (not words or any(w in n for w in words))]
    print(f"1..{len(tests) + 1}", flush=True)
    world = pyworld.World()
    failed = boxtest.run_tests(tests, lambda function: pyworld.call(function, world))
    try:
        nothing_is_left(world)
        print(f"ok {len(tests) + 1} - nothing is left behind", flush=True)
    except BaseException:
        failed += 1
        print(f"not ok {len(tests) + 1} - nothing is left behind", flush=True)
        for line in traceback.format_exc().splitlines():
            print("# " + line, flush=True)
    world.close()
    for pid in world.home.processes():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    if not (failed and os.environ.get("BOXLITE_TEST_KEEP")):
        world.home.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
