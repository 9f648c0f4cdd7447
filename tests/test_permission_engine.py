"""The permission engine: OpenFGA's own vectors, and what they leave out: limits, expiry, lists, explanations."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from watchword.server.permissions.answers import (
    ConditionFailed,
    Decision,
    InvalidQuestion,
    Limit,
    LimitMet,
    Limits,
    Unanswerable,
)
from watchword.server.permissions.checks import require_sound
from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.engine import Engine
from watchword.server.permissions.explain import MAX_CHILDREN, StepKind, Why
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship, Relationships

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def plan_of(dsl: str) -> Plan:
    model = parse_dsl(f"model\n  schema 1.1\n{dsl}\n")
    require_sound(model)
    return Plan(model)


def rows_of(text: str) -> list[Relationship]:
    """Relationships as `object#relation@subject`, one a word."""
    found = []
    for word in text.split():
        node, _, subject = word.partition("@")
        object_, _, relation = node.partition("#")
        found.append(Relationship(object_, relation, subject))
    return found


def engine_of(dsl: str, rows: str | list[Relationship] = "", **options) -> Engine:
    rows = rows_of(rows) if isinstance(rows, str) else rows
    return Engine(plan_of(dsl), Relationships(rows), now=options.pop("now", NOW), **options)


DOCUMENTS = """
type user
type group
  relations
    define member: [user, group#member]
type folder
  relations
    define parent: [folder]
    define viewer: [user, user:*, group#member] or viewer from parent
type document
  relations
    define parent: [folder]
    define banned: [user, group#member]
    define editor: [user]
    define viewer: ([user with weekday] or editor or viewer from parent) but not banned

condition weekday(day: int) {
  day < 6
}
"""


# ----- OpenFGA's vectors ----------------------------------------------------------------------------------------------

INVALID = (InvalidQuestion, ConditionFailed)
ERRORS = {2000: INVALID, 2021: InvalidQuestion, 2022: InvalidQuestion, 2027: InvalidQuestion, 2002: LimitMet}
"""OpenFGA's error codes as ours. What is undecided for want of context is an error 2000 there and an answer here."""
UNDECIDED = "undecided"


def relationship(tuple_: dict) -> Relationship:
    condition = tuple_.get("condition") or {}
    return Relationship(
        tuple_["object"], tuple_["relation"], tuple_["user"], condition.get("name"), condition.get("context")
    )


def as_expected(expected, ask) -> bool:
    """Whether an answer, or the error in its place, is what OpenFGA gives."""
    try:
        answer = ask()
    except Unanswerable as error:
        return isinstance(expected, dict) and isinstance(error, ERRORS[expected["error"]])
    if isinstance(expected, dict):
        return expected["error"] == 2000 and answer == UNDECIDED
    return answer == (set(expected) if isinstance(expected, list) else expected)


def checked(engine: Engine, case: dict, options: dict):
    answer = engine.check(case["user"], case["relation"], case["object"], **options)
    explained = engine.explain(case["user"], case["relation"], case["object"], **options)
    assert explained.answer.decision == explained.tree.verdict == answer.decision
    return {Decision.ALLOWED: True, Decision.DENIED: False, Decision.CONDITIONAL: UNDECIDED}[answer.decision]


def listed_objects(engine: Engine, case: dict, options: dict):
    listing = engine.list_objects(case["user"], case["relation"], case["type"], **options)
    return UNDECIDED if listing.conditional else set(listing.names)


def listed_subjects(engine: Engine, case: dict, options: dict):
    listing = engine.list_subjects(case["object"], case["relation"], case["filters"], **options)
    return UNDECIDED if listing.conditional else set(listing.names)


QUESTIONS = {"checks": checked, "lo": listed_objects, "lu": listed_subjects}


def differences(store: dict, stored: list[Relationship], contextual: list[Relationship]):
    """Assertions of a store that the engine fails."""
    model = parse_dsl(store["model"])
    require_sound(model)
    engine = Engine(Plan(model), Relationships(stored), now=NOW)
    for kind, ask in QUESTIONS.items():
        for case in store[kind]:
            with_case = [*contextual, *map(relationship, case.get("ctx_tuples") or [])]
            options = {"context": case.get("context") or {}, "contextual": with_case}
            if not as_expected(case["expect"], lambda a=ask, c=case, o=options: a(engine, c, o)):
                yield store["id"], kind, case


def stores_of(corpora):
    with (corpora / "permissions.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


def test_all_of_openfgas_assertions_hold(corpora):
    stores = stores_of(corpora)
    assert sum(len(store[kind]) for store in stores for kind in QUESTIONS) == 1074
    assert not [
        difference
        for store in stores
        for difference in differences(store, [relationship(item) for item in store["tuples"]], [])
    ]


def test_they_hold_with_all_relationships_contextual(corpora):
    stores = stores_of(corpora)
    names = [store["id"].rpartition("/")[0] for store in stores]
    single = [store for store, name in zip(stores, names, strict=True) if names.count(name) == 1]
    assert len(single) > 50
    assert not [
        difference
        for store in single
        for difference in differences(store, [], [relationship(item) for item in store["tuples"]])
    ]


# ----- limits ---------------------------------------------------------------------------------------------------------

CHAIN = """
type user
type group
  relations
    define member: [user, group#member]
    define guest: [user]
    define active: member but not guest
"""


def chain(length: int) -> list[Relationship]:
    steps = pairwise(f"group:{number}" for number in range(length + 1))
    return [
        *(Relationship(outer, "member", f"{inner}#member") for outer, inner in steps),
        Relationship(f"group:{length}", "member", "user:ana"),
    ]


def test_a_chain_of_the_limits_length_is_followed_and_a_longer_one_is_an_error_not_a_deny():
    assert engine_of(CHAIN, chain(25)).check("user:ana", "member", "group:0").decision == Decision.ALLOWED
    with pytest.raises(LimitMet) as met:
        engine_of(CHAIN, chain(26)).check("user:ana", "member", "group:0")
    assert met.value.limit == Limit.DEPTH
    with pytest.raises(LimitMet):
        engine_of(CHAIN, chain(26)).check("user:eve", "active", "group:0")


def test_beyond_the_depth_limit_a_list_is_an_error_not_short():
    engine = engine_of(CHAIN, chain(26))
    with pytest.raises(LimitMet):
        engine.list_objects("user:ana", "member", "group")
    with pytest.raises(LimitMet):
        engine.list_subjects("group:0", "member", ["user"])
    for relation, length in (("member", 26), ("active", 25), ("active", 40)):
        with pytest.raises(LimitMet):
            engine_of(CHAIN, chain(length)).list_objects("user:ana", relation, "group")
    assert len(engine_of(CHAIN, chain(24)).list_objects("user:ana", "active", "group").names) == 25
    assert len(engine_of(CHAIN, chain(25)).list_objects("user:ana", "member", "group").names) == 26
    assert engine_of(CHAIN, chain(25)).list_subjects("group:0", "member", ["user"]).names == ("user:ana",)


def test_a_short_way_decides_whatever_lies_on_long_ones_and_in_whichever_order():
    long = chain(40)
    short = Relationship("group:0", "member", "group:39#member")
    for rows in ([*long, short], [short, *long]):
        assert engine_of(CHAIN, rows).check("user:ana", "member", "group:0").decision == Decision.ALLOWED
        assert engine_of(CHAIN, rows).list_subjects("group:0", "member", ["user"]).names == ("user:ana",)


def test_depth_is_the_shortest_way_so_a_circle_of_any_length_is_only_a_circle():
    circle = [Relationship(f"group:{n}", "member", f"group:{(n + 1) % 26}#member") for n in range(26)]
    assert engine_of(CHAIN, circle).check("user:ana", "member", "group:0").decision == Decision.DENIED
    ring = [
        *(Relationship(f"group:{n}", "member", f"group:{(n + 1) % 40}#member") for n in range(40)),
        *(Relationship(f"group:{n}", "member", f"group:{(n - 1) % 40}#member") for n in range(40)),
    ]
    assert engine_of(CHAIN, ring).check("user:ana", "member", "group:0").decision == Decision.DENIED
    assert engine_of(CHAIN, ring).list_subjects("group:0", "member", ["group#member"]).names == tuple(
        sorted(f"group:{n}#member" for n in range(40))
    )


def test_a_tight_net_of_groups_takes_time_in_proportion():
    """Fifty groups, each in each: a walk that follows every path would not end."""
    net = [
        Relationship(f"group:{one}", "member", f"group:{other}#member")
        for one in range(50)
        for other in range(50)
        if one != other
    ]
    limits = Limits(work=20_000, list_work=200_000)
    for relation in ("member", "active"):
        assert engine_of(CHAIN, net, limits=limits).check("user:eve", relation, "group:0").decision == Decision.DENIED
    rows = [*net, Relationship("group:49", "member", "user:ana")]
    engine = engine_of(CHAIN, rows, limits=limits)
    assert engine.check("user:ana", "member", "group:0").decision == Decision.ALLOWED
    assert len(engine.list_objects("user:ana", "active", "group").names) == 50


def test_too_much_work_is_an_error():
    rows = [Relationship("group:0", "member", f"group:{number}#member") for number in range(1, 1000)]
    engine = engine_of(CHAIN, rows, limits=Limits(work=500, list_work=500))
    for ask in (
        lambda: engine.check("user:ana", "member", "group:0"),
        lambda: engine.explain("user:ana", "member", "group:0"),
        lambda: engine.list_subjects("group:0", "member", ["user"]),
    ):
        with pytest.raises(LimitMet) as met:
            ask()
        assert met.value.limit == Limit.WORK
    rows = [Relationship(f"group:{number}", "member", "user:ana") for number in range(1000)]
    with pytest.raises(LimitMet):
        engine_of(CHAIN, rows, limits=Limits(list_work=500)).list_objects("user:ana", "member", "group")


def test_the_deepest_definitions_at_every_step_do_not_exhaust_the_stack():
    definition = "[user, group#member]"
    for level in range(30):
        definition = f"({definition}) {'and' if level % 2 else 'or'} guest"
    dsl = f"""
type user
type group
  relations
    define guest: [user]
    define member: {definition.replace("[user, group#member]", "owner")}
    define owner: [user, group#member]
"""
    rows = [row for n in range(30) for row in rows_of(f"group:{n}#owner@group:{n + 1}#member group:{n}#guest@user:b")]
    engine = engine_of(dsl, rows)
    assert engine.check("user:b", "member", "group:0").decision == Decision.ALLOWED
    with pytest.raises(LimitMet):
        engine_of(
            dsl.replace(" or guest", " or nobody").replace("guest: [user]", "guest: [user]\n    define nobody: [user]"),
            rows,
        ).check("user:b", "member", "group:0")


# ----- cycles in data -------------------------------------------------------------------------------------------------

CIRCLES = """
type user
type group
  relations
    define member: [user]
type doc
  relations
    define first: [user, doc#second, group#member]
    define second: [user, doc#first]
    define both: first and second
    define kept: [user with weekday]
    define viewer: [user] but not (second and kept)

condition weekday(day: int) {
  day < 6
}
"""


def test_what_was_met_in_a_circle_is_decided_once_the_circle_is():
    rows = "doc:1#first@doc:1#second doc:1#first@group:a#member group:a#member@user:ana doc:1#second@doc:1#first"
    engine = engine_of(CIRCLES, rows)
    for relation in ("first", "second", "both"):
        assert engine.check("user:ana", relation, "doc:1").decision == Decision.ALLOWED
        assert engine.list_objects("user:ana", relation, "doc").names == ("doc:1",)
        assert engine.list_subjects("doc:1", relation, ["user"]).names == ("user:ana",)
        assert engine.check("user:eve", relation, "doc:1").decision == Decision.DENIED


def test_a_circle_that_is_taken_away_denies_unless_something_else_decides():
    rows = rows_of("doc:1#viewer@user:ana doc:1#first@doc:1#second doc:1#second@doc:1#first")
    assert engine_of(CIRCLES, rows).check("user:ana", "viewer", "doc:1").decision == Decision.ALLOWED
    rows.append(Relationship("doc:1", "kept", "user:ana", "weekday"))
    engine = engine_of(CIRCLES, rows)
    answer = engine.check("user:ana", "viewer", "doc:1")
    assert (answer.decision, answer.missing) == (Decision.CONDITIONAL, ("day",))
    assert engine.check("user:ana", "viewer", "doc:1", context={"day": 7}).decision == Decision.ALLOWED
    assert engine.check("user:ana", "viewer", "doc:1", context={"day": 1}).decision == Decision.DENIED
    assert not engine.list_objects("user:ana", "viewer", "doc", context={"day": 1}).names


# ----- what is read ---------------------------------------------------------------------------------------------------


class Sparing(Relationships):
    """A reader that does not let anybody load the members of one group."""

    def all(self, node):
        assert node != "group:all#member"
        return super().all(node)


def test_a_group_with_many_members_is_probed_not_loaded():
    rows = [Relationship("group:all", "member", f"user:{number}") for number in range(10_000)]
    rows += rows_of("document:1#banned@group:all#member document:1#parent@folder:1 folder:1#viewer@group:all#member")
    engine = Engine(plan_of(DOCUMENTS), Sparing(rows), now=NOW, limits=Limits(work=100))
    assert engine.check("user:77", "viewer", "folder:1").decision == Decision.ALLOWED
    assert engine.check("user:77", "viewer", "document:1").decision == Decision.DENIED
    assert engine.explain("user:77", "banned", "document:1").answer.decision == Decision.ALLOWED


def test_what_leads_to_other_objects_can_itself_be_asked_for_in_the_same_question():
    dsl = """
type user
type folder
  relations
    define parent: [folder]
    define viewer: [user]
    define near: viewer from parent or parent or near from parent
"""
    engine = engine_of(dsl, "folder:1#parent@folder:2 folder:2#parent@folder:3 folder:2#viewer@user:ana")
    for subject, decision in (
        ("folder:2", Decision.ALLOWED),
        ("folder:3", Decision.ALLOWED),
        ("user:ana", Decision.ALLOWED),
        ("folder:1", Decision.DENIED),
    ):
        assert engine.check(subject, "near", "folder:1").decision == decision
    assert engine.check("folder:1", "near", "folder:2").nodes == {
        *("folder:2#near", "folder:2#parent", "folder:3#viewer", "folder:3#near", "folder:3#parent"),
    }
    assert engine.list_objects("folder:3", "near", "folder").names == ("folder:1", "folder:2")
    assert engine.list_subjects("folder:1", "near", ["folder", "user"]).names == ("folder:2", "folder:3", "user:ana")


def test_an_answer_names_the_nodes_it_read():
    engine = engine_of(DOCUMENTS, "document:1#parent@folder:1 folder:1#viewer@group:eng#member")
    answer = engine.check("user:ana", "viewer", "document:1")
    assert answer.nodes == {
        *("document:1#viewer", "document:1#editor", "document:1#parent", "folder:1#viewer", "folder:1#parent"),
        *("group:eng#member",),
    }
    listing = engine.list_objects("user:ana", "viewer", "document")
    assert listing.nodes == {
        *("document#viewer", "document#editor", "document#parent", "document#banned"),
        *("folder#viewer", "folder#parent", "group#member"),
    }


# ----- expiry ---------------------------------------------------------------------------------------------------------


def test_an_expired_relationship_is_absent_and_an_answer_says_until_when_it_holds():
    end = NOW + timedelta(hours=1)
    rows = [Relationship("document:1", "editor", "user:ana", expire_time=end)]
    answer = engine_of(DOCUMENTS, rows).check("user:ana", "viewer", "document:1")
    assert (answer.decision, answer.until) == (Decision.ALLOWED, end)
    assert engine_of(DOCUMENTS, rows).list_objects("user:ana", "viewer", "document").until == end
    answer = engine_of(DOCUMENTS, rows, now=end).check("user:ana", "viewer", "document:1")
    assert (answer.decision, answer.until) == (Decision.DENIED, None)
    assert engine_of(DOCUMENTS, rows, now=end).list_subjects("document:1", "viewer", ["user"]).names == ()


def test_the_end_of_a_ban_lets_in_again():
    end = NOW + timedelta(hours=1)
    rows = [*rows_of("document:1#editor@user:ana"), Relationship("document:1", "banned", "user:ana", expire_time=end)]
    answer = engine_of(DOCUMENTS, rows).check("user:ana", "viewer", "document:1")
    assert (answer.decision, answer.until) == (Decision.DENIED, end)
    assert engine_of(DOCUMENTS, rows, now=end).check("user:ana", "viewer", "document:1").decision == Decision.ALLOWED


# ----- conditions -----------------------------------------------------------------------------------------------------


def weekday(context=None, subject="user:ana") -> Relationship:
    return Relationship("document:1", "viewer", subject, "weekday", context)


def test_missing_context_is_conditional_and_named_unless_another_way_decides():
    engine = engine_of(DOCUMENTS, [weekday()])
    answer = engine.check("user:ana", "viewer", "document:1")
    assert (answer.decision, answer.missing) == (Decision.CONDITIONAL, ("day",))
    assert engine.check("user:ana", "viewer", "document:1", context={"day": 1}).decision == Decision.ALLOWED
    assert engine.check("user:ana", "viewer", "document:1", context={"day": 6}).decision == Decision.DENIED
    listing = engine.list_objects("user:ana", "viewer", "document")
    assert (listing.names, listing.conditional) == ((), {"document:1": ("day",)})
    listing = engine.list_subjects("document:1", "viewer", ["user"])
    assert (listing.names, listing.conditional) == ((), {"user:ana": ("day",)})
    for more, decision in (("editor", Decision.ALLOWED), ("banned", Decision.DENIED)):
        engine = engine_of(DOCUMENTS, [weekday(), *rows_of(f"document:1#{more}@user:ana")])
        assert engine.check("user:ana", "viewer", "document:1").decision == decision


def test_a_value_of_the_wrong_type_is_an_error_unless_another_way_decides():
    engine = engine_of(DOCUMENTS, [weekday()])
    with pytest.raises(ConditionFailed, match="takes a int as 'day'"):
        engine.check("user:ana", "viewer", "document:1", context={"day": "Monday"})
    with pytest.raises(ConditionFailed):
        engine.list_objects("user:ana", "viewer", "document", context={"day": "Monday"})
    engine = engine_of(DOCUMENTS, [weekday(), *rows_of("document:1#editor@user:ana")])
    context = {"day": "Monday"}
    assert engine.check("user:ana", "viewer", "document:1", context=context).decision == Decision.ALLOWED


def test_stored_context_goes_before_the_questions():
    """Who asks must not be able to widen a grant."""
    engine = engine_of(DOCUMENTS, [weekday({"day": 7})])
    assert engine.check("user:ana", "viewer", "document:1", context={"day": 1}).decision == Decision.DENIED


# ----- questions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "relation", "object_", "field"),
    [
        ("user:ana", "viewer", "document", "object"),
        ("user:ana", "viewer", "document:*", "object"),
        ("user:ana", "viewer", "planet:1", "object"),
        ("user:ana", "owner", "document:1", "relation"),
        ("ana", "viewer", "document:1", "subject"),
        ("planet:1", "viewer", "document:1", "subject"),
        ("group:eng#owner", "viewer", "document:1", "subject"),
        ("user:" + "a" * 300, "viewer", "document:1", "subject"),
        ("user:\x00", "viewer", "document:1", "subject"),
    ],
)
def test_a_question_about_what_is_not_there_is_refused(subject, relation, object_, field):
    engine = engine_of(DOCUMENTS)
    for ask in (engine.check, engine.explain):
        with pytest.raises(InvalidQuestion) as refused:
            ask(subject, relation, object_)
        assert refused.value.field == field


def test_lists_refuse_unknown_types_relations_and_filters():
    engine = engine_of(DOCUMENTS)
    for ask, field in (
        (lambda: engine.list_objects("user:ana", "viewer", "planet"), "object_type"),
        (lambda: engine.list_objects("user:ana", "owner", "document"), "relation"),
        (lambda: engine.list_objects("planet:1", "viewer", "document"), "subject"),
        (lambda: engine.list_subjects("document:1", "owner", ["user"]), "relation"),
        (lambda: engine.list_subjects("document:1", "viewer", ["user", "planet"]), "subject_filters"),
        (lambda: engine.list_subjects("document:1", "viewer", ["group#owner"]), "subject_filters"),
        (lambda: engine.list_subjects("document:1", "viewer", ["user:*"]), "subject_filters"),
    ):
        with pytest.raises(InvalidQuestion) as refused:
            ask()
        assert refused.value.field == field


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Relationship("planet:1", "viewer", "user:ana"), "no such type"),
        (Relationship("document:1", "owner", "user:ana"), "no such type of objects, or no such relation"),
        (Relationship("document:1", "parent", "user:ana"), "granted to folder here, not to 'user'"),
        (Relationship("document:1", "editor", "user:*"), "not to 'user:*'"),
        (Relationship("document:1", "editor", "group:eng#member"), "not to 'group#member'"),
        (Relationship("document:1", "viewer", "user:ana"), "only with the condition 'weekday'"),
        (Relationship("document:1", "editor", "user:ana", "weekday"), "only without a condition"),
        (Relationship("document:1", "viewer", "user:ana", "weekday", {"night": 1}), "no parameter"),
        (Relationship("document:1", "viewer", "user:ana", "weekday", {"day": "x"}), "takes a int"),
        (Relationship("document:1", "editor", "user:ana", None, {"day": 1}), "there is none"),
        (Relationship("group:eng", "member", "group:eng#member"), "belongs to itself"),
        (Relationship("document", "editor", "user:ana"), "must be type:id"),
    ],
)
def test_what_the_model_does_not_allow_is_refused_with_the_reason_and_ignored_when_stored(row, why):
    engine = engine_of(DOCUMENTS, [row])
    assert why in (plan_of(DOCUMENTS).misfit(row) or "")
    with pytest.raises(InvalidQuestion) as refused:
        engine.check("user:ana", "viewer", "document:1", contextual=[*rows_of("document:1#editor@user:bob"), row])
    assert refused.value.field == "contextual_relationships[1]"
    if row.context is None and ":" in row.object:
        assert engine.check("user:ana", "viewer", "document:1").decision == Decision.DENIED
        assert not engine.list_objects("user:ana", "viewer", "document").names


def test_contextual_relationships_hide_stored_ones_and_count_once():
    engine = engine_of(DOCUMENTS, [weekday({"day": 1})])
    assert engine.check("user:ana", "viewer", "document:1").decision == Decision.ALLOWED
    hidden = engine.check("user:ana", "viewer", "document:1", contextual=[weekday({"day": 7})])
    assert hidden.decision == Decision.DENIED
    assert engine.check("user:ana", "viewer", "document:1").decision == Decision.ALLOWED


# ----- lists with everybody -------------------------------------------------------------------------------------------

PUBLIC = """
type user
type page
  relations
    define pardoned: [user]
    define banned: [user, user:*] but not pardoned
    define viewer: [user, user:*] but not banned
"""


def test_a_list_with_everybody_names_who_is_left_out():
    engine = engine_of(PUBLIC, "page:1#viewer@user:* page:1#viewer@user:ana page:1#banned@user:eve")
    listing = engine.list_subjects("page:1", "viewer", ["user"])
    assert (listing.names, listing.excluded) == (("user:*", "user:ana"), ("user:eve",))


def test_who_is_named_only_in_what_is_taken_off_what_is_taken_off_is_found():
    engine = engine_of(PUBLIC, "page:1#viewer@user:* page:1#banned@user:* page:1#pardoned@user:bob")
    assert engine.check("user:bob", "viewer", "page:1").decision == Decision.ALLOWED
    assert engine.list_subjects("page:1", "viewer", ["user"]).names == ("user:bob",)
    assert engine.list_objects("user:bob", "viewer", "page").names == ("page:1",)
    assert engine.list_objects("user:ana", "viewer", "page").names == ()


# ----- explanations ---------------------------------------------------------------------------------------------------


def steps(step):
    yield step
    for child in step.children:
        yield from steps(child)


def test_an_allow_is_explained_by_the_relationships_that_lead_to_it():
    rows = rows_of("document:1#parent@folder:1 folder:1#viewer@group:eng#member group:eng#member@user:ana")
    explanation = engine_of(DOCUMENTS, rows).explain("user:ana", "viewer", "document:1")
    assert [step.relationship for step in steps(explanation.tree) if step.relationship] == rows
    assert [step.kind for step in steps(explanation.tree)][-1] != StepKind.CYCLE


def test_a_deny_is_explained_by_what_is_lacking_nearest_first():
    rows = [
        *rows_of("document:1#parent@folder:1 folder:1#viewer@group:eng#member"),
        weekday({"day": 7}),
        Relationship("document:1", "editor", "user:ana", expire_time=NOW - timedelta(days=1)),
    ]
    explanation = engine_of(DOCUMENTS, rows).explain("user:ana", "viewer", "document:1")
    assert explanation.answer.decision == Decision.DENIED
    lacking = [(step.kind, step.node, step.why) for step in explanation.nearest()]
    assert (StepKind.GRANT, "document:1#viewer", Why.CONDITION_FALSE) in lacking
    assert (StepKind.GRANT, "document:1#editor", Why.EXPIRED) in lacking
    assert (StepKind.MISSING_GRANT, "folder:1#viewer", None) in lacking
    assert lacking[-1] == (StepKind.MISSING_GRANT, "group:eng#member", None)


def test_a_deny_by_exclusion_shows_what_took_it_away():
    rows = "document:1#editor@user:ana document:1#banned@group:bad#member group:bad#member@user:ana"
    explanation = engine_of(DOCUMENTS, rows).explain("user:ana", "viewer", "document:1")
    (top,) = explanation.tree.children
    assert (top.kind, top.verdict) == (StepKind.EXCEPT, Decision.DENIED)
    assert [(step.node, step.verdict) for step in top.children] == [("document:1#banned", Decision.ALLOWED)]


def test_an_explanation_of_much_is_cut_and_says_so():
    rows = [Relationship("folder:1", "viewer", f"group:{number}#member") for number in range(100)]
    explanation = engine_of(DOCUMENTS, rows).explain("user:ana", "viewer", "folder:1")
    cut = [step for step in steps(explanation.tree) if step.omitted]
    assert len(cut) == 1
    assert len(cut[0].children) == MAX_CHILDREN
    assert cut[0].omitted == 100 + 1 - MAX_CHILDREN
