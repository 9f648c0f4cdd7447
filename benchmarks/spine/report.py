"""The report of the spine: what is held against what, and how it is to be read."""

from benchmarks.comparisons import Comparison, Target
from benchmarks.report import Report
from benchmarks.results import Settings, label

_HOW_TO_READ = """\
Every ratio is of figures of this one run, and above 1 Watchword is the better one, whatever the unit. c1 is one call
in flight, told by its p50; c16 is sixteen, told by throughput. What is compared is measured in short rounds that take
turns, and each figure is the median of its rounds.

The limit of IntrospectToken is one SELECT by primary key behind bare grpc.aio, that of RefreshSession one INSERT with
its commit, in the same process layout and on the same durable PostgreSQL. A bare service authenticates nobody,
validates nothing, records no event and keeps no answer for a retry. The limit of sign-ins is argon2-cffi on all cores
with nothing beside it; what the caller, the server and PostgreSQL do for a sign-in is done by the same cores, and the
hash by libsodium. *In the storm*: beside sixteen who sign in all the time; *beside hashes alone*: beside processes that
hash as the server's do, at the lowest priority, and nobody signs in. The limit of both is the same without them.
*Apart* is how much the larger median of a refused sign-in is above the smaller one: for a name that there is, one that
there is not, and the right password.

The applications are called in this process, without web server and network; each request is timed in turn with those
of the others. Their limit is the same application without a guard, and *adds* is what the p50 of a request is above
that. Watchword's guard finds out who calls and whether they may view this document, and hears of a revocation within
milliseconds; a look-up of an opaque token only the first; PyJWT only the first, and of no revocation; Django's has_perm
whether they have the permission at all.
"""


def report(settings: Settings) -> Report:
    """Make it for the sizes of a run."""
    small, large = map(label, settings.accounts)
    rows = [
        Comparison("IntrospectToken, c1", "spine.introspect.c1", "limit.select.c1"),
        Comparison("IntrospectToken, c16", "spine.introspect.c16", "limit.select.c16", target=Target(0.7, of="limit")),
        Comparison("RefreshSession, c1", "spine.refresh.c1", "limit.insert.c1"),
        Comparison("RefreshSession, c16", "spine.refresh.c16", "limit.insert.c16", target=Target(0.5, of="limit")),
        Comparison("Sign-in with a password, c16", "spine.sign_in.c16", "limit.argon2", target=Target(0.9, of="limit")),
        Comparison(
            "IntrospectToken beside hashes alone, p99", "spine.introspect.hashes.p99", "spine.introspect.idle.p99"
        ),
        Comparison("IntrospectToken in the storm, p50", "spine.introspect.storm.p50", "spine.introspect.idle.p50"),
        Comparison(
            "IntrospectToken in the storm, p99",
            "spine.introspect.storm.p99",
            "spine.introspect.idle.p99",
            target=Target(1 / 3, of="limit"),
        ),
        Comparison("Refused sign-ins", "spine.refused.hashed.difference", target=Target(5)),
        Comparison("Throttled sign-ins", "spine.refused.throttled.difference", target=Target(5)),
        *(
            Comparison(
                f"{title}, of {large}, against {small}",
                f"spine.{name}.{large}.c1",
                f"spine.{name}.{small}.c1",
                target=Target(1 / 1.5, of="limit"),
            )
            for name, title in (
                ("list", "ListUsers, a page of 50"),
                ("get", "GetUser by e-mail address"),
                ("find", "ListUsers by the beginning of an address"),
            )
        ),
        Comparison("ImportUsers with ready hashes", "spine.import", target=Target(8_000)),
        Comparison("Memory of a worker at rest, RSS", "spine.memory.rest", target=Target(120)),
        Comparison("Memory of a worker at rest, PSS", "spine.memory.rest.pss"),
        Comparison("make run serves, the first time", "spine.start.first", target=Target(4)),
        Comparison("make run serves, later", "spine.start.later", target=Target(2)),
        Comparison("Import of the SDK", "spine.sdk.import", target=Target(250)),
        *_applications(),
    ]
    return Report(
        name="spine", title="The spine: how fast", how_to_read=_HOW_TO_READ, comparisons=rows, peer="alternative"
    )


def _applications() -> list[Comparison]:
    others = (
        ("FastAPI", "fastapi", "sqlalchemy", "SQLAlchemy look-up"),
        ("FastAPI", "fastapi", "pyjwt", "PyJWT"),
        ("Flask", "flask", "looked_up", "psycopg look-up"),
        ("Django", "django", "sessions", "sessions and has_perm"),
    )
    return [
        Comparison(
            f"{title}: {what}, {other}", f"{name}.watchword{figure}", f"{name}.bare{limit}", f"{name}.{key}{figure}"
        )
        for title, name, key, other in others
        for what, figure, limit in (("the guard adds", ".adds", ".none"), ("requests/s", "", ""))
    ]
