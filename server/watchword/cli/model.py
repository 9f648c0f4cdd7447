"""Permission models as files: checked, converted and compared here, without a server."""

import difflib
import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchword.cli.command import group, local
from watchword.cli.failures import Code, Failure
from watchword.cli.output import Output

if TYPE_CHECKING:
    from watchword.server.permissions.model import Model

app = group("model", "Permission models in OpenFGA's language (schema 1.1), as files.")

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The model: DSL, or JSON if the name ends in .json.")]


class Form(StrEnum):
    """How a model is written."""

    DSL = "dsl"
    JSON = "json"


@local(app)
def check(output: Output, *, file: FILE) -> None:
    """Say what is wrong with a model, each with its line and column. Exit code 1 if it cannot be used."""
    from watchword.server.permissions.checks import check_model  # noqa: PLC0415
    from watchword.server.permissions.problems import InvalidModel  # noqa: PLC0415

    try:
        problems = check_model(_parse(file))
    except InvalidModel as error:
        problems = error.problems
    rows = [
        {
            "severity": "warning" if problem.kind.is_warning else "error",
            "line": problem.position.line + 1 if problem.position else None,
            "column": problem.position.column + 1 if problem.position else None,
            "kind": problem.kind.value,
            "message": problem.message,
        }
        for problem in problems
    ]
    if rows or output.as_json:
        output.many(rows, columns=("severity", "line", "column", "message"))
    else:
        output.note(f"{file} is a sound model.")
    if any(row["severity"] == "error" for row in rows):
        raise typer.Exit(Code.FAILED)


@local(app)
def convert(
    output: Output, *, file: FILE, to: Annotated[Form, typer.Option(help="The form to write.")] = Form.DSL
) -> None:
    """Write a model in OpenFGA's other form, or in the same one, laid out the usual way."""
    from watchword.server.permissions.fga_json import to_json  # noqa: PLC0415

    model = _sound(file)
    if to is Form.JSON:
        sys.stdout.write(json.dumps(to_json(model), indent=2) + "\n")
    else:
        output.text(_dsl(model).rstrip("\n"), name="dsl")


@local(app)
def diff(
    output: Output,
    *,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The model before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The model after.")],
) -> None:
    """Show what differs between two models, whatever their form and layout. Exit code 1 if anything does."""
    before, after = (_dsl(_sound(file)).splitlines() for file in (old, new))
    lines = list(difflib.unified_diff(before, after, str(old), str(new), lineterm=""))
    if lines or output.as_json:
        output.text("\n".join(lines), name="diff")
    if lines:
        raise typer.Exit(Code.FAILED)


@local(app, "test")
def run_tests(
    output: Output,
    *,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Tests in the format of OpenFGA's CLI (.fga.yaml).")
    ],
    allow_external_files: Annotated[
        bool, typer.Option("--allow-external-files", help="Let files name models and tuples outside their own folder.")
    ] = False,
) -> None:
    """Run the tests of a model: checks and lists against tuples in files. Exit code 1 if one fails."""
    from watchword.cli.model_test import report_lines, run_files  # noqa: PLC0415

    reports = list(run_files(files, external=allow_external_files))
    passed = all(report.passed for report in reports)
    if output.as_json:
        output.one({"passed": passed, "files": reports})
    else:
        sys.stdout.writelines(f"{line}\n" for line in report_lines(reports))
    if not passed:
        raise typer.Exit(Code.FAILED)


@local(app)
def constants(
    output: Output,
    *,
    file: FILE,
    target: Annotated[
        Path | None, typer.Option("--output", metavar="PATH", help="Where to write the module. Default: shown here.")
    ] = None,
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if the module is not current. For CI.")
    ] = False,
) -> None:
    """Write a Python module of a model's names, so that type checkers find misspelled types and relations."""
    from watchword.cli.constants import constants_module  # noqa: PLC0415

    if only_check and target is None:
        raise Failure("There is nothing to check: name the module with --output.", code=Code.USAGE)
    module = constants_module(_sound(file))
    if target is None:
        output.text(module.rstrip("\n"), name="python")
        return
    try:
        current = target.read_text() if target.exists() else None
        if only_check and current != module:
            raise Failure(
                f"{target} is not what {file} makes of it: "
                f"run `watchword model constants {shlex.quote(str(file))} --output {shlex.quote(str(target))}`."
            )
        if current != module:
            target.write_text(module)
    except UnicodeDecodeError:
        raise Failure(f"{target} is no text, so it is not overwritten: remove it or name another file.") from None
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}.", code=Code.USAGE) from None


def _parse(file: Path) -> "Model":
    from watchword.server.permissions.dsl import parse_dsl  # noqa: PLC0415
    from watchword.server.permissions.fga_json import from_json  # noqa: PLC0415

    try:
        text = file.read_text()
        return from_json(json.loads(text)) if file.suffix == ".json" else parse_dsl(text)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.", code=Code.USAGE) from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not text in UTF-8.") from None
    except (json.JSONDecodeError, RecursionError):
        raise Failure(f"{file} is not JSON.") from None


def _sound(file: Path) -> "Model":
    from watchword.server.permissions.checks import require_sound  # noqa: PLC0415
    from watchword.server.permissions.problems import InvalidModel  # noqa: PLC0415

    try:
        model = _parse(file)
        require_sound(model)
    except InvalidModel as error:
        raise Failure(f"{file} cannot be used:\n{error}") from None
    return model


def _dsl(model: "Model") -> str:
    from watchword.server.permissions.printer import NotExpressible, to_dsl  # noqa: PLC0415

    try:
        return to_dsl(model)
    except NotExpressible as error:
        raise Failure(str(error)) from None
