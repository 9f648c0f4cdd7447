"""Explanations as text: what the engine gives, line by line."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from watchword.client.explanation import MAX_NEAREST, explanation_lines
from watchword.server.permissions.checks import require_sound
from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.engine import Engine
from watchword.server.permissions.explain import StepKind, Why
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship, Relationships

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MODEL = """\
model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type folder
  relations
    define viewer: [user, user:*, group#member]
type document
  relations
    define parent: [folder]
    define banned: [user]
    define signed: [user]
    define editor: [user with weekday, group#member]
    define viewer: (editor or viewer from parent) but not banned
    define signer: viewer and signed

condition weekday(day: int) {
  day < 6
}
"""


def explained(rows: list[Relationship], relation: str, *, subject: str = "user:ana", context: dict | None = None):
    model = parse_dsl(MODEL)
    require_sound(model)
    engine = Engine(Plan(model), Relationships(rows), now=NOW)
    tree = engine.explain(subject, relation, "document:1", context=context or {}).tree
    return explanation_lines(tree, subject=subject)


def rows(text: str) -> list[Relationship]:
    return [Relationship(*word.replace("@", "#", 1).split("#", 2)) for word in text.split()]


def test_an_allow_shows_the_way():
    assert explained(
        rows("document:1#parent@folder:f folder:f#viewer@group:g#member group:g#member@user:ana"), "viewer"
    ) == [
        "+ document:1#viewer: allowed, the first is needed, the second would take it away",
        "  + folder:f is parent of document:1",
        "    + folder:f#viewer",
        "      + group:g#member is viewer of folder:f",
        "        + group:g#member",
        "          + user:ana is member of group:g",
        "  - document:1#banned",
        "    - user:ana is not granted banned of document:1",
    ]


def test_a_deny_shows_all_that_is_lacking_and_names_the_nearest_last():
    assert explained(rows("document:1#parent@folder:f folder:f#viewer@group:g#member"), "signer") == [
        "- document:1#signer: denied, this is needed too",
        "  - document:1#viewer: none of these holds",
        "    - document:1#editor",
        "      - user:ana is not granted editor of document:1",
        "    - folder:f is parent of document:1",
        "      - folder:f#viewer: none of these holds",
        "        - user:ana is not granted viewer of folder:f",
        "        - group:g#member is viewer of folder:f",
        "          - group:g#member",
        "            - user:ana is not granted member of group:g",
        "Nearest missing: editor of document:1; viewer of folder:f; member of group:g",
    ]


def test_a_deny_by_exclusion_says_what_takes_it_away_and_has_nothing_missing():
    assert explained(
        rows("document:1#parent@folder:f folder:f#viewer@user:* document:1#banned@user:ana"), "viewer"
    ) == [
        "- document:1#viewer: denied, this takes it away",
        "  + document:1#banned",
        "    + user:ana is banned of document:1",
    ]


def test_conditions_and_times_are_told_with_the_relationship():
    grant = Relationship("document:1", "editor", "user:ana", "weekday", {})
    needs = explained([grant], "editor")
    assert needs == [
        "? document:1#editor: conditional",
        "  ? user:ana is editor of document:1 (its condition weekday needs day)",
        "Missing in the context: day",
    ]
    assert "  + user:ana is editor of document:1 (its condition weekday holds)" in explained(
        [grant], "editor", context={"day": 1}
    )
    fails = "user:ana is editor of document:1 (its condition weekday does not hold)"
    lines = explained([grant], "editor", context={"day": 7})
    assert f"  - {fails}" in lines
    assert lines[-1] == f"Nearest missing: editor of document:1; {fails}"
    past = datetime(2029, 12, 31, tzinfo=UTC)
    expired = Relationship("document:1", "banned", "user:ana", expire_time=past)
    assert "  - user:ana is banned of document:1 (expired 2029-12-31T00:00:00Z)" in explained([expired], "banned")
    future = Relationship("document:1", "banned", "user:ana", expire_time=past.replace(year=2030))
    assert "  + user:ana is banned of document:1 (until 2030-12-31T00:00:00Z)" in explained([future], "banned")


def test_a_circle_ends():
    lines = explained(rows("group:g#member@group:h#member group:h#member@group:g#member"), "banned")
    assert lines[0].startswith("- document:1#banned")
    circle = explained(
        rows("document:1#editor@group:g#member group:g#member@group:h#member group:h#member@group:g#member"), "editor"
    )
    assert any("group:g#member leads back to itself" in line for line in circle)


def test_the_subject_itself():
    lines = explained(rows("document:1#editor@group:g#member"), "editor", subject="group:g#member")
    assert lines[0] == "+ document:1#editor: allowed"
    assert len(lines) == 2


@dataclass
class Step:
    """What an answer of the server may be turned into: no class of the engine's."""

    kind: str
    verdict: str
    node: str
    relationship: Relationship | None = None
    why: str | None = None
    missing: tuple[str, ...] = ()
    children: "tuple[Step, ...]" = ()
    omitted: int = 0


@pytest.mark.parametrize("kind", list(StepKind))
@pytest.mark.parametrize("verdict", ["allowed", "denied", "conditional"])
@pytest.mark.parametrize("why", [None, *Why])
def test_every_step_is_a_line_with_its_mark(kind, verdict, why):
    row = Relationship("document:1", "viewer", "user:ana", "weekday")
    step = Step(str(kind), verdict, "document:1#viewer", row, why and str(why), ("day",))
    lines = explanation_lines(Step("node", verdict, "document:9#top", children=(step, step)), subject="user:ana")
    mark = {"allowed": "+", "denied": "-", "conditional": "?"}[verdict]
    assert lines[0] == f"{mark} document:9#top: {verdict}"
    assert lines[1] == lines[2]
    assert lines[1].startswith(f"  {mark} ")
    assert len(lines[1]) > 5
    assert "None" not in lines[1]


def test_what_is_omitted_or_told_elsewhere_is_said():
    leaf = Step("missing-grant", "denied", "group:g#member")
    group = Step("node", "denied", "group:g#member", children=(leaf,))
    again = Step("node", "denied", "group:g#member")
    several = Step("any", "denied", "document:1#viewer", children=(group, again), omitted=3)
    lines = explanation_lines(Step("node", "denied", "document:1#viewer", children=(several,)), subject="user:ana")
    assert lines == [
        "- document:1#viewer: denied, none of these holds",
        "  - group:g#member",
        "    - user:ana is not granted member of group:g",
        "  - group:g#member (told elsewhere)",
        "  (3 more that are not shown)",
        "Nearest missing: member of group:g",
    ]


def test_a_choice_of_one_is_told_as_that_one_unless_more_is_omitted():
    grant = Step("missing-grant", "denied", "group:g#member")
    for omitted, lines in ((0, 1), (2, 3)):
        tree = Step("any", "denied", "group:g#member", children=(grant,), omitted=omitted)
        assert len(explanation_lines(tree, subject="user:ana")[:-1]) == lines


def test_the_last_line_names_a_few_only_each_once():
    missing = [Step("missing-grant", "denied", f"group:{number}#member") for number in range(MAX_NEAREST + 3)]
    tree = Step("any", "denied", "document:1#viewer", children=(*missing, *missing))
    last = explanation_lines(tree, subject="user:ana")[-1]
    assert last == (
        "Nearest missing: member of group:0; member of group:1; member of group:2; member of group:3; "
        "member of group:4; and 3 more"
    )


def test_a_tree_of_any_depth_is_written():
    tree = Step("missing-grant", "denied", "group:0#member")
    for number in range(1, 5_000):
        tree = Step("node", "denied", f"group:{number}#member", children=(tree,))
    assert len(explanation_lines(tree, subject="user:ana")) == 5_001
