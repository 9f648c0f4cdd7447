"""What a caller's type checker says: right calls pass, wrong calls do not."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLS = [str(path) for path in sorted((ROOT / "tests" / "typing").glob("*.py"))]
PYRIGHT = """{
  "include": ["calls"], "extraPaths": ["client", "generated"], "typeCheckingMode": "strict",
  "reportUnnecessaryTypeIgnoreComment": "error", "reportUnusedExpression": "none", "reportPrivateUsage": "none"
}"""


def test_mypy():
    check("mypy", "--strict", "--warn-unused-ignores", *CALLS)


def test_pyright(tmp_path: Path):
    for name in ("client", "generated"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "calls").symlink_to(ROOT / "tests" / "typing")
    (tmp_path / "pyrightconfig.json").write_text(PYRIGHT)
    check("pyright", "--project", str(tmp_path), "--pythonpath", sys.executable)


def check(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout
