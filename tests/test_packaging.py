"""What others receive: the wheel, the image, the compose file; and that no file tells of the place it came from."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from watchword.server.config import CLIENT_VARIABLES, CONFIG_FILE, SETTINGS

ROOT = Path(__file__).parents[1]
PACKAGES = ["client", "server", "generated"]


def git_files() -> list[Path]:
    """Files that are committed, or would be with the next `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (archive,) = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder / "content")
    return folder / "content"


def run_from_wheel(wheel: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code that finds `watchword` in the wheel only, not in the folders of the editable install."""
    path = (
        f"sys.path = [{str(wheel)!r}] + [p for p in sys.path if not p.startswith({str(ROOT)!r} + '/') or '.venv' in p]"
    )
    return subprocess.run(
        [sys.executable, "-I", "-B", "-c", f"import sys\n{path}\n{code}"], check=False, capture_output=True, text=True
    )


def test_wheel_holds_every_source(wheel: Path) -> None:
    sources = {
        str(path.relative_to(ROOT / folder))
        for folder in PACKAGES
        for path in (ROOT / folder / "watchword").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {str(path.relative_to(wheel)) for path in (wheel / "watchword").rglob("*") if path.is_file()}
    assert packed == sources
    assert packed >= {
        "watchword/client/__init__.py",
        "watchword/client/py.typed",
        "watchword/cli/__init__.py",
        "watchword/server/storage/migrations/env.py",
        "watchword/server/storage/migrations/script.py.mako",
        "watchword/v1/py.typed",
        "watchword/v1/users_pb2.py",
        "watchword/v1/users_pb2.pyi",
    }
    assert any(name.startswith("watchword/server/storage/migrations/versions/") for name in packed)


def test_wheel_carries_licence_and_command(wheel: Path) -> None:
    (information,) = wheel.glob("*.dist-info")
    assert "Apache License" in (information / "licenses" / "LICENSE").read_text()
    assert "watchword = watchword.cli:main" in (information / "entry_points.txt").read_text()


# What the distribution without extras installs: the SDK goes into applications that bring versions of their own.
SDK_MODULES = {"watchword", "google", "grpc", "grpc_status", "cryptography", "_cffi_backend", "typing_extensions"}

REFUSING = f"""
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names | {SDK_MODULES!r} or name == "watchword.server":
            raise ModuleNotFoundError(f"{{name}} is not among the dependencies of the SDK", name=name)

sys.meta_path.insert(0, Refuse())
"""

USE_ALL_OF_IT = """
import watchword.client
for name in watchword.client.__all__:
    getattr(watchword.client, name)
assert watchword.client.__file__.startswith(sys.path[0])
client = watchword.client.Client("localhost:1", api_key="k")
client.close()
"""


def test_sdk_needs_its_own_dependencies_only(wheel: Path) -> None:
    run = run_from_wheel(wheel, REFUSING + USE_ALL_OF_IT)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("module", ["sqlalchemy", "typer", "pytest", "watchword.server"])
def test_the_refusal_works(wheel: Path, module: str) -> None:
    run = run_from_wheel(wheel, REFUSING + f"import {module}")
    assert f"ModuleNotFoundError: {module} is not among" in run.stderr


def test_server_and_command_start_from_the_wheel(wheel: Path) -> None:
    run = run_from_wheel(
        wheel, "import watchword.server, watchword.cli\nassert watchword.cli.__file__.startswith(sys.path[0])"
    )
    assert run.returncode == 0, run.stderr


# Written in parts, so that this file does not hold what it looks for.
ELSEWHERE = re.compile("|".join(["/" + "work/", "/" + "root/", "/" + r"home/\w+/", "/" + "tmp/"]))
INDEX = re.compile(
    "|".join(["index" + "-url", "index" + "_url", "find" + "-links", "/" + "simple/?\\b", "python" + "hosted"])
)


@pytest.mark.parametrize("pattern", [ELSEWHERE, INDEX], ids=["paths of a machine", "package indexes"])
def test_no_file_names_the_place_it_came_from(pattern: re.Pattern[str]) -> None:
    found = []
    for path in git_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    assert not found


def test_constraints_hold_each_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)]


def compose() -> dict[str, dict]:
    content = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "README.md"])
def test_every_variable_named_is_a_setting(name: str) -> None:
    named = set(re.findall(r"\bWATCHWORD_[A-Z0-9_]+", (ROOT / name).read_text()))
    assert named
    assert named <= set(SETTINGS) | CLIENT_VARIABLES | {CONFIG_FILE}


def test_readme_lists_every_setting_as_the_server_describes_it() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = {f"| `{name}` | {setting.meaning} |" for name, setting in SETTINGS.items()}
    assert not [row for row in rows if row not in readme]


@pytest.mark.parametrize("service", ["migrate", "server"])
def test_containers_of_ours_may_do_little(service: str) -> None:
    definition = compose()["services"][service]
    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in definition


def test_compose_publishes_on_the_loopback_address_only() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:7420:7420"]


def test_compose_and_dockerfile_hold_no_secret() -> None:
    for service in compose()["services"].values():
        for name, value in service["environment"].items():
            assert not name.endswith(("PASSWORD", "_KEY")) or value.startswith("${")
            assert "://" not in value or re.match(r"postgresql://watchword:\$\{POSTGRES_PASSWORD:\?[^}]*\}@", value)
    assert not re.search(r"(PASSWORD|_KEY)\b", (ROOT / "Dockerfile").read_text())


def test_image_runs_as_a_user_without_rights() -> None:
    last_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == ["10001:10001"]
    assert "HEALTHCHECK" in last_stage


def test_image_is_made_of_named_files_only() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert names == {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_ci_runs_what_the_readme_says() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    commands = re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert commands == ["make check", "make test", "make test-slow"]
    assert all(command in readme and command.removeprefix("make ") in targets for command in commands)
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
