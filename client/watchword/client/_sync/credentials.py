# Made by client/make_sync.py from client/watchword/client/_async/credentials.py: do not edit.
"""What users prove themselves with."""

from watchword.client import _convert
from watchword.client._sync.connection import Connection
from watchword.client._transport import new_id
from watchword.client.models import Credential
from watchword.v1 import credentials_pb2


class Credentials:
    """Users' credentials. What is common to all methods is described at `Client`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def set_password(self, user_id: str, *, new_password: str, request_id: str | None = None) -> Credential:
        """Set a user's password without the old one. Ends all sessions of the user.

        Make sure by other means who asks.

        Raises:
            NotFoundError: There is no such user.
            PasswordRefusedError: The password is too short, too long, common or personal.
            WrongStatusError: The user is deleted.
            ServerBusyError: Too many passwords wait to be hashed.

        """
        request = credentials_pb2.SetPasswordRequest(
            user_id=user_id, new_password=new_password, request_id=request_id or new_id()
        )
        response = self._connection.call(request, credentials_pb2.SetPasswordResponse)
        return _convert.credential(response.credential)

    def change_password(
        self,
        user_id: str,
        *,
        current_password: str,
        new_password: str,
        keep_session_id: str | None = None,
        request_id: str | None = None,
    ) -> Credential:
        """Change a user's password, given the current one. Ends the user's other sessions.

        Args:
            user_id: The user.
            current_password: The password that the user has now.
            new_password: 8 to 256 characters.
            keep_session_id: The session in which the user asks, which goes on. Default: none goes on.
            request_id: See `Client`.

        Raises:
            CurrentPasswordWrongError: The current password is wrong, or there is no such user or password.
            PasswordRefusedError: The new password is too short, too long, common or personal.
            ServerBusyError: Too many passwords wait to be hashed.

        """
        request = credentials_pb2.ChangePasswordRequest(
            user_id=user_id,
            current_password=current_password,
            new_password=new_password,
            keep_session_id=keep_session_id or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, credentials_pb2.ChangePasswordResponse)
        return _convert.credential(response.credential)

    def list(self, user_id: str) -> tuple[Credential, ...]:
        """List a user's credentials, oldest first; a few at most.

        Raises:
            NotFoundError: There is no such user.

        """
        request = credentials_pb2.ListCredentialsRequest(user_id=user_id)
        response = self._connection.call(request, credentials_pb2.ListCredentialsResponse)
        return tuple(map(_convert.credential, response.credentials))

    def remove(self, user_id: str, *, credential_id: str, request_id: str | None = None) -> None:
        """Remove a credential: it proves nothing any longer. Ends all sessions of the user.

        Raises:
            NotFoundError: The user has no such credential.

        """
        request = credentials_pb2.RemoveCredentialRequest(
            user_id=user_id, credential_id=credential_id, request_id=request_id or new_id()
        )
        self._connection.call(request, credentials_pb2.RemoveCredentialResponse)
