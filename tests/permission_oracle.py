"""What is allowed, worked out the slow and obvious way, and random worlds to work it out in.

The oracle starts from "not known" for every set of every object and computes all of them anew from each other, by the
words of the language and three-valued logic, until nothing changes.
"""

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from watchword.server.permissions.checks import check_model
from watchword.server.permissions.model import (
    ComputedUserset,
    Condition,
    Difference,
    Intersection,
    Model,
    Parameter,
    ParameterType,
    Relation,
    This,
    TupleToUserset,
    TypeDefinition,
    TypeRestriction,
    Union,
    leaves,
)
from watchword.server.permissions.relationships import Relationship

NOW = datetime(2030, 1, 1, tzinfo=UTC)
YES, NO, OPEN = True, False, None


# ----- the oracle -----------------------------------------------------------------------------------------------------


def any_of(values):
    values = list(values)
    return YES if YES in values else OPEN if OPEN in values else NO


def all_of(values):
    return opposite(any_of(opposite(value) for value in values))


def opposite(value):
    return OPEN if value is OPEN else not value


@dataclass
class Oracle:
    model: Model
    rows: list[Relationship]
    context: dict
    now: datetime = NOW
    guesses: dict | None = None
    """What to take conditions for that are open: by row."""

    def allowed_by_model(self, row):
        definition = self.model.types.get(row.object.split(":")[0])
        relation = definition and definition.relations.get(row.relation)
        restrictions = [(str(replace(item, condition=None)), item.condition) for item in relation.restrictions]
        name, hash_, set_ = row.subject.partition("#")
        kind = name if name.endswith(":*") else name.split(":")[0] + hash_ + set_
        return (kind, row.condition) in restrictions

    def condition(self, row):
        """Whether a row's condition holds; OPEN if it wants for something, or cannot be computed."""
        if row.condition is None:
            return YES
        values = {**self.context, **(row.context or {})}
        wanted = self.model.conditions[row.condition].parameters
        if not all(isinstance(values.get(name), int) for name in wanted):
            return self.guesses[row.node, row.subject] if self.guesses is not None else OPEN
        return {
            "low": lambda x: x < 10,
            "either": lambda x, y: x < 10 or y > 10,
        }[row.condition](*(values[name] for name in wanted))

    def at(self, node):
        """Rows at a node that count, or may."""
        return [
            row
            for row in self.rows
            if row.node == node and self.allowed_by_model(row) and not (row.expire_time and row.expire_time <= self.now)
        ]

    def solve(self, subject):
        """Whether a subject is in each set there is."""
        sets = {}
        for object_ in OBJECTS:
            for relation in self.model.types[object_.split(":")[0]].relations.values():
                sets[f"{object_}#{relation.name}"] = (object_, relation.rewrite)
        self.value = dict.fromkeys(sets, OPEN)
        while True:
            new = {node: node == subject or self.decide(rewrite, node, subject) for node, (_, rewrite) in sets.items()}
            if new == self.value:
                return new
            self.value = new

    def decide(self, rewrite, node, subject):
        object_ = node.partition("#")[0]
        match rewrite:
            case This():
                everybody = None if "#" in subject else subject.split(":")[0] + ":*"
                return any_of(
                    all_of([self.condition(row), row.subject in {subject, everybody} or self.value[row.subject]])
                    for row in self.at(node)
                    if row.subject in {subject, everybody} or "#" in row.subject
                )
            case ComputedUserset(name):
                return self.value[f"{object_}#{name}"]
            case TupleToUserset(name, tupleset):
                return any_of(
                    all_of([self.condition(row), self.value[f"{row.subject}#{name}"]])
                    for row in self.at(f"{object_}#{tupleset}")
                    if f"{row.subject}#{name}" in self.value
                )
            case Union(children):
                return any_of(self.decide(child, node, subject) for child in children)
            case Intersection(children):
                return all_of(self.decide(child, node, subject) for child in children)
            case Difference(base, subtract):
                decided = self.decide(base, node, subject), self.decide(subtract, node, subject)
                return all_of([decided[0], opposite(decided[1])])

    def open_rows(self):
        return [
            row
            for row in self.rows
            if self.allowed_by_model(row)
            and self.condition(row) is OPEN
            and not (row.expire_time and row.expire_time <= self.now)
        ]

    def possible(self, subject):
        """The sets that the subject would be in if open conditions came out in some way; tries all ways."""
        rows = self.open_rows()
        found = set()
        for guess in itertools.product((YES, NO), repeat=len(rows)):
            guesses = {(row.node, row.subject): value for row, value in zip(rows, guess, strict=True)}
            solved = replace(self, guesses=guesses).solve(subject)
            found |= {node for node, value in solved.items() if value}
        return found


# ----- random worlds --------------------------------------------------------------------------------------------------

OBJECTS = [f"{type_}:{number}" for type_ in ("group", "doc") for number in (1, 2)]
USERS = ["user:1", "user:2"]
RELATIONS = {"group": ["member", "owner", "parent"], "doc": ["reader", "writer", "banned", "open", "parent"]}
PARENTS = {"group": ["group"], "doc": ["group", "doc"]}
CONDITIONS = {
    "low": Condition("low", {"x": Parameter("x", ParameterType.INT)}, "x < 10"),
    "either": Condition(
        "either",
        {"x": Parameter("x", ParameterType.INT), "y": Parameter("y", ParameterType.INT)},
        "x < 10 || y > 10",
    ),
}
SETS = [f"{object_}#{name}" for object_ in OBJECTS for name in RELATIONS[object_.split(":")[0]] if name != "parent"]
SUBJECTS = [*USERS, "user:nobody", "user:*", "group:1", "group:*", *SETS[::2]]
FILTERS = ["user", "group", "group#member", "group#owner", "doc#reader", "doc#open"]


@dataclass
class World:
    model: Model
    rows: list[Relationship]
    contextual: list[Relationship]
    context: dict

    @property
    def all_rows(self):
        return [*self.rows, *self.contextual]

    @property
    def oracle(self):
        return Oracle(self.model, self.all_rows, self.context)

    def has(self, *kinds):
        """Whether the model has any of these operators."""
        return any(kind.__name__ in str(relation.rewrite) for _, relation in self.model.relations() for kind in kinds)


def random_world(random: Random) -> World:
    model = random_model(random)
    rows = {(row.node, row.subject): row for row in (random_row(random, model) for _ in range(random.randint(0, 40)))}
    world = World(model, list(rows.values()), [], {})
    for name in "xy":
        if random.random() < 0.5:
            world.context[name] = random.choice([5, 5, 50, "no number"])
    while len(world.oracle.open_rows()) > 4:
        # Few, because the oracle tries all combinations of what may come of them.
        world.rows.remove(random.choice(world.oracle.open_rows()))
    return world


def random_row(random: Random, model: Model) -> Relationship:
    object_ = random.choice(OBJECTS)
    relations = list(model.types[object_.split(":")[0]].relations.values())
    relation = random.choice([item for item in relations if item.restrictions or random.random() < 0.05] or relations)
    subject = random.choice([*USERS, "user:*", "group:*", *OBJECTS, *SETS])
    condition = random.choice([None, None, "low"])
    if relation.restrictions and random.random() < 0.9:
        restriction = random.choice(relation.restrictions)
        condition = restriction.condition
        ids = [name for name in [*USERS, *OBJECTS] if name.split(":")[0] == restriction.type]
        subject = f"{restriction.type}:*" if restriction.wildcard else random.choice(ids)
        subject += f"#{restriction.relation}" if restriction.relation else ""
    context = None
    if condition and random.random() < 0.3:
        context = {"x": random.choice([5, 50])}
    expire_time = NOW + timedelta(hours=random.choice([-1, 0, 1, 2])) if random.random() < 0.15 else None
    return Relationship(object_, relation.name, subject, condition, context, expire_time)


def random_model(random: Random) -> Model:
    """Starts from direct grants and makes one relation after another harder, as long as the model stays sound."""
    types = {"user": TypeDefinition("user")}
    for name, relations in RELATIONS.items():
        own = {relation: Relation(relation, This(), (TypeRestriction("user"),)) for relation in relations}
        own["parent"] = Relation("parent", This(), tuple(TypeRestriction(parent) for parent in PARENTS[name]))
        types[name] = TypeDefinition(name, own)
    model = Model(types, CONDITIONS)
    for type_, relations in RELATIONS.items():
        for name in random.sample(relations, len(relations)):
            if name == "parent":
                continue
            rewrite = random_rewrite(random, type_, random.choice([0, 1, 1, 2, 3]))
            restrictions = random_restrictions(random) if This() in leaves(rewrite) else ()
            own = {**model.types[type_].relations, name: Relation(name, rewrite, restrictions)}
            tried = replace(model, types={**model.types, type_: TypeDefinition(type_, own)})
            if all(problem.kind.is_warning for problem in check_model(tried)):
                model = tried
    return model


def random_rewrite(random: Random, type_: str, depth: int):
    if depth == 0 or random.random() < 0.2:
        names = [name for name in RELATIONS[type_] if name != "parent"]
        others = [name for parent in PARENTS[type_] for name in RELATIONS[parent] if name != "parent"]
        return random.choice(
            [This(), This(), ComputedUserset(random.choice(names)), TupleToUserset(random.choice(others), "parent")]
        )
    first, second = random_rewrite(random, type_, depth - 1), random_rewrite(random, type_, depth - 1)
    return random.choice(
        [Union((first, second)), Union((first, second)), Intersection((first, second)), Difference(first, second)]
    )


def random_restrictions(random: Random):
    kinds = [
        TypeRestriction("user"),
        TypeRestriction("user"),
        TypeRestriction("user", wildcard=True),
        TypeRestriction("group"),
        TypeRestriction("group", wildcard=True),
        *(TypeRestriction("group", relation) for relation in ("member", "owner")),
        *(TypeRestriction("doc", relation) for relation in ("reader", "open")),
    ]
    return tuple(
        dict.fromkeys(
            replace(random.choice(kinds), condition=random.choice([None, None, None, "low", "low", "either"]))
            for _ in range(random.randint(1, 5))
        )
    )
