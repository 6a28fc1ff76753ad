# SPDX-License-Identifier: Apache-2.0
"""The wheel: installed by pip into an environment of its own, with no variable of ours set, it runs real boxes; removed, nothing of it is left."""
import base64
import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile

from pyworld import DEADLINE, boxtest

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
COMPANIONS = ("boxlite", "boxlite-bootstrap", "boxlite-files", "boxlite-net", "boxlite-pull", "boxlite-shim", "boxlite-unpack",
              "libboxlite.so.0", "libbxramhook.so", "vmlinux", "initramfs.cpio", "boot.json")
PARTS_OF_THE_C_LIBRARY = {"libc.so.6", "libm.so.6", "libresolv.so.2", "ld-linux-x86-64.so.2"}

# The concurrency program of the guide, whose box says more than that it ran.
with open(os.path.join(HERE, "guide.txt"), encoding="utf-8") as f:
    PROGRAM = re.search(r"^import asyncio\nimport boxlite\n\nasync def main\(\):\n.*?^        await runtime\.remove\(box\.id\)\n", f.read(), re.S | re.M)[0]


def the_wheel():
    with open(os.path.join(boxtest.BUILD, "sdk", "python", "wheel.stamp"), encoding="utf-8") as f:
        return json.load(f)["wheel"]


def tree(directory):
    return {os.path.relpath(os.path.join(folder, name), directory) for folder, dirs, names in os.walk(directory) for name in [*dirs, *names]}


class Installed:
    """An environment with the wheel and nothing else, which every user can read."""

    directory = None

    @classmethod
    def get(cls):
        if cls.directory is None:
            cls.directory = tempfile.mkdtemp(prefix="bxwheel-", dir="/var/tmp")
            os.chmod(cls.directory, 0o755)
            made = subprocess.run([sys.executable, "-m", "venv", cls.directory + "/venv"], capture_output=True, env=PLAIN, check=False)
            if made.returncode != 0:
                raise boxtest.Skip(f"no virtual environment can be made here (Debian: python3-venv): {made.stdout[-300:].decode()}")
            cls.before = tree(cls.directory + "/venv")
            cls.pip("install", "--no-index", "--no-deps", the_wheel())
        return cls

    @classmethod
    def pip(cls, *args):
        done = cls.run([cls.directory + "/venv/bin/pip", "--disable-pip-version-check", *args], "/nonexistent")
        assert done.code == 0, done

    @classmethod
    def run(cls, argv, home, env=None, user=None):
        """Runs a program with no variable of ours, by default as who we are."""
        prefix = []
        if user is not None and os.getuid() == 0:
            prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]
        done = subprocess.run([*prefix, *argv], env={**PLAIN, "HOME": home, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True,
                              cwd="/", timeout=DEADLINE * 2, check=False)
        return boxtest.Result(done.returncode, done.stdout, done.stderr)

    @classmethod
    def python(cls, program, home, **kw):
        return cls.run([cls.directory + "/venv/bin/python", "-c", program], home, **kw)


@contextlib.contextmanager
def somebody(world, user=None):
    """The home of a user who has configured nothing but where docker.io's images come from here."""
    with tempfile.TemporaryDirectory(prefix="bxwh-", dir="/var/tmp") as directory:
        os.mkdir(directory + "/.boxlite", 0o700)
        shutil.copy(os.path.join(world.home.path, "config.json"), directory + "/.boxlite/config.json")
        if user is not None and os.getuid() == 0:
            for path in (directory, directory + "/.boxlite", directory + "/.boxlite/config.json"):
                os.chown(path, user, user)
        yield directory
        # The image's template is made behind its first box; it is part of the home.
        boxtest.Home(directory + "/.boxlite").wait_no_processes("the home of the wheel's user", DEADLINE)


def runs_the_guide(world, user):
    installed = Installed.get()
    with somebody(world, user) as home:
        done = installed.python(PROGRAM + "\nasyncio.run(main())\n", home, user=user)
        assert (done.code, done.text, done.err) == (0, "Exit code: 0\n" * 3, b""), done
        where = installed.python("import boxlite, os\nbox = boxlite.SyncSimpleBox(image='alpine:latest', memory_mib=512).start()\n"
                                 "print(box.exec('echo', 'in a box').stdout, end='')\n"
                                 "print(sorted({l.split()[-1] for l in open('/proc/self/maps') if 'boxlite' in l}))\n"
                                 "print(os.readlink('/proc/%d/exe' % box.info().state.pid))\nbox.stop()\n", home, user=user)
        text, maps, supervisor = where.text.splitlines()
        assert text == "in a box", where
        assert maps.count(installed.directory) == maps.count("/boxlite/"), where  # nothing of the build's folder
        assert supervisor.startswith(installed.directory) and supervisor.endswith("/boxlite/libexec/boxlite-shim"), where


def test_the_guide_runs_from_an_installed_wheel(world):
    runs_the_guide(world, None)


def test_the_guide_runs_from_an_installed_wheel_as_an_ordinary_user(world):
    if os.getuid() != 0:
        raise boxtest.Skip("this is an ordinary user already")
    runs_the_guide(world, NOBODY)


def test_the_command_comes_with_the_wheel(world):
    installed = Installed.get()
    with somebody(world) as home:
        for argv in ([installed.directory + "/venv/bin/boxlite"], [installed.directory + "/venv/bin/python", "-m", "boxlite"]):
            done = installed.run([*argv, "version"], home)
            assert done.code == 0 and "0.1.0" in done.text, done
            done = installed.run([*argv, "ps", "-a", "--no-such-option"], home)
            assert done.code == 2 and b"no-such-option" in done.err, done


def test_without_qemu_it_says_what_to_install(world):
    installed = Installed.get()
    if os.getuid() != 0:
        raise boxtest.Skip("only root can hide a program")
    hidden = ["unshare", "-m", "sh", "-c", 'for q in /usr/bin/qemu-system-x86_64*; do mount --bind /dev/null "$q" || exit 99; done; exec "$@"', "sh"]
    with somebody(world) as home:
        done = installed.run([*hidden, installed.directory + "/venv/bin/python", "-c",
                              "import boxlite\nboxlite.SyncSimpleBox(image='alpine:latest').start()"], home)
    assert done.code == 1 and b"engine reported an error: QEMU is not installed" in done.err and b"qemu-system-x86" in done.err, done


def test_what_is_carried_meets_nothing_else_in_a_process(world):
    """Extensions that stand on a library that we carry, too, have their own."""
    installed = Installed.get()
    with somebody(world) as home:
        for program in ("import sqlite3, boxlite", "import boxlite, sqlite3"):
            done = installed.python(program + "\nboxlite.Boxlite(boxlite.Options(home_dir='%s/x')).close()\nsqlite3.connect(':memory:')\n"
                                    "print(*{l.split()[-1] for l in open('/proc/self/maps') if 'libsqlite3' in l})" % home, home)
            assert done.code == 0, done
            ours = [p for p in done.text.split() if p.startswith(installed.directory)]
            assert len(ours) == 1 and len(done.text.split()) == 2, done


def test_the_record_is_right_and_all_is_there():
    with zipfile.ZipFile(the_wheel()) as z:
        names = z.namelist()
        info = [n for n in names if n.endswith(".dist-info/RECORD")][0].rsplit("/", 1)[0]
        record = {row[0]: row[1:] for row in csv.reader(io.StringIO(z.read(info + "/RECORD").decode()))}
        assert sorted(record) == sorted(names) and len(set(names)) == len(names)
        for name, (digest, size) in record.items():
            if name != info + "/RECORD":
                data = z.read(name)
                wanted = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert (digest, size) == ("sha256=" + wanted, str(len(data))), name
        for name in COMPANIONS:
            mode = z.getinfo("boxlite/libexec/" + name).external_attr >> 16
            assert stat.S_ISREG(mode) and bool(mode & 0o111) == name.startswith(("boxlite", "lib")), (name, oct(mode))
        assert {"boxlite/py.typed", "boxlite/__init__.pyi", "boxlite/boxlite.pyi", "boxlite/boxlite.abi3.so"} <= set(names)
        about = z.read(info + "/WHEEL").decode()
        tag = re.search(r"-(cp39-abi3-linux_x86_64)\.whl$", the_wheel())[1]
        assert f"Tag: {tag}\n" in about and "Root-Is-Purelib: false" in about, about
        assert "Requires-Python: >=3.9" in z.read(info + "/METADATA").decode()


def elf_needs(path):
    text = subprocess.run(["readelf", "-d", path], stdout=subprocess.PIPE, text=True, check=True, env={**PLAIN, "LC_ALL": "C"}).stdout
    runpath = re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", text)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", text), runpath[0].split(":") if runpath else []


def test_its_programs_need_the_c_library_of_the_host_and_nothing_more():
    with tempfile.TemporaryDirectory() as d, zipfile.ZipFile(the_wheel()) as z:
        z.extractall(d)
        looked_at = 0
        for folder, _, names in os.walk(d):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as f:
                    if f.read(4) != b"\x7fELF" or name == "vmlinux":
                        continue
                looked_at += 1
                needs, runpath = elf_needs(path)
                places = [os.path.normpath(p.replace("$ORIGIN", folder)) for p in runpath]
                assert all(p == d + "/boxlite/libexec" or p.startswith(d + "/boxlite/libexec/") for p in places), (name, runpath)
                missing = {n for n in needs if not any(os.path.exists(os.path.join(p, n)) for p in places)}
                assert missing <= PARTS_OF_THE_C_LIBRARY, (name, missing)
        assert looked_at > 20, looked_at


def test_the_notice_names_every_library_and_its_licence():
    with zipfile.ZipFile(the_wheel()) as z:
        info = [n for n in z.namelist() if n.endswith("/licenses/NOTICE")][0].rsplit("/", 1)[0]
        notice = z.read(info + "/NOTICE").decode()
        packages = re.findall(r"^    (\S+) +\S+ +source: \S+$", notice, re.M)
        assert any(p.startswith("linux-image-") for p in packages) and "GPL-2" in z.namelist()[0] + "".join(z.namelist())
        for package in packages:
            if not package.startswith("linux-image-"):
                assert len(z.read(f"{info}/{package}.copyright")) > 100, package
        for text in (z.read(n).decode() for n in z.namelist() if n.endswith(".copyright")):
            for name in re.findall(r"/usr/share/common-licenses/([A-Za-z]+(?:-[0-9.]*[0-9])?)", text):
                assert f"{info}/{name}" in z.namelist() or not os.path.exists("/usr/share/common-licenses/" + name), name


def test_the_same_files_give_the_same_bytes():
    with open(os.path.join(boxtest.BUILD, "sdk", "python", "wheel.stamp"), encoding="utf-8") as f:
        made = json.load(f)
    with tempfile.TemporaryDirectory() as d:
        argv = list(made["argv"])
        argv[argv.index("--directory") + 1] = d
        argv[argv.index("--stamp") + 1] = d + "/stamp"
        subprocess.run([sys.executable, *argv], check=True, cwd=made["cwd"], umask=0o077,
                       env={"PATH": PLAIN["PATH"], "TMPDIR": d, "TZ": "Asia/Kathmandu", "LANG": "C"})
        again = os.path.join(d, os.path.basename(made["wheel"]))
        with open(again, "rb") as one, open(made["wheel"], "rb") as other:
            assert hashlib.sha256(one.read()).digest() == hashlib.sha256(other.read()).digest()


def test_uninstalled_it_leaves_nothing():
    installed = Installed.get()
    there = tree(installed.directory + "/venv") - installed.before
    assert any(n.endswith("libexec/boxlite-shim") for n in there) and "bin/boxlite" in there
    installed.pip("uninstall", "-y", "boxlite")
    left = tree(installed.directory + "/venv") - installed.before
    assert not left, left
    shutil.rmtree(installed.directory)
    installed.directory = None
