"""The report of the feed: what is held against what, and how it is to be read."""

from benchmarks.comparisons import Comparison, Target
from benchmarks.feed.beside import RATE
from benchmarks.feed.measure import TEMPERATURES
from benchmarks.report import Report
from benchmarks.results import Settings

_HOW_TO_READ = """\
Answers that are kept, tokens and requests are timed call by call in one process, in microseconds, and told by their
p50; a token that is seen for the first time is held against one raw Ed25519 verification of as many bytes by the
package `cryptography`, and beside PyJWT. The FastAPI application is called in the process, without a web server;
"adds" is what a request takes more than one to a route without a guard; beside it, a dependency that looks an opaque
token up in PostgreSQL by psycopg and its pool.

Take-back: the clock starts *before* RevokeSession or the delete is called, so the commit itself (an fsync) and the way
to the server are in it; it stops when an SDK, without asking anybody, no longer says yes. *Each* is over all streams
and changes, *last* over changes: the slowest of all streams. All processes share this machine, two cores, with the
server and PostgreSQL: a hundred that have to wake up take most of the time. The limit is what the same takes without
Watchword: a bare grpc.aio server that inserts a row, commits, and sends eight bytes to as many streams of as many
processes, which note the time. SpiceDB's Watch took 986 ms in November 2026, on a machine of the same kind.

Sixteen misses: of the SDK. A cold server asks the database, which it does together for single Checks too; a warm one
has all that the answers depend on; a hot one was asked the same before, and has the answers.

Beside a writer: one process that writes relationships one by one, of the relation that is asked about, to objects that
are not.
"""


def report(settings: Settings) -> Report:
    """Make it."""
    rows = [
        Comparison("authenticate, seen before, async", "feed.authenticate.seen.async", target=Target(5)),
        Comparison("authenticate, seen before, sync", "feed.authenticate.seen.sync", target=Target(5)),
        *(
            Comparison(
                f"authenticate, first sight, {way}",
                f"feed.authenticate.first.{way}",
                limit="limit.ed25519",
                target=Target(1 / 1.5, of="limit"),
            )
            for way in ("async", "sync")
        ),
        Comparison("PyJWT, beside it", "other.pyjwt", limit="limit.ed25519"),
        Comparison("check, kept, async", "feed.check.kept.async", target=Target(3)),
        Comparison("check, kept, sync", "feed.check.kept.sync", target=Target(3)),
        Comparison("FastAPI: the guard adds", "feed.request.guarded.adds", target=Target(60)),
        Comparison("FastAPI: a look-up in the database adds", "feed.request.looked_up.adds"),
        *(
            Comparison(
                f"16 misses at once, server {temperature}, against single Checks",
                f"feed.misses.{temperature}.together",
                limit=f"feed.misses.{temperature}.single",
                target=Target(5, of="limit"),
            )
            for temperature in TEMPERATURES
        ),
        Comparison(f"Kept answers: hits beside {RATE} writes/s", "feed.hits.loss", target=Target(1)),
        Comparison(f"Server, warm Check c16 beside {RATE} writes/s", "feed.server.loss", target=Target(10)),
        *_take_back("processes", f"{settings.processes} processes"),
        *_take_back("streams", f"{settings.streams:,} streams"),
        Comparison(
            f"Server memory of an idle stream, of {settings.streams:,}", "feed.streams.memory", target=Target(60)
        ),
        Comparison(f"Server CPU of {settings.streams:,} idle streams", "feed.streams.cpu", target=Target(5)),
    ]
    return Report(name="feed", title="The feed: how fast", how_to_read=_HOW_TO_READ, comparisons=rows)


def _take_back(group: str, people: str) -> list[Comparison]:
    targets = {"p50": Target(10), "p99": Target(50)}
    return [
        Comparison(
            f"{what} to {who} of {people}, {share}",
            f"feed.take_back.{group}.{kind}.{who}.{share}",
            limit=f"limit.tell.{group}.{who}.{share}",
            target=targets[share],
        )
        for kind, what in (("session", "RevokeSession"), ("relationship", "Delete"))
        for who in ("each", "last")
        for share in ("p50", "p99")
    ]
