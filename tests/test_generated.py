"""What is generated and committed is what the protos yield today, and keeps the contract of the baseline."""

import filecmp
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the Makefile has generated everything anew."""
    folder = tmp_path_factory.mktemp("generated")
    # `--assume-old`: a test installs nothing. MAKEFLAGS belongs to the make that runs the tests, if one does.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    subprocess.run(
        ["make", "--assume-old=.venv/.installed", "generate", f"GENERATED={folder}", f"BIN={BIN}"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    return folder


def test_generated_files_are_current(fresh: Path) -> None:
    committed = ROOT / "generated"
    assert files(committed) == files(fresh), "run `make generate`"
    _, different, unreadable = filecmp.cmpfiles(committed, fresh, files(fresh), shallow=False)
    assert not different, "run `make generate`"
    assert not unreadable


def test_packages_of_generated_code_are_typed(fresh: Path) -> None:
    assert "watchword/v1/py.typed" in files(fresh)
    modules = {name for name in files(fresh) if name.endswith(".py")}
    assert {name + "i" for name in modules} <= files(fresh)
