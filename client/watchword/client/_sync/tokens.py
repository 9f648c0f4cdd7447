# Made by client/make_sync.py from client/watchword/client/_async/tokens.py: do not edit.
"""Tokens, and the keys that sign them."""

from watchword.client import _convert
from watchword.client._sync.connection import Connection
from watchword.client._transport import new_id
from watchword.client.models import Introspection, RotatedSigningKey, SigningKeys
from watchword.v1 import tokens_pb2


class Tokens:
    """Tokens. What is common to all methods is described at `Client`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def introspect(self, token: str, *, audience: str | None = None) -> Introspection:
        """Ask the server whether an access token or API key is good at this moment, and whose it is.

        A token that is not good is an answer, not an error.

        Args:
            token: The access token or API key; at most 4,096 bytes.
            audience: The audience that an access token must be for; name your own service. Default: not checked.

        """
        request = tokens_pb2.IntrospectTokenRequest(token=token, audience=audience or "")
        response = self._connection.call(request, tokens_pb2.IntrospectTokenResponse)
        return _convert.introspection(response)

    def get_signing_keys(self) -> SigningKeys:
        """Get the public keys that verify access tokens."""
        response = self._connection.call(tokens_pb2.GetSigningKeysRequest(), tokens_pb2.GetSigningKeysResponse)
        return _convert.signing_keys(response)

    def rotate_signing_key(self, *, revoke_current: bool = False, request_id: str | None = None) -> RotatedSigningKey:
        """Rotate the key that signs access tokens.

        Args:
            revoke_current: The current key has leaked: refuse its tokens at once. Clients that verify tokens
                themselves notice when they next ask for the keys. Default: tokens of the old key stay good
                until they expire.
            request_id: See `Client`.

        """
        request = tokens_pb2.RotateSigningKeyRequest(revoke_current=revoke_current, request_id=request_id or new_id())
        response = self._connection.call(request, tokens_pb2.RotateSigningKeyResponse)
        return _convert.rotated_signing_key(response)
