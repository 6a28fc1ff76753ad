# SPDX-License-Identifier: Apache-2.0
"""`boxlite logs`: what main processes wrote is there for everybody, whether anybody was attached or not."""
import contextlib
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import boxwire
from boxtest import wait_for

IMAGE = "busybox:test"


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def log_files(home, box):
    folder = os.path.join(home.path, "boxes", box, "logs")
    return {name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}


def wait_for_log(home, box, text):
    return wait_for(lambda: (lambda r: r if text in r.out + r.err else None)(home.ok("logs", box)), f"{text!r} in the log of {box}", 60)


def shim_of(home, box):
    return int(next(b["Pid"] for b in home.boxes() if b["Names"] == box))


@contextlib.contextmanager
def following(home, *args):
    p = home.popen("logs", "-f", *args)
    try:
        yield p
    finally:
        p.kill()
        p.communicate()


def test_output_of_a_detached_box_is_kept_and_streams_stay_apart(home):
    home.ok("run", "-d", "--name", "detached", IMAGE, "sh", "-c", "echo out; echo err >&2; printf '\\000\\377no end'; sleep 1000")
    r = wait_for_log(home, "detached", b"no end")
    assert (r.out, r.err) == (b"out\n\x00\xffno end", b"err\n"), r
    home.ok("rm", "-f", "detached")


def test_output_of_an_attached_command_is_kept_too(home):
    r = home.run("run", "--name", "attached", IMAGE, "sh", "-c", "echo seen; echo also >&2; exit 3")
    assert (r.code, r.out, r.err) == (3, b"seen\n", b"also\n"), r
    r = home.ok("logs", "attached")
    assert (r.out, r.err) == (b"seen\n", b"also\n"), r
    home.ok("rm", "attached")


def test_commands_of_exec_are_not_in_the_log(home):
    home.ok("run", "-d", "--name", "execs", IMAGE, "sh", "-c", "echo main; sleep 1000")
    home.ok("exec", "execs", "--", "echo", "other")
    assert wait_for_log(home, "execs", b"main").out == b"main\n"
    home.ok("rm", "-f", "execs")


def test_the_log_survives_stop_and_start(home):
    home.ok("run", "-d", "--name", "again", IMAGE, "sh", "-c", "echo started; sleep 1000")
    wait_for_log(home, "again", b"started")
    home.ok("stop", "again")
    assert home.ok("logs", "again").out == b"started\n"
    home.ok("start", "again")
    wait_for(lambda: home.ok("logs", "again").out == b"started\nstarted\n", "the second start in the log")
    home.ok("rm", "-f", "again")


def test_the_log_of_a_box_whose_supervisor_was_killed_can_be_read(home):
    home.ok("run", "-d", "--name", "killed", IMAGE, "sh", "-c", "echo last words; sleep 1000")
    wait_for_log(home, "killed", b"last words")
    os.kill(shim_of(home, "killed"), signal.SIGKILL)
    home.wait_no_processes("the box")
    assert home.ok("logs", "killed").out == b"last words\n"
    home.ok("start", "killed")
    wait_for(lambda: home.ok("logs", "killed").out == b"last words\n" * 2, "the second start in the log")
    home.ok("rm", "-f", "killed")


def test_tail_since_and_times(home):
    home.ok("run", "-d", "--name", "lines", IMAGE, "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; sleep 1000")
    wait_for_log(home, "lines", b"line 5")
    assert home.ok("logs", "-n", "2", "lines").out == b"line 4\nline 5\n"
    assert home.ok("logs", "--tail", "99", "lines").out.count(b"\n") == 5
    assert home.ok("logs", "-n", "all", "lines").out.count(b"\n") == 5
    assert home.ok("logs", "-n", "0", "lines").out == b""
    stamped = home.ok("logs", "-t", "lines").text.splitlines()
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line \d", line) for line in stamped), stamped
    assert home.ok("logs", "--since", "1h", "lines").out.count(b"\n") == 5
    assert home.ok("logs", "--since", str(time.time() + 1), "lines").out == b""
    r = home.run("logs", "--since", "yesterday", "lines")
    assert r.code == 2 and b"yesterday" in r.err, r
    home.ok("rm", "-f", "lines")


def test_following_shows_what_comes_and_ends_with_the_box(home):
    home.ok("run", "-d", "--name", "follow", IMAGE, "sh", "-c",
            "mkfifo /tmp/go; exec 3<>/tmp/go; echo ready; while read line <&3; do echo got $line; echo e $line >&2; done")
    wait_for_log(home, "follow", b"ready")
    with following(home, "follow") as p, following(home, "-n", "0", "follow") as late:
        assert p.stdout.readline() == b"ready\n"
        for word in ("one", "two"):
            home.ok("exec", "follow", "--", "sh", "-c", f"echo {word} > /tmp/go")
            assert p.stdout.readline() == b"got %s\n" % word.encode()
            assert p.stderr.readline() == b"e %s\n" % word.encode()
        assert late.stdout.readline() == b"got one\n"
        home.ok("stop", "follow")
        assert p.wait(timeout=60) == 0 and late.wait(timeout=60) == 0
        assert late.stdout.read() == b"got two\n"
    assert home.run("logs", "-f", "follow", timeout=30).out.startswith(b"ready\ngot one\n")  # it does not run: no waiting
    home.ok("rm", "follow")


def test_following_ends_when_the_supervisor_is_killed_or_the_box_removed(home):
    home.ok("run", "-d", "--name", "gone", IMAGE, "sh", "-c", "echo up; sleep 1000")
    with following(home, "gone") as p:
        assert p.stdout.readline() == b"up\n"
        os.kill(shim_of(home, "gone"), signal.SIGKILL)
        p.wait(timeout=60)
    home.ok("start", "gone")
    wait_for(lambda: home.ok("logs", "gone").out == b"up\nup\n", "the second start")
    with following(home, "-n", "1", "gone") as p:
        assert p.stdout.readline() == b"up\n"
        home.ok("rm", "-f", "gone")
        p.wait(timeout=60)


def test_following_is_ended_by_ctrl_c_and_by_a_reader_that_goes(home):
    home.ok("run", "-d", "--name", "endless", IMAGE, "sh", "-c", "while echo tick; do sleep 1; done")
    with following(home, "endless") as p:
        assert p.stdout.readline() == b"tick\n"
        p.send_signal(signal.SIGINT)
        assert p.wait(timeout=30) == 130
    with following(home, "endless") as p:
        assert p.stdout.readline() == b"tick\n"
        p.stdout.close()
        p.wait(timeout=30)
        p.stdout = None
    home.ok("rm", "-f", "endless")


def test_a_flood_that_nobody_reads_neither_stops_the_writer_nor_fills_the_disk(home):
    box = home.ok("run", "-d", "--name", "flood", IMAGE, "sh", "-c", "yes boxlite | head -c 60000000; echo; echo the end").text.strip()
    wait_for(lambda: [b["Status"] for b in home.boxes() if b["ID"] == box] == ["Stopped"], "the flood to end", 120)
    files = log_files(home, box)
    assert sum(files.values()) <= 16 << 20 and len(files) <= 4, files
    r = home.ok("logs", "flood")
    assert r.out.endswith(b"\nthe end\n") and 8 << 20 < len(r.out) < 16 << 20, len(r.out)
    assert home.ok("logs", "-n", "1", "flood").out == b"the end\n"
    assert home.ok("logs", "-n", "100000", "flood").out.count(b"\n") == 100000
    home.ok("rm", "flood")


def test_a_flood_is_followed_in_order(home):
    with contextlib.ExitStack() as stack:
        home.ok("run", "-d", "--name", "order", IMAGE, "sh", "-c", "mkfifo /tmp/go; read x < /tmp/go; seq 1 400000")
        p = stack.enter_context(following(home, "order"))
        home.ok("exec", "order", "--", "sh", "-c", "echo > /tmp/go")
        expected = b"".join(b"%d\n" % i for i in range(1, 400001))
        assert p.stdout.read() == expected  # as large as three quarters of a file: nothing was let go
        assert p.wait(timeout=60) == 0
    home.ok("rm", "order")


def test_the_console_is_apart(home):
    box = home.ok("run", "-d", "--name", "console", IMAGE, "sh", "-c", "echo main; sleep 1000").text.strip()
    wait_for_log(home, "console", b"main")
    with open(os.path.join(home.path, "boxes", box, "console.log"), "rb") as f:
        assert home.ok("logs", "--console", "console").out == f.read()
    r = home.run("logs", "--console", "-t", "console")
    assert r.code == 2 and b"times" in r.err, r
    home.ok("rm", "-f", "console")


def test_what_a_late_client_attaches_to_is_as_it_was(home):
    home.ok("run", "-d", "--name", "late", IMAGE, "sh", "-c", "echo early; mkfifo /tmp/go; read x < /tmp/go; echo late; exit 4")
    wait_for_log(home, "late", b"early")
    box = [b["ID"] for b in home.boxes() if b["Names"] == "late"][0]
    link = boxwire.Link(home, box)
    try:
        s = link.attach("main")
        link.until(lambda: s.started)
        link.claim(s, boxwire.STDOUT)
        link.until(lambda: bytes(s.data[boxwire.STDOUT]) == b"early\n")
        home.ok("exec", "late", "--", "sh", "-c", "echo > /tmp/go")
        link.until(lambda: s.exit)
        assert bytes(s.data[boxwire.STDOUT]) == b"early\nlate\n" and s.code == 4 and boxwire.STDOUT in s.ended
    finally:
        link.close()
    wait_for(lambda: [b["Status"] for b in home.boxes() if b["ID"] == box] == ["Stopped"], "the box to end")
    assert home.ok("logs", "late").out == b"early\nlate\n"
    home.ok("rm", "late")


def test_an_unknown_box_has_no_log(home):
    r = home.run("logs", "nosuchbox")
    assert r.code == 125 and b"No such box: nosuchbox" in r.err, r


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
