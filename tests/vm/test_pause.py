# SPDX-License-Identifier: Apache-2.0
"""Machines that stand still: paused by whoever asks, whoever has died meanwhile; and because nothing runs in them, unseen."""
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import boxwire
from boxtest import wait_for

IMAGE = "busybox:test"
PAUSED = b"is paused: `boxlite unpause "


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


@contextlib.contextmanager
def box(home, name, *args, command=()):
    home.ok("run", "-d", "--name", name, *args, IMAGE, *(command or ("sleep", "100000")))
    try:
        yield json.loads(home.ok("inspect", "--format", "json", name).text)[0]["Id"]
    finally:
        home.run("rm", "-f", name)


def inspected(home, name):
    return json.loads(home.ok("inspect", "--format", "json", name).text)[0]


def state(home, name):
    return inspected(home, name)["State"]["Status"].lower()


def machine(home):
    """QEMU of the only box."""
    found = [pid for pid, comm in home.processes().items() if comm.startswith("qemu")]
    assert len(found) == 1, found
    return found[0]


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def pass_time(seconds):
    """Nothing happens but time, which is what the test is about."""
    select.select([], [], [], seconds)


def guest_time(home, name):
    """Its clock, and between which two times of ours it was read."""
    before = time.time()
    text = home.ok("exec", name, "--", "busybox", "adjtimex").text
    seconds, microseconds = (int(text.partition(f"time.{unit}:")[2].split()[0]) for unit in ("tv_sec", "tv_usec"))
    return before, seconds + microseconds / 1e6, time.time()


def counted(home, name):
    return int(home.ok("exec", name, "--", "cat", "/tmp/n").text or 0)


def switches(pid):
    """How often its threads have run."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[2])
    return total


def stands_still(pid, seconds=0.5):
    before = switches(pid)
    pass_time(seconds)
    return switches(pid) == before


@contextlib.contextmanager
def idle_box(home, name, *args):
    """A box without a main process, whose machine has been stopped: its folder and its QEMU."""
    home.ok("create", "--name", name, *args, IMAGE)
    home.ok("start", name)
    try:
        qemu = machine(home)
        wait_for(lambda: stands_still(qemu), "the machine to be stopped", 30)
        yield os.path.join(home.path, "boxes", inspected(home, name)["Id"]), qemu
    finally:
        home.run("rm", "-f", name)


COUNTER = ("sh", "-c", "n=0; while :; do n=$((n+1)); echo $n > /tmp/n.new; mv /tmp/n.new /tmp/n; usleep 10000; done")


def test_a_paused_machine_stands_still_and_goes_on_where_it_was(home):
    with box(home, "still", command=COUNTER):
        first = wait_for(lambda: home.run("exec", "still", "--", "cat", "/tmp/n").text.strip(), "the counter", 60)
        qemu = machine(home)
        assert home.ok("pause", "still").text == "still\n"
        ticks = cpu_ticks(qemu)
        pass_time(1.0)
        assert cpu_ticks(qemu) - ticks <= 1, cpu_ticks(qemu) - ticks
        row = next(b for b in home.boxes() if b["Names"] == "still")
        assert row["Status"] == "Paused" and row["Pid"] > 0, row
        assert [b["Names"] for b in json.loads(home.ok("ps", "--format", "json").text)] == ["still"]
        found = inspected(home, "still")["State"]
        assert found["Status"] == "Paused" and found["Paused"] and found["Pid"] == row["Pid"], found
        assert home.ok("unpause", "still").text == "still\n"
        assert state(home, "still") == "running"
        now = counted(home, "still")
        assert now >= int(first), (first, now)
        wait_for(lambda: counted(home, "still") > now, "the counter to go on", 30)


def test_what_a_paused_box_is_asked_for_is_refused_in_words(home):
    with box(home, "deaf"):
        home.ok("pause", "deaf")
        for args in (["exec", "deaf", "--", "true"], ["cp", "deaf:/etc/passwd", home.path + "/tmp/out"], ["top", "deaf"], ["start", "deaf"]):
            r = home.run(*args)
            assert r.code != 0 and PAUSED + b"deaf`" in r.err, (args, r)
        home.ok("stats", "deaf")
        home.ok("logs", "deaf")
        home.ok("unpause", "deaf")
        home.ok("exec", "deaf", "--", "true")


def test_pausing_twice_and_resuming_what_runs_change_nothing(home):
    with box(home, "twice"):
        home.ok("unpause", "twice")
        home.ok("pause", "twice")
        home.ok("pause", "twice")
        assert state(home, "twice") == "paused"
        home.ok("unpause", "twice")
        home.ok("exec", "twice", "--", "true")
        home.ok("stop", "twice")
        for verb in ("pause", "unpause"):
            r = home.run(verb, "twice")
            assert r.code == 125 and b"does not run" in r.err, r
        r = home.run("pause", "nothing")
        assert r.code == 125 and b"No such box" in r.err, r


def test_the_clock_is_right_after_a_pause(home):
    with box(home, "clock"):
        before, guest, after = guest_time(home, "clock")
        assert before - 0.1 <= guest <= after + 0.1, (before, guest, after)
        home.ok("pause", "clock")
        pass_time(0.4)
        home.ok("unpause", "clock")
        before, guest, after = guest_time(home, "clock")
        assert before - 0.1 <= guest <= after + 0.1, (before, guest, after)


def test_the_clock_is_right_again_when_the_hosts_was_set(home):
    try:  # to what it is: nobody notices but who has asked to be told
        time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME))
    except PermissionError:
        raise boxtest.OtherHardware("the clock of this host may not be set") from None
    with box(home, "jump", "--cap-add", "SYS_TIME"):
        home.ok("exec", "jump", "--", "date", "-s", "2020-01-01 00:00:00")
        before, guest, after = guest_time(home, "jump")
        assert guest < before - 1e6, (guest, before)
        time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME))

        def right():
            before, guest, after = guest_time(home, "jump")
            return before - 0.1 <= guest <= after + 0.1

        wait_for(right, "the box's clock to be set", 20)


def test_a_paused_box_is_stopped_with_its_grace(home):
    with box(home, "graceful", command=("sh", "-c", "trap 'echo ended > /root/ended; sync; exit 7' TERM; echo ready; while :; do sleep 0.05; done")):
        wait_for(lambda: "ready" in home.ok("logs", "graceful").text, "its trap", 60)
        home.ok("pause", "graceful")
        home.ok("stop", "graceful")
        assert state(home, "graceful") == "stopped"
        assert inspected(home, "graceful")["State"]["ExitCode"] == 7
        home.ok("start", "graceful")
        assert home.ok("exec", "graceful", "--", "cat", "/root/ended").text == "ended\n"
        home.ok("pause", "graceful")
        home.ok("restart", "graceful")
        home.ok("exec", "graceful", "--", "true")
        home.ok("pause", "graceful")
        r = home.run("rm", "graceful")
        assert r.code == 125 and b"running" in r.err, r
        home.ok("rm", "-f", "graceful")


def test_a_pause_outlives_who_asked_and_its_supervisor_takes_it_along(home):
    with box(home, "left") as box_id:
        link = boxwire.Link(home, box_id)
        link.ask(boxwire.BOX_PAUSE)
        link.close()
        assert state(home, "left") == "paused"
        os.kill(next(b["Pid"] for b in home.boxes() if b["ID"] == box_id), signal.SIGKILL)
        wait_for(lambda: state(home, "left") == "failed", "the end of its supervisor to be seen", 30)
        home.ok("start", "left")
        assert state(home, "left") == "running"
        home.ok("exec", "left", "--", "true")


def test_every_program_that_is_connected_is_told(home):
    with box(home, "told") as box_id:
        one, other = boxwire.Link(home, box_id), boxwire.Link(home, box_id)
        one.ask(boxwire.BOX_PAUSE)
        other.until(lambda: other.info and other.info[1] == 5)
        other.ask(boxwire.BOX_RESUME)
        one.until(lambda: one.info[1] == 2)
        one.close()
        other.close()
        seen = [json.loads(e)["Type"] for e in home.ok("events", "--no-follow", "--filter", "box=told", "--format", "json").text.splitlines()]
        assert seen[-2:] == ["box.paused", "box.resumed"], seen


def test_requests_that_cross_are_all_answered(home):
    with box(home, "cross") as box_id:
        links = [boxwire.Link(home, box_id) for _ in range(3)]
        for n in range(30):
            for i, link in enumerate(links):
                link.post(boxwire.BOX_PAUSE if (n + i) % 2 else boxwire.BOX_RESUME)
        for link in links:
            link.until(lambda link=link: len(link.answers) == 30)
            assert all(a is None or a[2] in (4, 20) for a in link.answers.values()), link.answers  # overtaken, or more than 16 open
            assert any(a is None for a in link.answers.values())
        links[0].ask(boxwire.BOX_RESUME)
        for link in links:
            link.close()
        home.ok("exec", "cross", "--", "true")


def test_time_limits_of_commands_wait_with_the_machine(home):
    with box(home, "limits") as box_id:
        link = boxwire.Link(home, box_id)
        s = link.exec("sh", "-c", "echo begun; sleep 1; echo done", timeout_ms=4000)
        link.until(lambda: s.data[boxwire.STDOUT] == b"begun\n")
        link.ask(boxwire.BOX_PAUSE)
        pass_time(4.5)
        link.ask(boxwire.BOX_RESUME)
        link.until(lambda: s.exit)
        assert s.code == 0 and s.data[boxwire.STDOUT] == b"begun\ndone\n", (s.code, s.data)
        link.close()


def test_a_program_whose_input_waits_can_still_let_the_box_go_on(home):
    """More than the supervisor takes for a machine that runs."""
    with box(home, "full") as box_id:
        link = boxwire.Link(home, box_id)
        streams = [link.exec("sh", "-c", "wc -c", stdin=True) for _ in range(6)]
        link.until(lambda: all(s.started for s in streams))
        link.ask(boxwire.BOX_PAUSE)
        for s in streams:
            link.write(s, b"x" * boxwire.WINDOW)
            link.end(s)
        assert link.signal(streams[0], 9)[2] == 4  # InvalidState
        link.ask(boxwire.BOX_RESUME)
        link.until(lambda: all(s.exit for s in streams))
        assert [bytes(s.data[boxwire.STDOUT]).strip() for s in streams] == [b"1048576"] * 6
        link.close()


def test_a_paused_box_is_not_taken_for_dead_or_ill(home):
    with box(home, "patient", "--health-interval", "200ms", "--health-timeout", "300ms", "--health-start-period", "0s", "--health-retries", "1",
             "--health-cmd", "sleep 0.1") as box_id:
        wait_for(lambda: inspected(home, "patient")["State"]["Health"]["Status"] == "healthy", "its health", 60)
        link = boxwire.Link(home, box_id)
        s = link.exec("sleep", "1000", stdin=True)
        link.until(lambda: s.started)
        link.ask(boxwire.BOX_PAUSE)
        link.send(boxwire.RESIZE, s.number, [(1, 77), (2, 24), (3, 80)])  # a request that the agent cannot answer now
        link.quiet(23.0)  # longer than a running agent may keep silent
        link.ask(boxwire.BOX_RESUME)
        link.until(lambda: 77 in s.answers)
        health = inspected(home, "patient")["State"]["Health"]
        assert health["FailingStreak"] == 0, health
        link.close()


def test_a_pause_that_cannot_be_noted_is_none(home):
    if os.geteuid() == 0:
        raise boxtest.OtherHardware("root may write everywhere")
    with box(home, "unnoted") as box_id:
        folder = os.path.join(home.path, "boxes", box_id)
        os.chmod(folder, 0o500)
        try:
            r = home.run("pause", "unnoted")
            assert r.code == 125 and b"paused" in r.err, r
        finally:
            os.chmod(folder, 0o700)
        assert state(home, "unnoted") == "running"
        home.ok("exec", "unnoted", "--", "true")


def test_a_box_in_which_nothing_runs_takes_no_time_and_is_there_at_once(home):
    with idle_box(home, "idle") as (_, qemu):
        ticks, runs = cpu_ticks(qemu), switches(qemu)
        pass_time(3.0)
        assert cpu_ticks(qemu) == ticks and switches(qemu) == runs
        assert state(home, "idle") == "running"
        before, guest, after = guest_time(home, "idle")
        assert before - 0.1 <= guest <= after + 0.1, (before, guest, after)
        wait_for(lambda: stands_still(qemu), "the machine to be stopped again", 30)


def test_asking_an_idle_box_what_it_takes_does_not_wake_it(home):
    with idle_box(home, "asked") as (_, qemu):
        runs = switches(qemu)
        rows = {r["Metric"]: r["Value"] for r in json.loads(home.ok("stats", "--format", "json", "asked").text)}
        assert state(home, "asked") == "running" and switches(qemu) == runs, rows


def test_what_a_command_leaves_behind_keeps_the_machine_going(home):
    with idle_box(home, "behind") as (_, qemu):
        # It runs now and then: a guest that only sleeps may leave its machine quiet for longer than is looked at.
        home.ok("exec", "behind", "--", "sh", "-c",
                "(n=0; while [ $n -lt 40 ]; do usleep 100000; n=$((n+1)); done; echo done > /tmp/done) >/dev/null 2>&1 </dev/null & echo")
        assert not stands_still(qemu, 2.0)
        wait_for(lambda: stands_still(qemu, 2.0), "the machine to be stopped when that has ended", 60)
        assert home.ok("exec", "behind", "--", "cat", "/tmp/done").text == "done\n"


def test_an_idle_machine_has_written_everything(home):
    with idle_box(home, "written") as (_, qemu):
        home.ok("exec", "written", "--", "sh", "-c", "echo kept > /root/kept")
        wait_for(lambda: stands_still(qemu), "the machine to be stopped again", 30)
        os.kill(qemu, signal.SIGKILL)
        wait_for(lambda: state(home, "written") == "failed", "its end to be seen", 30)
        home.ok("start", "written")
        assert home.ok("exec", "written", "--", "cat", "/root/kept").text == "kept\n"


def test_an_idle_box_is_paused_stopped_and_restarted_like_any_other(home):
    with idle_box(home, "any") as (_, qemu):
        home.ok("pause", "any")
        assert state(home, "any") == "paused"
        r = home.run("exec", "any", "--", "true")
        assert r.code == 125 and PAUSED in r.err, r
        home.ok("unpause", "any")
        home.ok("exec", "any", "--", "true")
        wait_for(lambda: stands_still(qemu), "the machine to be stopped again", 30)
        home.ok("unpause", "any")  # it is not paused
        home.ok("stop", "any")
        assert state(home, "any") == "stopped"
        home.ok("start", "any")
        wait_for(lambda: stands_still(machine(home)), "the machine to be stopped after a start", 30)
        home.ok("restart", "any")
        home.ok("exec", "any", "--", "true")


def test_a_connection_to_a_published_port_wakes_an_idle_box(home):
    with idle_box(home, "port", "-p", "80") as (folder, _):
        port = inspected(home, "port")["Network"]["Ports"][0]["HostPort"]
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(1) == b""  # nobody listens there, which only the guest can tell
        assert folder


def test_health_checks_wake_an_idle_box(home):
    home.ok("create", "--name", "checked", "--health-cmd", "echo x >> /tmp/checks", "--health-interval", "1500ms", "--health-timeout", "5s",
            "--health-start-period", "0s", IMAGE)
    home.ok("start", "checked")
    wait_for(lambda: inspected(home, "checked")["State"]["Health"]["Status"] == "healthy", "its health", 60)
    wait_for(lambda: int(home.ok("exec", "checked", "--", "sh", "-c", "wc -l < /tmp/checks").text) >= 3, "three checks", 60)
    assert inspected(home, "checked")["State"]["Health"]["FailingStreak"] == 0
    home.ok("rm", "-f", "checked")


def test_commands_that_come_just_when_the_machine_is_stopped_lose_nothing(home):
    with idle_box(home, "edge") as (folder, _):
        link = boxwire.Link(home, os.path.basename(folder))
        for n in range(24):
            s = link.exec("sh", "-c", "read x; echo got $x", stdin=True)
            link.write(s, b"%d\n" % n)
            link.until(lambda s=s: s.exit)
            assert s.data[boxwire.STDOUT] == b"got %d\n" % n, s.data
            link.send(boxwire.CLOSE, s.number)
            pass_time(0.98 + 0.004 * n)
        link.close()


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
