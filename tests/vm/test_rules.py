# SPDX-License-Identifier: Apache-2.0
"""The rules of a command, in real machines: what happens to output nobody reads, to children that stay behind, when the client goes
away, when the main process ends; and a disk larger than its image's."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import boxwire
from boxtest import Terminal, wait_for
from boxwire import KEEP, STDERR, STDOUT, WINDOW, Link

IMAGE = "busybox:test"
BOX = "rules"  # one machine for all rules that leave it whole


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    home.box = home.ok("run", "-d", "--name", BOX, IMAGE, "sleep", "100000").text.strip()
    return home


def sh(home, script, *options, box=BOX):
    return home.run("exec", *options, box, "--", "sh", "-c", script)


def alive(home, words, box=BOX):
    """Is a process with these words in its command line there? The brackets keep it from finding itself."""
    return sh(home, f"ps -o args | grep -q '[{words[0]}]{words[1:]}'", box=box).code == 0


def numbers(count):
    """A command that writes them, and what it writes."""
    return f"awk 'BEGIN {{ for (i = 0; i < {count}; i++) printf \"%07d\\n\", i }}'",  b"".join(b"%07d\n" % i for i in range(count))


# --- output ---

def test_output_nobody_claims_never_stops_its_writer_and_its_ends_are_kept(home):
    command, whole = numbers(200000)
    link = Link(home, home.box)
    try:
        s = link.exec("sh", "-c", command + "; echo small >&2; exit 3", claim=0)
        link.until(lambda: s.exit)
        assert s.code == 3 and not s.data[STDOUT], (s.exit, len(s.data[STDOUT]))
        link.claim(s, STDOUT)
        link.claim(s, STDERR)
        link.until(lambda: s.ended == {STDOUT, STDERR})
        assert s.data[STDOUT][:KEEP] == whole[:KEEP]
        assert s.data[STDOUT][KEEP:] == whole[-KEEP:]
        assert s.data[STDERR] == b"small\n"
        assert s.truncated == {1: STDOUT, 2: len(whole) - 2 * KEEP}, s.truncated
    finally:
        link.close()


def test_output_that_fits_is_kept_whole_and_not_called_truncated(home):
    command, whole = numbers(100000)
    link = Link(home, home.box)
    try:
        s = link.exec("sh", "-c", command, claim=0)
        link.until(lambda: s.exit)
        link.claim(s, STDOUT)
        link.until(lambda: STDOUT in s.ended)
        assert s.data[STDOUT] == whole and s.truncated is None
    finally:
        link.close()


def test_a_claimed_stream_stops_its_writer_when_credit_ends_and_nobody_else(home):
    link = Link(home, home.box)
    try:
        link.grant = False
        s = link.exec("sh", "-c", "head -c 5000000 /dev/zero; echo done >&2")
        link.until(lambda: len(s.data[STDOUT]) == WINDOW)
        other = link.exec("echo", "here")
        link.until(lambda: other.exit)
        assert other.data[STDOUT] == b"here\n" and len(s.data[STDOUT]) == WINDOW and not s.data[STDERR], len(s.data[STDOUT])
        link.grant = True
        link.credit(s, STDOUT, WINDOW)
        link.until(lambda: s.exit)
        assert len(s.data[STDOUT]) == 5000000 and s.data[STDERR] == b"done\n"
    finally:
        link.close()


def test_a_detached_command_is_taken_up_by_another_program_with_its_output(home):
    link = Link(home, home.box)
    s = link.exec("sh", "-c", "echo before; read line; echo after", claim=0, stdin=True, detached=True)
    link.until(lambda: s.started)
    link.close()
    link = Link(home, home.box)
    try:
        a = link.attach(s.id)
        link.claim(a, STDOUT)
        link.write(a, b"go\n")
        link.until(lambda: a.exit)
        assert a.data[STDOUT] == b"before\nafter\n" and a.code == 0, a.data
    finally:
        link.close()


# --- children that stay behind ---

def test_what_was_written_before_the_end_comes_whole_though_a_child_holds_the_pipe(home):
    r = sh(home, "sleep 4321 & head -c 3000000 /dev/zero; exit 7")
    assert r.code == 7 and len(r.out) == 3_000_000, (r.code, len(r.out))
    assert alive(home, "sleep 4321")
    sh(home, "pkill -f 'sleep 432[1]'")


def test_a_child_that_goes_on_writing_does_not_hold_the_command_and_lives(home):
    r = sh(home, "(while :; do echo noise; n=$((n+1)); echo $n >/root/count; done) & echo done")
    assert r.code == 0 and r.out.startswith((b"done\n", b"noise\n")), r

    def count():
        return int(sh(home, "cat /root/count").text or 0)

    first = wait_for(count, "the child to write")
    wait_for(lambda: count() > first + 1000, "the child to go on writing, which nobody reads")
    sh(home, "kill $(ps -o pid,args | grep '[n]oise' | awk '{print $1}')")


def test_children_live_until_the_box_stops(home):
    home.ok("run", "-d", "--name", "left", IMAGE, "sleep", "100000")
    assert sh(home, "setsid sleep 5555 >/dev/null 2>&1 & echo ok", box="left").out == b"ok\n"
    assert alive(home, "sleep 5555", box="left")
    home.ok("stop", "left")
    home.ok("start", "left")
    assert not alive(home, "sleep 5555", box="left")
    home.ok("rm", "-f", "left")


def test_orphans_are_reaped(home):
    sh(home, "for i in 1 2 3 4 5 6 7 8 9; do (true &); done")
    wait_for(lambda: sh(home, "grep -l '^State:.Z' /proc/[0-9]*/status").out == b"", "zombies to go")


# --- the client goes away ---

def test_a_killed_client_takes_the_whole_tree_along(home):
    p = home.popen("exec", BOX, "--", "sh", "-c", "setsid sh -c 'sleep 6661; :' & (sleep 6662 &) ; echo up; sleep 6663; :")
    assert p.stdout.readline() == b"up\n"
    p.kill()
    p.communicate()
    wait_for(lambda: not alive(home, "sleep 666"), "the tree to end")


def test_a_killed_client_leaves_what_was_detached_and_other_commands(home):
    link, other = Link(home, home.box), Link(home, home.box)
    try:
        kept = link.exec("sleep", "7771", detached=True)
        ended = link.exec("sleep", "7772")
        others = other.exec("sleep", "7773")
        link.until(lambda: kept.started and ended.started)
        other.until(lambda: others.started)
        link.close()
        wait_for(lambda: not alive(home, "sleep 7772"), "the command to end with its client")
        assert alive(home, "sleep 7771") and alive(home, "sleep 7773")
        again = other.attach(kept.id)
        other.until(lambda: again.started)
        assert other.signal(again, signal.SIGKILL, tree=True) is None
        other.until(lambda: again.exit)
        assert again.exit.get(5) == 1 and again.code == 137, again.exit
    finally:
        other.close()


def test_a_fork_bomb_neither_keeps_other_commands_out_nor_outlives_its_client(home):
    home.ok("run", "-d", "--name", "bomb", "--memory", "256", IMAGE, "sleep", "100000")

    def processes():
        return int(sh(home, "ls /proc | grep -c '^[0-9]'", box="bomb").text)

    p = home.popen("exec", "bomb", "--", "sh", "-c", "b() { b | b & }; b; sleep 100000", stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: processes() > 500, "the bomb to grow", 60)
        assert sh(home, "echo alive", box="bomb").out == b"alive\n"
    finally:
        p.kill()
        p.communicate()
    wait_for(lambda: processes() < 20, "the tree to end", 60)
    home.ok("rm", "-f", "bomb")


# --- signals and codes ---

def test_ctrl_c_interrupts_the_foreground_only(home):
    t = Terminal(home, "exec", "-it", BOX, "--", "sh")
    try:
        t.write(b"sleep 8881 & sleep 8882; echo 'wo'ken\n")
        wait_for(lambda: alive(home, "sleep 8882"), "the foreground to run")
        t.write(b"\x03")
        t.write(b"echo 'al'ive\n")
        assert b"woken" not in t.expect(b"alive\r\n")
        assert alive(home, "sleep 8881") and not alive(home, "sleep 8882")
        t.write(b"kill %1; exit 5\n")
        assert t.wait() == 5
    finally:
        t.close()


def test_sigint_to_exec_reaches_the_group_as_from_a_terminal(home):
    p = home.popen("exec", BOX, "--", "sh", "-c", "trap 'echo caught; exit 4' INT; sleep 9991")
    wait_for(lambda: alive(home, "sleep 9991"), "the shell to wait for its child")
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=30)
    assert (p.returncode, out) == (4, b"caught\n"), (p.returncode, out)
    assert not alive(home, "sleep 9991")


def test_exec_passes_no_stdin_without_i(home):
    r = home.run("exec", BOX, "--", "cat", input=b"not for you")
    assert (r.code, r.out) == (0, b""), r
    assert home.run("exec", "-i", BOX, "--", "cat", input=b"for you").out == b"for you"


def test_exit_codes_of_exec_are_as_a_shell_has_them(home):
    sh(home, "echo >/root/plain; mkdir -p /root/dir; printf '#!/no/interpreter\\n' >/root/script; chmod +x /root/script")
    for command, code in ((["sh", "-c", "exit 255"], 255), (["nothing-of-that-name"], 127), (["/root/nothing"], 127),
                          (["/root/plain"], 126), (["/root/dir"], 126), (["/root/script"], 127),
                          (["sh", "-c", "kill -KILL $$"], 137), (["sh", "-c", "kill -TERM $$"], 143),
                          (["sh", "-c", "kill -SEGV $$"], 139)):
        r = home.run("exec", BOX, "--", *command)
        assert r.code == code, (command, r)


def test_time_up_ends_the_tree_though_it_ignores_term(home):
    link = Link(home, home.box)
    try:
        s = link.exec("sh", "-c", "trap '' TERM; setsid sleep 3331 & while :; do sleep 1; done", timeout_ms=300)
        link.until(lambda: s.exit)
        assert s.code == 137 and s.exit.get(4) == 1, s.exit
        wait_for(lambda: not alive(home, "sleep 3331"), "what it had started to end")
    finally:
        link.close()


def test_signals_after_the_end_are_refused_in_words(home):
    link = Link(home, home.box)
    try:
        s = link.exec("true")
        link.until(lambda: s.exit)
        link.send(boxwire.SIGNAL, s.number, [(2, signal.SIGTERM)])  # no number: no answer, which would end the stream
        why = link.signal(s, signal.SIGTERM)
        assert why and b"ended" in why[3] and not s.error, (why, s.error)
    finally:
        link.close()


def test_the_clock_is_the_hosts(home):
    before = int(time.time())
    inside = int(sh(home, "date +%s").text)
    assert before - 1 <= inside <= int(time.time()) + 1


# --- the main process ---

def test_the_box_ends_with_its_main_process_and_takes_its_code(home):
    home.ok("run", "-d", "--name", "main", IMAGE, "sh", "-c", "mkfifo /root/go; read x </root/go; exit 9")
    wait_for(lambda: sh(home, "test -p /root/go", box="main").code == 0, "the fifo")
    p = home.popen("exec", "main", "--", "sh", "-c", "echo up; sleep 100000")
    assert p.stdout.readline() == b"up\n"
    sh(home, "echo >/root/go", box="main")
    assert p.wait(timeout=60) != 0
    p.communicate()
    wait_for(lambda: [b["Status"] for b in home.boxes() if b["Names"] == "main"] == ["Stopped"], "the box to stop")
    home.ok("rm", "main")


def test_stop_lets_the_main_process_finish_and_ends_one_that_does_not(home):
    home.ok("run", "-d", "--name", "polite", IMAGE, "sh", "-c", "trap 'echo bye >/root/bye; exit 0' TERM; echo >/root/up; while :; do sleep 1; done")
    wait_for(lambda: sh(home, "test -e /root/up", box="polite").code == 0, "its handler")
    home.ok("stop", "polite")
    home.ok("start", "polite")
    assert sh(home, "cat /root/bye", box="polite").out == b"bye\n"
    home.ok("rm", "-f", "polite")
    home.ok("run", "-d", "--name", "deaf", IMAGE, "sh", "-c", "trap '' TERM; echo >/root/up; while :; do sleep 1; done")
    wait_for(lambda: sh(home, "test -e /root/up", box="deaf").code == 0, "its handler")
    link = Link(home, next(b["ID"] for b in home.boxes() if b["Names"] == "deaf"))
    link.stop(grace_ms=100)
    link.close()
    assert b"were killed" in link.gone[3], link.gone
    home.ok("rm", "deaf")


# --- the disk ---

def test_a_disk_larger_than_its_images_is_grown_and_used(home):
    home.ok("run", "-d", "--name", "large", "--disk-size", "24", IMAGE, "sleep", "100000")

    def size():
        return int(sh(home, "df -k / | awk 'END{print $2}'", box="large").text)

    assert 23 << 20 < size() <= 24 << 20, size()
    # Into blocks that the image's ten GiB do not have: most of the disk in one file, which takes no space of the host.
    r = sh(home, "fallocate -l 20G /root/big && echo mark >/root/mark && sync && df -k /", box="large")
    assert r.code == 0, r
    home.ok("stop", "large")
    home.ok("start", "large")
    assert 23 << 20 < size() <= 24 << 20, size()
    assert sh(home, "cat /root/mark; stat -c %s /root/big", box="large").text == f"mark\n{20 << 30}\n"
    assert b"error" not in sh(home, "dmesg 2>/dev/null | grep -i ext4", box="large").out
    home.ok("rm", "-f", "large")


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
