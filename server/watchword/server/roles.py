"""Roles in organizations and groups: what the model in force makes of them, and who may give and take them.

A role is a relation of the type `organization` or `group`, and who has it is a relationship like any other. What an
application's model makes of these types is its own affair; nothing here knows of more than the names below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from watchword.server.asked import Consistency, Question
from watchword.server.call import Call
from watchword.server.changes import changed, record_deleted
from watchword.server.errors import (
    AccessDenied,
    Conflict,
    DomainError,
    InvalidField,
    LastOwner,
    ModelLacksRelation,
)
from watchword.server.identifiers import group_object, organization_object, user_object
from watchword.server.kept_answers import Answered
from watchword.server.permissions.answers import Decision
from watchword.server.permissions.names import InvalidName, is_relation_name, parse_subject
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.standing import Standing
from watchword.server.plans import Plans, PreparedModel
from watchword.server.questions import Questions
from watchword.server.storage.models import STARTER
from watchword.server.storage.relationships import Filter, Key
from watchword.server.storage.transaction import Tx

OWNER: Final = "owner"
MEMBER: Final = "member"
ORGANIZATION: Final = "organization"
"""The relation of a group to the organization that it belongs to."""
_SUBJECT_RULE: Final = 'must be "user:<user_id>", "service:<service_account_id>" or "group:<group_id>#member"'


@dataclass(frozen=True, slots=True)
class Subject:
    """Who can have a role: an account, or the members of a group."""

    type: str
    id: str


def read_subject(given: str) -> Subject:
    """Read who is to have a role, or to lose it.

    Raises:
        InvalidField: it is neither an account nor the members of a group.

    """
    try:
        name = parse_subject(given)
    except InvalidName:
        raise InvalidField([("subject", _SUBJECT_RULE)]) from None
    wanted = MEMBER if name.type == "group" else None
    if name.type not in {"user", "service", "group"} or name.relation != wanted or name.is_wildcard:
        raise InvalidField([("subject", _SUBJECT_RULE)])
    if name.type == "user" and not _is_uuid(name.id):
        raise InvalidField([("subject", _SUBJECT_RULE)])
    return Subject(name.type, name.id)


def _is_uuid(given: str) -> bool:
    try:
        return str(UUID(given)) == given
    except ValueError:
        return False


def read_role(given: str, *, default: str | None = MEMBER) -> str | None:
    """Read a role; the default if none is given.

    Raises:
        InvalidField: no relation can have this name.

    """
    if given and not is_relation_name(given):
        raise InvalidField([("role", "must be the name of a relation: letters, digits, _ and -, such as member")])
    return given or default


async def require_subject(tx: Tx, subject: Subject, organization_id: str) -> None:
    """Make sure that there is such an account, or such a group in the organization, until the transaction ends.

    The transaction has locked the organization's row, and so holds its groups.

    Raises:
        NotFound: there is none.
        WrongStatus: it is deleted.

    """
    match subject.type:
        case "user":
            (await tx.users.lock_shared(UUID(subject.id))).require_not_deleted()
        case "service":
            (await tx.service_accounts.lock(subject.id)).require_not_deleted()
        case _:
            # Threat: a group of another organization, whose members were then let in by people who do not know them.
            (await tx.groups.get(organization_id, subject.id)).require_not_deleted()


class Roles:
    """Gives and takes roles."""

    def __init__(self, plans: Plans, questions: Questions, standing: Standing) -> None:
        self._plans = plans
        self._questions = questions
        self._standing = standing

    # ----- before the transaction -------------------------------------------------------------------------------------

    async def model(self) -> PreparedModel:
        """Get the permission model in force. `give` makes sure that it still is."""
        return await self._plans.in_force()

    @staticmethod
    def require_fit(model: PreparedModel, row: Relationship, *, field: str) -> None:
        """Let a role be given only if the model allows it.

        Raises:
            ModelLacksRelation: it does not have the role at all.
            InvalidField: it has, but not for this kind of subject.

        """
        if not model.plan.has(row.object, row.relation):
            raise ModelLacksRelation(row.object.partition(":")[0], row.relation)
        misfit = model.plan.misfit(row)
        if misfit is not None:
            raise InvalidField([(field, misfit)])

    async def require_own(self, call: Call, rows: Sequence[Relationship], organization_id: str) -> None:
        """Let a user give and take only roles that they have themselves; an owner of the organization every one.

        Threat: who may manage an organization makes themselves its owner, or joins a group that may do more than they.

        Raises:
            AccessDenied: the user lacks one of them.

        """
        if call.user_id is None or not rows:
            return
        user = user_object(call.user_id)
        roles = list(dict.fromkeys((row.relation, row.object) for row in rows))
        asked = [(OWNER, organization_object(organization_id)), *roles]
        found, _ = await self._questions.batch([Question(user, *item) for item in asked], Consistency())
        if _is_allowed(found[0]):
            return
        for item, answer in zip(roles, found[1:], strict=True):
            if not _is_allowed(answer):
                raise AccessDenied(*item)

    # ----- in the transaction, which has locked the organization's row ------------------------------------------------

    async def give(self, tx: Tx, model: PreparedModel, rows: Sequence[Relationship], organization_id: str) -> None:
        """Write relationships that fit the model, and record it; what is there already is left alone.

        Raises:
            Conflict: another model came into force meanwhile.

        """
        missing = [row for row in rows if not await self._is_there(tx, row)]
        if missing:
            await tx.relationships.write(missing)
            tx.record(changed(self._standing, missing, (), organization=organization_object(organization_id)))
        # After the write and not before: it holds off whoever puts a model into force, until the transaction ends.
        newest = await tx.models.newest()
        if (newest.model_id if newest else STARTER) != model.model_id:
            raise Conflict

    @staticmethod
    async def _is_there(tx: Tx, row: Relationship) -> bool:
        asked = Filter(object=row.object, relation=row.relation, subject=row.subject)
        return await tx.relationships.page(asked, after=None, size=1) == [row]

    async def take(self, tx: Tx, rows: Sequence[Relationship], organization_id: str) -> int:
        """Delete relationships and record it; return how many there were.

        Raises:
            LastOwner: the organization would have no owner any more.

        """
        if not rows:
            return 0
        organization = organization_object(organization_id)
        deleted = await tx.relationships.write((), [Key(row.object, row.relation, row.subject) for row in rows])
        record_deleted(tx, self._standing, deleted, organization=organization)
        await self.require_owner(tx, rows, organization)
        return len(deleted)

    @staticmethod
    async def require_owner(tx: Tx, taken: Sequence[Relationship], organization: str) -> None:
        """Make sure that an organization that had an owner still has one.

        Raises:
            LastOwner: those whose role was taken away were the last.

        """
        is_lost = any(
            (row.object, row.relation) == (organization, OWNER)
            and (row.expire_time is None or row.expire_time > tx.now)
            for row in taken
        )
        if is_lost and not await tx.relationships.exists(Filter(object=organization, relation=OWNER)):
            raise LastOwner


def _is_allowed(found: Answered | DomainError) -> bool:
    """Read an answer. A role that the model does not have is nobody's."""
    if isinstance(found, InvalidField):
        return False
    if isinstance(found, DomainError):
        raise found
    return found.answer.decision == Decision.ALLOWED


def of_group(group_id: str, organization_id: str) -> Relationship:
    """The relationship by which a group belongs to its organization."""
    return Relationship(group_object(group_id), ORGANIZATION, organization_object(organization_id))


def of_subject(subject: str, role: str, organization_id: str, group_id: str = "") -> Relationship:
    """The relationship by which a subject has a role in an organization, or in a group of it."""
    object_ = group_object(group_id) if group_id else organization_object(organization_id)
    return Relationship(object_, role, subject)
