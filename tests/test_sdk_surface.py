"""What a caller sees of the SDK: names, models and errors, and that none of them gives a secret away."""

import dataclasses
import inspect
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import watchword.client
from watchword.client import _event_models, _organization_models, _permission_models, errors, models
from watchword.client._convert import user, user_message
from watchword.client._convert_permissions import (
    check_answer,
    consistency_message,
    explanation,
    relationship,
    relationship_message,
)
from watchword.client._permission_models import (
    CheckAnswer,
    CheckError,
    Consistency,
    Decision,
    ExplanationStep,
    Relationship,
)
from watchword.client._transport import is_local
from watchword.v1 import (
    credentials_pb2,
    errors_pb2,
    organizations_pb2,
    permissions_pb2,
    service_accounts_pb2,
    sessions_pb2,
    tokens_pb2,
    users_pb2,
)

SECRET = "s3cr3t-value"
MODELS = (models, _permission_models, _organization_models, _event_models)


def test_all_public_names_are_there():
    for module in (errors, *MODELS):
        for name, value in inspect.getmembers(module, inspect.isclass):
            if value.__module__ in {"watchword.client", module.__name__}:
                assert name in watchword.client.__all__
    for name in watchword.client.__all__:
        value = getattr(watchword.client, name)
        if isinstance(value, type):
            assert value.__module__ == "watchword.client"
    assert dir(watchword.client) == sorted(watchword.client.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = watchword.client.Nothing


def test_the_plugin_costs_other_peoples_tests_nothing():
    code = (
        "import sys, watchword.client.testing; print({'grpc', 'google.protobuf', 'cryptography'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_client_needs_nothing_of_the_server():
    code = """
import sys
for name in ("watchword.server", "sqlalchemy", "psycopg", "argon2", "structlog", "typer", "rich", "jwt", "pytest"):
    sys.modules[name] = None
import watchword.client
watchword.client.Client
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    sources = Path(watchword.client.__file__).parent.rglob("*.py")
    assert not [
        path
        for path in sources
        if "import watchword.server" in path.read_text() or "from watchword.server" in path.read_text()
    ]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:7420", True),
        ("127.0.0.1:7420", True),
        ("127.8.8.8:1", True),
        ("[::1]:7420", True),
        ("dns:///localhost:7420", True),
        ("ipv4:127.0.0.1:7420", True),
        ("ipv6:[::1]:7420", True),
        ("unix:/run/watchword.sock", True),
        ("10.0.0.1:7420", False),
        ("localhost.example.com:7420", False),
        ("watchword:7420", False),
        ("dns://8.8.8.8/localhost:7420", False),
        ("", False),
    ],
)
def test_what_may_do_without_tls(address: str, *, local: bool):
    assert is_local(address) == local


def test_headers_with_control_characters_are_refused_without_being_quoted():
    for value in (f"{SECRET}\n", f"{SECRET}\r\nx: y", f"{SECRET} x", f"{SECRET}é", ""):
        with pytest.raises(ValueError, match="api_key") as caught:
            watchword.client.Client(api_key=value)
        assert SECRET not in str(caught.value)
        with pytest.raises(ValueError, match="access_token") as caught:
            watchword.client.Client(api_key="x").on_behalf_of(value)
        assert SECRET not in str(caught.value)


def test_arguments_out_of_range():
    client = watchword.client.Client(api_key="x")
    for wrong in (
        {"timeout": 0},
        {"timeout": float("nan")},
        {"skew_seconds": 61},
        {"plaintext": True, "tls": watchword.client.TLS()},
    ):
        with pytest.raises(ValueError, match=r"timeout|skew|exclude"):
            watchword.client.Client(api_key="x", **wrong)
    with pytest.raises(ValueError, match="time zone"):
        client.users.list_page(create_time_from=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="timeout"):
        client.with_timeout(-1)


def test_from_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("WATCHWORD_ADDRESS", "WATCHWORD_API_KEY", "WATCHWORD_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="WATCHWORD_API_KEY"):
        watchword.client.Client.from_environment()
    assert settings(watchword.client.Client.from_environment(api_key="x")).address == "localhost:7420"
    monkeypatch.setenv("WATCHWORD_API_KEY", "from-environment")
    monkeypatch.setenv("WATCHWORD_ADDRESS", "id.example.com:443")
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    monkeypatch.setenv("WATCHWORD_CA_FILE", str(tmp_path / "ca.pem"))
    found = settings(watchword.client.AsyncClient.from_environment(timeout=3))
    assert (found.address, found.api_key, found.timeout) == ("id.example.com:443", "from-environment", 3)
    assert found.tls.root_certificates == b"PEM"


def settings(client: Any) -> Any:
    return client._connection.settings


# --- models -------------------------------------------------------------------------------------------


def test_models_are_frozen_and_slotted():
    for module in MODELS:
        for name, model in inspect.getmembers(module, dataclasses.is_dataclass):
            assert model.__dataclass_params__.frozen, name
            assert "__slots__" in vars(model), name


def test_secrets_are_masked():
    key = models.Key(
        key_id="k", service_account_id="s", display_name=None, permissions=(), create_time=datetime.now(UTC),
        expire_time=None, last_used_time=None, revoke_time=None, successor_key_id=None,
    )  # fmt: skip
    shown = [
        repr(models.CreatedKey(key=key, api_key=SECRET)),
        repr(models.RotatedKey(key=key, api_key=SECRET, previous_key=key)),
        repr(
            models.SessionTokens(
                access_token=SECRET, access_token_lifetime=timedelta(), refresh_token=SECRET, session=None
            )
        ),
        repr(_organization_models.CreatedInvitation(invitation=None, invitation_token=SECRET)),
        repr(settings(watchword.client.Client(api_key=SECRET).on_behalf_of(SECRET))),
        repr(watchword.client.TLS(private_key=SECRET.encode())),
    ]
    assert SECRET not in "".join(shown)


def test_enums_agree_with_the_contract():
    pairs = [
        (models.UserStatus, users_pb2.UserStatus),
        (models.ServiceAccountStatus, service_accounts_pb2.ServiceAccountStatus),
        (models.CredentialKind, credentials_pb2.CredentialKind),
        (models.SessionEndReason, sessions_pb2.SessionEndReason),
        (models.TokenKind, tokens_pb2.TokenKind),
        (models.InactiveReason, tokens_pb2.InactiveReason),
        (_permission_models.Decision, permissions_pb2.Decision),
        (_organization_models.OrganizationStatus, organizations_pb2.OrganizationStatus),
    ]
    for ours, theirs in pairs:
        prefix = theirs.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
        assert {prefix + member.name for member in ours} == {value.name for value in theirs.DESCRIPTOR.values}
        assert all(member.value == member.name.lower() for member in ours)


def test_a_status_of_a_newer_server_is_no_error():
    assert user(users_pb2.User(status=99)).status is models.UserStatus.UNSPECIFIED


def test_attributes_keep_their_values():
    attributes = {"a": 1, "b": 1.5, "c": None, "d": [True, "x", {"e": []}], "f": 2**53, "g": 1e300, "h": -0.5, "": ""}
    message = users_pb2.User.FromString(user_message("u", attributes=attributes).SerializeToString())
    found = user(message).attributes
    assert found == attributes
    assert type(found["a"]) is int
    assert user_message("u", attributes={}).HasField("attributes")


def test_only_an_allow_is_true():
    for decision in Decision:
        assert bool(CheckAnswer(decision=decision)) == (decision is Decision.ALLOWED)
    assert not CheckError(reason="CONDITION_FAILED", message="x")
    assert not check_answer(permissions_pb2.CheckResponse(decision=99))


def test_consistency():
    assert consistency_message(None) is None
    assert consistency_message(Consistency.full()).WhichOneof("requirement") == "full"
    assert consistency_message(Consistency.at_least("1.2")).at_least == "1.2"
    assert consistency_message(Consistency.minimize_latency()).minimize_latency
    with pytest.raises(ValueError, match="revision"):
        Consistency.at_least("")


def test_relationships_keep_their_values():
    stated = Relationship(
        "user:ana", "viewer", "document:1", condition="c", context={"a": [1, None]}, expire_time=datetime.now(UTC)
    )
    message = relationship_message(stated)
    assert relationship(type(message).FromString(message.SerializeToString())) == stated
    plain = Relationship("user:ana", "viewer", "document:1")
    assert relationship(relationship_message(plain)) == plain
    with pytest.raises(ValueError, match="condition"):
        relationship_message(Relationship("user:ana", "viewer", "document:1", context={}))


def test_a_tree_is_rebuilt_from_its_depths():
    depths = [0, 1, 2, 3, 2, 1, 1, 2]
    found = explanation(
        permissions_pb2.ExplainResponse(
            decision=2,
            steps=[
                permissions_pb2.ExplanationStep(
                    depth=depth, kind=8, decision=2, node=str(index), reason=2, missing_context=["a"], omitted_count=3
                )
                for index, depth in enumerate(depths)
            ],
            nearest=[7, 3],
        )
    )

    def outline(step: ExplanationStep) -> Any:
        return {step.node: [outline(child) for child in step.children]}

    assert outline(found.tree) == {"0": [{"1": [{"2": [{"3": []}]}, {"4": []}]}, {"5": []}, {"6": [{"7": []}]}]}
    assert [step.node for step in found.nearest] == ["7", "3"]
    assert found.nearest[1] is found.tree.children[0].children[0].children[0]
    step = found.nearest[0]
    assert (step.kind, step.verdict, step.why) == ("missing-grant", "denied", "condition-false")
    assert (step.missing, step.omitted, step.relationship) == (("a",), 3, None)
    assert explanation(permissions_pb2.ExplainResponse(decision=1)).tree.verdict is Decision.ALLOWED


def test_a_long_chain_is_no_deep_recursion():
    steps = [permissions_pb2.ExplanationStep(depth=depth, kind=1) for depth in range(5000)]
    tree = explanation(permissions_pb2.ExplainResponse(steps=steps)).tree
    length = 1
    while tree.children:
        (tree,) = tree.children
        length += 1
    assert length == 5000


# --- errors -------------------------------------------------------------------------------------------


def test_each_reason_has_a_class():
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert reasons - {"UNSPECIFIED"} <= errors.ERRORS.keys()


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = [word for word in (errors.__doc__ or "").split() if word.endswith("Error")]
    assert sorted(drawn) == sorted(
        name for name, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)
    )


def test_errors_survive_a_process_boundary():
    error = errors.NotFoundError(
        "There is none.", code="NOT_FOUND", reason="NOT_FOUND", metadata={"type": "user"}, request_id="r",
        field_violations=(errors.FieldViolation("a", "b"),), retry_after=timedelta(seconds=1),
    )  # fmt: skip
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is errors.NotFoundError
    assert vars(copied) == vars(error)
    assert str(copied) == "There is none. (NOT_FOUND, request r)"


def test_what_is_worth_a_retry():
    assert errors.UnavailableError("x").retryable
    assert errors.ServerBusyError("x", retry_after=timedelta(seconds=1)).retryable
    assert errors.ConflictError("x", reason="CONFLICT").retryable
    assert not errors.EtagMismatchError("x", reason="ETAG_MISMATCH").retryable
    assert not errors.DeadlineExceededError("x").retryable
    assert not errors.TokenExpiredError("x").retryable
