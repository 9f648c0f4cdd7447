"""Permission models: the rules by which questions are answered."""

from collections.abc import AsyncIterator

from watchword.client import _convert_permissions as _convert
from watchword.client._async.connection import AsyncConnection
from watchword.client._async.pages import walk
from watchword.client._permission_models import PermissionModel, WrittenModel
from watchword.client._transport import new_id
from watchword.client.models import Page
from watchword.v1 import permissions_pb2 as pb


class AsyncPermissionModels:
    """Permission models. What is common to all methods is described at `AsyncClient`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def write_model(
        self,
        *,
        dsl: str | None = None,
        openfga_json: str | None = None,
        validate_only: bool = False,
        allow_orphans: bool = False,
        request_id: str | None = None,
    ) -> WrittenModel:
        """Put a permission model into force.

        Args:
            dsl: The model in OpenFGA's DSL, schema 1.1; at most 262,144 bytes. Either this or `openfga_json`.
            openfga_json: The model in OpenFGA's JSON; at most 1,048,576 bytes.
            validate_only: Only tell whether the model could be put into force.
            allow_orphans: Accept that stored relationships do not fit the model.
            request_id: See `AsyncClient`.

        Raises:
            ModelInvalidError: The model cannot be used; `field_violations` says why and where.
            ModelOrphansError: Stored relationships do not fit it.
            ValueError: Not exactly one of `dsl` and `openfga_json` was passed.

        """
        if (dsl is None) == (openfga_json is None):
            raise ValueError("pass either dsl or openfga_json")
        request = pb.WriteModelRequest(
            validate_only=validate_only,
            allow_orphans=allow_orphans,
            request_id=request_id or new_id(),
        )
        if dsl is not None:
            request.dsl = dsl
        if openfga_json is not None:
            request.openfga_json = openfga_json
        response = await self._connection.call(request, pb.WriteModelResponse)
        return _convert.written_model(response)

    async def get_model(self, model_id: str | None = None) -> PermissionModel:
        """Get a permission model, by default the one in force.

        Raises:
            NotFoundError: There is none with this id.

        """
        response = await self._connection.call(pb.GetModelRequest(model_id=model_id or ""), pb.GetModelResponse)
        return _convert.permission_model(response.model)

    def list_models(self, *, page_size: int = 0) -> AsyncIterator[PermissionModel]:
        """Walk through the models that were ever in force, newest first. Arguments as in `list_models_page`."""
        return walk(lambda page_token: self.list_models_page(page_size=page_size, page_token=page_token))

    async def list_models_page(self, *, page_size: int = 0, page_token: str | None = None) -> Page[PermissionModel]:
        """Get one page of the models that were ever in force, newest first, without their texts.

        Args:
            page_size: The most models to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListModelsRequest(page_size=page_size, page_token=page_token or "")
        response = await self._connection.call(request, pb.ListModelsResponse)
        return Page(
            items=tuple(map(_convert.permission_model, response.models)),
            next_page_token=response.next_page_token or None,
        )
