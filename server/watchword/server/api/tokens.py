"""TokenService."""

from datetime import timedelta

from watchword.server.api import messages
from watchword.server.call import Call
from watchword.server.identifiers import SIGNING_KEYS, node
from watchword.server.introspection import Inactive, Introspector, ServiceKey, UserToken
from watchword.server.signing import MAX_AGE, Signing, jwks
from watchword.server.storage.database import Database
from watchword.v1 import tokens_pb2 as pb

_REASON = {
    Inactive.NOT_RECOGNIZED: pb.INACTIVE_REASON_NOT_RECOGNIZED,
    Inactive.EXPIRED: pb.INACTIVE_REASON_EXPIRED,
    Inactive.REVOKED: pb.INACTIVE_REASON_REVOKED,
    Inactive.ACCOUNT_DISABLED: pb.INACTIVE_REASON_ACCOUNT_DISABLED,
    Inactive.WRONG_AUDIENCE: pb.INACTIVE_REASON_WRONG_AUDIENCE,
}


class TokenService:
    """Serves verification."""

    def __init__(
        self,
        database: Database,
        introspector: Introspector,
        signing: Signing,
        *,
        issuer: str,
        default_audience: str,
        token_lifetime: timedelta,
    ) -> None:
        self._database = database
        self._introspector = introspector
        self._signing = signing
        self._issuer = issuer
        self._default_audience = default_audience
        self._token_lifetime = token_lifetime

    async def IntrospectToken(self, request: pb.IntrospectTokenRequest, _call: Call) -> pb.IntrospectTokenResponse:
        match await self._introspector.introspect(request.token):
            case UserToken() as answer:
                if request.audience and request.audience not in answer.token.audiences:
                    return _inactive(Inactive.WRONG_AUDIENCE)
                return _access_token(answer)
            case ServiceKey() as answer:
                return _api_key(answer)
            case reason:
                return _inactive(reason)

    async def GetSigningKeys(self, _request: pb.GetSigningKeysRequest, _call: Call) -> pb.GetSigningKeysResponse:
        async with self._database.read() as reader:
            snapshot = await reader.snapshot()
            keys = await self._signing.published(reader)
        return pb.GetSigningKeysResponse(
            jwks=jwks(keys),
            issuer=self._issuer,
            default_audience=self._default_audience,
            access_token_lifetime=messages.duration(self._token_lifetime),
            max_age=messages.duration(MAX_AGE),
            nodes=[node(SIGNING_KEYS)],
            horizon=str(snapshot),
        )

    async def RotateSigningKey(self, request: pb.RotateSigningKeyRequest, call: Call) -> pb.RotateSigningKeyResponse:
        async with self._database.write(call) as tx:
            key = await (self._signing.replace(tx) if request.revoke_current else self._signing.rotate(tx))
            return tx.answered(
                pb.RotateSigningKeyResponse(
                    signing_key_id=key.kid,
                    activate_time=messages.timestamp(key.activate_time),
                    revision=tx.revision,
                )
            )


def _inactive(reason: Inactive) -> pb.IntrospectTokenResponse:
    return pb.IntrospectTokenResponse(active=False, inactive_reason=_REASON[reason])


def _access_token(answer: UserToken) -> pb.IntrospectTokenResponse:
    token = answer.token
    return pb.IntrospectTokenResponse(
        active=True,
        kind=pb.TOKEN_KIND_ACCESS_TOKEN,
        subject=token.subject,
        client_id=token.client_id,
        session_id=str(token.session_id),
        audiences=token.audiences,
        issue_time=messages.timestamp(token.issue_time),
        expire_time=messages.timestamp(token.expire_time),
        remaining_lifetime=messages.duration(token.expire_time - answer.now),
        authentication_time=messages.timestamp(token.authentication_time),
        authentication_methods=token.authentication_methods,
        authentication_level=token.authentication_level,
        organization_id=token.organization_id,
        nodes=map(node, answer.nodes),
        horizon=str(answer.snapshot),
    )


def _api_key(answer: ServiceKey) -> pb.IntrospectTokenResponse:
    key = answer.key
    end = key.expire_time
    return pb.IntrospectTokenResponse(
        active=True,
        kind=pb.TOKEN_KIND_API_KEY,
        subject=f"service:{key.service_account_id}",
        key_id=str(key.key_id),
        permissions=sorted(answer.permissions),
        issue_time=messages.timestamp(key.create_time),
        expire_time=messages.timestamp(end),
        remaining_lifetime=messages.duration(end - answer.now) if end else None,
        nodes=map(node, answer.nodes),
        horizon=str(answer.snapshot),
    )
