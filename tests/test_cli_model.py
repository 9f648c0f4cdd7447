"""`watchword model`: files in, answers out, no server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WATCHWORD = [sys.executable, "-c", "from watchword.cli import main; main()"]
SOUND = """\
model
  schema 1.1

type user

type document
  relations
    define owner: [user]
    define viewer: [user] or owner
"""


@pytest.fixture
def model(tmp_path):
    def write(text: str, name: str = "model.fga") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WATCHWORD, "model", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_a_sound_model(model):
    ran = run("check", model(SOUND))
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "is a sound model" in ran.stderr


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (SOUND.replace("or owner", "or editor"), 9, "editor"),
        (SOUND.replace("[user] or owner", "[user or owner"), 9, ""),
        ("", 1, ""),
    ],
)
def test_what_is_wrong_stands_with_its_line(model, text, line, says):
    ran = run("check", "--json", model(text))
    assert ran.returncode == 1
    problem = json.loads(ran.stdout)[0]
    assert problem["severity"] == "error"
    assert problem["line"] == line
    assert says in problem["message"]


def test_both_forms_say_the_same(model):
    converted = run("convert", "--to", "json", model(SOUND))
    assert converted.returncode == 0
    as_json = model(converted.stdout, "model.json")
    assert run("convert", as_json).stdout == SOUND
    assert run("diff", model(SOUND), as_json).returncode == 0


def test_diff_shows_what_changed(model):
    ran = run("diff", model(SOUND), model(SOUND.replace("[user] or owner", "owner"), "new.fga"))
    assert ran.returncode == 1
    assert "-    define viewer: [user] or owner" in ran.stdout
    assert "+    define viewer: owner" in ran.stdout


def test_files_that_are_no_models(model, tmp_path):
    assert run("check", str(tmp_path / "nowhere.fga")).returncode == 2
    for name, text in (("x.json", "{"), ("y.json", "[]"), ("z.json", "[" * 100_000)):
        ran = run("check", model(text, name))
        assert ran.returncode == 1, name
        assert "Traceback" not in ran.stderr
    Path(tmp_path / "b.fga").write_bytes(b"\xff\xfe")
    assert run("convert", str(tmp_path / "b.fga")).returncode == 1
