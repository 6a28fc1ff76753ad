#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `meson install` puts in place is enough for a program of somebody else: header, libraries, pkg-config file, and the programs
that the library finds by itself.

Environment: BOXLITE_BUILD the build directory, BX_TEST_CC the compiler, BX_TEST_CFLAGS what it needs to link with the library.
"""
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest

IMAGE = "busybox:installed"
EXAMPLES = os.path.join(boxtest.SOURCE, "examples", "c")
state = {}


def run(*argv, **kw):
    r = subprocess.run(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    return boxtest.Result(r.returncode, r.stdout, r.stderr)


def ok(*argv, **kw):
    r = run(*argv, **kw)
    assert r.code == 0, f"{argv}: {r}"
    return r


def installed():
    """The root of an installation; made once."""
    if "root" not in state:
        state["root"] = root = tempfile.mkdtemp(prefix="bxi-")
        ok("meson", "install", "-C", boxtest.BUILD, "--no-rebuild", "--quiet", "--destdir", root)
    return state["root"]


def find(name):
    found = [os.path.join(d, name) for d, _, names in os.walk(installed()) if name in names]
    assert len(found) == 1, (name, found)
    return found[0]


def pkg_config(*args):
    pc = find("boxlite.pc")
    env = {**os.environ, "PKG_CONFIG_PATH": os.path.dirname(pc), "PKG_CONFIG_SYSROOT_DIR": installed()}
    return ok("pkg-config", *args, "boxlite", env=env).text.split()


def compile_example(name, out, *flags):
    ok(*shlex.split(os.environ.get("BX_TEST_CC", "cc")), *shlex.split(os.environ.get("BX_TEST_CFLAGS", "")), "-std=c99",
       "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Werror", "-o", out, os.path.join(EXAMPLES, name + ".c"), *flags)
    return out


def test_the_pkg_config_file_says_what_is_there(home):
    version = ok(os.path.join(boxtest.BUILD, "boxlite"), "--version").text.split()[-1]
    assert pkg_config("--modversion") == [version]
    assert "-lboxlite" in pkg_config("--libs") and "-lsqlite3" not in pkg_config("--libs")
    assert "-lsqlite3" in pkg_config("--libs", "--static")
    includes = [f[2:] for f in pkg_config("--cflags-only-I")] or [os.path.dirname(find("boxlite.h"))]
    assert any(os.path.exists(os.path.join(d, "boxlite.h")) for d in includes), includes


def test_a_program_runs_with_the_installed_library_and_finds_its_companions(home):
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    program = compile_example("run", os.path.join(home.path, "run-shared"), *pkg_config("--cflags", "--libs"))
    lib = os.path.dirname(find("libboxlite.so.0"))
    env = {k: v for k, v in home.env.items() if k != "BOXLITE_LIBEXEC"}
    r = ok(program, IMAGE, env={**env, "LD_LIBRARY_PATH": lib})
    assert r.text.startswith("6 * 7 = 42\nexit code 3, on "), r


def test_the_archive_links_with_what_pkg_config_names(home):
    if os.environ.get("BX_TEST_CFLAGS"):
        raise boxtest.OtherHardware("a sanitized archive is not for others to link")
    libs = [f for f in pkg_config("--libs", "--static") if f != "-lboxlite"]
    archive = find("libboxlite.a")
    program = compile_example("run", os.path.join(home.path, "run-static"), *pkg_config("--cflags"), archive, *libs)
    assert "libboxlite" not in ok("ldd", program).text
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    r = ok(program, IMAGE, env={**home.env, "BOXLITE_LIBEXEC": os.path.dirname(find("boxlite-shim"))})
    assert r.text.startswith("6 * 7 = 42\n"), r


def test_the_installed_command_runs(home):
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    env = {k: v for k, v in home.env.items() if k not in ("BOXLITE_LIBEXEC", "LD_LIBRARY_PATH")}
    r = ok(os.path.join(os.path.dirname(find("libboxlite.so.0")).split("/lib")[0], "bin", "boxlite"), "run", "--rm", IMAGE, "echo", "here",
           env=env)
    assert r.text == "here\n", r


def test_only_what_is_promised_is_installed(home):
    root = installed()
    files = sorted(os.path.relpath(os.path.join(d, n), root) for d, _, names in os.walk(root) for n in names)
    headers = [f for f in files if f.endswith(".h")]
    assert [os.path.basename(h) for h in headers] == ["boxlite.h"], headers
    assert not [f for f in files if "example" in f or "test" in f], files


if __name__ == "__main__":
    try:
        boxtest.main(globals())
    finally:
        shutil.rmtree(state.get("root", "/nonexistent"), ignore_errors=True)
