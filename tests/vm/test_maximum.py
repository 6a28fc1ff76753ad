# SPDX-License-Identifier: Apache-2.0
"""What the preset maximum requires of a host: as root, as an ordinary user, where namespaces are refused altogether or half-way, and where
there is no Landlock to stand in for them. (tests/lib/halfway.py, as_user.sh)"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest

IMAGE = "busybox:test"
HALFWAY = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib", "halfway.py")]
FLOOR = {"caps", "no_new_privs", "seccomp", "rlimits"}


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def layers(home, name):
    """Those that hold a machine, and those that this host refuses."""
    jail = json.loads(home.ok("inspect", name).text)[0]["Jail"]
    return set(jail["Applied"]), {layer["Layer"] for layer in jail["NotApplied"]}


def run(home, name, preset, prefix=()):
    home.prefix = list(prefix)
    try:
        return home.run("run", "-d", "--memory", "256", "--name", name, "--security", preset, IMAGE, "sleep", "100000")
    finally:
        home.prefix = []


def runs(home, name, prefix=()):
    r = run(home, name, "maximum", prefix)
    assert r.code == 0, r
    held, missing = layers(home, name)
    limits = home.ok("exec", name, "--", "sh", "-c", "ulimit -n; ulimit -f; grep ^Seccomp: /proc/self/status").text.split()
    home.ok("rm", "-f", name)
    assert FLOOR <= held and limits == ["1024", "2097152", "Seccomp:", "2"], (held, missing, limits)
    return held


def test_the_guides_strictest_preset_runs_here(home):
    assert runs(home, "here") & {"root", "landlock"}


def test_where_namespaces_are_refused_half_way_landlock_is_enough(home):
    held = runs(home, "halfway", HALFWAY)
    assert "landlock" in held and not held & {"root", "pid_ns", "net_ns"}, held


def test_without_both_it_is_refused_and_says_what_to_do(home):
    r = run(home, "bare", "maximum", [*HALFWAY, "--no-landlock"])
    assert r.code == 125, r
    for word in (b"namespaces or Landlock", b"root (", b"landlock (Operation not supported)", b"To do: "):
        assert word in r.err, r
    home.run("rm", "-f", "bare")
    home.wait_no_processes()


def test_the_standard_preset_runs_there_and_says_what_is_missing(home):
    r = run(home, "standard", "standard", [*HALFWAY, "--no-landlock"])
    assert r.code == 0, r
    held, missing = layers(home, "standard")
    assert FLOOR <= held and not held & {"root", "landlock"}, held
    assert {"root", "landlock"} <= missing, missing
    home.ok("rm", "-f", "standard")


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
