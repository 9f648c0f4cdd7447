"""Files of tests for permission models, as OpenFGA's CLI has them: every form, wrong ones and hostile ones."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from watchword.cli.documents import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse_json, parse_yaml
from watchword.cli.failures import Failure
from watchword.cli.store_file import MAX_CONTEXT_TEXT, MAX_QUESTIONS, read_store
from watchword.cli.tuple_files import MAX_PROBLEMS

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


def failure(file: Path, **options: bool) -> str:
    """What reading a file fails with, without its folder; soon, for a file that expands would take minutes."""
    start = time.process_time()
    with pytest.raises(Failure) as caught:
        read_store(file, **options)
    assert time.process_time() - start < 5
    assert len(caught.value.message) < 4_000
    return caught.value.message.replace(f"{file.parent}/", "")


def with_test(test: str) -> str:
    """A store with one test."""
    return f"model_file: model.fga\ntests:\n{test}"


def with_check(check: str) -> str:
    return with_test(f"  - check:\n      - {check}\n")


# ----- tuples and models in files of their own ------------------------------------------------------------------------

CSV = """\
relation, user_type,user_id,user_relation,object_type,object_id,condition_name,condition_context
editor,user,ana,,document,1,,
viewer,group,eng,member,document,1,,

editor,user,cas,,document,2,weekday,"{""day"": 3}"
editor,user,dan,,document,2,weekday,
"""
ROWS = [
    {"user": "user:ana", "relation": "editor", "object": "document:1"},
    {"user": "group:eng#member", "relation": "viewer", "object": "document:1"},
    {
        "user": "user:cas",
        "relation": "editor",
        "object": "document:2",
        "condition": {"name": "weekday", "context": {"day": 3}},
    },
    {"user": "user:dan", "relation": "editor", "object": "document:2", "condition": {"name": "weekday"}},
]


def store_of(rows: str = "", *, name: str = "tuples") -> str:
    """A store with the model, and tuples."""
    return f"model_file: ./model.fga\n{name}: {rows}\n"


def test_every_form_of_tuples_is_the_same(write):
    expected = read_store(write(store_of(json.dumps(ROWS)))).relationships
    assert [(item.node, item.subject, item.condition, item.context) for item in expected] == [
        ("document:1#editor", "user:ana", None, None),
        ("document:1#viewer", "group:eng#member", None, None),
        ("document:2#editor", "user:cas", "weekday", {"day": 3}),
        ("document:2#editor", "user:dan", "weekday", {}),
    ]
    write(CSV, "t.csv")
    write("\ufeff" + json.dumps(ROWS, indent="\t"), "t.json")
    write("\n".join(["", *map(json.dumps, ROWS), ""]), "t.jsonl")
    write(json.dumps(ROWS), "t.yaml")
    write("".join(f"- {json.dumps(row)}\n" for row in ROWS), "t.yml")
    for form in ("csv", "json", "jsonl", "yaml", "yml"):
        assert read_store(write(store_of(f"./t.{form}", name="tuple_file"))).relationships == expected, form
    assert read_store(write(store_of("[t.csv, t.json]", name="tuple_files"))).relationships == expected
    test = "tests: [{tuple_file: t.csv, tuple_files: [t.jsonl]}]"
    assert read_store(write(f"model_file: model.fga\n{test}\n")).tests[0].relationships == expected


def test_a_model_in_each_form(write):
    ran = subprocess.run(
        [*WATCHWORD, "model", "convert", "--to", "json", str(write(MODEL, "model.fga"))],
        capture_output=True,
        text=True,
        check=True,
    )
    write(ran.stdout, "model.json")
    inline = "model: |\n" + "".join(f"  {line}\n" for line in MODEL.splitlines())
    models = [
        read_store(write(text)).plan.model for text in ("model_file: model.fga", "model_file: model.json", inline)
    ]
    assert models[0] == models[1] == models[2]


BAD_MODEL = MODEL.replace("or editor", "or editr")


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("model_file: bad.fga", "bad.fga:10: "),
        ("name: x\nmodel: |\n" + "".join(f"    {line}\n" for line in BAD_MODEL.splitlines()), "store.fga.yaml:12: "),
        ("name: x\nmodel: " + json.dumps(BAD_MODEL), "store.fga.yaml:2: The model: line 10, column "),
        ("model_file: cel.fga", "cel.fga:14: The condition 'weekday' cannot be used: "),
        ("model_file: bad.json", "bad.json: "),
        ("model_file: no.json", "no.json:1:2: The file is not JSON"),
        ("model_file: fga.mod", "store.fga.yaml:1:13: model_file names a model made of modules"),
        ("model_file: nowhere.fga", "store.fga.yaml:1:13: model_file names nowhere.fga, which is no file"),
        ("model: {a: 1}", "store.fga.yaml:1:8: model must be a text"),
        ("name: x", "must have one of model and model_file"),
        ("model_file: bad.fga\nmodel: x", "must have one of model and model_file"),
    ],
)
def test_what_is_wrong_with_a_model_stands_with_its_line(write, store, says):
    write(BAD_MODEL, "bad.fga")
    write(MODEL.replace("day < 6", "day < 'x'"), "cel.fga")
    write('{"schema_version": "1.1", "type_definitions": {}}', "bad.json")
    write("{", "no.json")
    write("schema: '1.2'", "fga.mod")
    assert says in failure(write(store))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{user: user:ana, relation: editor}", "tuples[0] must have a value for object"),
        ("{user: user:ana, relation: editr, object: document:1}", "no such relation"),
        ("{user: document:1, relation: editor, object: document:1}", "not to 'document'"),
        ("{user: user:ana, relation: viewer, object: document:1, condition: {name: weekday}}", "without a condition"),
        ("{user: user:ana, relation: editor, object: document:1, condition: {}}", "must have a value for name"),
        (
            "{user: user:ana, relation: editor, object: document:1, condition: {name: weekday, context: {d: 1}}}",
            "no parameter of the name 'd'",
        ),
        (
            "{user: user:ana, relation: editor, object: document:1, condition: {name: weekday, context: {day: x}}}",
            "a whole number",
        ),
        ("{user: user:ana, relation: editor, object: document:1, when: now}", "tuples[0].when is not known here"),
        ("[user:ana]", "tuples[0] must be a mapping"),
        ("{user: [a], relation: editor, object: document:1}", "tuples[0].user must be a text"),
    ],
)
def test_a_tuple_that_cannot_be_is_refused_with_its_line(write, row, says):
    message = failure(write(f"model_file: model.fga\ntuples:\n  - {row}\n"))
    assert message.startswith("store.fga.yaml:3:")
    assert says in message


def test_wrong_tuples_are_named_together_up_to_a_bound(write):
    rows = [{"user": f"team:{number}", "relation": "editor", "object": "document:1"} for number in range(50)]
    message = failure(write(store_of(json.dumps(rows[:3]))))
    assert len(message.splitlines()) == 3
    assert len(failure(write(store_of(json.dumps(rows)))).splitlines()) == MAX_PROBLEMS + 1


def test_a_tuple_may_be_repeated_but_not_contradicted(write):
    store = store_of(json.dumps([ROWS[0], ROWS[0]])) + f"tests: [{{tuples: [{json.dumps(ROWS[0])}]}}]"
    assert len(read_store(write(store)).relationships) == 1
    other = json.dumps(ROWS[0] | {"condition": {"name": "weekday"}})
    assert "another tuple" in failure(write(store.replace(json.dumps(ROWS[0]), other, 1)))
    assert "another tuple" in failure(write(store_of(json.dumps([ROWS[0]])) + f"tests: [{{tuples: [{other}]}}]"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.csv", CSV.replace("object_id", "id"), "t.csv:1:1: The header lacks the columns object_id"),
        ("t.csv", CSV.replace("user_relation", "extra"), "t.csv:1:1: The header must have each column once, and none"),
        ("t.csv", CSV.replace("user_relation", "user_id"), "t.csv:1:1: The header must have each column once"),
        ("t.csv", CSV.replace("condition_name", "user_relation", 1), "t.csv:1:1: The header must have each"),
        ("t.csv", CSV.replace("document,1,,\n", "document,1\n", 1), "t.csv:2:1: The row must have 8 columns"),
        ("t.csv", CSV.replace('"{""day"": 3}"', '"{"'), "t.csv:5:2: The file is not JSON"),
        ("t.csv", CSV.replace('"{""day"": 3}"', '"{"day"}"'), "t.csv:5:1: The row is not CSV"),
        ("t.csv", CSV + "x" * 200_000, "t.csv:7:1: The row is not CSV"),
        ("t.csv", CSV.replace("editor,user,dan", "editr,user,dan"), "t.csv:6: The row: "),
        ("t.csv", "", "t.csv:1:1: The header lacks"),
        ("t.json", json.dumps(ROWS)[:-1], "t.json:1:"),
        ("t.json", "[" * 100_000, "t.json: The file is not JSON that can be read"),
        ("t.json", "[" * 100 + "]" * 100, f"t.json: The file is nested more than {MAX_DEPTH} levels"),
        ("t.json", f"[{'1,' * MAX_VALUES}1]", "t.json: The file holds more than"),
        ("t.json", "[" + "9" * 5_000 + "]", "t.json: The file is not JSON that can be read"),
        ("t.json", '[{"user": "user:ana"}]', "t.json: [0] must have a value for object"),
        ("t.jsonl", json.dumps(ROWS[0]) + "\n\n{", "t.jsonl:3:2: The file is not JSON"),
        ("t.jsonl", json.dumps(ROWS[0]) + "\n[]", "t.jsonl:2:"),
        ("t.yaml", "a: [", "t.yaml:2:1: The file is not YAML"),
        ("t.yaml", "", "t.yaml: The file must be a list"),
        ("t.txt", "", "store.fga.yaml:2:13: tuple_file names a file of tuples that ends in none of"),
    ],
)
def test_what_is_wrong_with_a_file_of_tuples_stands_with_its_line(write, name, text, says):
    write(text, name)
    assert failure(write(store_of(name, name="tuple_file"))).startswith(says)


def test_files_elsewhere_are_read_only_if_that_was_said(write, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link.fga").symlink_to(write(MODEL, "model.fga"))
    for name in ("../model.fga", str(tmp_path / "model.fga"), "link.fga"):
        file = write(f"model_file: {name}", "inner/store.fga.yaml")
        assert "use --allow-external-files if you trust this file" in failure(file)
        assert read_store(file, external=True).plan.model.types
    assert run(file).returncode == 1
    assert run(file, "--allow-external-files").returncode == 0


@pytest.mark.parametrize("name", ["pipe.csv", "/dev/zero", ".", '"a\\0b"', "x" * 5_000])
def test_what_is_named_is_a_regular_file(write, tmp_path, name):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "which is no file" in failure(write(store_of(name, name="tuple_file")), external=True)


# ----- what is wrong or hostile ---------------------------------------------------------------------------------------

GOOD_CHECK = "{user: user:ana, object: document:1, assertions: {viewer: true}}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "store.fga.yaml: The file must be a mapping"),
        ("just text", "store.fga.yaml:1:1: The file must be a mapping"),
        ("[]", "must be a mapping"),
        ("model_file: model.fga\ntest: []", "store.fga.yaml:2:7: test is not known here: name, model, "),
        ("model_file: model.fga\ntests: {}", "store.fga.yaml:2:8: tests must be a list"),
        ("model_file: model.fga\ntests: [1]", "store.fga.yaml:2:9: tests[0] must be a mapping"),
        ("model_file: model.fga\ntests: [{check: 1}]", "tests[0].check must be a list"),
        ("model_file: model.fga\ntests: [{checks: []}]", "tests[0].checks is not known here"),
        ("model_file: model.fga\ntests: [{name: [a]}]", "tests[0].name must be a text"),
        (with_check("{object: document:1, assertions: {viewer: true}}"), "must have one of user and users"),
        (with_check("{user: a, users: [b], object: c, assertions: {}}"), "must have one of user and users"),
        (with_check("{user: a, objects: [], assertions: {}}"), "must have one of object and objects"),
        (with_check("{user: a, object: b}"), "tests[0].check[0] must have a value for assertions"),
        (with_check(GOOD_CHECK.replace("true", "1")), "tests[0].check[0].assertions.viewer must be true or false"),
        (with_check(GOOD_CHECK.replace("true", "'true'")), "must be true or false"),
        (with_check(GOOD_CHECK.replace("true", "")), "must be true or false"),
        (with_check(GOOD_CHECK.replace("{viewer: true}", "[viewer]")), "assertions must be a mapping"),
        (with_check(GOOD_CHECK.replace("{user:", "{context: 1, user:")), "context must be a mapping"),
        (with_test("  - list_objects: [{user: a, type: b, assertions: {c: d}}]"), "assertions.c must be a list"),
        (with_test("  - list_objects: [{user: a, type: b, assertions: {c: }}]"), "c must be a list, [] if"),
        (with_test("  - list_objects: [{user: a, assertions: {c: []}}]"), "must have a value for type"),
        (with_test("  - list_users: [{object: a, user_filter: {}, assertions: {c: {users: []}}}]"), "must be a list"),
        (with_test("  - list_users: [{object: a, user_filter: [], assertions: {c: {users: []}}}]"), "at least one"),
        (with_test("  - list_users: [{object: a, user_filter: [{type: b}], assertions: {c: []}}]"), "a mapping"),
        ("a: b: c", "store.fga.yaml:1:5: The file is not YAML: "),
        ("\ta: b", "store.fga.yaml:1:1: The file is not YAML: "),
        ("a: \x00", "The file is not YAML: "),
        ("name: a\nname: b", "store.fga.yaml:2:1: The file has 'name' twice"),
        ("name: a\n---\nname: b", "store.fga.yaml:2:1: The file has more than one document"),
        ("name: !!python/object/apply:os.system [id]", "has a tag"),
        ("name: !!python/name:os.system ''", "has a tag"),
        ("tests: !!set {}", "has a tag"),
        ("tests: *a", "has the alias *a, but no anchor &a"),
        ("tests: &a [*a]", "has the alias *a within what it stands for"),
        ("? [a]\n: b", "has a list or a mapping as a name"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(write, text, says):
    assert says in failure(write(text))


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 100))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "aliases counted"),
        (CHAIN, "nested more than"),
        ("[" * 10_000, "nested more than"),
        ("[\n" * 100_000, "nested more than"),
        ("{a: " * 10_000, "nested more than"),
        ("- " * 10_000, "nested more than"),
        ("? " * 10_000, "nested more than"),
        ("\n".join(" " * depth + "a:" for depth in range(5_000)), "nested more than"),
        ("- a\n" * 4_000_000, "holds more than"),
        ("a" * MAX_BYTES + "a", "is too large: 16 MiB are the most"),
        (with_check(f"{{users: [{'a, ' * 1_000}], objects: [{'b, ' * 1_000}], assertions: {{c: true}}}}"), "is beyond"),
        ("model: |\n" + "  type a\n" * 1_000_000, "The model is too long"),
        (f"{'k' * 1_000}: 1", "is not known here"),
        (f"tests: *{'a' * 1_000_000}", "but no anchor"),
    ],
    ids=lambda value: value[:12].replace("\n", " "),
)
def test_hostile_files_end_soon(write, text, says):
    assert says in failure(write(text))


def test_aliases_are_welcome_in_moderation(write):
    test = f"  - {{tuples: &t [{json.dumps(ROWS[0])}], check: &c [{GOOD_CHECK}]}}\n  - {{tuples: *t, check: *c}}\n"
    store = read_store(write(with_test(test)))
    assert store.tests[0].relationships == store.tests[1].relationships
    assert store.tests[0].questions == store.tests[1].questions


def test_a_context_is_shown_up_to_a_bound(write):
    check = GOOD_CHECK.replace("{user:", f"{{context: {{day: {'1' * 299}}}, user:")
    (question,) = read_store(write(with_check(check))).tests[0].questions
    assert question.context_text == f'{{"day": {"1" * 299}'[:MAX_CONTEXT_TEXT] + "…"


def test_questions_are_counted_over_all_tests(write):
    check = f"{{users: [{'a, ' * 300}], objects: [{'b, ' * 300}], assertions: {{c: true}}}}"
    assert 300 * 300 <= MAX_QUESTIONS < 2 * 300 * 300
    assert sum(len(test.questions) for test in read_store(write(with_check(check))).tests) == 300 * 300
    assert "tests[1] is beyond" in failure(write(with_test(f"  - check: [{check}]\n" * 2)))


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "store.fga.yaml").write_bytes(b"name: a\n\xff\xfe")
    assert failure(tmp_path / "store.fga.yaml").startswith("store.fga.yaml:2: The file is not text in UTF-8")


def test_no_traceback_whatever_is_in_the_file(write):
    for text in ("[" * 100_000, LAUGHS, "\x00", "model: 5", "tests: [[[[]]]]"):
        ran = run(write(text))
        assert (ran.returncode, ran.stderr) == (1, "")
        assert "cannot be run" in ran.stdout


# ----- what YAML means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("'true'", "true"),
        ("!!str true", "true"),
        ("~", None),
        ("", None),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1.", 1.0),
        (".", "."),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ("192.0.2.1", "192.0.2.1"),
        ("9" * 301, float("9" * 301)),
        ("[a, {b: 1, 2: c}]", ["a", {"b": 1, "2": "c"}]),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(text, value):
    result = parse_yaml(f"key: {text}", "f").plain()["key"]
    assert (result, type(result)) == (value, type(value))


def test_json_is_read_as_json():
    assert parse_json('{"a": [1, 1.5, "yes", null, true]}', "f").plain() == {"a": [1, 1.5, "yes", None, True]}
    assert parse_yaml('{"a": [1, 1.5, "yes", null, true]}', "f").plain() == {"a": [1, 1.5, "yes", None, True]}
