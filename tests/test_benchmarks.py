"""The benchmark's pure pieces, and that it runs. No figure is tested: a test that depends on speed is no test."""

import io
import itertools
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
sys.path.append(str(ROOT))

from benchmarks import permission_report  # noqa: E402
from benchmarks.comparisons import Comparison, Target, comparisons, growth  # noqa: E402
from benchmarks.feed import report as feed_report  # noqa: E402
from benchmarks.load import Pace, Timing, median, quantile, timing  # noqa: E402
from benchmarks.plots import comparison_plot, spread_plot  # noqa: E402
from benchmarks.report import thinned  # noqa: E402
from benchmarks.results import FULL, QUICK, Figure, Results, Settings, label, ratio  # noqa: E402
from benchmarks.specials import DEPTH, Specials, reader, seen_by_reader  # noqa: E402
from benchmarks.spine import report as spine_report  # noqa: E402
from benchmarks.tables import (  # noqa: E402
    comparison_table,
    figure_table,
    growth_table,
    histogram,
    number,
    table,
)
from benchmarks.world import KINDS, Relationship, World, batches  # noqa: E402


class Reachable:
    """The truth once more, from the relationships alone and by the plainest search there is."""

    def __init__(self, relationships):
        self._of = {}
        for name, relation, subject in relationships:
            self._of.setdefault((name, relation), []).append(subject)

    def has(self, subject: str, relation: str, name: str) -> bool:
        for granted in self._of.get((name, relation), []):
            holder, _, members = granted.partition("#")
            if granted == subject or (members and self.has(subject, members, holder)):
                return True
        nearer = {"viewer": ["editor"], "editor": ["owner"]}.get(relation, [])
        if any(self.has(subject, other, name) for other in nearer):
            return True
        if relation in {"viewer", "editor"}:
            return any(self.has(subject, relation, parent) for parent in self._of.get((name, "parent"), []))
        return False


@pytest.mark.parametrize("size", [1000, 1001, 2_000, 10_000, 100_000])
def test_a_world_has_as_many_relationships_as_it_says_and_none_twice(size):
    relationships = list(World(size).relationships())
    assert len(relationships) == len(set(relationships)) == size


def test_a_world_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="needs more"):
        World(100)


def test_the_same_seed_makes_the_same_world_and_another_seed_another():
    first, again, other = World(2000, seed=5), World(2000, seed=5), World(2000, seed=6)
    assert list(first.relationships()) == list(again.relationships()) != list(other.relationships())
    assert first.mixed(200) == again.mixed(200) != other.mixed(200)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_is_what_the_relationships_say(seed):
    world = World(1000, seed=seed)
    reachable = Reachable(world.relationships())
    for user, document in itertools.product(range(world.counts.users), range(world.counts.documents)):
        assert world.may_view(user, document) == reachable.has(f"user:u{user}", "viewer", f"document:d{document}")


def test_questions_of_each_kind_are_of_that_kind():
    world = World(10_000)
    reachable = Reachable(world.relationships())
    granted = set(world.relationships())
    for kind in KINDS:
        for question in world.questions(kind, 300):
            assert reachable.has(*question[:3]) is question.expected is (kind != "miss")
            direct = Relationship(question.object, question.relation, question.subject) in granted
            assert direct is (kind == "direct")


def test_only_the_path_of_its_kind_leads_to_the_answer():
    world = World(10_000)
    without = {
        "folder": [
            r for r in world.relationships() if not (r.object.startswith("folder:top") and "user:" in r.subject)
        ],
        "group": [r for r in world.relationships() if not r.object.startswith("group:division")],
    }
    for kind, relationships in without.items():
        reachable = Reachable(relationships)
        assert not any(reachable.has(*question[:3]) for question in world.questions(kind, 300))


def test_mixed_questions_hold_all_kinds_in_equal_parts():
    world = World(10_000)
    mixed = world.mixed(1000)
    assert len(mixed) == 1000
    assert sum(not question.expected for question in mixed) == 250


def test_what_a_person_sees():
    world = World(1000)
    reachable = Reachable(world.relationships())
    documents = [f"document:d{d}" for d in range(world.counts.documents)]
    assert world.visible(7) == {name for name in documents if reachable.has("user:u7", "viewer", name)}


def test_the_special_cases():
    specials = Specials(members=300, documents=200, visible=(20, 100))
    relationships = list(specials.relationships())
    assert len(relationships) == len(set(relationships))
    assert sum(r.object == "group:everyone" for r in relationships) == 300
    assert sum(r.subject == "folder:archive" for r in relationships) == 200
    assert sum(r.object.startswith("folder:deep") for r in relationships) == DEPTH
    reachable = Reachable(relationships)
    for questions in specials.questions().values():
        assert questions
        for question in questions:
            assert reachable.has(*question[:3]) is question.expected
    objects = {r.object for r in relationships if r.object.startswith("document:")}
    for count in (20, 100):
        seen = {name for name in objects if reachable.has(reader(count), "viewer", name)}
        assert seen == seen_by_reader(count)
        assert len(seen) == count


def test_batches():
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_ratios_are_above_one_when_ours_is_better_whatever_the_unit():
    assert ratio(Figure(200, "calls/s"), Figure(100, "calls/s")) == 2
    assert ratio(Figure(2, "ms"), Figure(4, "ms")) == 2
    assert ratio(Figure(400, "bytes/row"), Figure(200, "bytes/row")) == 0.5
    with pytest.raises(ValueError, match="against"):
        ratio(Figure(1, "ms"), Figure(1, "calls/s"))


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(1800), True),
        (Target(2001), False),
        (Target(0.5, of="limit"), True),
        (Target(0.6, of="limit"), False),
        (Target(3, of="peer"), None),
    ],
)
def test_targets(target, met):
    figures = {"ours": Figure(2000, "calls/s"), "limit": Figure(4000, "calls/s")}
    assert Comparison("", "ours", "limit", "peer", target).is_met(figures) is met
    assert Comparison("", "absent", "limit", "peer", target).is_met(figures) is None


def test_a_target_of_a_duration_is_a_most():
    assert Target(1.5).is_met(Figure(1.4, "ms"), None, None)
    assert not Target(1.5).is_met(Figure(1.6, "ms"), None, None)


@pytest.mark.parametrize("settings", [FULL, QUICK])
def test_no_two_figures_that_are_compared_differ_in_unit(settings):
    assert len({row.title for row in comparisons(settings)}) == len(comparisons(settings))
    for row in comparisons(settings):
        alone = {name.endswith("c1") for name in (row.ours, row.limit, row.peer) if name and ".c" in name[-4:]}
        assert len(alone) <= 1, row
    assert bool(growth(settings)) is (settings is FULL)


def test_quantiles_are_by_nearest_rank():
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0, 0.0)] == [50, 99, 100, 1]
    assert quantile([7.0], 0.99) == 7


def test_a_loop_is_summed_up():
    found = timing([0.001, 0.003, 0.002], 0.5, {"server": 0.006})
    assert found == Timing(throughput=6, p50_ms=2, p99_ms=3, calls=3, cpu_us={"server": pytest.approx(2000)})


def test_the_median_is_of_each_figure():
    runs = [Timing(10, 3, 9, 1, {"server": 5}), Timing(30, 1, 7, 1, {"server": 1}), Timing(20, 2, 8, 1, {"server": 3})]
    assert median(runs) == Timing(20, 2, 8, 3, {"server": 3})


def test_a_table():
    assert table(["", "value"], [["first", "1"], ["second one", "22"]]) == (
        "|            | value |\n| ---------- | ----: |\n| first      |     1 |\n| second one |    22 |\n"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.123, "0.12"), (9.876, "9.88"), (98.76, "98.8"), (12345.6, "12,346")]
)
def test_numbers(value, text):
    assert number(value) == text


def test_comparisons_as_a_table():
    rows = [
        Comparison("a check", "ours", "limit", "peer", Target(1800)),
        Comparison("a slow one", "ours.slow", target=Target(1)),
        Comparison("not measured", "nothing"),
    ]
    figures = {
        "ours": Figure(2000, "calls/s"),
        "limit": Figure(4000, "calls/s"),
        "peer": Figure(200, "calls/s"),
        "ours.slow": Figure(2, "ms"),
    }
    lines = comparison_table(rows, figures, {"peer": Figure(100, "calls/s")}, peer="SpiceDB").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    verdict = [">= 1,800 calls/s", "met"]
    assert cells[2:] == [
        ["a check", "2,000 calls/s", "4,000 calls/s", "0.50 x", "200 calls/s", "10.0 x", "100 calls/s", *verdict],
        ["a slow one", "2.00 ms", "-", "-", "-", "-", "-", "<= 1.00 ms", "NOT met"],
    ]


def test_a_column_in_which_nothing_stands_is_left_out():
    text = comparison_table([Comparison("a check", "ours")], {"ours": Figure(2, "ms")}, {}, peer="SpiceDB")
    assert text.splitlines()[0].split() == ["|", "|", "Watchword", "|"]


def test_growth_and_all_figures_as_tables():
    loop = Timing(20, 2, 8, 3, {"server": 3, "postgres": 1, "client": 5})
    figures = {"small": Figure(2, "ms", loop), "large": Figure(4, "ms", loop)}
    assert "0.50 x" in growth_table([("it", "small", "large")], figures, ["1k", "10k"])
    assert figure_table(figures).count("8.00") == 2


def test_a_histogram_begins_and_ends_with_what_there_is():
    lines = histogram("taken back", [1.5, 2.5, 2.6, 2.7, 5000]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["1 to 2 ms", "1", "20.0%", "#" * 13]
    assert cells[1] == ["2 to 3 ms", "3", "60.0%", "#" * 40]
    assert cells[-1][:2] == ["over 1000 ms", "1"]
    assert sum(int(row[1]) for row in cells) == 5


def test_a_histogram_of_nothing():
    assert len(histogram("nothing", []).splitlines()) == 2


def test_a_plot_shows_each_figure_at_its_length():
    rows = [
        Comparison("a rate & more", "ours", "limit", "peer", Target(0.5, of="limit")),
        Comparison("a time", "fast", target=Target(8)),
        Comparison("not measured", "nothing", "limit", target=Target(1)),
        Comparison("held against nothing", "ours"),
    ]
    figures = {
        "ours": Figure(100, "calls/s"),
        "limit": Figure(400, "calls/s"),
        "peer": Figure(50, "calls/s"),
        "fast": Figure(4, "ms"),
    }
    text = comparison_plot("What <it> shows", rows, figures, peer="SpiceDB")
    assert text == comparison_plot("What <it> shows", rows, figures, peer="SpiceDB")
    plot = ET.fromstring(text)
    texts = [element.text for element in plot.iter(f"{SVG}text")]
    assert {"What <it> shows", "Watchword", "SpiceDB", "a rate & more", "100 calls/s", "a time"} <= set(texts)
    assert not {"not measured", "held against nothing"} & set(texts)
    bars = [element for element in plot.iter(f"{SVG}rect") if element.get("width") != "10.0"]
    assert [(bar.get("class"), float(bar.get("width")) / 330) for bar in bars] == [
        ("ours", pytest.approx(0.25, abs=0.001)),
        ("limit", 1),
        ("peer", pytest.approx(0.125, abs=0.001)),
        ("ours", pytest.approx(0.5, abs=0.001)),
    ]
    marks = [float(element.get("x1")) - 380 for element in plot.iter(f"{SVG}line")]
    assert marks == [165, 330]


def test_a_plot_of_how_values_spread():
    plot = ET.fromstring(spread_plot("taken back", {"one": [1.5, 2.5, 2.6, 2.7], "none": []}))
    assert [e.text for e in plot.iter(f"{SVG}text")][2:] == ["one", "1 to 2 ms", "25.0%", "2 to 3 ms", "75.0%", "none"]


def test_sizes_as_people_say_them():
    assert [label(size) for size in (1_000_000, 100_000, 10_000, 1500)] == ["1M", "100k", "10k", "1500"]


def test_figures_are_told_as_they_come():
    results = Results(progress=io.StringIO())
    results.add_loop("x.c1", Timing(20, 2, 8, 3), in_flight=1)
    results.add_loop("x.c4", Timing(20, 2, 8, 3), in_flight=4, each=100)
    assert [(f.value, f.unit) for f in results.figures.values()] == [(2, "ms"), (2000, "checks/s")]
    assert "x.c4" in results.progress.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("parts", "reports"),
    [
        (["limits", "permissions", "feed"], [permission_report.report, feed_report.report]),
        (["spine"], [spine_report.report]),
    ],
    ids=["permissions and feed", "spine"],
)
def test_the_whole_benchmark_runs(tmp_path, parts, reports):
    """With the smallest world and the shortest loops; in a process of its own, as it starts PostgreSQL by a fork."""
    tiny = Settings(
        name="tiny",
        sizes=(1000,),
        pace=Pace(0.02, 1),
        members=500,
        documents=300,
        visible=(20, 100),
        verified=20,
        questions=40,
        wide=100,
        kept_calls=100,
        tokens=3,
        misses=64,
        processes=2,
        streams=8,
        take_backs=2,
        accounts=(100, 200),
        imported=100,
        sessions=16,
        refusals=4,
        starts=1,
        requests=10,
        people=2,
    )
    program = f"""
from pathlib import Path
from benchmarks.__main__ import run
from benchmarks.results import Pace, Settings
run({tiny!r}, {parts!r}, command="a test", folder=Path({str(tmp_path)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for make in reports:
        report = make(tiny)
        written = json.loads((tmp_path / f"{report.name}-tiny.json").read_text())
        measured = {row.ours for row in report.comparisons}
        assert measured <= set(written["figures"])
        assert str(ROOT) not in (tmp_path / f"{report.name}-tiny.md").read_text()
        ET.parse(tmp_path / f"{report.name}-tiny.svg")
    assert "Watchword" in done.stdout


@pytest.mark.parametrize("number", [0, 1, 2, 999, 1_000, 1_001, 60_000])
def test_of_many_values_a_thousand_are_kept_the_first_and_the_last_among_them(number):
    kept = thinned([float(value) for value in reversed(range(number))])
    assert len(kept) == min(number, 1_000)
    assert kept == sorted(kept)
    assert kept[:1] + kept[-1:] == ([0.0, float(number - 1)] if number else [])
