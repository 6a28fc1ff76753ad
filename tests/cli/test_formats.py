#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists and facts in every format: tables, JSON, YAML, templates. Boxes are made, none is started."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import Skip

IMAGE = "nowhere.example/app:1"


def read_yaml(text):
    try:
        import yaml
    except ImportError:
        raise Skip("python3-yaml is not installed") from None
    return yaml.safe_load(text)


def create(home, name, *args):
    home.run("rm", "-f", name)
    return home.ok("create", "--name", name, *args, IMAGE).text.strip()


def template(home, text, name="web"):
    r = home.run("inspect", "-f", text, name)
    assert r.code == 0, r
    return r.text[:-1]


def refused(home, text, *needles):
    r = home.run("inspect", "-f", text, "web")
    assert r.code != 0 and r.out == b"", (text, r)
    for needle in needles:
        assert needle in r.err.decode(), (needle, r)


def test_a_new_box_is_listed_with_all_and_not_without(home):
    box = create(home, "web")
    assert len(box) == 12, box
    assert home.boxes() == [b for b in home.boxes() if b["ID"] == box and b["Status"] == "Configured" and b["Names"] == "web"]
    assert json.loads(home.ok("ps", "--format", "json").text) == []
    assert home.ok("ls", "-aq").text == box + "\n"
    assert home.ok("list", "--all").text.split("\n")[0].split() == ["ID", "IMAGE", "STATUS", "CREATED", "NAMES"]


def test_formats_say_the_same(home):
    create(home, "web", "--cpus", "2", "--memory", "512")
    for args in (["ps", "-a"], ["inspect", "web"], ["images"], ["info"]):
        as_json = json.loads(home.ok(*args, "--format", "json").text)
        assert read_yaml(home.ok(*args, "--format", "yaml").text) == as_json, args


def test_yaml_of_no_boxes_is_an_empty_list(home):
    home.remove_all()
    assert home.ok("ps", "--format", "yaml").text == "[]\n"


def test_inspect_has_what_the_existing_command_has(home):
    box = create(home, "web", "--cpus", "2", "--memory", "512", "--cap-drop", "ALL", "--cap-add", "CAP_CHOWN", "--ulimit", "nofile=64",
                 "--allow-net", "pypi.org")
    (b,) = json.loads(home.ok("inspect", "web").text)
    assert (b["Id"], b["Name"], b["Image"], b["Status"]) == (box, "web", IMAGE, "Configured"), b
    assert b["State"] == {**b["State"], "Status": "Configured", "Running": False, "Pid": 0, "ExitCode": 0, "StartedAt": None}, b
    assert b["Cpus"] == 2 and b["Memory"] == 512 * 1024 * 1024, b
    assert b["Created"].endswith("Z") and "T" in b["Created"], b
    assert b["Security"]["Capabilities"] == ["CHOWN"] and b["Security"]["MaxOpenFiles"] == 64, b
    assert b["Network"]["AllowNet"] == ["pypi.org"], b
    assert json.loads(home.ok("inspect", box[:6]).text)[0]["Id"] == box
    assert json.loads(home.ok("inspect", "-l").text)[0]["Id"] == box


def test_inspect_of_an_unknown_box_prints_an_empty_list_and_fails(home):
    r = home.run("inspect", "nobody")
    assert r.text.strip() == "[]" and r.code == 125 and b"No such box: nobody" in r.err, r
    create(home, "web")
    r = home.run("inspect", "nobody", "web")
    assert [b["Name"] for b in json.loads(r.text)] == ["web"] and r.code == 125, r


def test_inspect_prints_no_table(home):
    assert home.run("inspect", "-f", "table", "web").code == 2


def test_templates_print_fields(home):
    box = create(home, "web", "--cpus", "3")
    assert template(home, "{{.Id}} {{.Name}}/{{.State.Status}} {{.Cpus}} {{.State.Running}}") == f"{box} web/Configured 3 false"
    assert template(home, "{{ .Engine }}{{.State.StartedAt}}") == "<no value><no value>"
    assert json.loads(template(home, "{{json .State}}"))["Pid"] == 0
    assert template(home, "{{json .Name}}{{json .Cpus}}{{json .State.Running}}{{json .Engine}}") == '"web"3falsenull'
    assert template(home, "{{.Name}}: no action, }} and { stay") == "web: no action, }} and { stay"


def test_templates_decide(home):
    create(home, "web")
    assert template(home, '{{if eq .Name "x" "web"}}a{{else}}b{{end}}') == "a"
    assert template(home, '{{if .State.Running}}up{{else if eq .Status "Configured"}}new{{else}}down{{end}}') == "new"
    assert template(home, "{{if and .Name (gt .Cpus 0) (not .State.Running)}}yes{{end}}") == "yes"
    assert template(home, '{{or .Engine "none"}} {{ne 1 2}} {{le 2 2}} {{lt 2 2}}') == "none true true false"
    assert template(home, "{{with .State}}{{.Pid}}{{end}}{{with .Engine}}{{.}}{{else}}-{{end}}") == "0-"


def test_templates_range(home):
    create(home, "web", "--allow-net", "a.example", "--allow-net", "b.example")
    assert template(home, "{{range .Network.AllowNet}}<{{.}}>{{end}}") == "<a.example><b.example>"
    assert template(home, "{{range .Network.Ports}}x{{else}}none{{end}}") == "none"
    assert template(home, '{{range .Network.AllowNet}}{{.}} of {{$.Name}};{{end}}') == "a.example of web;b.example of web;"
    assert template(home, '{{join .Network.AllowNet ", "}}|{{index .Network.AllowNet 1}}|{{len .Network.AllowNet}}') == \
        "a.example, b.example|b.example|2"
    assert template(home, '{{range split "x-y" "-"}}[{{.}}]{{end}}') == "[x][y]"


def test_templates_have_pipes_strings_and_trim(home):
    create(home, "web")
    assert template(home, "{{.Name | upper | json}}") == '"WEB"'
    assert template(home, '{{printf "%-6s|%3d|%q|%v%%" .Name .Cpus .Name true}}') == 'web   |  1|"web"|true%'
    assert template(home, "a  {{- .Name -}}  b{{/* said to nobody */}}c") == "awebbc"
    assert template(home, '{{title "two words"}} {{truncate .Name 2}} {{print 1 2 "x"}}') == "Two Words we 1 2x"
    assert template(home, '{{"tab\\t"}}{{`raw\\t`}}') == "tab\traw\\t"


def test_templates_say_what_is_wrong_and_where(home):
    create(home, "web")
    refused(home, "{{.Named}}", "no .Named,", ".Name,", "character")
    refused(home, "{{.Name.First}}", "no .First in a string")
    refused(home, "{{.Name", "no }}")
    refused(home, "{{if .Name}}x", "an end is missing")
    refused(home, "x{{end}}", "end without a beginning")
    refused(home, "{{nothing .Name}}", "no function 'nothing'")
    refused(home, "{{len}}", "it takes 1 values")
    refused(home, "{{index .Network.AllowNet 7}}", "no item 7")
    refused(home, '{{"open}}', "no end")
    refused(home, "{{range .Name}}{{end}}", "cannot be ranged over")
    refused(home, "{{$x := 1}}", "no variables")
    refused(home, '{{if false}}{{bad}}{{end}}', "no function 'bad'")
    refused(home, "{{.A}}" + "{{if .Name}}" * 100, "no .A")
    refused(home, "{{if .Name}}" * 100, "too many actions")
    refused(home, "{{" + "(" * 100 + "1" + ")" * 100 + "}}", "too many brackets")
    assert home.run("ps", "--format", "xml").code == 2


def test_a_template_prints_a_line_for_each_box(home):
    create(home, "web")
    create(home, "db")
    assert sorted(home.ok("ps", "-a", "--format", "{{.Names}}={{.Status}}").text.split()) == ["db=Configured", "web=Configured"]
    assert home.ok("inspect", "web", "db", "--format", "{{.Name}}").text == "web\ndb\n"


def test_facts_of_the_installation(home):
    facts = json.loads(home.ok("info", "--format", "json").text)
    assert facts["homeDir"] == home.path and facts["virtualization"] in ("kvm", "tcg"), facts
    for key in ("version", "os", "arch", "boxesTotal", "boxesRunning", "boxesStopped", "boxesConfigured", "imagesCount"):
        assert key in facts, facts
    assert home.ok("info").text.startswith("Version")


if __name__ == "__main__":
    boxtest.main(globals())
