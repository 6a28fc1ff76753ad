# SPDX-License-Identifier: Apache-2.0
"""Health checks: what a box's supervisor makes of a command in it, whoever looks."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import wait_for

IMAGE = "busybox:test"
QUICK = ("--health-interval", "200ms", "--health-timeout", "2s", "--health-start-period", "0s")


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def health(home, box):
    return json.loads(home.ok("inspect", "--format", "json", box).text)[0]["State"]["Health"]


def wait_for_health(home, box, status):
    return wait_for(lambda: (lambda h: h if h["Status"] == status else None)(health(home, box)), f"{box} to be {status}", 60)


def health_events(home, box):
    lines = home.ok("events", "--no-follow", "--filter", "type=box.health", "--filter", "box=" + box, "--format", "json").text
    return [(e["Health"], e["Message"]) for e in map(json.loads, lines.splitlines())]


def test_a_box_is_healthy_while_its_command_succeeds_and_not_after(home):
    home.ok("run", "-d", "--name", "well", *QUICK, "--health-retries", "2", "--health-cmd", "test ! -e /tmp/ill || { echo ill; false; }",
            IMAGE, "sleep", "1000")
    first = wait_for_health(home, "well", "healthy")
    assert first["FailingStreak"] == 0 and first["CheckedAt"].startswith("20"), first
    home.ok("exec", "well", "--", "touch", "/tmp/ill")
    ill = wait_for_health(home, "well", "unhealthy")
    assert ill["FailingStreak"] >= 2 and ill["Output"] == "ill", ill
    home.ok("exec", "well", "--", "rm", "/tmp/ill")
    wait_for_health(home, "well", "healthy")
    assert health_events(home, "well") == [("healthy", ""), ("unhealthy", "ill"), ("healthy", "")]
    home.ok("rm", "-f", "well")


def test_a_command_that_takes_too_long_has_failed_and_is_ended(home):
    home.ok("run", "-d", "--name", "slow", "--health-interval", "200ms", "--health-timeout", "300ms", "--health-start-period", "0s",
            "--health-retries", "1", "--health-cmd", "echo begun; sleep 999", IMAGE, "sleep", "1000")
    h = wait_for_health(home, "slow", "unhealthy")
    assert h["Output"] == "begun\\x0ait took longer than 300 ms", h
    sleeps = home.ok("exec", "slow", "--", "ps", "-o", "args").text.count("sleep 999")
    assert sleeps <= 2, sleeps  # at most the one that runs now, and its shell
    home.ok("rm", "-f", "slow")


def test_a_command_that_is_not_there_has_failed(home):
    home.ok("run", "-d", "--name", "missing", *QUICK, "--health-retries", "1", "--health-cmd", "no-such-program", IMAGE, "sleep", "1000")
    assert "not found" in wait_for_health(home, "missing", "unhealthy")["Output"]
    home.ok("rm", "-f", "missing")


def test_failures_do_not_count_in_the_start_period(home):
    home.ok("run", "-d", "--name", "grace", "--health-interval", "100ms", "--health-start-period", "1h", "--health-retries", "1",
            "--health-cmd", "echo x >> /tmp/checks; test -e /tmp/up", IMAGE, "sleep", "1000")
    wait_for(lambda: home.run("exec", "grace", "--", "sh", "-c", "test $(wc -l < /tmp/checks) -ge 5").code == 0, "five checks", 60)
    assert health(home, "grace")["Status"] == "starting"
    home.ok("exec", "grace", "--", "touch", "/tmp/up")
    wait_for_health(home, "grace", "healthy")
    home.ok("rm", "-f", "grace")


def test_the_agent_can_be_what_is_asked(home):
    home.ok("create", "--name", "agent", "--health-agent", *QUICK, IMAGE)
    home.ok("start", "agent")
    wait_for_health(home, "agent", "healthy")
    home.ok("rm", "-f", "agent")


def test_checks_go_on_after_a_restart_and_are_no_commands_of_anybody(home):
    home.ok("run", "-d", "--name", "again", *QUICK, "--health-cmd", "true", IMAGE, "sleep", "1000")
    wait_for_health(home, "again", "healthy")
    home.ok("restart", "again")
    wait_for_health(home, "again", "healthy")
    home.ok("stop", "again")
    assert health(home, "again") is None
    seen = home.ok("events", "--no-follow", "--filter", "box=again", "--filter", "type=exec").text
    assert seen == "", seen
    home.ok("rm", "again")


def test_a_box_without_a_check_has_no_health(home):
    home.ok("run", "-d", "--name", "none", IMAGE, "sleep", "1000")
    assert health(home, "none") is None
    home.ok("rm", "-f", "none")


def test_wrong_options_are_refused(home):
    for args, word in ((["--health-interval", "10s"], b"--health-cmd"), (["--health-cmd", "true", "--health-interval", "1ms"], b"interval_ms"),
                       (["--health-cmd", "true", "--health-timeout", "soon"], b"soon"), (["--health-cmd", "true", "--health-agent"], b"exclude")):
        r = home.run("run", "--rm", *args, IMAGE, "true")
        assert r.code == 2 and word in r.err, r
    assert home.boxes() == []


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
