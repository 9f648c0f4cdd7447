"""PermissionService."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from watchword.server.api import messages
from watchword.server.api.pages import Page, Pages
from watchword.server.asked import Consistency, Question, parse_revision
from watchword.server.call import Call
from watchword.server.errors import DomainError, InvalidField, InvalidPageToken, ModelInvalid, ModelOrphans
from watchword.server.identifiers import PERMISSION_MODEL
from watchword.server.kept_answers import Answered, Standings
from watchword.server.listings import Asking, Listed, Listings
from watchword.server.permissions.answers import Decision
from watchword.server.permissions.built_in import RESERVED, refuse_reserved, starter
from watchword.server.permissions.checks import require_sound
from watchword.server.permissions.conditions import InvalidCondition
from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.explain import Explanation, Step, StepKind, Why
from watchword.server.permissions.fga_json import from_json, to_json
from watchword.server.permissions.model import Model
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.printer import NotExpressible, to_dsl
from watchword.server.permissions.problems import InvalidModel, Problem
from watchword.server.plans import Plans
from watchword.server.questions import Questions
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.models import STARTER, StoredModel
from watchword.server.storage.relationships import Shape
from watchword.server.storage.transaction import Tx
from watchword.v1 import permissions_pb2 as pb

_MAX_EXAMPLES = 10
_LIST_DEFAULT_SIZE, _LIST_MAX_SIZE = 1_000, 10_000
_DECISION = {
    Decision.ALLOWED: pb.DECISION_ALLOWED,
    Decision.DENIED: pb.DECISION_DENIED,
    Decision.CONDITIONAL: pb.DECISION_CONDITIONAL,
}
_STEP_KIND = {kind: pb.ExplanationStepKind.Value(f"EXPLANATION_STEP_KIND_{kind.name}") for kind in StepKind}
_REASON = {why: pb.ExplanationReason.Value(f"EXPLANATION_REASON_{why.name}") for why in Why}
_ALLOWED, _CONDITIONAL, _EXCLUDED = "allowed", "conditional", "excluded"
_NO_CONTEXT: dict[str, Any] = {}
_MINIMIZE_LATENCY = Consistency()

_Response = TypeVar("_Response", pb.ListObjectsResponse, pb.ListSubjectsResponse)


class PermissionService:
    """Serves permission models, and the questions about permissions."""

    def __init__(
        self, database: Database, plans: Plans, questions: Questions, listings: Listings, pages: Pages
    ) -> None:
        self._database = database
        self._plans = plans
        self._questions = questions
        self._listings = listings
        self._pages = pages

    # ----- models -----------------------------------------------------------------------------------------------------

    async def WriteModel(self, request: pb.WriteModelRequest, call: Call) -> pb.WriteModelResponse:
        # In a thread: a model of 256 KiB takes a fifth of a second.
        model, warnings, plan = await asyncio.to_thread(self._parse, request)
        document = json.dumps(to_json(model), separators=(",", ":"))
        response = pb.WriteModelResponse(warnings=map(_problem, warnings))
        async with self._database.write(call) as tx:
            if not request.validate_only:
                # Writers wait, and then see the new model: none writes by the old one what the new one forbids.
                await tx.relationships.lock_all()
            await self._count_orphans(tx, plan, response)
            if response.orphan_count and not request.allow_orphans:
                examples = [f"{key.object}#{key.relation}@{key.subject}" for key in response.orphan_examples]
                raise ModelOrphans(response.orphan_count, examples)
            if request.validate_only:
                response.model.MergeFrom(_described(model, document))
                return response
            stored = await tx.models.create(document)
            tx.record(
                Event(
                    EventType.PERMISSION_MODEL_WRITTEN,
                    (f"permission_model:{stored.model_id}",),
                    nodes=(PERMISSION_MODEL,),
                    payload={"orphans": response.orphan_count},
                )
            )
            response.model.MergeFrom(_stored(stored, model))
            response.revision = tx.revision
            return tx.answered(response)

    def _parse(self, request: pb.WriteModelRequest) -> tuple[Model, Sequence[Problem], Plan]:
        field = request.WhichOneof("model") or "model"
        try:
            match field:
                case "dsl":
                    model = parse_dsl(request.dsl)
                case "openfga_json":
                    model = from_json(_document(request.openfga_json))
                case _:
                    raise InvalidField([("model", "one of dsl and openfga_json is required")])
            warnings = require_sound(model)
            refuse_reserved(model)
            return model, warnings, self._plans.prepare(STARTER, model).plan
        except InvalidModel as error:
            raise ModelInvalid([(_place(field, problem), problem.message) for problem in error.problems]) from None
        except InvalidCondition as error:
            raise ModelInvalid([(field, str(error))]) from None
        except RecursionError:
            raise ModelInvalid([(field, "is nested too deeply")]) from None

    async def _count_orphans(self, tx: Tx, plan: Plan, response: pb.WriteModelResponse) -> None:
        for shape in await tx.relationships.shapes():
            if shape.object_type == RESERVED or _fits(plan, shape):
                continue
            response.orphan_count += shape.count
            wanted = _MAX_EXAMPLES - len(response.orphan_examples)
            for row in await tx.relationships.examples(shape, limit=wanted) if wanted else ():
                response.orphan_examples.add(subject=row.subject, relation=row.relation, object=row.object)

    async def GetModel(self, request: pb.GetModelRequest, _call: Call) -> pb.GetModelResponse:
        async with self._database.read() as reader:
            if not request.model_id:
                stored = await reader.models.newest()
            elif UUID(request.model_id) == STARTER:
                stored = None
            else:
                stored = await reader.models.get(UUID(request.model_id))
        if stored is None:
            model = starter()
            described = _described(model, json.dumps(to_json(model), separators=(",", ":")))
            described.model_id = str(STARTER)
            return pb.GetModelResponse(model=described)
        model = await asyncio.to_thread(lambda: from_json(json.loads(stored.openfga_json)))
        return pb.GetModelResponse(model=_stored(stored, model))

    async def ListModels(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        page = self._pages.page(request, call)
        async with self._database.read() as reader:
            rows = await reader.models.page(before=int(page.after) if page.after else None, size=page.fetch)
        shown, token = self._pages.cut(page, rows, lambda model: model.sequence)
        return pb.ListModelsResponse(
            models=[
                pb.Model(model_id=str(row.model_id), create_time=messages.timestamp(row.create_time)) for row in shown
            ],
            next_page_token=token,
        )

    # ----- checks -----------------------------------------------------------------------------------------------------

    async def Check(self, request: pb.CheckRequest, _call: Call) -> pb.CheckResponse:
        found = await self._questions.check(_question(request), _consistency(request))
        response = pb.CheckResponse(
            decision=_DECISION[found.answer.decision],
            missing_context=found.answer.missing,
            nodes=found.standings.nodes,
            horizon=found.standings.horizon,
        )
        _set_remaining(response, found.standings)
        return response

    async def BatchCheck(self, request: pb.BatchCheckRequest, _call: Call) -> pb.BatchCheckResponse:
        results, horizon = await self._questions.batch(list(map(_question, request.items)), _consistency(request))
        return pb.BatchCheckResponse(results=map(_result, results), horizon=horizon)

    # ----- lists ------------------------------------------------------------------------------------------------------

    async def ListObjects(self, request: pb.ListObjectsRequest, call: Call) -> pb.ListObjectsResponse:
        page = self._pages.page(request, call, default_size=_LIST_DEFAULT_SIZE, max_size=_LIST_MAX_SIZE)
        response = pb.ListObjectsResponse()
        listed = None
        if not page.after:
            listed = await self._listings.objects(
                request.subject, request.relation, request.object_type, _asking(request), _consistency(request)
            )
        for kind, name, missing in await self._page(page, listed, response):
            if kind == _ALLOWED:
                response.objects.append(name)
            else:
                response.conditional.add(name=name, missing_context=missing)
        return response

    async def ListSubjects(self, request: pb.ListSubjectsRequest, call: Call) -> pb.ListSubjectsResponse:
        page = self._pages.page(request, call, default_size=_LIST_DEFAULT_SIZE, max_size=_LIST_MAX_SIZE)
        response = pb.ListSubjectsResponse()
        listed = None
        if not page.after:
            listed = await self._listings.subjects(
                request.object,
                request.relation,
                list(request.subject_filters),
                _asking(request),
                _consistency(request),
            )
        for kind, name, missing in await self._page(page, listed, response):
            if kind == _ALLOWED:
                response.subjects.append(name)
            elif kind == _CONDITIONAL:
                response.conditional.add(name=name, missing_context=missing)
            else:
                response.excluded.append(name)
        return response

    async def _page(self, page: Page, listed: Listed | None, response: _Response) -> Sequence[Any]:
        """Give a page's entries, and tell the response how it goes on."""
        entries: Sequence[Sequence[Any]]
        after = ""
        if listed is None:
            list_id, _, offset = page.after.partition(".")
            try:
                entries = await self._listings.fetch(UUID(list_id), int(offset), page.size)
            except ValueError:
                raise InvalidPageToken from None
            after = f"{list_id}.{int(offset) + page.size}"
        else:
            response.nodes.extend(listed.standings.nodes)
            response.horizon = listed.standings.horizon
            _set_remaining(response, listed.standings)
            entries = _entries(listed)
        response.complete = len(entries) <= page.size
        if not response.complete:
            if listed is not None:
                after = f"{await self._listings.put_by(entries, page.size)}.0"
            response.next_page_token = self._pages.token(page, after)
        return entries[: page.size]

    async def Explain(self, request: pb.ExplainRequest, _call: Call) -> pb.ExplainResponse:
        explanation, disabled, horizon = await self._listings.explain(_question(request))
        if disabled:
            step = pb.ExplanationStep(
                kind=pb.EXPLANATION_STEP_KIND_ACCOUNT_DISABLED, decision=pb.DECISION_DENIED, node=request.subject
            )
            return pb.ExplainResponse(decision=pb.DECISION_DENIED, steps=[step], nearest=[0], horizon=horizon)
        return _explained(explanation, horizon)


# ----- requests -------------------------------------------------------------------------------------------------------


def _document(text: str) -> Any:
    try:
        document = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(document, ensure_ascii=False).encode()
        return document  # noqa: TRY300  # as above
    except ValueError:  # no JSON, a number of thousands of digits, or half a character, which no answer could quote
        raise ModelInvalid([("openfga_json", "is not JSON")]) from None


def _context(context: Struct) -> dict[str, Any]:
    return MessageToDict(context)


def _question(request: pb.CheckRequest | pb.BatchCheckItem | pb.ExplainRequest) -> Question:
    contextual = request.contextual_relationships
    return Question(
        request.subject,
        request.relation,
        request.object,
        _context(request.context) if request.HasField("context") else _NO_CONTEXT,
        [messages.read_relationship(row) for row in contextual] if contextual else (),
    )


def _asking(request: pb.ListObjectsRequest | pb.ListSubjectsRequest) -> Asking:
    return Asking(
        _context(request.context), [messages.read_relationship(row) for row in request.contextual_relationships]
    )


def _consistency(
    request: pb.CheckRequest | pb.BatchCheckRequest | pb.ListObjectsRequest | pb.ListSubjectsRequest,
) -> Consistency:
    if not request.HasField("consistency"):
        return _MINIMIZE_LATENCY
    match request.consistency.WhichOneof("requirement"):
        case "at_least":
            return parse_revision(request.consistency.at_least)
        case "full":
            return Consistency(full=request.consistency.full)
    return _MINIMIZE_LATENCY


# ----- responses ------------------------------------------------------------------------------------------------------


def _set_remaining(
    response: pb.CheckResponse | pb.BatchCheckResult | pb.ListObjectsResponse | pb.ListSubjectsResponse,
    standings: Standings,
) -> None:
    if standings.remaining is not None:
        response.remaining_lifetime.FromTimedelta(standings.remaining)


def _result(found: Answered | DomainError) -> pb.BatchCheckResult:
    if isinstance(found, DomainError):
        return pb.BatchCheckResult(error=pb.BatchCheckError(reason=found.reason, message=found.message))
    if found.message is not None:
        kept: pb.BatchCheckResult = found.message
        return kept
    result = pb.BatchCheckResult(
        decision=_DECISION[found.answer.decision],
        missing_context=found.answer.missing,
        nodes=found.standings.nodes,
        cacheable=bool(found.standings.horizon),
    )
    _set_remaining(result, found.standings)
    found.message = result
    return result


def _entries(listed: Listed) -> list[tuple[str, str, Sequence[str]]]:
    listing = listed.listing
    return [
        *((_ALLOWED, name, ()) for name in listing.names),
        *((_CONDITIONAL, name, missing) for name, missing in sorted(listing.conditional.items())),
        *((_EXCLUDED, name, ()) for name in listing.excluded),
    ]


def _explained(explanation: Explanation, horizon: str) -> pb.ExplainResponse:
    response = pb.ExplainResponse(
        decision=_DECISION[explanation.answer.decision], missing_context=explanation.answer.missing, horizon=horizon
    )
    places: dict[int, int] = {}
    pending: list[tuple[Step, int]] = [(explanation.tree, 0)]
    while pending:
        step, depth = pending.pop()
        places[id(step)] = len(response.steps)
        message = response.steps.add(
            depth=depth,
            kind=_STEP_KIND[step.kind],
            decision=_DECISION[step.verdict],
            node=step.node,
            missing_context=step.missing,
            omitted_count=step.omitted,
        )
        if step.relationship is not None:
            message.relationship.MergeFrom(messages.relationship(step.relationship))
        if step.why is not None:
            message.reason = _REASON[step.why]
        pending += [(child, depth + 1) for child in reversed(step.children)]
    response.nearest.extend(places[id(step)] for step in explanation.nearest())
    return response


def _problem(problem: Problem) -> pb.ModelProblem:
    message = pb.ModelProblem(kind=problem.kind.value, message=problem.message)
    if problem.position is not None:
        message.line, message.column = problem.position.line + 1, problem.position.column + 1
    return message


def _place(field: str, problem: Problem) -> str:
    if problem.position is None:
        return field
    return f"{field}:{problem.position.line + 1}:{problem.position.column + 1}"


def _described(model: Model, document: str) -> pb.Model:
    try:
        dsl = to_dsl(model)
    except NotExpressible:
        dsl = ""
    return pb.Model(dsl=dsl, openfga_json=document)


def _stored(stored: StoredModel, model: Model) -> pb.Model:
    described = _described(model, stored.openfga_json)
    described.model_id = str(stored.model_id)
    described.create_time.FromDatetime(stored.create_time)
    return described


def _fits(plan: Plan, shape: Shape) -> bool:
    relation = plan.types.get(shape.object_type, {}).get(shape.relation)
    allowed = relation.shapes.get(shape.subject) if relation is not None else None
    return allowed is not None and shape.condition in allowed
