"""PostgreSQL's errors as ours: the one place that knows SQLSTATE and the names of constraints."""

import psycopg
import psycopg_pool

from watchword.server.errors import AlreadyExists, Conflict, DatabaseUnavailable, TimedOut

# How a violated constraint is told to the caller. A constraint that is not here is our mistake: INTERNAL.
_FIELD_OF_CONSTRAINT = {
    "users_email": "user.email",
    "users_username": "user.username",
    "users_external_id": "user.external_id",
    "service_accounts_pkey": "service_account.service_account_id",
    "organizations_pkey": "organization.organization_id",
    "groups_pkey": "group.group_id",
}


class AnswerExists(Exception):
    """Another call with the same request id has committed meanwhile: its answer is the answer."""


DEATHS = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
OUR_LIMITS = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class translated:  # noqa: N801  # a context manager used as a verb
    """Turn PostgreSQL's errors into ours; what is left is a mistake of ours and goes up as it is."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        match error:
            case psycopg.errors.UniqueViolation():
                name = error.diag.constraint_name or ""
                if name == "answers_pkey":
                    raise AnswerExists from error
                if name in _FIELD_OF_CONSTRAINT:
                    raise AlreadyExists(_FIELD_OF_CONSTRAINT[name]) from error
            case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
                raise Conflict from error
            case psycopg.errors.LockNotAvailable():
                raise Conflict from error
            case psycopg.errors.QueryCanceled():
                raise TimedOut from error
            case (
                psycopg.OperationalError()
                | psycopg.InterfaceError()
                | psycopg.errors.IdleInTransactionSessionTimeout()
                | psycopg.errors.ReadOnlySqlTransaction()
                | psycopg_pool.PoolTimeout()
                | psycopg_pool.PoolClosed()
            ):
                raise DatabaseUnavailable from error
            case _:
                return
