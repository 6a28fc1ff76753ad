#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the command understands: verbs, options in any position, mistakes and what is said of them."""
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import Terminal


def usage_error(home, *args):
    r = home.run(*args)
    assert r.code == 2 and r.out == b"", (args, r)
    return r.err.decode()


def test_a_mistyped_verb_gets_a_suggestion(home):
    for wrong, right in (("rnu", "run"), ("imagse", "images"), ("inspct", "inspect"), ("stpo", "stop")):
        assert f"did you mean '{right}'" in usage_error(home, wrong)
    assert "did you mean" not in usage_error(home, "zzzzzzzz")


def test_a_mistyped_option_gets_a_suggestion(home):
    assert "did you mean --detach?" in usage_error(home, "run", "--detahc", "x")
    assert "Usage: boxlite run" in usage_error(home, "run", "--nonsense", "x")
    assert "unknown option -Z" in usage_error(home, "ps", "-Z")


def test_global_options_stand_anywhere(home):
    other = tempfile.mkdtemp(prefix="bxt-")
    try:
        h = boxtest.Home(other)
        h.ok("create", "--name", "there", "x")
        for args in (["--home", other, "ps", "-aq"], ["ps", "-aq", "--home", other], ["ps", f"--home={other}", "-aq"]):
            assert len(home.ok(*args).text.split()) == 1, args
        for args in (["--version"], ["ps", "--version"], ["--debug", "run", "--version"], ["version"]):
            assert re.fullmatch(r"boxlite \d+\.\d+\.\d+\n", home.ok(*args).text), args
        for args in (["-h"], ["--help"], ["help"]):
            assert "image inspect" in home.ok(*args).text, args
        for args in (["ps", "-h"], ["help", "ps"], ["ls", "--help"]):
            assert home.ok(*args).text.startswith("Usage: boxlite ps"), args
        h.remove_all()
    finally:
        h.close()


def test_a_verb_may_have_two_words(home):
    for args in (["image", "ls"], ["image", "list"], ["images"]):
        assert home.ok(*args).text.split() == ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE"], args
    assert home.run("image", "inspect", "nothing").code == 125
    assert "image inspect" in usage_error(home, "image")
    assert "there is no 'image fly'" in usage_error(home, "image", "fly")


def test_unknown_boxes_are_named(home):
    for args in (["start", "X1"], ["stop", "X1"], ["restart", "X1"], ["pause", "X1"], ["unpause", "X1"], ["rm", "X1"], ["exec", "X1", "--", "true"], ["cp", "X1:/a", "."]):
        r = home.run(*args)
        assert r.code == 125 and b"No such box: X1" in r.err, (args, r)


def test_several_boxes_are_removed_and_the_missing_one_is_told(home):
    for name in ("a1", "b1"):
        home.ok("create", "--name", name, "x")
    r = home.run("rm", "a1", "missing", "b1")
    assert r.text.split() == ["a1", "b1"] and r.code == 125 and b"No such box: missing" in r.err, r
    assert home.boxes() == []


def test_removing_all_asks(home):
    home.ok("create", "x")
    home.run("rm", "-a", input=b"n\n")
    assert len(home.boxes()) == 1
    home.run("rm", "-a")
    assert len(home.boxes()) == 1
    home.ok("rm", "-a", input=b"y\n")
    assert home.boxes() == []


def test_a_terminal_is_not_given_without_one(home):
    for args in (["run", "-t", "x"], ["run", "-it", "x"], ["exec", "-t", "x", "--", "sh"]):
        r = home.run(*args)
        assert r.code == 125 and b"the input device is not a TTY." in r.err, (args, r)


def test_wrong_values_are_refused_before_anything_is_done(home):
    for args, needle in ((["--cpus", "0"], "between 1 and"), (["--memory", "lots"], "needs a number"), (["--network", "maybe"], "neither"),
                         (["--cap-add", "FLY"], "no capability"), (["--ulimit", "nofile"], "none of nofile=N"),
                         (["--ulimit", "nofile=x"], "no number"), (["--security", "max"], "none of enable"), (["-e", "=x"], "no name"),
                         (["-p", "0"], "is not [["), (["--network", "disabled", "-p", "80"], "exclude each other")):
        assert needle in usage_error(home, "create", *args, "image"), (args, needle)
    assert home.boxes() == []
    assert "which image?" in usage_error(home, "create")
    assert "which command?" in usage_error(home, "exec", "box")


def test_security_comes_from_the_environment_too(home):
    home.ok("create", "--name", "open", "x", env={"BOXLITE_SECURITY": "disable"})
    home.ok("create", "--name", "shut", "--security", "enable", "x", env={"BOXLITE_SECURITY": "disable"})
    assert home.ok("inspect", "-f", "{{.Security.Jailer}}", "open", "shut").text.split() == ["false", "true"]
    assert home.run("create", "x", env={"BOXLITE_SECURITY": "tight"}).code == 2
    home.remove_all()


def test_colors_are_for_terminals(home):
    home.ok("create", "--name", "c1", "x")
    assert b"\x1b" not in home.ok("ps", "-a").out
    env = {k: v for k, v in home.env.items() if k != "NO_COLOR"}
    for extra, term, colored in (({}, "xterm", True), ({"NO_COLOR": "1"}, "xterm", False), ({}, "dumb", False)):
        h = boxtest.Home(home.path)
        h.env = {**env, **extra}
        t = Terminal(h, "ps", "-a", term=term)
        try:
            shown = t.expect(b"c1")
            assert (b"\x1b[1m" in shown) == colored, (extra, term, shown)
        finally:
            t.close()
    home.remove_all()


def test_what_was_done_is_told_on_stderr_or_in_a_file(home):
    r = home.ok("ps", "--debug")
    assert re.match(rb"DEBUG \d{4}-\d\d-\d\dT.* boxlite: ", r.err), r
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "log")
        r = home.run("start", "nobody", env={"BOXLITE_LOG_FILE": path})
        assert "not_found" in open(path).read() and r.err == b"Error: No such box: nobody\n", r
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert home.run("ps", env={"BOXLITE_LOG_FILE": d}).code == 125


if __name__ == "__main__":
    boxtest.main(globals())
