"""Relationships on the command line, one by one and in bulk."""

# ruff: noqa: F811 - a parameter is named as the fixture that it takes

import io
import json
import os
import pty
import signal
import subprocess

import pytest
from test_cli import PROGRAM, _environment, ask, run, tmp_path  # noqa: F401 - fixtures
from test_cli_permissions import model  # noqa: F401 - a fixture

from watchword.cli.failures import Failure
from watchword.cli.relationship_files import MAX_LINE, Format, Reader, format_of

HEADER = "user_type,user_id,user_relation,relation,object_type,object_id,condition_name,condition_context"


@pytest.fixture
def stored(run, model):
    """Everything that is stored, in the order of an export."""

    def stored() -> list[dict]:
        lines = run("relationships", "export").stdout.splitlines()
        # Watchword's own stay out of it.
        return [row for row in map(json.loads, lines) if not row["object"].startswith("watchword:")]

    return stored


def line(subject: str, relation: str, object_: str, **more) -> str:
    return json.dumps({"user": subject, "relation": relation, "object": object_, **more}) + "\n"


def many(count: int, *, start: int = 0) -> str:
    return "".join(line(f"user:{number}", "viewer", "document:1") for number in range(start, start + count))


# ----- one by one -----------------------------------------------------------------------------------------------------


def test_the_life_of_a_relationship(model, run, ask):
    more = ("--condition", "in_hours", "--context", '{"until": 17}', "--expires-in", "2d")
    assert ask("relationships", "write", "user:ana", "viewer", "document:1", *more)["revision"]
    (found,) = ask("relationships", "list", "--object", "document:1")
    assert (found["subject"], found["condition"], found["context"]) == ("user:ana", "in_hours", {"until": 17})
    assert found["expire_time"].endswith("Z")
    assert "user:ana" in run("relationships", "list", "--subject", "user:ana", "--relation", "viewer").stdout
    assert ask("relationships", "list", "--object-type", "group", "--subject-type", "user") == []
    ask("relationships", "delete", "user:ana", "viewer", "document:1")
    ask("relationships", "delete", "user:ana", "viewer", "document:1")
    assert ask("relationships", "list", "--object", "document:1") == []


def test_wrong_relationships(model, run):
    one = ("user:ana", "viewer", "document:1")
    run("relationships", "write", *one, "--context", "{}", code=2)
    run("relationships", "write", *one, "--expires-in", "soon", code=2)
    assert "no such relation" in run("relationships", "write", "user:ana", "fly", "document:1", code=1).stderr


def test_delete_matching(run, ask, stored, tmp_path):
    (tmp_path / "r.jsonl").write_text(many(30) + line("user:1", "viewer", "document:2"))
    run("relationships", "import", "r.jsonl")
    run("relationships", "delete-matching", "--yes", code=2)
    run("relationships", "delete-matching", "--object", "", "--subject", "user:1", "--yes", code=2)
    assert "--yes" in run("relationships", "delete-matching", "--object", "document:1", code=2).stderr
    assert len(stored()) == 31
    assert ask("relationships", "delete-matching", "--object", "document:1", "--yes")["deleted_count"] == 30
    assert [row["object"] for row in stored()] == ["document:2"]


# ----- in bulk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(Format))
def test_what_is_exported_is_imported_again(form, run, ask, stored, tmp_path):
    text = (
        line("user:*", "viewer", "document:1")
        + line("user:ana", "viewer", "document:2", condition={"name": "in_hours", "context": {"until": 17}})
        + line("user:bob", "viewer", "document:2", condition={"name": "in_hours"})
        + line("group:eng#member", "viewer", "document:a|b/c@d+e", expire_time="2090-01-31T12:00:00.123456Z")
        + line("user:-1+2", "viewer", "document:@SUM.1")
        + line("user:dan", "viewer", "document:3", expire_time="2001-01-31T13:00:00+01:00")
    )
    (tmp_path / "first.jsonl").write_text(text)
    assert ask("relationships", "import", "first.jsonl")["relationship_count"] == 6
    before = stored()
    assert len(before) == 6
    file = f"out.{form}"
    assert ask("relationships", "export", "--object-type", "document", "--output", file)["relationship_count"] == 6
    assert [path.name for path in tmp_path.glob(".*.part")] == []
    run("relationships", "delete-matching", "--object-type", "document", "--yes")
    assert stored() == []
    assert ask("relationships", "import", file)["relationship_count"] == 6
    assert stored() == before
    written = (tmp_path / file).read_text()
    assert run("relationships", "export", "--object-type", "document", "--format", form).stdout == written
    done = run("relationships", "import", "-", "--format", form, stdin=written)
    assert done.stderr == ""


def test_the_csv_of_openfga(run, stored, tmp_path):
    rows = [
        HEADER,
        "user,ana,,owner,document,1,,",
        "group,eng,member,viewer,document,1,,",
        "",
        'user,bob,,viewer,document,1,in_hours,"{""until"": 9}"',
    ]
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    run("relationships", "import", "r.csv")
    assert {row["user"]: row.get("condition") for row in stored()} == {
        "user:ana": None,
        "group:eng#member": None,
        "user:bob": {"name": "in_hours", "context": {"until": 9}},
    }


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{\n", "is not JSON"),
        ('{"user": "user:a"}\n', "must have a value for"),
        (line("user:a", "viewer", "document:1", expire_time="tomorrow"), "must be a time with its zone"),
        (line("user:a", "viewer", "document:1", colour="red"), "is not known here"),
        (line("user:a", "fly", "document:1"), "user:a is fly of document:1: The permission model has no"),
        (line("nobody", "viewer", "document:1"), ""),
        (line("user:\ud800", "viewer", "document:1"), ""),
    ],
)
def test_a_bad_line_is_named_and_the_import_goes_on_behind_it(bad, says, run, stored, tmp_path):
    file = tmp_path / "r.jsonl"
    # A line that is empty counts as a line and not as a relationship, one that is there twice as two.
    good = "\n" + many(1500) + many(1, start=1400) + many(100, start=1500)
    file.write_text(good + bad + many(10, start=2000))
    done = run("relationships", "import", "r.jsonl", code=1)
    assert "r.jsonl:1603:" in done.stderr
    assert says in done.stderr
    committed = int(done.stderr.partition("the first ")[2].partition(" ")[0].replace(",", ""))
    assert committed in (1000, 1601)
    assert f"--skip {committed}`" in done.stderr
    assert len(stored()) == (1000 if committed == 1000 else 1600)
    file.write_text(good + many(10, start=2000))
    run("relationships", "import", "r.jsonl", "--skip", str(committed))
    assert len(stored()) == 1610


def test_files_that_are_none(model, run, tmp_path):
    assert "--format" in run("relationships", "import", "r.txt", code=2).stderr
    run("relationships", "import", "r.csv", code=2)
    (tmp_path / "r.csv").write_text("user,object\n")
    assert "r.csv:1:1: The header lacks" in run("relationships", "import", "r.csv", code=1).stderr
    (tmp_path / "r.jsonl").write_bytes(b"\n\xff\n")
    assert "r.jsonl:2:1: The line is not text in UTF-8" in run("relationships", "import", "r.jsonl", code=1).stderr
    (tmp_path / "r.jsonl").write_text("")
    assert json.loads(run("relationships", "import", "r.jsonl", "--json").stdout)["relationship_count"] == 0
    run("relationships", "export", "--output", "nowhere/r.csv", code=2)
    run("relationships", "export", "--json", "--format", "csv", code=2)


def test_a_terminal_sees_how_far_it_is(watchword_server, model, tmp_path):
    (tmp_path / "r.jsonl").write_text(many(3000))
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*PROGRAM, "relationships", "import", "r.jsonl", "--json"],
        check=True,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=_environment(
            WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key, TERM="xterm"
        ),
        timeout=60,
    )
    os.close(theirs)
    assert json.loads(done.stdout)["relationship_count"] == 3000
    assert b"Importing" in os.read(ours, 65536)
    os.close(ours)


def test_who_interrupts_it_is_told_how_to_go_on(watchword_server, stored, tmp_path):
    with subprocess.Popen(
        [*PROGRAM, "relationships", "import", "-", "--format", "jsonl"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key),
    ) as process:
        process.stdin.write(many(7000))
        process.stdin.flush()
        while len(stored()) < 2000:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
        told = process.stderr.read()
    assert "Traceback" not in told
    committed = int(told.partition("the first ")[2].partition(" ")[0].replace(",", ""))
    assert 0 < committed <= len(stored())
    assert f"--skip {committed}`" in told


def test_a_reader_of_an_export_may_leave(watchword_server, run, model, tmp_path):
    (tmp_path / "r.jsonl").write_text(many(5000))
    run("relationships", "import", "r.jsonl")
    environment = _environment(WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key)
    with subprocess.Popen(
        [*PROGRAM, "relationships", "export"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (0, b"")


# ----- the reader -----------------------------------------------------------------------------------------------------


class _Endless(io.RawIOBase):
    """A line without an end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


@pytest.mark.parametrize("form", list(Format))
def test_a_line_without_an_end_does_not_fill_the_memory(form):
    reader = Reader(io.BufferedReader(_Endless()), "endless", form)
    assert list(reader) == []
    assert isinstance(reader.failure, Failure)
    assert f"more than {MAX_LINE:,} bytes" in reader.failure.message


def test_what_is_committed_is_not_kept():
    reader = Reader(io.BytesIO(many(10_000).encode()), "r.jsonl", Format.JSONL)
    for number, _ in enumerate(reader, start=1):
        if number % 100 == 0:
            reader.commit(number)
        assert len(reader.under_way) <= 100
    assert reader.committed == 10_000


def test_the_format_by_the_name():
    assert [format_of(name) for name in ("a.csv", "A.JSONL", "a.ndjson", "csv.txt")] == [
        *(Format.CSV, Format.JSONL, Format.JSONL),
        None,
    ]
    assert format_of("-") is None


def test_the_place_of_one_that_is_there_twice():
    reader = Reader(io.BytesIO((many(2) + many(2) + many(1, start=7)).encode()), "r.jsonl", Format.JSONL)
    list(reader)
    assert reader.place(2).startswith("r.jsonl:3: user:0 ")
    # Counted once, and the last one counts.
    assert reader.place(0, distinct=1000).startswith("r.jsonl:3: user:0 ")
    assert reader.place(2, distinct=1000).startswith("r.jsonl:5: user:7 is viewer of document:1")
    assert reader.place(9) == "r.jsonl"
