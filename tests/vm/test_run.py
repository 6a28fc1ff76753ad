# SPDX-License-Identifier: Apache-2.0
"""`boxlite run` and `exec`: what a person at a shell relies on, on real machines."""
import hashlib
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import Terminal, wait_for

IMAGE = "busybox:test"


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def test_streams_are_separate_and_the_exit_code_is_the_commands(home):
    r = home.run("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (r.code, r.out, r.err) == (42, b"out\n", b"err\n"), r


def test_output_is_binary_safe(home):
    r = home.ok("run", "--rm", IMAGE, "sh", "-c", r"printf '\000\377\n\r\001'")
    assert r.out == b"\x00\xff\n\r\x01", r


def test_stdin_reaches_the_process_and_ends(home):
    data = os.urandom(3_000_000)
    r = home.ok("run", "--rm", "-i", IMAGE, "sh", "-c", "cat", input=data)
    assert hashlib.sha256(r.out).digest() == hashlib.sha256(data).digest(), (len(r.out), r.err)


def test_without_i_stdin_is_at_its_end(home):
    assert home.ok("run", "--rm", IMAGE, "cat").out == b""


def test_death_by_signal_n_is_128_plus_n(home):
    for n in (9, 15, 6):
        assert home.run("run", "--rm", IMAGE, "sh", "-c", f"kill -{n} $$").code == 128 + n


def test_a_missing_program_is_127_and_one_that_cannot_be_run_126(home):
    r = home.run("run", "--rm", IMAGE, "no-such-program")
    assert r.code == 127 and b"no-such-program" in r.err, r
    r = home.run("run", "--rm", IMAGE, "/etc/passwd")
    assert r.code == 126 and b"/etc/passwd" in r.err, r


def test_an_unknown_image_is_our_own_failure(home):
    r = home.run("run", "--rm", "127.0.0.1:1/no-such-image:1", "true")
    assert r.code == 125 and b"no-such-image" in r.err, r


def test_environment_directory_and_user_are_as_asked(home):
    r = home.ok("run", "--rm", "-e", "A=b c", "-e", "HOSTVAR", "-w", "/var/new", "-u", "1000:1001", IMAGE, "sh", "-c",
                'echo "$A|$HOSTVAR|$PWD|$(id -u):$(id -g)"', env={"HOSTVAR": "from host"})
    assert r.text == "b c|from host|/var/new|1000:1001\n", r


def test_exec_in_a_missing_directory_is_an_error(home):
    home.ok("run", "-d", "--name", "cwd", IMAGE, "sleep", "1000")
    r = home.run("exec", "-w", "/not/there", "cwd", "--", "true")
    assert r.code in (126, 127) and b"/not/there" in r.err, r
    home.ok("rm", "-f", "cwd")


def test_a_detached_box_lives_on_and_takes_commands(home):
    box = home.ok("run", "-d", "--name", "lives", IMAGE, "sleep", "1000").text.strip()
    assert len(box) == 12, box
    assert home.ok("exec", "lives", "--", "echo", "hello").out == b"hello\n"
    shown = [b for b in home.boxes() if b["ID"] == box]
    assert shown and shown[0]["Status"] == "Running", shown
    home.ok("stop", "lives")
    assert [b["Status"] for b in home.boxes() if b["ID"] == box] == ["Stopped"]
    home.ok("rm", "lives")
    assert not [b for b in home.boxes() if b["ID"] == box]


def test_rm_leaves_no_box(home):
    before = home.boxes()
    home.ok("run", "--rm", IMAGE, "true")
    assert home.boxes() == before


def test_the_disk_survives_stop_and_start(home):
    home.ok("run", "-d", "--name", "disk", IMAGE, "sleep", "1000")
    home.ok("exec", "disk", "--", "sh", "-c", "echo kept > /root/file; dd if=/dev/urandom of=/root/big bs=1M count=8 2>/dev/null")
    digest = home.ok("exec", "disk", "--", "sha256sum", "/root/big").out
    home.ok("stop", "disk")
    home.ok("start", "disk")
    assert home.ok("exec", "disk", "--", "cat", "/root/file").out == b"kept\n"
    assert home.ok("exec", "disk", "--", "sha256sum", "/root/big").out == digest
    home.ok("rm", "-f", "disk")


def test_remove_of_a_running_box_needs_force(home):
    home.ok("run", "-d", "--name", "forced", IMAGE, "sleep", "1000")
    r = home.run("rm", "forced")
    assert r.code != 0 and b"forced" in r.err, r
    home.ok("rm", "-f", "forced")


def test_a_name_is_taken_once(home):
    home.ok("run", "-d", "--name", "twice", IMAGE, "sleep", "1000")
    r = home.run("run", "-d", "--name", "twice", IMAGE, "true")
    assert r.code == 125 and b"already exists" in r.err, r
    home.ok("rm", "-f", "twice")


def test_large_output_arrives_whole(home):
    r = home.ok("run", "--rm", IMAGE, "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert len(r.out) == 20_000_000 and r.out.count(b"x") == len(r.out) and r.err == b"end\n", (len(r.out), r.err)


def test_a_terminal_has_a_size_and_follows_it(home):
    t = Terminal(home, "run", "--rm", "-it", IMAGE, "sh", rows=40, cols=120)
    try:
        t.write(b"stty size; echo A''B\n")
        assert b"40 120" in t.expect(b"AB\r\n")
        t.resize(33, 101)
        os.kill(t.process.pid, signal.SIGWINCH)
        t.write(b"while [ \"$(stty size)\" != '33 101' ]; do :; done; echo C''D\n")
        t.expect(b"CD\r\n")
        t.write(b"exit 7\n")
        assert t.wait() == 7, t.output
    finally:
        t.close()


def test_ctrl_c_reaches_the_process(home):
    t = Terminal(home, "run", "--rm", "-it", IMAGE, "sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 1; done")
    try:
        t.expect(b"ready")
        t.write(b"\x03")
        t.expect(b"caught")
        assert t.wait() == 3
    finally:
        t.close()


def test_sigint_without_a_terminal_interrupts_and_a_second_one_kills(home):
    home.ok("run", "-d", "--name", "sigint", IMAGE, "sleep", "1000")
    p = home.popen("exec", "sigint", "--", "sh", "-c", "trap 'echo first' INT; echo ready; while :; do sleep 1; done")
    try:
        assert p.stdout.readline() == b"ready\n"
        p.send_signal(signal.SIGINT)
        assert p.stdout.readline() == b"first\n"
        p.send_signal(signal.SIGINT)
        assert p.wait(timeout=30) in (130, 137), p.returncode
    finally:
        p.kill()
        p.communicate()
    wait_for(lambda: b"sleep 1\n" not in home.ok("exec", "sigint", "--", "ps", "-o", "args").out, "the tree to end")
    home.ok("rm", "-f", "sigint")


def test_a_closed_stdout_ends_the_command(home):
    p = home.popen("run", "--rm", IMAGE, "yes")
    p.stdout.read(100)
    p.stdout.close()
    p.stderr.close()
    p.wait(timeout=60)
    assert p.returncode != 0


def test_background_children_do_not_hold_the_command(home):
    r = home.run("run", "--rm", IMAGE, "sh", "-c", "sleep 1000 & echo done", timeout=60)
    assert r.code == 0 and r.out == b"done\n", r


def test_a_box_ends_with_the_program_that_started_it(home):
    p = home.popen("run", "--name", "dies", IMAGE, "sh", "-c", "echo up; sleep 1000")
    assert p.stdout.readline() == b"up\n"
    p.kill()
    p.communicate()
    wait_for(lambda: [b["Status"] for b in home.boxes() if b["Names"] == "dies"] == ["Stopped"], "the box to stop")
    home.wait_no_processes("the box")
    home.ok("rm", "dies")


def test_the_workload_sees_neither_agent_nor_raw_disk(home):
    r = home.ok("run", "--rm", IMAGE, "sh", "-c", "ps -o comm; ls /dev")
    assert b"boxlite-guest" not in r.out and b"vda" not in r.out and b"vport" not in r.out, r
    assert sorted(r.text.split("core")[0].split()[1:]) == ["boxlite-init", "ps", "sh"], r


def test_out_of_memory_kills_the_process_and_not_the_box(home):
    home.ok("run", "-d", "--name", "oom", "--memory", "256", IMAGE, "sleep", "1000")
    r = home.run("exec", "oom", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=900M", "count=1")
    assert r.code == 137 and b"emory" in r.err, r
    assert home.ok("exec", "oom", "--", "echo", "alive").out == b"alive\n"
    home.ok("rm", "-f", "oom")


def test_fifty_commands_at_once_all_answer(home):
    home.ok("run", "-d", "--name", "many", IMAGE, "sleep", "1000")
    running = [home.popen("exec", "many", "--", "sh", "-c", f"echo {i}") for i in range(50)]
    for i, p in enumerate(running):
        out, err = p.communicate(timeout=120)
        assert p.returncode == 0 and out == b"%d\n" % i, (i, p.returncode, out, err)
    home.ok("rm", "-f", "many")


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
