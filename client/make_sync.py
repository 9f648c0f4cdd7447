"""Makes the synchronous client, and its tests, from the asynchronous ones.

    python client/make_sync.py            writes the files
    python client/make_sync.py --check    fails if they are not what would be written

Both kinds of gRPC channel have the same shape, so dropping `async` and `await` and a few renames suffice. A rename
that no longer finds anything is an error, so that the table cannot grow stale.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "client" / "watchword" / "client"
TESTS = ROOT / "tests"

HEADER = "# Made by client/make_sync.py from {source}: do not edit.\n"

RENAMES = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[(Page\[T\])\]", r"\1"),
    (r"\bAsyncIterator, Awaitable, Callable\b", "Callable, Iterator"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"^import grpc\.aio\n", ""),
    (r"\bgrpc\.aio\.", "grpc."),
    (r"\bPerLoop\b", "PerProcess"),
    (r"\basyncio\.Lock\b", "threading.Lock"),
    (r"^import asyncio\n", "import threading\n"),
    (r"\bclient\._async\b", "client._sync"),
    (r"^\"\"\"The asynchronous client\. .*$", '"""The synchronous client."""'),
    (r"\bwatchword_async\b", "watchword"),
]


def sources() -> list[tuple[Path, Path]]:
    """Each file to read, with the one to write."""
    modules = sorted((PACKAGE / "_async").glob("*.py"))
    pairs = [(module, PACKAGE / "_sync" / module.name) for module in modules]
    tests = sorted(TESTS.glob("test_sdk_*_async.py"))
    return pairs + [(test, test.with_name(test.name.replace("_async", "_sync"))) for test in tests]


def convert(text: str, used: set[str]) -> str:
    """The synchronous spelling; adds the patterns that found something to `used`."""
    for pattern, replacement in RENAMES:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count:
            used.add(pattern)
    return text


def tidy(text: str, target: Path) -> str:
    """Sort imports and lay out lines as everywhere else: names and lines have become shorter."""
    for command in (["check", "--select", "C416,I,SIM117,UP028", "--fix", "--unsafe-fixes", "--exit-zero"], ["format"]):
        text = subprocess.run(  # noqa: S603 - fixed arguments
            [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(target), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return text


def main() -> int:
    """Write or check, and tell what is wrong."""
    used: set[str] = set()
    problems: list[str] = []
    pairs = sources()
    for source, target in pairs:
        header = HEADER.format(source=source.relative_to(ROOT).as_posix())
        text = tidy(header + convert(source.read_text("utf-8"), used), target)
        if "--check" not in sys.argv[1:]:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, "utf-8")
        elif not target.exists() or target.read_text("utf-8") != text:
            problems.append(f"{target.relative_to(ROOT)} is stale: run python client/make_sync.py")
    made = {target for _, target in pairs}
    problems += [
        f"{path.relative_to(ROOT)} has no source any longer: delete it"
        for path in sorted((PACKAGE / "_sync").glob("*.py"))
        if path not in made
    ]
    problems += [f"nothing matches the rename {pattern}" for pattern, _ in RENAMES if pattern not in used]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
