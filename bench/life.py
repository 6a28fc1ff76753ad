#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a box's life, through the Python package: memory over a thousand commands, whole output, a reader that is stuck beside busy
ones, the list of a thousand boxes.

    bench/life.py [--quick] [--build DIR]

Writes DIR/bench-life.json.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(SOURCE, "bench"), os.path.join(SOURCE, "tests", "lib")]
from table import add, median_of, report  # noqa: E402

FLAT = {who: f"1,000 commands, memory of the {who} grows by, MB" for who in ("shim", "program")}
STUCK = "20 busy readers beside a stuck one / without"
GOALS = {
    FLAT["shim"]: ("<=", 1, None),
    FLAT["program"]: ("<=", 1, None),
    "100,000 lines on both streams, lost or out of order": ("<=", 0, None),
    STUCK: ("<=", 1.1, None),
    "list of 1,000 boxes": ("<=", 20, None),
    "PSS of a shim, MB": ("<=", 5, None),
}


def rolled_up(pid, key):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in f if line.startswith(key))


class Life:
    def __init__(self, args):
        self.args = args
        self.home = tempfile.mkdtemp(prefix="bxbench-", dir=args.tmp)
        os.environ.update(BOXLITE_HOME=self.home, BOXLITE_IMAGE_TEMPLATES="off", BOXLITE_BUILD=args.build)
        os.environ["LD_LIBRARY_PATH"] = args.build  # for what the package starts
        sys.path.insert(0, os.path.join(args.build, "python"))
        import boxlite
        import boxtest

        self.boxlite = boxlite
        subprocess.run([os.path.join(args.build, "boxlite"), "load", boxtest.busybox_image(), "--name", "bench:1"], check=True,
                       stdout=subprocess.DEVNULL)
        self.runtime = boxlite.SyncBoxlite(boxlite.Options(home_dir=self.home))
        self.box = self.runtime.create(boxlite.BoxOptions(image="bench:1", memory_mib=512), "life")
        self.box.exec("true").wait()

    def n(self, many, few):
        return few if self.args.quick else many

    def shim(self):
        return next(b.state.pid for b in self.runtime.list_info() if b.name == "life")

    def memory(self):
        def run(count):
            for _ in range(count):
                assert self.box.exec("true").wait().exit_code == 0

        run(self.n(200, 20))
        pids = {"shim": self.shim(), "program": os.getpid()}
        before = {who: rolled_up(pid, "Anonymous:") for who, pid in pids.items()}
        run(self.n(1000, 50))
        for who, pid in pids.items():
            add(FLAT[who], [rolled_up(pid, "Anonymous:") - before[who]], "MB")
        add("PSS of a shim, MB", [rolled_up(pids["shim"], "Pss:")], "MB")

    def lines(self):
        x = self.box.exec("sh", ["-c", "seq 100000 & seq 100000 >&2; wait"])
        got = {}
        other = threading.Thread(target=lambda: got.update(err="".join(x.stderr())))
        other.start()
        got["out"] = "".join(x.stdout())
        other.join()
        wanted = [str(i) for i in range(1, 100001)]
        wrong = 0
        for text in got.values():
            lines = text.splitlines()
            wrong += abs(len(lines) - len(wanted)) + sum(a != b for a, b in zip(lines, wanted))
        add("100,000 lines on both streams, lost or out of order", [wrong], "")

    def busy(self, count=20):
        began = time.monotonic()
        running = [self.box.exec("sh", ["-c", "seq 3000"]) for _ in range(count)]
        threads = [threading.Thread(target=lambda x=x: [None for _ in x.stdout()]) for x in running]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return (time.monotonic() - began) * 1e3

    def stuck(self):
        alone, beside = [], []
        self.busy()
        for _ in range(self.n(15, 2)):
            alone.append(self.busy())
            stuck = self.box.exec("cat", ["/dev/zero"])
            next(iter(stuck.stdout()))  # and no more
            beside.append(self.busy())
            stuck.kill()
        add("20 readers of 3,000 lines each", alone)
        add("20 readers of 3,000 lines each, beside a stuck one", beside)
        add(STUCK, [median_of("20 readers of 3,000 lines each, beside a stuck one") / median_of("20 readers of 3,000 lines each")], "x")

    def list(self):
        options = self.boxlite.BoxOptions(image="bench:1")
        for i in range(self.n(999, 20)):
            self.runtime.create(options, f"b{i}")
        samples = []
        for _ in range(self.n(50, 5)):
            began = time.monotonic()
            count = len(self.runtime.list_info())
            samples.append((time.monotonic() - began) * 1e3)
            assert count == self.n(1000, 21), count
        add("list of 1,000 boxes", samples)

    def all(self):
        try:
            for step in (self.memory, self.lines, self.stuck, self.list):
                print(step.__name__, file=sys.stderr, flush=True)
                step()
        finally:
            self.runtime.remove("life", force=True)
            self.runtime.close()
            shutil.rmtree(self.home, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all")
    parser.add_argument("--build", default=os.path.join(SOURCE, "build"))
    parser.add_argument("--tmp", default="/var/tmp", help="where the home is made")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    Life(args).all()
    report(os.path.join(args.build, "bench-life.json"), GOALS)


if __name__ == "__main__":
    main()
