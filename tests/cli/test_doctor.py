#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite doctor: everything that a crash can leave is found, named, and repaired; what is somebody's stays. No machine is needed."""
import contextlib
import fcntl
import json
import os
import socket
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import BUILD


def doctor(home, *args, env=None):
    r = home.run("doctor", "--format", "json", *args, env=env)
    assert r.code in (0, 1), r
    report = json.loads(r.text)
    assert r.code == (1 if report["Problems"] else 0), (r.code, report)
    assert report["Problems"] == sum(f["State"] == "problem" for f in report["Findings"]), report
    assert report["Repaired"] == sum(f["State"] == "repaired" for f in report["Findings"]), report
    return report


def found(report, check, state, subject=None, text=""):
    return [f for f in report["Findings"] if f["Check"] == check and f["State"] == state and text in f["Text"] and subject in (None, f["Subject"])]


def well(home):
    report = doctor(home)
    assert report["Problems"] == 0 and report["Repaired"] == 0, report


def repairs(home, check, subject, text_found, text_repaired):
    """A problem is found and changes nothing; then it is repaired; then all is well."""
    for _ in range(2):
        assert found(doctor(home), check, "problem", subject, text_found), (check, subject)
    report = doctor(home, "--repair")
    assert found(report, check, "repaired", subject, text_repaired), report
    well(home)


def database(home):
    return contextlib.closing(sqlite3.connect(os.path.join(home.path, "db", "boxlite.db"), isolation_level=None))


def path(home, *parts):
    return os.path.join(home.path, *parts)


def old(name, seconds):
    then = time.time() - seconds
    os.utime(name, (then, then), follow_symlinks=False)


def test_a_new_home_is_well(home):
    report = doctor(home)
    assert report["Problems"] == 0, report
    for check in ("home", "database", "boxes", "folders", "tmp", "images", "programs", "disks"):
        assert found(report, check, "fine"), (check, report)
    assert {f["Check"] for f in report["Findings"]} >= {"engine", "jail"}
    assert not found(doctor(home, "--quick"), "disks", "fine")


def test_it_speaks_to_people_and_to_programs(home):
    text = home.ok("doctor").text
    assert "fine      database: is sound\n" in text, text
    assert home.ok("doctor", "--format", "{{.Problems}} {{len .Findings}}").text.split()[0] == "0"
    assert home.run("doctor", "web").code == 2


def test_a_folder_without_a_box_is_removed(home):
    os.mkdir(path(home, "boxes", "0rphanOrphan"))
    with open(path(home, "boxes", "0rphanOrphan", "disk.qcow2"), "w") as f:
        f.write("x")
    repairs(home, "folders", "0rphanOrphan", "belongs to no box", "was removed")
    assert os.listdir(path(home, "boxes")) == []


def test_a_folder_whose_machine_runs_is_left_alone(home):
    folder = path(home, "boxes", "runsRunsRuns")
    os.mkdir(folder)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = doctor(home, "--repair")
        assert found(report, "folders", "problem", "runsRunsRuns", "a machine runs there"), report
        assert os.path.isdir(folder)
    with open(os.path.join(folder, "start.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not found(doctor(home, "--repair"), "folders", "repaired")
        assert os.path.isdir(folder)
    doctor(home, "--repair")
    assert not os.path.exists(folder)


def test_what_is_no_folder_of_a_box_is_told_and_kept(home):
    with open(path(home, "boxes", "notes.txt"), "w") as f:
        f.write("mine")
    assert found(doctor(home, "--repair"), "folders", "note", "notes.txt", "is no folder of a box")
    os.unlink(path(home, "boxes", "notes.txt"))


def test_a_box_without_its_folder_is_removed(home):
    box = home.ok("create", "--name", "lost", "alpine").text.strip()
    os.rmdir(path(home, "boxes", box))
    well(home)  # it may be in the middle of being made
    with database(home) as db:
        db.execute("UPDATE box SET created_ms = created_ms - 60000")
    repairs(home, "boxes", "lost", "has no folder any more", "was removed")
    assert home.boxes() == []


def test_a_box_that_is_said_to_run_is_put_right(home):
    home.ok("create", "--name", "liar", "alpine")
    with database(home) as db:
        db.execute("UPDATE box SET state = 2, pid = 999999")
    report = doctor(home)
    assert found(report, "boxes", "repaired", "", "supervisor was gone: put right when the home was opened"), report
    well(home)
    assert home.boxes()[0]["Status"] in ("Stopped", "Failed"), home.boxes()
    home.remove_all()


def test_options_that_cannot_be_read_are_told(home):
    home.ok("create", "--name", "odd", "alpine")
    with database(home) as db:
        db.execute("UPDATE box SET options = '{\"cpus\": \"many\"}'")
    report = doctor(home)
    assert found(report, "boxes", "problem", "odd", "cannot be read"), report
    with database(home) as db:
        db.execute("DELETE FROM box")
    assert doctor(home, "--repair")["Problems"] == 0
    well(home)


def test_a_dead_socket_is_removed(home):
    box = home.ok("create", "--name", "quiet", "alpine").text.strip()
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(path(home, "boxes", box))
        s.bind("box.sock")
        os.chdir(here)
    # As long as somebody holds the box's lock it is not dead.
    with open(path(home, "boxes", box, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not found(doctor(home, "--repair"), "folders", "repaired")
    repairs(home, "folders", box, "nobody listens", "was removed")
    assert not os.path.exists(path(home, "boxes", box, "box.sock"))
    home.remove_all()


def test_left_over_files_are_removed(home):
    left = path(home, "tmp", "partial-left")
    os.mkdir(left)
    open(os.path.join(left, "x"), "w").close()
    well(home)  # young: somebody may be just making it
    old(left, 120)
    with open(path(home, "tmp", "held"), "w") as held, open(path(home, "tmp", "young"), "w"):
        fcntl.flock(held, fcntl.LOCK_EX)
        old(held.name, 120)
        repairs(home, "tmp", "partial-left", "was left by a program that was killed", "was removed")
        assert sorted(os.listdir(path(home, "tmp"))) == ["held", "young"]
    old(path(home, "tmp", "held"), 3600)
    old(path(home, "tmp", "young"), 3600)
    assert found(doctor(home), "tmp", "repaired", "", "2 left-over files were removed when the home was opened")
    assert os.listdir(path(home, "tmp")) == []


def test_what_no_image_needs_is_removed(home):
    files = [path(home, "disks", "a" * 64 + ".ext4"), path(home, "blobs", "sha256", "b" * 64)]
    for name in files:
        with open(name, "w") as f:
            f.write("x" * 5000)
        old(name, 86400)
    template = path(home, "templates", "tcg-c1-m512-0123456789abcdef")
    os.mkdir(template)
    for name in ("mem", "state", "files", "key"):
        with open(os.path.join(template, name), "w") as f:
            f.write("of an earlier version\n")
        old(os.path.join(template, name), 40 * 86400)
    old(template, 40 * 86400)
    report = doctor(home)
    assert found(report, "images", "note", "", "1 blobs, 1 disks and 1 templates are needed by nothing"), report
    assert all(map(os.path.exists, files + [template]))
    report = doctor(home, "--repair")
    assert found(report, "images", "repaired", "", "1 blobs, 1 disks and 1 templates that nothing needed were removed"), report
    assert not any(map(os.path.exists, files + [template]))
    well(home)


def test_damaged_indexes_are_made_anew(home):
    for name in ("one", "two", "three"):
        home.ok("create", "--name", name, "alpine")
    with database(home) as db:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'box' ORDER BY name")]
        assert len(names) > 1, names
        a, b = names[:2]
        pages = dict(db.execute("SELECT name, rootpage FROM sqlite_master WHERE name IN (?, ?)", (a, b)))
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (pages[b], a))
        db.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (pages[a], b))
    report = doctor(home)
    assert found(report, "database", "problem"), report
    report = doctor(home, "--repair")
    assert found(report, "database", "repaired", "", "its indexes were damaged"), report
    well(home)
    assert sorted(b["Names"] for b in home.boxes()) == ["one", "three", "two"]
    home.remove_all()


def test_a_home_that_cannot_be_opened_is_a_finding(home):
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(os.path.join(d, "db"))
        with open(os.path.join(d, "db", "boxlite.db"), "wb") as f:
            f.write(b"this is no database" * 1000)
        report = doctor(home, "--home", d, "--repair")
        assert found(report, "home", "problem", "", "the file is damaged"), report
        with open(os.path.join(d, "config.json"), "w") as f:
            f.write('{"unknown": 1}')
        assert found(doctor(home, "--home", d), "home", "problem", "", "unknown"), report


def test_a_home_that_others_may_write_in_is_closed(home):
    os.chmod(home.path, 0o777)
    repairs(home, "home", home.path, "others may write in it", "others could write in it")
    assert os.stat(home.path).st_mode & 0o777 == 0o700


def test_missing_programs_are_named(home):
    with tempfile.TemporaryDirectory() as d:
        for name in os.listdir(BUILD):
            if name != "boxlite-net" and os.path.isfile(os.path.join(BUILD, name)):
                os.symlink(os.path.join(BUILD, name), os.path.join(d, name))
        report = doctor(home, env={"BOXLITE_LIBEXEC": d})
        assert found(report, "programs", "problem", "boxlite-net", "is missing in " + d), report
        os.symlink(os.path.join(BUILD, "boxlite-net"), os.path.join(d, "boxlite-net"))
        os.unlink(os.path.join(d, "vmlinux"))
        report = doctor(home, env={"BOXLITE_LIBEXEC": d})
        assert found(report, "programs", "problem", "", "vmlinux"), report
    report = doctor(home, env={"BOXLITE_QEMU": "/nowhere/qemu"})
    assert found(report, "programs", "problem", "", "qemu"), report


def test_layers_of_the_jail_that_are_refused_come_with_a_remedy(home):
    report = doctor(home, "--quick")
    jail = [f for f in report["Findings"] if f["Check"] == "jail"]
    assert jail and "problem" not in {f["State"] for f in jail}, jail
    for f in jail:
        assert f["State"] == "fine" or not f["Subject"] or (f["Remedy"] and "refused" in f["Text"]), f
    if os.environ.get("BX_TEST_REFUSED"):
        assert found(report, "jail", "note", "pid_ns", "is refused by this host"), jail


if __name__ == "__main__":
    boxtest.main(globals())
