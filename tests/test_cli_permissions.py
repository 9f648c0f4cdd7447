"""Questions, models and organizations on the command line, as a process against a real server."""

# ruff: noqa: F811 - a parameter is named as the fixture that it takes

import json
import uuid

import pytest
from test_cli import ask, run, tmp_path  # noqa: F401 - fixtures

MODEL = """model
  schema 1.1

type user

type service

type group
  relations
    define member: [user]

type document
  relations
    define owner: [user]
    define viewer: [user, user:*, group#member, user with in_hours] or owner
    define blocked: [user]
    define can_view: viewer but not blocked

condition in_hours(hour: int, until: int) {
  hour < until
}
"""


@pytest.fixture
def model(run, tmp_path):
    file = tmp_path / "model.fga"
    file.write_text(MODEL)
    run("model", "write", str(file))
    return file


@pytest.fixture
def write(model, run):
    def write(*triples: str, more: tuple[str, ...] = ()):
        for triple in triples:
            run("relationships", "write", *triple.split(), *more)

    return write


# ----- questions ------------------------------------------------------------------------------------------------------


def test_check(write, run, ask):
    written = ask("relationships", "write", "user:ana", "viewer", "document:1")
    write("user:bob viewer document:1", more=("--condition", "in_hours", "--context", '{"until": 17}'))
    question = ("viewer", "document:1", "--full")
    assert run("check", "user:ana", *question).stdout == "allowed\n"
    assert run("check", "user:ana", *question[:2], "--at-least", written["revision"]).stdout == "allowed\n"
    assert run("check", "user:cleo", *question, code=1).stdout == "denied\n"
    assert run("check", "user:bob", *question, code=1).stdout == "conditional: the context lacks hour\n"
    assert ask("check", "user:bob", *question, code=1) == {"decision": "conditional", "missing_context": ["hour"]}
    assert run("check", "user:bob", *question, "--context", '{"hour": 9}').stdout == "allowed\n"
    assert run("check", "user:bob", *question, "--context", '{"hour": 18}', code=1).stdout == "denied\n"


def test_a_question_that_has_no_answer_says_why(model, run):
    assert "no relation" in run("check", "user:ana", "fly", "document:1", code=1).stderr
    for context in ("[]", "{", '{"hour": NaN}', "[" * 100_000):
        assert (
            "--context is a JSON object"
            in run("check", "user:ana", "viewer", "document:1", "--context", context, code=2).stderr
        )
    run("check", "user:ana", "viewer", "document:1", "--full", "--at-least", "x", code=2)
    run("check", "user:ana", "viewer", "document:1", "--at-least", "", code=2)


def test_explain(write, run, ask):
    write("group:eng#member viewer document:1", "user:ana member group:eng", "user:bob blocked document:1")
    shown = run("explain", "user:ana", "can_view", "document:1").stdout
    assert shown.startswith("+ document:1#can_view: allowed")
    assert "user:ana is member of group:eng" in shown
    denied = run("explain", "user:cleo", "viewer", "document:1").stdout
    assert denied.splitlines()[-1].startswith("Nearest missing: ")
    assert ask("explain", "user:ana", "can_view", "document:1")["tree"]["verdict"] == "allowed"


def test_an_explanation_names_an_account_that_is_disabled(write, run, ask):
    user_id = ask("users", "create", "--username", f"u{uuid.uuid4().hex[:12]}")["user_id"]
    write(f"user:{user_id} viewer document:1")
    run("users", "suspend", user_id)
    assert "is disabled" in run("explain", f"user:{user_id}", "viewer", "document:1").stdout


def test_list_objects(write, run, ask):
    write(*(f"user:ana viewer document:{number}" for number in (1, 2, 3)))
    write("user:ana viewer document:4", more=("--condition", "in_hours"))
    done = run("list-objects", "user:ana", "viewer", "document", "--full")
    assert sorted(done.stdout.split()) == ["document:1", "document:2", "document:3"]
    assert done.stderr == "conditional: document:4 (the context lacks hour, until)\n"
    cut = run("list-objects", "user:ana", "viewer", "document", "--limit", "2", "--full")
    assert len(cut.stdout.split()) == 2
    assert cut.stderr == "There are more than 2: use --limit to see them.\n"
    listed = ask("list-objects", "user:ana", "viewer", "document", "--full")
    assert listed["conditional"] == [{"name": "document:4", "missing_context": ["hour", "until"]}]
    assert listed["complete"] is True
    assert ask("list-objects", "user:ana", "viewer", "document", "--limit", "4", "--full") == listed
    assert ask("list-objects", "user:ana", "viewer", "document", "--limit", "3", "--full")["complete"] is False


def test_list_subjects(write, run, ask):
    write("user:* viewer document:1", "user:bob blocked document:1", "group:eng#member viewer document:1")
    done = run("list-subjects", "document:1", "can_view", "user", "--full")
    assert done.stdout == "user:*\n"
    assert done.stderr == "excluded: user:bob\n"
    both = ask("list-subjects", "document:1", "viewer", "user", "group#member", "--full")
    assert sorted(both["subjects"]) == ["group:eng#member", "user:*"]


# ----- models ---------------------------------------------------------------------------------------------------------


def test_models(model, run, ask, tmp_path):
    assert run("model", "get").stdout == MODEL
    as_json = tmp_path / "model.json"
    as_json.write_text(run("model", "get", "--to", "json").stdout)
    assert json.loads(as_json.read_text())["schema_version"] == "1.1"
    written = ask("model", "write", str(as_json))
    listed = ask("model", "list")
    assert listed[0]["model_id"] == written["model"]["model_id"]
    assert ask("model", "get", listed[-1]["model_id"])["openfga_json"]
    run("model", "get", str(uuid.uuid4()), code=3)


def test_a_model_that_is_only_validated(model, run, ask):
    model.write_text(MODEL.replace("    define blocked: [user]\n", "").replace(" but not blocked", ""))
    assert "could be put into force" in run("model", "write", str(model), "--validate-only").stderr
    assert run("model", "get").stdout == MODEL


def test_a_mistake_in_a_model_stands_with_its_place(model, run):
    model.write_text(MODEL.replace("[user, user:*", "[usr, user:*").replace("but not blocked", "but not blocke"))
    done = run("model", "write", str(model), code=1)
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{model}:15:21: "), done.stderr
    assert any(line.startswith(f"{model}:17:37: ") for line in lines)
    assert "usr" in lines[0]
    run("model", "write", str(model.with_name("nowhere")), code=2)


def test_relationships_that_a_model_does_not_know(write, model, run):
    write("user:ana blocked document:1")
    model.write_text(MODEL.replace("    define blocked: [user]\n", "").replace(" but not blocked", ""))
    assert "--allow-orphans" in run("model", "write", str(model), code=1).stderr
    done = run("model", "write", str(model), "--allow-orphans")
    assert "user:ana is blocked of document:1" in done.stderr


# ----- organizations --------------------------------------------------------------------------------------------------


def test_organizations(run, ask):
    ana, bob = (f"user:{ask('users', 'create', '--username', name)['user_id']}" for name in ("ana-cli", "bob-cli"))
    assert ask("organizations", "create", "acme", "--owner", ana.partition(":")[2])["organization_id"] == "acme"
    assert ask("organizations", "get", "acme") in ask("organizations", "list")
    assert ask("organizations", "add-member", "acme", bob, "--role", "admin")["member"]["role"] == "admin"
    members = ask("organizations", "members", "acme")
    assert {(member["subject"], member["role"]) for member in members} == {(ana, "owner"), (bob, "admin")}
    ask("groups", "create", "acme", "eng", "--display-name", "Engineering")
    assert [found["group_id"] for found in ask("groups", "list", "acme")] == ["eng"]
    ask("groups", "add-member", "acme", "eng", bob)
    assert [member["subject"] for member in ask("groups", "members", "acme", "eng")] == [bob]
    assert ask("groups", "remove-member", "acme", "eng", bob)["removed_count"] == 1
    assert ask("organizations", "remove-member", "acme", bob)["removed_count"] == 1
    invited = run("organizations", "invite", "acme", "--email", "c@example.com", "--expires-in", "1d", "--json")
    assert "shown this once" in invited.stderr
    invitation = json.loads(invited.stdout)["invitation"]
    assert ask("organizations", "invitations", "acme") == [invitation]
    ask("organizations", "revoke-invitation", "acme", invitation["invitation_id"])
    assert ask("organizations", "invitations", "acme") == []
    assert ask("groups", "delete", "acme", "eng", "--yes")["status"] == "deleted"
    run("organizations", "delete", "acme", code=2)
    assert ask("organizations", "delete", "acme", "--yes")["status"] == "deleted"
