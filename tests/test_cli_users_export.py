"""`watchword users export`."""

# ruff: noqa: F811 - a parameter is named as the fixture that it takes

import csv
import io
import json
import os
import stat
import subprocess

import pytest
from test_cli import PROGRAM, _environment, ask, run, tmp_path  # noqa: F401 - fixtures

from watchword.client import ImportedUser

FORMULA = '=HYPERLINK("https://evil.example")'
HASH = "$2b$04$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O"


@pytest.fixture
def people(run, watchword):
    """Three users, of whom one is suspended, and a deleted one; as the command runs, so that it comes last."""
    watchword.users.import_(
        [
            ImportedUser(
                external_id="7",
                email="ana@example.com",
                display_name=FORMULA,
                attributes={"plan": "pro, or so", "ü": [1]},
                password_hash=HASH,
            ),
            ImportedUser(external_id="8", email="anton@example.com", suspended=True),
            ImportedUser(external_id="9", email="ben@example.com"),
            ImportedUser(external_id="10", email="zoe@example.com"),
        ]
    )
    watchword.users.delete(watchword.users.get_by_external_id("10").user_id)


def test_lines_of_json(people, run, watchword):
    lines = [json.loads(line) for line in run("users", "export").stdout.splitlines()]
    assert sorted(line["external_id"] for line in lines) == ["7", "8", "9"]
    ana = next(line for line in lines if line["external_id"] == "7")
    user = watchword.users.get_by_external_id("7")
    assert ana == {
        "user_id": user.user_id,
        "external_id": "7",
        "email": "ana@example.com",
        "username": None,
        "display_name": FORMULA,
        "locale": None,
        "status": "active",
        "attributes": {"plan": "pro, or so", "ü": [1]},
        "create_time": user.create_time.isoformat().replace("+00:00", "Z"),
        "update_time": user.update_time.isoformat().replace("+00:00", "Z"),
        "delete_time": None,
        "last_sign_in_time": None,
    }
    prefixed = run("users", "export", "--email-prefix", "AN").stdout.splitlines()
    assert [json.loads(line)["external_id"] for line in prefixed] == ["7", "8"]
    deleted = run("users", "export", "--status", "deleted").stdout.splitlines()
    assert [json.loads(line)["delete_time"] is None for line in deleted] == [False]
    run("users", "export", "--status", "gone", code=2)


def test_csv_is_what_it_is_even_if_a_spreadsheet_would_take_it_for_a_formula(people, run, ask, tmp_path):
    assert ask("users", "export", "--output", "out.csv", "--with-password-hashes", "--yes") == {"user_count": 3}
    text = (tmp_path / "out.csv").read_text()
    rows = {row["external_id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert sorted(rows) == ["7", "8", "9"]
    assert (rows["7"]["display_name"], rows["7"]["password_hash"]) == (FORMULA, HASH)
    assert json.loads(rows["7"]["attributes"]) == {"plan": "pro, or so", "ü": [1]}
    assert (rows["8"]["status"], rows["8"]["password_hash"], rows["8"]["attributes"]) == ("suspended", "", "")
    assert run("users", "export", "--format", "csv", "--with-password-hashes", "--yes").stdout == text
    run("users", "export", "--format", "csv", "--json", code=2)


def test_hashes_come_on_explicit_demand_only(people, run, sql):
    assert HASH not in run("users", "export").stdout
    assert "--yes" in run("users", "export", "--with-password-hashes", code=2).stderr
    assert sql("select type from events where type = 'password-hashes-exported'") == []
    assert HASH in run("users", "export", "--with-password-hashes", "--yes").stdout
    assert len(sql("select type from events where type = 'password-hashes-exported'")) == 1


def test_a_file_with_hashes_is_its_owners_from_the_first_byte(people, run, tmp_path):
    """Threat: others of the machine read it, by the rights of a file of the name that was there before."""
    for name in ("out.jsonl", ".out.jsonl.part"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    with (tmp_path / ".out.jsonl.part").open() as spy:
        run("users", "export", "--output", "out.jsonl", "--with-password-hashes", "--yes")
        assert spy.read() == ""
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    run("users", "export", "--output", "plain.jsonl")
    assert (tmp_path / "plain.jsonl").stat().st_mode & 0o400


def test_what_cannot_be_written_or_is_not_permitted_spoils_nothing(people, run, watchword, watchword_server, tmp_path):
    run("users", "export", "--output", "nowhere/out.csv", code=2)
    (tmp_path / "out.jsonl").write_text("kept")
    watchword.service_accounts.create("reader")
    key = watchword.service_accounts.create_key("reader", permissions=["read_users"])
    done = subprocess.run(
        [*PROGRAM, "users", "export", "--output", "out.jsonl"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=_environment(WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=key.api_key),
        timeout=60,
    )
    assert done.returncode == 5
    assert "export_users" in done.stderr
    assert (tmp_path / "out.jsonl").read_text() == "kept"
    assert os.listdir(tmp_path) == ["out.jsonl"]  # noqa: PTH208 - with hidden ones
