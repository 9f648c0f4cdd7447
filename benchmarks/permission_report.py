"""The report of permissions: how it is to be read."""

from benchmarks.comparisons import comparisons, growth
from benchmarks.peers import EARLIER
from benchmarks.report import Report
from benchmarks.results import Settings, label

_HOW_TO_READ = """\
Every ratio is of figures of this one run, and above 1 Watchword is the better one, whatever the unit. c1 is one call
in flight, told by its p50; c16 is sixteen, told by throughput. *Cold* is a server without its cache
(`WATCHWORD_CACHE_MIB=0`): every answer comes from PostgreSQL. *Warm* is a server as it comes. All answers were held
against the truth, which is known from how the world was made; one wrong answer ends a run.

The limit of a cold check is one SELECT by primary key behind bare grpc.aio, of a warm one the bare echo, of a write
one INSERT, of an import COPY into a table with two indexes: in the same process layout, on the same durable
PostgreSQL. A bare service checks no API key, validates nothing and writes no event. SpiceDB runs in the process that
asks it, without a network, which is in its favour (its CPU below is that of both); its embedded build has no cache,
which is not: compare it with the cold rows only. "SpiceDB earlier" was measured in November 2026 on a machine of the
same kind, with 107,185 relationships of another world of this kind.
"""


def report(settings: Settings) -> Report:
    """Make it for the sizes of a run."""
    smallest, largest = label(settings.sizes[0]), label(settings.sizes[-1])
    return Report(
        name="permissions",
        title="Permissions: how fast",
        how_to_read=_HOW_TO_READ,
        comparisons=comparisons(settings),
        earlier=EARLIER if smallest == "100k" else {},
        growth=growth(settings),
        sizes=(smallest, largest),
    )
