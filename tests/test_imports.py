"""The client never imports the server, nor the reverse: each is installed and replaced without the other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "client/watchword/client": "watchword.server",
    "server/watchword/server": "watchword.client",
}


def imported(source: str) -> Iterator[str]:
    """Names of all modules that a source may import, inside functions too and by `import_module`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.ImportFrom(level=level) if level:
                raise AssertionError("a relative import: name the module in full")
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module


def is_within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


@pytest.mark.parametrize(("folder", "forbidden"), FORBIDDEN.items())
def test_client_and_server_never_import_each_other(folder: str, forbidden: str) -> None:
    sources = list((ROOT / folder).rglob("*.py"))
    assert sources
    found = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources
        for module in imported(path.read_text(encoding="utf-8"))
        if is_within(module, forbidden) or is_within(module, "watchword.cli")
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import watchword.server",
        "import watchword.server.config as c",
        "from watchword import server",
        "from watchword.server.storage import users",
        "def f():\n    from watchword.server import config",
        "import_module('watchword.server.config')",
        "importlib.import_module('watchword.server')",
    ],
)
def test_every_way_of_importing_is_seen(source: str) -> None:
    assert any(is_within(module, "watchword.server") for module in imported(source))


def test_shared_folders_are_namespace_packages() -> None:
    # An __init__.py in one of them would hide the other two.
    assert not [str(path) for path in ROOT.glob("*/watchword/__init__.py")]
