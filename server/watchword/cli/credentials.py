"""What users prove themselves with."""

from typing import Annotated

import typer

from watchword.cli.command import PASSWORD_STDIN, YES, Call, confirm, group, read_password, remote
from watchword.cli.users import USER, user_id_of

app = group("credentials", "What users prove themselves with.")


@remote(app)
def set_password(call: Call, *, user: USER, password_stdin: PASSWORD_STDIN = False) -> None:
    """Set a user's password and end all their sessions. Make sure by other means who asks."""
    user_id = user_id_of(call, user)
    password = read_password(from_stdin=password_stdin, confirm=True)
    call.output.one(call.client.credentials.set_password(user_id, new_password=password))


@remote(app, "list")
def list_credentials(call: Call, *, user: USER) -> None:
    """List a user's credentials, never their secrets."""
    columns = ("credential_id", "kind", "create_time", "update_time", "last_used_time")
    call.output.many(call.client.credentials.list(user_id_of(call, user)), columns=columns)


@remote(app)
def remove(
    call: Call,
    *,
    user: USER,
    credential_id: Annotated[str, typer.Argument(metavar="CREDENTIAL_ID", help="From `watchword credentials list`.")],
    yes: YES = False,
) -> None:
    """Remove a credential and end all sessions of the user."""
    user_id = user_id_of(call, user)
    confirm(f"Remove credential {credential_id} of user {user_id} for good?", yes=yes)
    call.client.credentials.remove(user_id, credential_id=credential_id)
    call.output.one({"removed_credential_id": credential_id})
