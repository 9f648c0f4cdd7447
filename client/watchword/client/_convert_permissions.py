"""Turns protobuf messages of permissions and relationships into models, and the other way round."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from watchword.client import _permission_models as models
from watchword.client._convert import enum_of, object_of, span_of, struct_message, time_if_set, time_message
from watchword.v1 import errors_pb2, relationships_pb2
from watchword.v1 import permissions_pb2 as pb

_Lasting = (
    pb.CheckResponse
    | pb.BatchCheckResult
    | pb.ListObjectsResponse
    | pb.ListSubjectsResponse
)  # fmt: skip

_STEP_KIND: Final = "EXPLANATION_STEP_KIND_"
_REASON: Final = "EXPLANATION_REASON_"


def relationship(message: relationships_pb2.Relationship) -> models.Relationship:
    """A relationship."""
    condition = message.condition
    return models.Relationship(
        message.subject,
        message.relation,
        message.object,
        condition=condition.name if message.HasField("condition") else None,
        context=object_of(condition.context) if condition.HasField("context") else None,
        expire_time=time_if_set(message, "expire_time"),
    )


def relationship_message(relationship: models.Relationship) -> relationships_pb2.Relationship:
    """A relationship to send.

    Raises:
        ValueError: It has a context and no condition.

    """
    message = relationships_pb2.Relationship(
        subject=relationship.subject,
        relation=relationship.relation,
        object=relationship.object,
        expire_time=time_message(relationship.expire_time),
    )
    if relationship.condition is not None:
        message.condition.name = relationship.condition
        if relationship.context is not None:
            message.condition.context.CopyFrom(struct_message(relationship.context))
    elif relationship.context is not None:
        raise ValueError("the context of a relationship belongs to its condition")
    return message


def relationship_key(message: relationships_pb2.RelationshipKey) -> models.RelationshipKey:
    """The name of a relationship."""
    return models.RelationshipKey(message.subject, message.relation, message.object)


def relationship_key_message(
    relationship: models.Relationship | models.RelationshipKey,
) -> relationships_pb2.RelationshipKey:
    """The name of a relationship to send."""
    return relationships_pb2.RelationshipKey(
        subject=relationship.subject, relation=relationship.relation, object=relationship.object
    )


def filter_message(selected: models.RelationshipFilter | None) -> relationships_pb2.RelationshipFilter | None:
    """A filter to send."""
    if selected is None:
        return None
    return relationships_pb2.RelationshipFilter(
        object_type=selected.object_type or "",
        object=selected.object or "",
        relation=selected.relation or "",
        subject=selected.subject or "",
        subject_type=selected.subject_type or "",
    )


def precondition_message(precondition: models.Precondition) -> relationships_pb2.Precondition:
    """A precondition to send."""
    kinds = relationships_pb2.PreconditionKind
    return relationships_pb2.Precondition(
        kind=kinds.PRECONDITION_KIND_MUST_EXIST if precondition.must_exist else kinds.PRECONDITION_KIND_MUST_NOT_EXIST,
        filter=filter_message(precondition.filter),
    )


def relationship_messages(relationships: Iterable[models.Relationship]) -> list[relationships_pb2.Relationship]:
    """Relationships to send."""
    return [relationship_message(relationship) for relationship in relationships]


def consistency_message(consistency: models.Consistency | None) -> pb.Consistency | None:
    """A requirement to send."""
    if consistency is None:
        return None
    if consistency.revision is not None:
        return pb.Consistency(at_least=consistency.revision)
    return pb.Consistency(full=True) if consistency.is_full else pb.Consistency(minimize_latency=True)


def context_message(context: Mapping[str, Any] | None) -> Struct | None:
    """The context of a question to send."""
    return None if context is None else struct_message(context)


def check_item_message(item: models.CheckItem) -> pb.BatchCheckItem:
    """A question to send."""
    return pb.BatchCheckItem(
        subject=item.subject,
        relation=item.relation,
        object=item.object,
        context=context_message(item.context),
        contextual_relationships=relationship_messages(item.contextual_relationships),
    )


def check_answer(message: pb.CheckResponse) -> models.CheckAnswer:
    """The answer to a check."""
    return models.CheckAnswer(
        decision=_decision(message.decision),
        missing_context=tuple(message.missing_context),
        horizon=message.horizon or None,
        nodes=tuple(message.nodes),
        remaining_lifetime=_remaining_lifetime(message),
    )


def batch_answer(message: pb.BatchCheckResponse) -> list[models.CheckAnswer | models.CheckError]:
    """The answers to many checks."""
    return [_batch_result(result, message.horizon) for result in message.results]


def _batch_result(message: pb.BatchCheckResult, horizon: str) -> models.CheckAnswer | models.CheckError:
    if message.HasField("error"):
        values = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number
        number = message.error.reason
        return models.CheckError(
            reason=values[number].name.removeprefix("ERROR_REASON_") if number in values else "UNSPECIFIED",
            message=message.error.message,
        )
    return models.CheckAnswer(
        decision=_decision(message.decision),
        missing_context=tuple(message.missing_context),
        horizon=(horizon or None) if message.cacheable else None,
        nodes=tuple(message.nodes),
        remaining_lifetime=_remaining_lifetime(message),
    )


def objects_page(message: pb.ListObjectsResponse) -> models.ObjectsPage:
    """A page of objects."""
    return models.ObjectsPage(
        objects=tuple(message.objects),
        conditional=_conditional(message.conditional),
        next_page_token=message.next_page_token or None,
        complete=message.complete,
        horizon=message.horizon or None,
        nodes=tuple(message.nodes),
        remaining_lifetime=_remaining_lifetime(message),
    )


def subjects_page(message: pb.ListSubjectsResponse) -> models.SubjectsPage:
    """A page of subjects."""
    return models.SubjectsPage(
        subjects=tuple(message.subjects),
        conditional=_conditional(message.conditional),
        excluded=tuple(message.excluded),
        next_page_token=message.next_page_token or None,
        complete=message.complete,
        horizon=message.horizon or None,
        nodes=tuple(message.nodes),
        remaining_lifetime=_remaining_lifetime(message),
    )


def explanation(message: pb.ExplainResponse) -> models.Explanation:
    """An explanation, its tree rebuilt from the list in which each step stands before those below it."""
    steps: dict[int, models.ExplanationStep] = {}
    # From the end, so that the steps below a step are there when it is made: they wait on top of the pile.
    pile: list[tuple[int, models.ExplanationStep]] = []
    for index in reversed(range(len(message.steps))):
        told = message.steps[index]
        children: list[models.ExplanationStep] = []
        while pile and pile[-1][0] > told.depth:
            children.append(pile.pop()[1])
        steps[index] = _step(told, tuple(children))
        pile.append((told.depth, steps[index]))
    return models.Explanation(
        decision=_decision(message.decision),
        missing_context=tuple(message.missing_context),
        tree=steps.get(0) or _step(pb.ExplanationStep(decision=message.decision), ()),
        nearest=tuple(steps[index] for index in message.nearest if index in steps),
    )


def _step(message: pb.ExplanationStep, children: tuple[models.ExplanationStep, ...]) -> models.ExplanationStep:
    kinds = pb.ExplanationStepKind.DESCRIPTOR.values_by_number
    reasons = pb.ExplanationReason.DESCRIPTOR.values_by_number
    kind = kinds[message.kind if message.kind in kinds else 0].name
    reason = reasons[message.reason if message.reason in reasons else 0].name if message.reason else None
    return models.ExplanationStep(
        kind=_hyphenated(kind, _STEP_KIND),
        verdict=_decision(message.decision),
        node=message.node,
        relationship=relationship(message.relationship) if message.HasField("relationship") else None,
        why=reason and _hyphenated(reason, _REASON),
        missing=tuple(message.missing_context),
        children=children,
        omitted=message.omitted_count,
    )


def permission_model(message: pb.Model) -> models.PermissionModel:
    """A permission model."""
    return models.PermissionModel(
        model_id=message.model_id or None,
        dsl=message.dsl or None,
        openfga_json=message.openfga_json or None,
        create_time=time_if_set(message, "create_time"),
    )


def written_model(message: pb.WriteModelResponse) -> models.WrittenModel:
    """What became of a model."""
    return models.WrittenModel(
        model=permission_model(message.model),
        warnings=tuple(
            models.ModelProblem(
                kind=problem.kind,
                message=problem.message,
                line=problem.line or None,
                column=problem.column or None,
            )
            for problem in message.warnings
        ),
        orphan_count=message.orphan_count,
        orphan_examples=tuple(map(relationship_key, message.orphan_examples)),
        revision=message.revision or None,
    )


def _hyphenated(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", "-")


def _decision(number: int) -> models.Decision:
    return enum_of(models.Decision, pb.Decision.DESCRIPTOR, number)


def _conditional(names: Iterable[pb.ConditionalName]) -> tuple[models.ConditionalName, ...]:
    return tuple(models.ConditionalName(name=each.name, missing_context=tuple(each.missing_context)) for each in names)


def _remaining_lifetime(message: _Lasting) -> timedelta | None:
    return span_of(message.remaining_lifetime) if message.HasField("remaining_lifetime") else None
