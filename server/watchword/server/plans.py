"""Permission models, prepared: parsed and compiled once for a worker, however many questions are asked of them."""

import asyncio
import json
from typing import Final
from uuid import UUID

from watchword.server.permissions.built_in import starter, with_reserved
from watchword.server.permissions.fga_json import from_json
from watchword.server.permissions.model import Model
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.reach import Backward, Forward
from watchword.server.permissions.routes import TypeRelation
from watchword.server.storage.database import Database
from watchword.server.storage.gathered import Steps
from watchword.server.storage.models import STARTER

_MAX_PLANS: Final = 4
_MAX_STEPS: Final = 2_000


class PreparedModel:
    """A model with its plan, and the steps of the questions asked of it so far."""

    def __init__(self, model_id: UUID, plan: Plan) -> None:
        self.model_id: Final = model_id
        self.plan: Final = plan
        self._forward: dict[frozenset[TypeRelation], Steps] = {}
        self._backward: dict[TypeRelation, Backward] = {}

    def forward(self, targets: frozenset[TypeRelation]) -> Steps:
        """The steps of checks of some relations."""
        steps = self._forward.get(targets)
        if steps is None:
            if len(self._forward) >= _MAX_STEPS:
                self._forward.clear()
            steps = self._forward[targets] = Steps(Forward.of(self.plan, sorted(targets)))
        return steps

    def backward(self, target: TypeRelation) -> Backward:
        """The steps of lists of objects that have a relation."""
        steps = self._backward.get(target)
        if steps is None:
            steps = self._backward[target] = Backward.to(self.plan, target)
        return steps


class Plans:
    """The models that were needed lately. A model never changes, so neither does its plan."""

    def __init__(self, database: Database, permissions: frozenset[str]) -> None:
        self._database = database
        self._permissions = permissions
        self._prepared: dict[UUID, PreparedModel] = {}
        self.latest = STARTER
        """The model that was in force when this worker last learned of one: a guess, to be confirmed."""

    def peek(self, model_id: UUID) -> PreparedModel | None:
        """The model, if it is prepared."""
        return self._prepared.get(model_id)

    async def get(self, model_id: UUID) -> PreparedModel:
        """Prepare a model, unless it is.

        Raises:
            NotFound: there is none with this id.

        """
        prepared = self._prepared.get(model_id)
        if prepared is None:
            if model_id == STARTER:
                prepared = self.prepare(model_id, starter())
            else:
                async with self._database.read() as reader:
                    stored = await reader.models.get(model_id)
                prepared = await asyncio.to_thread(self._prepare_json, model_id, stored.openfga_json)
            while len(self._prepared) >= _MAX_PLANS:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[model_id] = prepared
        return prepared

    async def in_force(self) -> PreparedModel:
        """Ask the database which model is in force, and prepare it."""
        async with self._database.read() as reader:
            newest = await reader.models.newest()
        self.latest = newest.model_id if newest else STARTER
        return await self.get(self.latest)

    def prepare(self, model_id: UUID, model: Model) -> PreparedModel:
        """Prepare a model that is at hand."""
        return PreparedModel(model_id, Plan(with_reserved(model, self._permissions)))

    def _prepare_json(self, model_id: UUID, text: str) -> PreparedModel:
        return self.prepare(model_id, from_json(json.loads(text)))
