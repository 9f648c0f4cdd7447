"""The steps of a question: all that it may have to read is on the way, and nothing is gone to twice."""

import pytest

from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.reach import Forward

MODEL = """model
  schema 1.1
type user
type folder
  relations
    define parent: [folder]
    define editor: [user] or editor from parent
    define viewer: [user] {folder}
type drawer
  relations
    define editor: [user]
    define viewer: [user]
type document
  relations
    define parent: [{parents}]
    define editor: [user] or editor from parent
    define viewer: [user] or editor or viewer from parent
"""


def followed(folder: str, parents: str = "folder") -> set[str]:
    """How the subjects of a document's parents are entered by a question about its viewers."""
    plan = Plan(parse_dsl(MODEL.format(folder=folder, parents=parents)))
    steps = Forward.of(plan, [("document", "viewer")])
    return {next_ for type_, _, _, next_ in steps.followed if type_ == "document"}


@pytest.mark.parametrize("folder", ["or editor", "but not editor", "or (editor and viewer from parent)"])
def test_who_is_found_on_the_way_to_others_is_not_looked_for_again(folder):
    assert followed(folder) == {"viewer"}


@pytest.mark.parametrize("folder", ["", "or editor from parent", "or viewer from parent"])
def test_who_is_not_found_on_the_way_to_others_is_looked_for(folder):
    assert followed(folder) == {"viewer", "editor"}


def test_one_parent_where_they_are_not_found_is_enough():
    assert followed("or editor", parents="folder, drawer") == {"viewer", "editor"}


def test_of_relations_that_include_each_other_one_is_followed():
    plan = Plan(
        parse_dsl("""model
  schema 1.1
type user
type folder
  relations
    define editor: [user] or viewer
    define viewer: [user] or editor
type document
  relations
    define parent: [folder]
    define viewer: editor from parent or viewer from parent
""")
    )
    assert len(Forward.of(plan, [("document", "viewer")]).followed) == 1
