"""Sessions of users."""

from typing import Annotated

import typer

from watchword.cli.command import LIMIT, Call, group, remote
from watchword.cli.users import USER, user_id_of

app = group("sessions", "Sessions of users.")

_SESSION = Annotated[
    str, typer.Argument(metavar="SESSION_ID", help="The session's id, from `watchword sessions list`.")
]


@remote(app, "list")
def list_sessions(
    call: Call,
    *,
    user: USER,
    include_ended: Annotated[bool, typer.Option("--include-ended", help="Ended and expired ones too.")] = False,
    limit: LIMIT = 100,
) -> None:
    """List a user's sessions, newest first."""
    sessions = call.client.sessions.list(
        user_id_of(call, user), include_ended=include_ended, page_size=min(limit + 1, 500)
    )
    columns = ("session_id", "device.display_name", "device.ip_address", "create_time", "last_active_time", "end_time")
    call.output.many(sessions, columns=columns, limit=limit)


@remote(app)
def get(call: Call, *, session_id: _SESSION) -> None:
    """Show a session, ended or not."""
    call.output.one(call.client.sessions.get(session_id))


@remote(app)
def revoke(call: Call, *, session_id: _SESSION) -> None:
    """End a session: its tokens are refused from now on."""
    call.output.one(call.client.sessions.revoke(session_id))


@remote(app)
def revoke_all(
    call: Call,
    *,
    user: USER,
    keep: Annotated[str | None, typer.Option("--except", metavar="SESSION_ID", help="The one session to keep.")] = None,
) -> None:
    """End all sessions of a user, or all but one."""
    count = call.client.sessions.revoke_all(user_id_of(call, user), except_session_id=keep)
    call.output.one({"revoked_count": count})
