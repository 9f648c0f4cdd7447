"""Relationships: everything that permissions are computed from."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchword.cli.command import LIMIT, YES, Call, confirm, group, remote
from watchword.cli.failures import Code, Failure
from watchword.cli.permissions import EXAMPLE, OBJECT, RELATION, SUBJECT
from watchword.cli.progress import progress
from watchword.cli.values import expire_time, json_object

if TYPE_CHECKING:
    from watchword.client import RelationshipFilter

app = group("relationships", "Relationships: who has which relation to what.")

OF_OBJECT = Annotated[str | None, typer.Option("--object", metavar="OBJECT", help="Only of this object: document:42.")]
OF_OBJECT_TYPE = Annotated[
    str | None, typer.Option("--object-type", metavar="TYPE", help="Only of objects of this type: document.")
]
OF_RELATION = Annotated[str | None, typer.Option("--relation", metavar="RELATION", help="Only this relation: viewer.")]
OF_SUBJECT = Annotated[
    str | None, typer.Option("--subject", metavar="SUBJECT", help="Only of exactly this subject: user:ana.")
]
OF_SUBJECT_TYPE = Annotated[
    str | None, typer.Option("--subject-type", metavar="TYPE", help="Only of subjects of this type: user.")
]


@remote(app)
def write(
    call: Call,
    *,
    subject: SUBJECT,
    relation: RELATION,
    object_: OBJECT,
    condition: Annotated[
        str | None, typer.Option(metavar="NAME", help="The condition of the model under which it counts.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(metavar="JSON", help="Values for the condition's parameters: a JSON object.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="SPAN", help="When it ends, such as 90d, 12h, 30m or 60s. Default: never.")
    ] = None,
) -> None:
    """Write a relationship. One that exists gets the new condition and expiry."""
    from watchword.client import Relationship  # noqa: PLC0415

    if context is not None and condition is None:
        raise Failure("--context has values for a condition: name that with --condition.", code=Code.USAGE)
    relationship = Relationship(
        subject,
        relation,
        object_,
        condition=condition,
        context=json_object(context, "--context", example=EXAMPLE),
        expire_time=expire_time(expires_in),
    )
    call.output.one({"revision": call.client.relationships.write([relationship])})


@remote(app)
def delete(call: Call, *, subject: SUBJECT, relation: RELATION, object_: OBJECT) -> None:
    """Delete a relationship. If there is none, that is no error."""
    from watchword.client import RelationshipKey  # noqa: PLC0415

    key = RelationshipKey(subject, relation, object_)
    call.output.one({"revision": call.client.relationships.write(deletes=[key])})


@remote(app, "list")
def list_relationships(
    call: Call,
    *,
    object_: OF_OBJECT = None,
    object_type: OF_OBJECT_TYPE = None,
    relation: OF_RELATION = None,
    subject: OF_SUBJECT = None,
    subject_type: OF_SUBJECT_TYPE = None,
    limit: LIMIT = 100,
) -> None:
    """List stored relationships, expired ones too. Without an option, all; `export` is quicker for many."""
    asked = filter_of(
        object=object_, object_type=object_type, relation=relation, subject=subject, subject_type=subject_type
    )
    found = call.client.relationships.list(asked, page_size=min(limit + 1, 500))
    call.output.many(
        found, columns=("subject", "relation", "object", "condition", "context", "expire_time"), limit=limit
    )


@remote(app)
def delete_matching(
    call: Call,
    *,
    object_: OF_OBJECT = None,
    object_type: OF_OBJECT_TYPE = None,
    relation: OF_RELATION = None,
    subject: OF_SUBJECT = None,
    subject_type: OF_SUBJECT_TYPE = None,
    yes: YES = False,
) -> None:
    """Delete all relationships that fit every option given, however many there are."""
    from watchword.client import WatchwordError  # noqa: PLC0415

    asked = filter_of(
        object=object_, object_type=object_type, relation=relation, subject=subject, subject_type=subject_type
    )
    if asked is None:
        raise Failure("Say which ones, such as with --object or --subject.", code=Code.USAGE)
    confirm("Delete all relationships that fit, for good?", yes=yes)
    count, revision, complete = 0, None, False
    with progress("Deleting") as show:
        try:
            while not complete:
                deleted = call.client.relationships.delete(asked)
                count, revision, complete = count + deleted.deleted_count, deleted.revision, deleted.complete
                show(count, count)
        except (WatchwordError, KeyboardInterrupt):
            call.output.note(f"At least {count:,} relationships are deleted. The same command deletes the rest.")
            raise
    call.output.one({"deleted_count": count, "revision": revision})


def filter_of(**fields: Any) -> "RelationshipFilter | None":
    """Which relationships; None if nothing was said."""
    from watchword.client import RelationshipFilter  # noqa: PLC0415

    for name, value in fields.items():
        # Threat: an empty shell variable after an option would select everything.
        if value == "":
            raise Failure(
                f"--{name.replace('_', '-')} has no value: leave the option out to select all.", code=Code.USAGE
            )
    if all(value is None for value in fields.values()):
        return None
    return RelationshipFilter(**fields)
