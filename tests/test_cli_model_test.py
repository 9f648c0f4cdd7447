"""`watchword model test`: what files of tests ask of a model, what passes and how failures are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from watchword.cli.model_test import report_lines, run_files

WATCHWORD = [sys.executable, "-c", "from watchword.cli import main; main()"]
MODEL = """\
model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type document
  relations
    define editor: [user, group#member, user with weekday]
    define viewer: [user, user:*, group#member] or editor
    define banned: [user]
    define reader: viewer but not banned

condition weekday(day: int) {
  day < 6
}
"""
STORE = """\
name: Documents
model_file: model.fga
tuples:
  - {user: user:ana, relation: editor, object: document:1}
  - {user: group:eng#member, relation: viewer, object: document:1}
  - {user: user:cas, relation: editor, object: document:2, condition: {name: weekday, context: {}}}
tests:
  - name: editors
    description: They may read.
    tuples:
      - {user: user:bob, relation: member, object: group:eng}
    check:
      - user: user:ana
        object: document:1
        assertions:
          viewer: true
          banned: false
      - users: [user:ana, user:bob]
        objects:
          - document:1
          - document:2
        assertions: {banned: no}
      - user: user:cas
        object: document:2
        context: {day: 3}
        assertions: {viewer: true}
    list_objects:
      - user: user:ana
        type: document
        assertions: {viewer: [document:1], banned: []}
      - user: user:cas
        type: document
        context: {day: 6}
        assertions: {viewer: []}
    list_users:
      - object: document:1
        user_filter: [{type: user}]
        assertions: {viewer: {users: [user:bob, user:ana]}}
      - object: document:1
        user_filter:
          - {type: group, relation: member}
        assertions: {viewer: {users: ["group:eng#member"]}}
  - name: without eng
    check:
      - {user: user:bob, object: document:1, assertions: {viewer: false}}
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "model.fga").write_text(MODEL)

    def write(text: str, name: str = "store.fga.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*WATCHWORD, "model", "test", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


def told(file: Path) -> list[str]:
    reports = list(run_files([file], external=False))
    return [line.replace(f"{file.parent}/", "") for line in report_lines(reports)]


def with_test(test: str) -> str:
    """The store with one test, which starts at line 9."""
    return STORE[: STORE.index("  - name: editors")] + test


def with_check(check: str) -> str:
    return with_test(f"  - check:\n      - {check}\n")


# ----- what holds and what does not -----------------------------------------------------------------------------------


def test_all_passes(write):
    file = write(STORE)
    assert told(file) == ["store.fga.yaml: 2 tests passed, 13 assertions", "2 tests passed, 13 assertions."]
    ran = run(file.name, cwd=file.parent)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == told(file)


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("viewer: true\n          banned", "viewer: false\n          banned", 16),
        ("banned: false", "banned: true", 17),
        ("{banned: no}", "{banned: yes}", 22),
        ("[document:1], banned", "[document:1, document:2], banned", 30),
        ("[document:1], banned", "[], banned", 30),
        ("banned: []", "banned: [document:1]", 30),
        ("[user:bob, user:ana]", "[user:bob]", 38),
        ('["group:eng#member"]', "[]", 42),
        ("assertions: {viewer: false}}", "assertions: {viewer: true}}", 45),
        ("context: {day: 3}", "context: {day: 7}", 26),
        ("context: {day: 6}", "context: {day: 5}", 34),
        ("{user: user:bob, relation: member", "{user: user:dan, relation: member", 38),
    ],
)
def test_each_kind_of_assertion_can_fail(write, right, wrong, line):
    assert STORE.count(right) == 1
    lines = told(write(STORE.replace(right, wrong)))
    assert any(f"store.fga.yaml:{line}: " in text for text in lines), lines
    assert lines[-1].startswith("1 of 2 tests failed, ")


def test_a_failed_check_is_explained(write):
    assert told(write(with_check("{user: user:dan, object: document:1, assertions: {reader: true}}"))) == [
        "store.fga.yaml: FAILED: test 1: 1 of 1 assertion",
        "  store.fga.yaml:9: check user:dan reader document:1",
        "    expected true, got false:",
        "      - document:1#reader: denied",
        "        - document:1#viewer: none of these holds",
        "          - none of these holds",
        "            - user:dan is not granted viewer of document:1",
        "            - group:eng#member is viewer of document:1",
        "              - group:eng#member",
        "                - user:dan is not granted member of group:eng",
        "          - document:1#editor",
        "            - user:dan is not granted editor of document:1",
        "      Nearest missing: viewer of document:1; editor of document:1; member of group:eng",
        "1 of 1 test failed, 1 of 1 assertion.",
    ]


def test_a_failed_list_says_what_is_lacking_and_what_is_too_much(write):
    test = (
        "  - list_objects:\n      - {user: user:ana, type: document, assertions: {viewer: [document:7, document:2]}}\n"
    )
    lines = told(write(with_test(test)))
    assert lines[1:7] == [
        "  store.fga.yaml:9: list_objects user:ana viewer document",
        "    expected  document:2, document:7",
        "    got       document:1",
        "    lacking   document:2, document:7",
        "    too much  document:1",
        "      + document:1#viewer: allowed",
    ]


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("{user: user:ana, object: document:1, assertions: {editr: false}}", "The relation is no relation"),
        ("{user: usr:ana, object: document:1, assertions: {editor: false}}", "The user is of a type"),
        ("{user: ana, object: document:1, assertions: {editor: false}}", "The user must be type:id"),
        ("{user: user:ana, object: 'document:', assertions: {editor: false}}", "The object must be type:id"),
        ("{user: user:cas, object: document:2, assertions: {editor: false}}", "Undecided: the context lacks day."),
        (
            "{user: user:cas, object: document:2, context: {day: x}, assertions: {editor: false}}",
            "The condition 'weekday' takes a int as 'day'",
        ),
    ],
)
def test_no_answer_is_a_failure_whatever_was_expected(write, check, says):
    lines = told(write(with_check(check)))
    assert says in lines[2]
    assert "got no answer" in lines[2]
    assert "expected false" in lines[2]


def test_an_undecided_list_is_a_failure_that_names_what_is_missing(write):
    lists = "{user: user:cas, type: document, assertions: {editor: []}}"
    lines = told(write(with_test(f"  - list_objects: [{lists}]\n")))
    assert "expected nothing, got no answer: Undecided for document:2: the context lacks day." in lines[2]


def test_json_holds_all_of_it(write):
    good = write(STORE)
    bad = write(with_check("{user: user:dan, object: document:1, assertions: {editor: true}}"), "bad.fga.yaml")
    broken = write("tests: 1", "broken.fga.yaml")
    ran = run("--json", good.name, bad.name, broken.name, cwd=good.parent)
    assert ran.returncode == 1
    result = json.loads(ran.stdout)
    assert result["passed"] is False
    first, second, third = result["files"]
    assert first["error"] is None
    assert [(test["name"], test["assertions"], test["failures"]) for test in first["tests"]] == [
        ("editors", 12, []),
        ("without eng", 1, []),
    ]
    assert second["tests"][0]["failures"] == [
        {
            "place": "bad.fga.yaml:9",
            "question": "check user:dan editor document:1",
            "expected": True,
            "got": False,
            "error": None,
            "explanation": [
                "- document:1#editor: denied",
                "  - user:dan is not granted editor of document:1",
                "Nearest missing: editor of document:1",
            ],
        }
    ]
    assert third["tests"] == []
    assert third["error"].startswith("broken.fga.yaml:1:1: ")


def test_a_file_that_cannot_be_run_does_not_keep_others_from_it(write):
    good, broken = write(STORE), write("tests: [", "broken.fga.yaml")
    ran = run(broken.name, good.name, cwd=good.parent)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[0] == "broken.fga.yaml: cannot be run:"
    assert ran.stdout.splitlines()[-1] == "1 file cannot be run; 2 tests passed, 13 assertions."


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path):
    ran = run(tmp_path / "nowhere.fga.yaml")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "cannot be read: No such file" in ran.stderr


def test_names_from_elsewhere_do_not_steer_the_terminal(write):
    text = with_test(
        '  - name: "a\\e[31mb\\nc"\n    check: [{user: "\\e]0;x", object: document:1, assertions: {viewer: true}}]'
    )
    lines = told(write(text))
    assert "FAILED: a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c" in lines[0]
    assert all(line.isprintable() for line in lines)


def test_other_commands_do_not_wait_for_yaml():
    code = "import sys; import watchword.cli.app; sys.exit('yaml' in sys.modules or 'cel_expr_python' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
