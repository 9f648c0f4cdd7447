"""Permission models of the server: put into force, shown and listed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchword.cli.command import LIMIT, Call, remote
from watchword.cli.failures import Code, Failure
from watchword.cli.model import FILE, Form

if TYPE_CHECKING:
    from watchword.client import ModelInvalidError

_MAX_BYTES = 1024 * 1024  # what the server takes of JSON; of DSL it says itself if it is too much


def add_to(app: typer.Typer) -> None:
    """Add the commands to those about files."""
    remote(app)(write)
    remote(app)(get)
    remote(app, "list")(list_models)


def write(
    call: Call,
    *,
    file: FILE,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Only tell whether it could be put into force.")
    ] = False,
    allow_orphans: Annotated[
        bool, typer.Option("--allow-orphans", help="Accept that stored relationships do not fit: they are ignored.")
    ] = False,
) -> None:
    """Put a model into force on the server."""
    from watchword.client import ModelInvalidError, ModelOrphansError  # noqa: PLC0415

    form = "openfga_json" if file.suffix == ".json" else "dsl"
    text: dict[str, Any] = {form: _text(file)}
    try:
        written = call.client.permissions.write_model(**text, validate_only=validate_only, allow_orphans=allow_orphans)
    except ModelInvalidError as error:
        raise Failure("\n".join(_mistakes(file, error)), reason=error.reason, request_id=error.request_id) from None
    except ModelOrphansError as error:
        message = error.message.replace("set allow_orphans", "use --allow-orphans")
        raise Failure(message, reason=error.reason, request_id=error.request_id) from None
    for warning in written.warnings:
        call.output.note(f"{_place(file, warning.line, warning.column)}: warning: {warning.message}")
    if written.orphan_count:
        call.output.note(
            f"{written.orphan_count:,} stored relationships do not fit the model and are ignored, such as:"
        )
        for key in written.orphan_examples:
            call.output.note(f"  {key.subject} is {key.relation} of {key.object}")
    if call.output.as_json:
        call.output.one(written)
    elif validate_only:
        call.output.note(f"{file} could be put into force.")
    else:
        call.output.one({"model_id": written.model.model_id, "revision": written.revision})


def get(
    call: Call,
    *,
    model_id: Annotated[
        str | None, typer.Argument(metavar="[MODEL_ID]", help="From `watchword model list`. Default: the one in force.")
    ] = None,
    to: Annotated[Form, typer.Option(help="The form to write.")] = Form.DSL,
) -> None:
    """Show a model of the server, by default the one in force."""
    model = call.client.permissions.get_model(model_id)
    if call.output.as_json:
        call.output.one(model)
    elif to is Form.JSON:
        call.output.document(json.dumps(json.loads(model.openfga_json or "{}"), indent=2))
    elif model.dsl is None:
        raise Failure("OpenFGA's language cannot express this model: use --to json.")
    else:
        call.output.document(model.dsl)


def list_models(call: Call, *, limit: LIMIT = 100) -> None:
    """List the models that were ever in force, newest first."""
    models = call.client.permissions.list_models(page_size=min(limit + 1, 500))
    call.output.many(models, columns=("model_id", "create_time"), limit=limit)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise Failure(f"{file} is too large: a model has at most 256 KiB as DSL and 1 MiB as JSON.")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.", code=Code.USAGE) from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not text in UTF-8.") from None


def _mistakes(file: Path, error: "ModelInvalidError") -> list[str]:
    """Each mistake with its place, as compilers write them, so that editors find it."""
    if not error.field_violations:
        return [f"{file}: {error.message}"]
    lines = []
    for violation in error.field_violations:
        _, colon, place = violation.field.partition(":")
        lines.append(f"{file}{colon}{place}: {violation.description}")
    return lines


def _place(file: Path, line: int | None, column: int | None) -> str:
    return f"{file}:{line}:{column}" if line else str(file)
