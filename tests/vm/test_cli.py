#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command on real machines: what boxes say of themselves, waiting for them, their processes and figures, and doctor after a crash."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import Skip, wait_for

IMAGE = "busybox:test"


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def inspect(home, box, template=None):
    if template:
        return home.ok("inspect", "-f", template, box).text[:-1]
    return json.loads(home.ok("inspect", box).text)[0]


def processes(home, box):
    return json.loads(home.ok("top", box, "--format", "json").text)


def doctor(home, *args):
    r = home.run("doctor", "--format", "json", *args)
    assert r.code in (0, 1), r
    return json.loads(r.text)


def found(report, check, state, subject=None):
    return [f for f in report["Findings"] if f["Check"] == check and f["State"] == state and subject in (None, f["Subject"])]


def supervisor(home, box):
    return int(inspect(home, box, "{{.State.Pid}}"))


# ---- life ----


def test_create_records_start_runs_stop_keeps_the_disk(home):
    box = home.ok("create", "--name", "life", "-e", "GREETING=hello", "-w", "/made", IMAGE).text.strip()
    assert inspect(home, "life", "{{.Status}} {{.State.StartedAt}} {{.Disk.Path}}") == "Configured <no value> <no value>"
    assert home.ok("start", "life").text == "life\n"
    assert home.ok("start", "life").text == "life\n"  # nothing happens to one that runs
    assert home.ok("exec", "life", "--", "sh", "-c", "echo $GREETING $PWD; echo kept >file").text == "hello /made\n"
    assert json.loads(home.ok("ps", "--format", "json").text)[0]["ID"] == box
    assert home.ok("stop", "life").text == "life\n"
    assert home.ok("stop", "life").text == "life\n"
    assert json.loads(home.ok("ps", "--format", "json").text) == []
    assert inspect(home, "life", "{{.Status}} {{.State.Running}} {{.State.Pid}}") == "Stopped false 0"
    home.ok("start", "life")
    assert home.ok("exec", "life", "--", "cat", "/made/file").text == "kept\n"
    home.ok("rm", "-f", "life")


def test_a_created_box_with_a_command_ends_with_it(home):
    home.ok("create", "--name", "job", IMAGE, "sh", "-c", "exit 9")
    home.ok("start", "job")
    assert home.ok("wait", "job").text == "9\n"
    assert inspect(home, "job", "{{.State.Status}} {{.State.ExitCode}}") == "Stopped 9"
    home.ok("rm", "job")


def test_restart_gives_new_processes_on_the_same_disk(home):
    home.ok("run", "-d", "--name", "again", IMAGE, "sh", "-c", "echo x >>/starts; exec sleep 1000000")
    wait_for(lambda: home.run("exec", "again", "--", "cat", "/starts").out == b"x\n", "the main process's first line")
    before = supervisor(home, "again")
    home.ok("exec", "-d", "again", "--", "sleep", "54321")
    assert home.ok("restart", "again").text == "again\n"
    assert supervisor(home, "again") != before
    assert [p for p in processes(home, "again") if "54321" in p["Command"]] == []
    wait_for(lambda: home.ok("exec", "again", "--", "wc", "-l", "/starts").text.split()[0] == "2", "the main process ran twice")
    home.ok("rm", "-f", "again")


def test_variables_come_from_here_by_name_alone(home):
    r = home.ok("run", "--rm", "-e", "FROM_HERE", "-e", "NOT_HERE", "-e", "SAID=x=y", IMAGE, "env", env={"FROM_HERE": "a b"})
    lines = r.text.split("\n")
    assert "FROM_HERE=a b" in lines and "SAID=x=y" in lines and not [x for x in lines if x.startswith("NOT_HERE")], lines


def test_limits_and_capabilities_reach_commands(home):
    home.ok("run", "-d", "--name", "tight", "--ulimit", "nofile=77", "--ulimit", "fsize=1m", "--cap-drop", "ALL", "--cap-add", "CHOWN", IMAGE,
            "sleep", "1000000")
    assert home.ok("exec", "tight", "--", "sh", "-c", "ulimit -n").text == "77\n"
    assert home.ok("exec", "--ulimit", "nofile=55", "tight", "--", "sh", "-c", "ulimit -n").text == "55\n"
    assert home.run("exec", "tight", "--", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=2").code == 128 + signal.SIGXFSZ
    assert home.ok("exec", "tight", "--", "grep", "CapEff", "/proc/self/status").text.split()[1] == "0000000000000001"
    assert inspect(home, "tight", "{{.Security.MaxOpenFiles}} {{json .Security.Capabilities}}") == '77 ["CHOWN"]'
    home.ok("rm", "-f", "tight")


def test_a_detached_command_goes_on(home):
    home.ok("run", "-d", "--name", "behind", IMAGE, "sleep", "1000000")
    r = home.ok("exec", "-d", "behind", "--", "sh", "-c", "sleep 0.2; echo done >/done; exec sleep 1000000")
    assert r.out == b""
    wait_for(lambda: home.run("exec", "behind", "--", "cat", "/done").out == b"done\n", "the command that was left behind")
    home.ok("rm", "-f", "behind")


# ---- what boxes say ----


def test_inspect_tells_what_holds_a_running_machine(home):
    home.ok("run", "-d", "--name", "seen", "--memory", "512", "--cpus", "2", IMAGE, "sleep", "1000000")
    b = inspect(home, "seen")
    assert b["State"]["Running"] and b["Engine"] in ("tcg", "kvm") and b["Cpus"] == 2 and b["Memory"] == 512 << 20, b
    assert b["State"]["StartedAt"].endswith("Z") and b["Kernel"], b
    assert "seccomp" in b["Jail"]["Applied"] and "caps" in b["Jail"]["Applied"] and b["Jail"]["SwitchedOff"] == [], b
    assert all(n["Layer"] and n["Why"] for n in b["Jail"]["NotApplied"]), b
    assert b["Disk"]["Size"] == 10 << 30 and 0 < b["Disk"]["Used"] < 1 << 30 and os.path.exists(b["Disk"]["Base"]), b
    assert os.path.dirname(b["Disk"]["Path"]) == b["Dir"] == os.path.join(home.path, "boxes", b["Id"]), b
    os.kill(b["State"]["Pid"], 0)
    home.ok("stop", "seen")
    assert inspect(home, "seen")["Jail"] is None
    home.ok("rm", "seen")


def test_walls_that_are_switched_off_are_told(home):
    home.ok("run", "-d", "--name", "open", "--security", "disable", IMAGE, "sleep", "1000000")
    assert inspect(home, "open")["Jail"]["SwitchedOff"] == ["jailer", "seccomp"]
    home.ok("rm", "-f", "open")


def test_processes_are_listed_without_a_tool_in_the_image(home):
    home.ok("run", "-d", "--name", "busy", IMAGE, "sh", "-c", "sleep 11111 & sleep 22222 & wait")
    home.ok("exec", "-d", "-u", "1234", "busy", "--", "sleep", "33333")
    wait_for(lambda: len([p for p in processes(home, "busy") if p["Command"].startswith("sleep")]) == 3, "three sleeps")
    all_of_them = {p["Command"]: p for p in processes(home, "busy")}
    shell = all_of_them["sh -c sleep 11111 & sleep 22222 & wait"]
    assert all_of_them["sleep 11111"]["Parent"] == all_of_them["sleep 22222"]["Parent"] == shell["Pid"], all_of_them
    assert shell["Parent"] == 0 and shell["Uid"] == 0, shell
    other = all_of_them["sleep 33333"]
    assert other["Uid"] == 1234 and other["State"] == "S" and other["Threads"] == 1 and other["Name"] == "sleep", other
    assert other["MemoryBytes"] > 0 and 0 <= other["AgeMs"] < 600000, other
    # The numbers are those of the box itself.
    seen = home.ok("exec", "busy", "--", "cat", f"/proc/{other['Pid']}/cmdline").out
    assert seen == b"sleep\x0033333\0", seen
    table = home.ok("top", "busy").text.split("\n")
    assert table[0].split() == ["PID", "PPID", "UID", "STATE", "THREADS", "CPU", "MEMORY", "AGE", "COMMAND"], table
    # What a process calls itself does no harm.
    home.ok("exec", "-d", "busy", "--", "sh", "-c", "sleep 98765; :", "\x1b[31m44444\n")
    wait_for(lambda: [p for p in processes(home, "busy") if "\\x1b[31m44444\\x0a" in p["Command"]], "the odd name")
    assert b"\x1b" not in home.ok("top", "busy").out
    home.ok("stop", "busy")
    r = home.run("top", "busy")
    assert r.code == 125 and b"does not run" in r.err, r
    home.ok("rm", "busy")


def test_figures_of_a_box(home):
    home.ok("run", "-d", "--name", "figures", IMAGE, "sleep", "1000000")
    for _ in range(3):
        home.ok("exec", "figures", "--", "true")
    home.run("exec", "figures", "--", "no-such-program")
    rows = {r["Metric"]: r["Value"] for r in json.loads(home.ok("stats", "--format", "json", "figures").text)}
    assert list(rows) == ["CPU", "Memory", "Commands", "Errors", "Boot Time", "Net Sent", "Net Recv", "TCP Connections", "TCP Errors"], rows
    assert rows["Commands"] == "4" and rows["Errors"] == "1" and rows["CPU"].endswith("%") and rows["Memory"].endswith("MiB"), rows
    assert int(rows["Boot Time"].split()[0]) > 0, rows
    # Live, until the box stops.
    live = home.popen("stats", "-s", "--format", "{{.Metric}}={{.Value}}", "figures")
    for line in iter(live.stdout.readline, b""):
        if line.startswith(b"TCP Errors"):
            break
    home.ok("stop", "figures")
    rest, err = live.communicate(timeout=60)
    assert live.returncode == 0 and b"CPU=N/A" in rest, (rest, err)
    assert {r["Value"] for r in json.loads(home.ok("stats", "--format", "json", "figures").text)} == {"N/A"}
    home.ok("rm", "figures")


def test_live_figures_end_with_ctrl_c(home):
    home.ok("run", "-d", "--name", "live", IMAGE, "sleep", "1000000")
    p = home.popen("stats", "-s", "live")
    p.stdout.readline()
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=60)
    assert p.returncode in (0, -signal.SIGINT, 128 + signal.SIGINT), p.returncode
    home.ok("rm", "-f", "live")


# ---- waiting ----


def test_who_waits_gets_the_exit_code(home):
    home.ok("run", "-d", "--name", "w1", IMAGE, "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 42")
    home.ok("run", "-d", "--name", "w2", IMAGE, "sleep", "1000000")
    waits = [home.popen("wait", "w2", "w1"), home.popen("wait", "w1")]
    home.ok("exec", "w1", "--", "touch", "/go")
    assert waits[1].communicate(timeout=60)[0] == b"42\n"
    home.ok("stop", "w2")
    out, err = waits[0].communicate(timeout=60)
    assert out.split() == [b"143", b"42"] and waits[0].returncode == 0, (out, err)
    assert home.ok("wait", "w1").text == "42\n"
    home.ok("rm", "w1", "w2")


def test_who_waits_hears_of_a_crash(home):
    home.ok("run", "-d", "--name", "crash", IMAGE, "sleep", "1000000")
    wait = home.popen("wait", "crash")
    assert not wait.poll()
    os.kill(supervisor(home, "crash"), signal.SIGKILL)
    out, err = wait.communicate(timeout=60)
    assert wait.returncode == 125 and b"box crash failed" in err, (out, err)
    home.ok("rm", "-f", "crash")


def test_waiting_can_be_given_up(home):
    home.ok("run", "-d", "--name", "long", IMAGE, "sleep", "1000000")
    p = home.popen("wait", "long", "--debug")
    assert b"opened" in p.stderr.readline()
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=60)
    assert p.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert inspect(home, "long", "{{.Status}}") == "Running"
    home.ok("rm", "-f", "long")


# ---- doctor ----


def test_doctor_after_supervisors_were_killed(home):
    boxes = [home.ok("run", "-d", "--name", f"k{i}", IMAGE, "sleep", "1000000").text.strip() for i in range(2)]
    running = home.ok("run", "-d", "--name", "lives", IMAGE, "sleep", "1000000").text.strip()
    for i, box in enumerate(boxes):
        os.kill(supervisor(home, f"k{i}"), signal.SIGKILL)
    wait_for(lambda: not any(f"boxes/{b}" in os.readlink(f"/proc/{pid}/fd/{fd}") for b in boxes for pid, fd in descriptors(home)), "their end")
    sockets = [os.path.join(home.path, "boxes", b, "box.sock") for b in boxes]
    left = [s for s in sockets if os.path.exists(s)]
    report = doctor(home)
    assert found(report, "boxes", "repaired"), report
    assert len(found(report, "folders", "problem")) == len(left), report
    report = doctor(home, "--repair")
    assert report["Problems"] == 0 and not any(map(os.path.exists, sockets)), report
    assert doctor(home)["Problems"] == 0
    assert os.path.exists(os.path.join(home.path, "boxes", running, "box.sock"))
    assert home.ok("exec", "lives", "--", "echo", "unharmed").text == "unharmed\n"
    for i in range(2):
        home.ok("start", f"k{i}")
        home.ok("rm", "-f", f"k{i}")
    home.ok("rm", "-f", "lives")


def descriptors(home):
    for pid in home.processes():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    os.readlink(f"/proc/{pid}/fd/{fd}")
                    yield pid, fd


def test_doctor_looks_at_the_disks_of_stopped_boxes(home):
    for tool in ("qemu-img", "e2fsck", "qemu-io"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            raise Skip(f"{tool} is not installed")
    home.remove_all()
    home.ok("run", "--name", "whole", IMAGE, "sh", "-c", "echo x >/file; sync")
    home.ok("run", "--name", "broken", IMAGE, "true")
    # Killed in the middle of writing: the journal is to be replayed, and that is no damage.
    home.ok("run", "-d", "--name", "torn", IMAGE, "sh", "-c", "while :; do echo x >>/a; mv /a /b; sync; cp /b /a; done")
    home.ok("exec", "torn", "--", "sync")
    os.kill(supervisor(home, "torn"), signal.SIGKILL)
    wait_for(lambda: inspect(home, "torn", "{{.Status}}") == "Failed", "its end")
    report = doctor(home, "--repair")
    assert report["Problems"] == 0, report
    assert "3 of boxes that do not run" in found(report, "disks", "fine")[0]["Text"], report
    b = inspect(home, "broken")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 255 1024 262144", b["Disk"]["Path"]], check=True, stdout=subprocess.DEVNULL)
    report = doctor(home)
    assert found(report, "disks", "problem", b["Id"]), report
    assert not found(doctor(home, "--quick"), "disks", "problem")
    assert os.listdir(os.path.join(home.path, "tmp")) == []
    home.ok("rm", "whole", "broken", "torn")


def test_doctor_leaves_a_box_that_runs_alone(home):
    home.ok("run", "-d", "--name", "runs", IMAGE, "sh", "-c", "while :; do echo x >/f; done")
    for box in home.boxes():
        if box["Names"] != "runs":
            home.ok("rm", "-f", box["ID"])
    report = doctor(home, "--repair")
    assert report["Problems"] == 0 and "0 of boxes" in found(report, "disks", "fine")[0]["Text"], report
    assert home.ok("exec", "runs", "--", "echo", "yes").text == "yes\n"
    home.ok("rm", "-f", "runs")


def test_steps_of_a_start_are_told(home):
    home.ok("prune", "-n")
    r = home.ok("run", "--debug", "--rm", "--memory", "320", IMAGE, "true")
    assert b"make template" in r.err or b"template" in r.err, r
    assert r.out == b""


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
