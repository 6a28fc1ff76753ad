# SPDX-License-Identifier: Apache-2.0
"""`boxlite events`: what happens in a home is told to every program, whichever did it."""
import contextlib
import json
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import wait_for

IMAGE = "busybox:test"
REFERENCE = "docker.io/library/busybox:test"


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


class Listener:
    """`boxlite events` in a process of its own; what it prints, as it comes."""

    def __init__(self, home, *args):
        self.process = home.popen("events", "--format", "json", *args)
        self.events, self.changed = [], threading.Condition()
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def wait(self, condition, what, deadline=60):
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self.events), deadline):
                raise AssertionError(f"not within {deadline} s: {what}; there were {self.events}")
            return list(self.events)

    def close(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


@contextlib.contextmanager
def listening(home, *args):
    """Listens from now on, for sure: a first event, of an image's name, is waited for."""
    listener = Listener(home, *args)
    try:
        if not args:
            def greeted():
                home.ok("tag", IMAGE, "hello:1")
                home.ok("rmi", "hello:1")
                return bool(listener.events)
            wait_for(greeted, "the first event", 60)
            listener.wait(lambda es: es[-1]["Type"] == "image.removed", "the end of the greeting")
            listener.events.clear()
        yield listener
    finally:
        listener.close()


def types(events):
    return [e["Type"] for e in events]


def past(home, *args):
    return [json.loads(line) for line in home.ok("events", "--no-follow", "--format", "json", *args).text.splitlines()]


def test_the_life_of_a_box_is_told_to_others(home):
    with listening(home) as seen:
        box = home.ok("run", "-d", "--name", "life", IMAGE, "sleep", "1000").text.strip()
        home.run("exec", "life", "--", "sh", "-c", "exit 7")
        home.ok("stop", "life")
        home.ok("rm", "life")
        events = seen.wait(lambda es: "box.removed" in types(es), "the end of the box")
    assert types(events) == ["box.created", "box.started", "exec.started", "exec.ended", "box.stopped", "box.removed"], events
    assert {(e["Box"], e["Name"], e["Image"]) for e in events} == {(box, "life", IMAGE)}, events
    started, ended = events[2:4]
    assert started["Exec"] == ended["Exec"] and started["Program"] == "sh" and ended["ExitCode"] == 7 and started["ExitCode"] is None, events
    assert [e["Time"] for e in events] == sorted(e["Time"] for e in events)


def test_all_who_listen_hear_the_same(home):
    with listening(home) as one, listening(home) as other:
        one.events.clear()
        for i in range(3):
            home.ok("run", "--rm", "--name", f"same{i}", IMAGE, "true")
        end = lambda es: types(es).count("box.removed") == 3
        a, b = one.wait(end, "three boxes"), other.wait(end, "three boxes")
    assert [e for e in a if e["Box"]] == [e for e in b if e["Box"]]


def test_an_exit_code_of_the_main_process_and_want_of_memory_are_told(home):
    home.run("run", "--name", "code", IMAGE, "sh", "-c", "exit 5")
    stopped = past(home, "--filter", "box=code", "--filter", "type=box.stopped")
    assert [e["ExitCode"] for e in stopped] == [5], stopped
    home.ok("rm", "code")
    home.ok("run", "-d", "--name", "oom", "--memory", "256", IMAGE, "sleep", "1000")
    assert home.run("exec", "oom", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=900M", "count=1").code == 137
    wait_for(lambda: past(home, "--filter", "box=oom", "--filter", "type=exec.ended"), "the end of the command")
    oom, ended = past(home, "--filter", "box=oom", "--filter", "type=box.oom", "--filter", "type=exec.ended")
    assert oom["Type"] == "box.oom" and ended["Oom"] and oom["Exec"] == ended["Exec"] and ended["ExitCode"] == 137, (oom, ended)
    home.ok("rm", "-f", "oom")


def test_a_killed_machine_and_a_killed_supervisor_are_failures(home):
    home.ok("run", "-d", "--name", "machine", IMAGE, "sleep", "1000")
    qemu = [pid for pid, comm in home.processes().items() if comm.startswith("qemu")]
    assert len(qemu) == 1, home.processes()
    os.kill(qemu[0], signal.SIGKILL)
    failed = wait_for(lambda: past(home, "--filter", "box=machine", "--filter", "type=box.failed"), "the failure to be told")
    assert "machine" in failed[0]["Message"], failed
    home.ok("rm", "-f", "machine")
    home.ok("run", "-d", "--name", "shim", IMAGE, "sleep", "1000")
    os.kill(int(next(b["Pid"] for b in home.boxes() if b["Names"] == "shim")), signal.SIGKILL)
    failed = wait_for(lambda: home.boxes() and past(home, "--filter", "box=shim", "--filter", "type=box.failed"), "the failure to be told")
    assert len(failed) == 1 and "supervisor was killed" in failed[0]["Message"], failed
    home.ok("rm", "-f", "shim")


def test_a_command_whose_client_goes_is_told_of_too(home):
    home.ok("run", "-d", "--name", "leaves", IMAGE, "sleep", "1000")
    p = home.popen("exec", "leaves", "--", "sh", "-c", "echo up; sleep 1000")
    assert p.stdout.readline() == b"up\n"
    p.kill()
    p.communicate()
    ended = wait_for(lambda: past(home, "--filter", "box=leaves", "--filter", "type=exec.ended"), "the end of the command")
    assert ended[0]["ExitCode"] is None and "client" in ended[0]["Message"], ended
    home.ok("exec", "-d", "leaves", "--", "sh", "-c", "sleep 1; exit 9")
    ended = wait_for(lambda: past(home, "--filter", "box=leaves", "--filter", "type=exec.ended")[1:], "the end of the detached command")
    assert ended[0]["ExitCode"] == 9, ended
    home.ok("rm", "-f", "leaves")


def test_images_are_told_of(home):
    with listening(home) as seen:
        home.ok("load", boxtest.busybox_image(), "--name", "other:1")
        home.ok("tag", "other:1", "third:1")
        home.ok("rmi", "third:1")
        home.ok("rmi", "-f", "other:1")
        events = seen.wait(lambda es: types(es).count("image.removed") == 2, "two removals")
    assert [(e["Type"], e["Image"]) for e in events] == [
        ("image.loaded", "docker.io/library/other:1"), ("image.tagged", "docker.io/library/third:1"),
        ("image.removed", "docker.io/library/third:1"), ("image.removed", "docker.io/library/other:1")], events


def test_what_has_happened_can_be_asked_for_and_filtered(home):
    home.ok("run", "--rm", "--name", "past", IMAGE, "true")
    every = past(home)
    assert types(every)[0] == "image.loaded" and every[0]["Image"] == REFERENCE, every[0]
    assert types(past(home, "--filter", "box=past")) == ["box.created", "box.started", "box.stopped", "box.removed"]
    assert set(types(past(home, "-f", "type=image"))) <= {"image.loaded", "image.tagged", "image.removed"}
    assert past(home, "-f", "type=box.created", "-f", "box=past", "--since", "1h") and not past(home, "-f", "box=past", "--since", "0s")
    line = home.ok("events", "--no-follow", "-f", "type=box.created", "-f", "box=past").text
    assert line.startswith("20") and " box.created " in line and "name=past" in line and line.count("\n") == 1, line
    assert home.ok("events", "--no-follow", "-f", "box=past", "-f", "type=box.created", "--format", "{{.Name}}/{{.Type}}").text == "past/box.created\n"
    r = home.run("events", "--no-follow", "--filter", "colour=red")
    assert r.code == 2 and b"--filter" in r.err, r


def test_history_goes_over_into_what_comes(home):
    home.ok("tag", IMAGE, "before:1")
    with listening(home, "--since", "1h", "-f", "type=image.tagged") as seen:
        seen.wait(lambda es: any("before:1" in e["Image"] for e in es), "what was before")
        home.ok("tag", IMAGE, "after:1")
        events = seen.wait(lambda es: any("after:1" in e["Image"] for e in es), "what came")
        assert len([e for e in events if "before:1" in e["Image"]]) == 1
    home.ok("rmi", "before:1", "after:1")


def test_thousands_of_events_are_kept_within_bounds_and_in_order(home):
    box = home.ok("run", "-d", "--name", "many", IMAGE, "sleep", "1000").text.strip()
    folder = os.path.join(home.path, "events")
    line = json.dumps({"time": 1, "type": "exec.started", "box": "x" * 12, "message": "y" * 400}).encode() + b"\n"
    before = sorted(os.listdir(folder))
    with open(os.path.join(folder, before[-1]), "ab") as f:  # as if a million others had been told
        f.write(line * (1024 * 1024 // len(line) + 1))
    home.ok("exec", "many", "--", "true")
    wait_for(lambda: len(os.listdir(folder)) == len(before) + 1, "the next file")
    ours = past(home, "-f", "box=" + box)
    assert types(ours)[-2:] == ["exec.started", "exec.ended"] and types(ours)[0] == "box.created", types(ours)
    home.ok("rm", "-f", "many")


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
