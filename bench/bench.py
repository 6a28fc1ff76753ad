#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: one table of medians and 95th percentiles with the number of runs, ours beside its peers, all measured in this run.

    bench/bench.py [--quick] [--build DIR] [--image LAYOUT]

Uses a home of its own on disk (not tmpfs). Peers that are not installed are left out and named. Writes DIR/bench.json.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(SOURCE, "bench"))
sys.path.insert(0, os.path.join(SOURCE, "tests", "lib"))
import bare  # noqa: E402
import images  # noqa: E402
import mkimage  # noqa: E402
from table import add, median_of, report  # noqa: E402

# What must be reached under TCG on a 2-core machine: (relation, number) of the median, and of p95 where a second pair stands.
GOALS = {
    "start: spawn of the shim to first answer": ("<=", 60, 100),
    "boxlite run --rm IMAGE true": ("<=", 220, None),
    "python -c print, first in a new box": ("<=", 900, None),
    "python -c print, tenth": ("<=", 180, None),
    "exec of a static binary": ("<=", 10, None),
    "exec after two seconds, machine stopped": ("<=", 15, None),
    "execs a second, 50 at once": (">=", 150, None),
    "execs lost": ("<=", 0, None),
    "stdout, MB/s": (">=", 250, None),
    "stdin, MB/s": (">=", 200, None),
    "stop": ("<=", 250, None),
    "rm -f of a running box": ("<=", 100, None),
    "boxes at once, all answering": ("<=", 2000, None),
    "idle PSS of QEMU, MB": ("<=", 24, None),
    "idle PSS of a box's processes, MB": ("<=", 30, None),
    "idle CPU of a box, % of a core": ("<=", 0, None),
    "cold starts that came up, of 8 at once": (">=", 8, None),
    "libboxlite.so stripped, MB": ("<=", 1, None),
    "opening a runtime": ("<=", 5, None),
    "first answer / bare QEMU to its greeting": ("<=", 2.2, None),
    "exec of true, maximum / development": ("<=", 1.05, None),
    "python -c print, maximum / development": ("<=", 1.05, None),
}


def unit_of(name):
    if name.endswith("MB/s"):
        return "MB/s"
    if name.endswith(", MB"):
        return "MB"
    if "% of a core" in name:
        return "%"
    if name.startswith("execs a second"):
        return "/s"
    if name == "execs lost":
        return ""
    if name.endswith(" / development"):
        return "x"
    return "ms"


class Bench:
    def __init__(self, args):
        self.build = args.build
        self.quick = args.quick
        self.layout = args.image
        self.home = tempfile.mkdtemp(prefix="bxbench-", dir=args.tmp)
        self.env = {**os.environ, "BOXLITE_HOME": self.home}
        self.static = os.path.join(self.home, "static-layout")
        mkimage.busybox(self.static)

    def n(self, full, quick):
        return quick if self.quick else full

    def boxlite(self, *argv, **kw):
        return subprocess.run([os.path.join(self.build, "boxlite"), *argv], env=self.env, check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **kw).stdout

    def timed(self, argv, n, env=None, warm=1):
        times = []
        for i in range(n + warm):
            began = time.perf_counter()
            subprocess.run(argv, env=env or self.env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            if i >= warm:
                times.append((time.perf_counter() - began) * 1e3)
        return times

    def measure(self, what, image, n):
        out = subprocess.run([os.path.join(self.build, "bxbench"), what, image, str(n)], env=self.env, check=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
        for line in out.splitlines():
            for name, samples in json.loads(line).items():
                add(name, samples, unit_of(name))

    def warm(self, image):
        """Runs the image once and waits for its template, which is made behind that run: what is measured after it is its use."""
        path = os.path.join(self.home, "templates")
        before = set(os.listdir(path)) if os.path.isdir(path) else set()
        self.boxlite("run", "--rm", "--memory", "512", image, "true")
        end = time.monotonic() + 120
        while not any(n not in before and "." not in n and "-i" in n for n in os.listdir(path)):
            if time.monotonic() > end:
                sys.exit(f"bench: {image} has no template after 120 s")
            time.sleep(0.1)

    # --- ours

    def first_runs(self):
        """What there is once: without templates of images, which would be made beside what is measured."""
        self.env["BOXLITE_IMAGE_TEMPLATES"] = "off"
        self.boxlite("load", self.layout, "--name", "bench:python")
        command = [os.path.join(self.build, "boxlite"), "run", "--rm", "--memory", "512", "bench:python", "true"]
        add("first run ever: engine, template, conversion", self.timed(command, 1, warm=0))
        again, convert = [], []
        for _ in range(self.n(3, 1)):
            shutil.rmtree(os.path.join(self.home, "templates"))
            os.mkdir(os.path.join(self.home, "templates"), 0o700)
            again += self.timed(command, 1, warm=0)
        add("cold start: boot, template, run", again)
        whole = statistics.median(self.timed(command, 3))
        for _ in range(self.n(3, 1)):
            for name in os.listdir(os.path.join(self.home, "disks")):
                os.unlink(os.path.join(self.home, "disks", name))
            convert += [t - whole for t in self.timed(command, 1, warm=0)]
        add("conversion of the python image", convert)
        size = sum(os.stat(os.path.join(self.home, "disks", d)).st_blocks * 512 for d in os.listdir(os.path.join(self.home, "disks"))
                   if d.endswith(".ext4"))
        add("conversion rate, MB/s", [size / 1e6 / (t / 1e3) for t in convert if t > 0], "MB/s")

    def cold_together(self):
        """Eight homes without a template: how many of eight cold boots at once come up, and how long all take."""
        homes = [tempfile.mkdtemp(prefix="cold-", dir=self.home) for _ in range(8)]
        envs = [{**self.env, "BOXLITE_HOME": h} for h in homes]
        boxlite = os.path.join(self.build, "boxlite")
        for env in envs:
            subprocess.run([boxlite, "load", self.layout, "--name", "bench:python"], env=env, check=True, stdout=subprocess.DEVNULL)
        began = time.perf_counter()
        runs = [subprocess.Popen([boxlite, "run", "--rm", "--memory", "512", "bench:python", "true"], env=env, stdin=subprocess.DEVNULL)
                for env in envs]
        add("cold starts that came up, of 8 at once", [sum(p.wait() == 0 for p in runs)], "")
        add("8 cold starts at once, all up", [(time.perf_counter() - began) * 1e3])
        for h in homes:
            shutil.rmtree(h)

    def whole_commands(self):
        del self.env["BOXLITE_IMAGE_TEMPLATES"]
        self.boxlite("load", self.static, "--name", "bench:static")
        self.warm("bench:static")
        self.warm("bench:python")
        base = [os.path.join(self.build, "boxlite"), "run", "--rm", "--memory", "512"]
        add("boxlite run --rm IMAGE true", self.timed([*base, "bench:static", "true"], self.n(30, 5)))
        add("boxlite run --rm, Debian's true", self.timed([*base, "bench:python", "true"], self.n(10, 3)))
        add("boxlite run --rm, python3 -c print", self.timed([*base, "bench:python", "python3", "-c", "print(1)"], self.n(10, 2)))

    def library(self):
        for what, full, quick in (("open", 50, 10), ("start", 50, 5), ("exec", 200, 20), ("rested", 20, 5), ("burst", 500, 100), ("stdout", 5, 2),
                                  ("stdin", 5, 2), ("python", 5, 1), ("walls", 200, 5)):
            self.measure(what, "bench:python" if what in ("python", "walls") else "bench:static", self.n(full, quick))
        size = os.path.join(self.home, "stripped.so")
        subprocess.run(["strip", "-o", size, os.path.realpath(os.path.join(self.build, "libboxlite.so"))], check=True)
        add("libboxlite.so stripped, MB", [os.stat(size).st_size / 1e6], "MB")
        os.unlink(size)

    def many(self):
        count = self.n(20, 8)
        p = subprocess.Popen([os.path.join(self.build, "bxbench"), "many", "bench:static", str(count)], env=self.env,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        shims = []
        for line in p.stdout:
            record = json.loads(line)
            if "ready" in record:
                break
            if "shim" in record:
                shims.append(record["shim"])
                continue
            for name, samples in record.items():
                add(name, samples)
        self.idle(shims, count)
        p.communicate(b"\n", timeout=120)

    def idle(self, shims, count):
        trees = [[s, *descendants(s)] for s in shims]
        qemu = [pid for tree in trees for pid in tree if comm(pid).startswith("qemu")]
        time.sleep(4)  # let the starts' last work end, and the machines be stopped: what is measured is idleness
        before = {pid: cpu_ms(pid) for tree in trees for pid in tree}
        began = time.monotonic()
        time.sleep(self.n(10, 3))
        span = (time.monotonic() - began) * 1e3
        add("idle CPU of a box, % of a core", [sum(cpu_ms(pid) - before[pid] for pid in tree) / span * 100 for tree in trees], "%")
        add("idle PSS of QEMU, MB", [pss(pid) for pid in qemu], "MB")
        add("idle PSS of a box's processes, MB", [sum(pss(pid) for pid in tree) for tree in trees], "MB")
        if len(trees) != count:
            print(f"only {len(trees)} of {count} boxes have a shim", file=sys.stderr)

    def disk(self):
        self.boxlite("run", "-d", "--memory", "512", "--name", "disk", "bench:python", "sleep", "100000")
        script = ("import os,time\nb=os.urandom(1<<20)\nt=time.time()\nf=open('/root/f','wb',buffering=0)\n"
                  "for i in range(256): f.write(b)\nos.fsync(f.fileno())\nw=256/(time.time()-t)\n"
                  "open('/proc/sys/vm/drop_caches','w').write('3') if os.access('/proc/sys/vm/drop_caches',os.W_OK) else None\n"
                  "os.posix_fadvise(f.fileno(),0,0,os.POSIX_FADV_DONTNEED)\nt=time.time()\nf=open('/root/f','rb',buffering=0)\n"
                  "while f.read(1<<20): pass\nprint(w*1.048576,256*1.048576/(time.time()-t))")
        reads, writes = [], []
        for _ in range(self.n(3, 1)):
            w, r = map(float, self.boxlite("exec", "disk", "--", "python3", "-c", script).split())
            writes.append(w)
            reads.append(r)
        self.boxlite("rm", "-f", "disk")
        add("disk write with fsync, MB/s", writes, "MB/s")
        add("disk read, MB/s", reads, "MB/s")
        alone = [bare.disk_rates(self.build, self.home, script) for _ in range(self.n(3, 1))]
        if None in alone:
            print("  peer QEMU alone: busybox is not installed", file=sys.stderr)
            return
        add("peer: QEMU alone, disk write with fsync, MB/s", [w for w, _ in alone], "MB/s")
        add("peer: QEMU alone, disk read, MB/s", [r for _, r in alone], "MB/s")

    # --- peers

    def bare_qemu(self):
        qemu = shutil.which("qemu-system-x86_64")
        times = []
        for _ in range(self.n(50, 5) + 1):
            began = time.perf_counter()
            p = subprocess.Popen([qemu, "-M", "microvm", "-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-no-user-config",
                                  "-nographic", "-S", "-qmp", "stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            p.stdout.readline()
            times.append((time.perf_counter() - began) * 1e3)
            p.kill()
            p.communicate()
        add("peer: bare QEMU to its QMP greeting", times[1:])
        first = median_of("start: spawn of the shim to first answer")
        if first:
            add("first answer / bare QEMU to its greeting", [first / statistics.median(times[1:])], "x")

    def podman(self):
        if not (shutil.which("podman") and shutil.which("runc") and shutil.which("skopeo")):
            print("  peer podman with runc: not installed", file=sys.stderr)
            return
        store = os.path.join(self.home, "podman")
        base = ["podman", "--runtime", "runc", "--root", store, "--runroot", store + "-run", "--cgroup-manager", "cgroupfs",
                "--events-backend", "none", "--storage-driver", "overlay"]
        try:
            subprocess.run([*base, "pull", "-q", "oci:" + self.layout], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]  # runc may have no right to raise what we have
            image = subprocess.run([*base, "images", "-q"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
            run = [*base, "run", "--rm", "--network", "none", *limits, image]
            add("peer: podman run --rm with runc, true", self.timed([*run, "true"], self.n(10, 2)))
            add("peer: podman run --rm with runc, python", self.timed([*run, "python3", "-c", "print(1)"], self.n(10, 2)))
        except subprocess.CalledProcessError as e:
            print(f"  peer podman: {(e.stderr or b'').decode(errors='replace').strip() or e}", file=sys.stderr)
        finally:
            subprocess.run([*base, "system", "reset", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def bubblewrap(self):
        if not shutil.which("bwrap"):
            print("  peer bubblewrap: not installed", file=sys.stderr)
            return
        run = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
               "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev"]
        with contextlib.suppress(subprocess.CalledProcessError):
            add("peer: bubblewrap on the host, true", self.timed([*run, "true"], self.n(30, 5)))
            add("peer: bubblewrap on the host, python", self.timed([*run, "/usr/bin/python3", "-c", "print(1)"], self.n(10, 2)))

    def close(self):
        subprocess.run([os.path.join(self.build, "boxlite"), "rm", "-af"], env=self.env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        shutil.rmtree(self.home, ignore_errors=True)


def children(pid):
    try:
        return [int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except OSError:
        return []


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def comm(pid):
    try:
        return open(f"/proc/{pid}/comm").read().strip()
    except OSError:
        return ""


def cpu_ms(pid):
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0


def pss(pid):
    try:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all")
    parser.add_argument("--build", default=os.path.join(SOURCE, "build"))
    parser.add_argument("--image", help="OCI layout of the python image")
    parser.add_argument("--tmp", default="/var/tmp", help="where the home is made")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    args.image = os.path.abspath(args.image or os.path.join(args.build, "image"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(args)
    try:
        for step in (bench.first_runs, bench.cold_together, bench.whole_commands, bench.library, bench.bare_qemu, bench.many, bench.disk, bench.podman,
                     bench.bubblewrap):
            print(step.__name__.replace("_", " "), file=sys.stderr, flush=True)
            step()
    finally:
        bench.close()
    images.Images(args).all()
    report(os.path.join(args.build, "bench.json"), {**GOALS, **images.GOALS})


if __name__ == "__main__":
    main()
