# Made by client/make_sync.py from client/watchword/client/_async/permissions.py: do not edit.
"""Questions about permissions."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from watchword.client import _convert_permissions as _convert
from watchword.client._permission_models import (
    CheckAnswer,
    CheckError,
    CheckItem,
    Consistency,
    Explanation,
    ObjectsPage,
    Relationship,
    SubjectsPage,
)
from watchword.client._sync.pages import walk
from watchword.client._sync.permission_models import PermissionModels
from watchword.client.models import Page
from watchword.v1 import permissions_pb2 as pb


class Permissions(PermissionModels):
    """May they? What is common to all methods is described at `Client`.

    ```python
    if client.permissions.check(principal.subject, "can_edit", "document:42"):
        ...
    ```

    Every question may raise `InvalidArgumentError` if the permission model lacks one of the names,
    `ConditionFailedError` if a condition cannot be evaluated, `ResolutionLimitError` if the answer lies beyond a limit
    and `RevisionUnknownError` if the consistency's revision is of another history.
    """

    def check(
        self,
        subject: str,
        relation: str,
        object: str,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
        consistency: Consistency | None = None,
    ) -> CheckAnswer:
        """Tell whether a subject has a relation to an object. The answer is true in an `if` only if it is allowed.

        Args:
            subject: Who: "user:ana", a set "group:eng#member" or everybody "user:*".
            relation: The relation, such as "can_edit".
            object: To what: "document:42".
            context: Values for the parameters of conditions; a JSON object.
            contextual_relationships: Relationships that count for this question only; at most 100.
            consistency: How fresh the answer must be. Default: `Consistency.minimize_latency()`.

        """
        request = pb.CheckRequest(
            subject=subject,
            relation=relation,
            object=object,
            context=_convert.context_message(context),
            contextual_relationships=_convert.relationship_messages(contextual_relationships),
            consistency=_convert.consistency_message(consistency),
        )
        response = self._connection.call(request, pb.CheckResponse)
        return _convert.check_answer(response)

    def batch_check(
        self, items: Iterable[CheckItem], *, consistency: Consistency | None = None
    ) -> list[CheckAnswer | CheckError]:
        """Answer 1 to 1,000 questions on one snapshot, in their order.

        A question that has no answer gets its error, which is false in an `if`, and the others their answers.

        Args:
            items: The questions.
            consistency: How fresh the answers must be. Default: `Consistency.minimize_latency()`.

        """
        request = pb.BatchCheckRequest(
            items=map(_convert.check_item_message, items), consistency=_convert.consistency_message(consistency)
        )
        response = self._connection.call(request, pb.BatchCheckResponse)
        return _convert.batch_answer(response)

    def list_objects(
        self,
        subject: str,
        relation: str,
        object_type: str,
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
        consistency: Consistency | None = None,
        page_size: int = 0,
    ) -> Iterator[str]:
        """Walk through the objects for which a check says allowed, page after page, all on one snapshot.

        Those for which it says conditional are left out. Arguments as in `list_objects_page`.
        """
        contextual_relationships = tuple(contextual_relationships)

        def names(page_token: str | None) -> Page[str]:
            page = self.list_objects_page(
                subject,
                relation,
                object_type,
                context=context,
                contextual_relationships=contextual_relationships,
                consistency=consistency,
                page_size=page_size,
                page_token=page_token,
            )
            return Page(items=page.objects, next_page_token=page.next_page_token)

        return walk(names)

    def list_objects_page(
        self,
        subject: str,
        relation: str,
        object_type: str,
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
        consistency: Consistency | None = None,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> ObjectsPage:
        """Get one page of the objects of a type to which a subject has a relation.

        Args:
            subject: Who, as in `check`.
            relation: The relation.
            object_type: The type of the objects, such as "document".
            context: Values for the parameters of conditions.
            contextual_relationships: Relationships that count for this question only.
            consistency: How fresh the first page must be, which fixes the snapshot.
            page_size: The most names to get, 1 to 10,000. Default: 1,000.
            page_token: `next_page_token` of the page before, good for 10 minutes; all else but `page_size` must be
                as it was.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing, or is too old.

        """
        request = pb.ListObjectsRequest(
            subject=subject,
            relation=relation,
            object_type=object_type,
            context=_convert.context_message(context),
            contextual_relationships=_convert.relationship_messages(contextual_relationships),
            consistency=_convert.consistency_message(consistency),
            page_size=page_size,
            page_token=page_token or "",
        )
        response = self._connection.call(request, pb.ListObjectsResponse)
        return _convert.objects_page(response)

    def list_subjects(
        self,
        object: str,  # noqa: A002 - the name in the contract
        relation: str,
        subject_filters: Iterable[str],
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
        consistency: Consistency | None = None,
        page_size: int = 0,
    ) -> Iterator[str]:
        """Walk through the subjects for which a check says allowed, page after page, all on one snapshot.

        Those for which it says conditional are left out. If "user:*" is among them, `list_subjects_page` tells who is
        excluded from it. Arguments as in `list_subjects_page`.
        """
        contextual_relationships = tuple(contextual_relationships)
        subject_filters = tuple(subject_filters)

        def names(page_token: str | None) -> Page[str]:
            page = self.list_subjects_page(
                object,
                relation,
                subject_filters,
                context=context,
                contextual_relationships=contextual_relationships,
                consistency=consistency,
                page_size=page_size,
                page_token=page_token,
            )
            return Page(items=page.subjects, next_page_token=page.next_page_token)

        return walk(names)

    def list_subjects_page(
        self,
        object: str,  # noqa: A002 - the name in the contract
        relation: str,
        subject_filters: Iterable[str],
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
        consistency: Consistency | None = None,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> SubjectsPage:
        """Get one page of the subjects that have a relation to an object.

        Args:
            object: To what: "document:42".
            relation: The relation.
            subject_filters: Which kinds of subjects: types such as "user", or sets such as "group#member"; at least
                one.
            context: Values for the parameters of conditions.
            contextual_relationships: Relationships that count for this question only.
            consistency: How fresh the first page must be, which fixes the snapshot.
            page_size: The most names to get, 1 to 10,000. Default: 1,000.
            page_token: `next_page_token` of the page before, good for 10 minutes; all else but `page_size` must be
                as it was.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing, or is too old.

        """
        request = pb.ListSubjectsRequest(
            object=object,
            relation=relation,
            subject_filters=subject_filters,
            context=_convert.context_message(context),
            contextual_relationships=_convert.relationship_messages(contextual_relationships),
            consistency=_convert.consistency_message(consistency),
            page_size=page_size,
            page_token=page_token or "",
        )
        response = self._connection.call(request, pb.ListSubjectsResponse)
        return _convert.subjects_page(response)

    def explain(
        self,
        subject: str,
        relation: str,
        object: str,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
    ) -> Explanation:
        """Answer as `check` does, on a fresh snapshot, and say why. Arguments as in `check`."""
        request = pb.ExplainRequest(
            subject=subject,
            relation=relation,
            object=object,
            context=_convert.context_message(context),
            contextual_relationships=_convert.relationship_messages(contextual_relationships),
        )
        response = self._connection.call(request, pb.ExplainResponse)
        return _convert.explanation(response)
