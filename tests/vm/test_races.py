#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Several programs that want the same thing of one home at the same time, and homes that cannot be written."""
import json
import os
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest

IMAGE = "busybox:test"


def load(home):
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def all_at_once(home, *commands):
    """Runs them side by side. Gives (exit code, stdout, stderr) of each."""
    running = [home.popen(*c) for c in commands]
    return [(p.returncode, out, err) for p in running for out, err in [p.communicate(timeout=boxtest.DEADLINE)]]


def consistent(home):
    report = json.loads(home.ok("doctor", "--format", "json").text)
    assert report["Problems"] == 0, report
    assert home.leftovers() == [], home.leftovers()
    with sqlite3.connect(f"file:{home.path}/db/boxlite.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_of_many_who_create_one_name_one_does(home):
    for _ in range(5):
        ends = all_at_once(home, *[["create", "--name", "one", IMAGE]] * 6)
        won = [out.decode().strip() for code, out, _ in ends if code == 0]
        assert [b["ID"] for b in home.boxes()] == won and len(won) == 1, (ends, home.boxes())
        assert all(b"already exists" in err for code, _, err in ends if code != 0), ends
        home.ok("rm", "one")


def test_many_who_start_one_box_start_one_machine(home):
    home.ok("create", "--name", "one", IMAGE)
    for _ in range(3):
        ends = all_at_once(home, *[["exec", "one", "--", "cat", "/proc/sys/kernel/random/boot_id"]] * 4, *[["start", "one"]] * 2)
        assert all(code == 0 for code, _, _ in ends), ends
        assert len({out for _, out, _ in ends[:4]}) == 1, ends
        home.ok("stop", "one")
        home.wait_no_processes()
    home.ok("rm", "one")


def test_who_creates_starts_and_removes_one_name_at_once_hears_what_happened(home):
    for _ in range(8):
        ends = all_at_once(home, ["run", "-d", "--name", "one", IMAGE, "sleep", "1000000"], ["create", "--name", "one", IMAGE, "sleep", "1000000"],
                           ["start", "one"], ["rm", "-f", "one"], ["run", "--rm", "--name", "one", IMAGE, "true"], ["rm", "-f", "one"])
        assert all(code == 0 or err.startswith(b"Error: ") for code, _, err in ends), ends
        for box in home.boxes():
            home.ok("rm", "-f", box["ID"])
        home.wait_no_processes()
    consistent(home)


def test_who_stops_and_who_removes_one_box_at_once_both_end(home):
    for _ in range(5):
        home.ok("run", "-d", "--name", "one", IMAGE, "sleep", "1000000")
        ends = all_at_once(home, ["stop", "one"], ["rm", "-f", "one"], ["stop", "one"], ["restart", "one"])
        assert all(code == 0 or err.startswith(b"Error: ") for code, _, err in ends), ends
        home.run("rm", "-f", "one")
        assert home.boxes() == [], home.boxes()
        home.wait_no_processes()
    consistent(home)


def test_a_box_whose_program_was_killed_between_its_end_and_its_removal_goes(home):
    home.ok("run", "--name", "one", IMAGE, "true")
    home.ok("create", "--name", "other", IMAGE)
    with sqlite3.connect(os.path.join(home.path, "db", "boxlite.db")) as db:
        changed = "UPDATE box SET options = json_set(options, '$.auto_remove', json('true'), '$.auto_delete', 1)"
        assert db.execute(changed).rowcount == 2
    assert [b["Names"] for b in home.boxes()] == ["other"], home.boxes()  # it was never started
    home.ok("rm", "other")
    consistent(home)


def read_only(home):
    """A home of the same path, which nobody may write."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return boxtest.Home(home.path, prefix=["unshare", "-m", "sh", "-c", script, home.path])


def test_a_home_that_cannot_be_written_is_named_and_stays_as_it_is(home):
    home.ok("run", "--name", "one", IMAGE, "true")
    ro = read_only(home)
    for command in (["create", IMAGE], ["run", "--rm", IMAGE, "true"], ["start", "one"], ["rm", "one"], ["load", boxtest.busybox_image()]):
        r = ro.run(*command)
        assert r.code == 125 and r.err.startswith(b"Error: ") and home.path.encode() in r.err, (command, r)
        assert b"ead-only" in r.err or b"readonly" in r.err, (command, r)
    assert [b["Names"] for b in home.boxes()] == ["one"]
    home.ok("rm", "one")
    consistent(home)


def test_a_clock_that_was_set_back_confuses_nobody(home):
    """Times of rows and files lie in the future."""
    home.ok("create", "--name", "one", IMAGE)
    home.ok("exec", "one", "--", "sh", "-c", "echo kept > /kept; sync")
    home.ok("stop", "one")
    later = time.time() + 86400 * 400
    for folder, _, names in os.walk(home.path):
        for name in names:
            os.utime(os.path.join(folder, name), (later, later), follow_symlinks=False)
    with sqlite3.connect(os.path.join(home.path, "db", "boxlite.db")) as db:
        for table, columns in (("box", ("created_ms", "started_ms", "stopped_ms")), ("image", ("cached_ms", "used_ms"))):
            for column in columns:
                assert db.execute(f"UPDATE {table} SET {column} = {column} + 34560000000").rowcount > 0
    assert home.ok("exec", "one", "--", "cat", "/kept").text == "kept\n"
    home.ok("run", "--rm", IMAGE, "true")
    home.ok("prune")
    home.ok("stop", "one")
    assert home.ok("exec", "one", "--", "cat", "/kept").text == "kept\n"
    home.ok("rm", "-f", "one")
    consistent(home)


if __name__ == "__main__":
    boxtest.main(globals(), lambda: load(boxtest.Home()))
