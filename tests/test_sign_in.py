"""SignInService and CredentialService, on the real server."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PASSWORD

from watchword.client import (
    Client,
    CredentialKind,
    CurrentPasswordWrongError,
    Device,
    InvalidArgumentError,
    NotFoundError,
    PasswordRefusedError,
    SessionEndReason,
    SignInRefusedError,
    SignInThrottledError,
    User,
    WrongStatusError,
)


@pytest.fixture
def ana(watchword: Client) -> User:
    return watchword.users.create(email="Ana@example.com", username="ana", password=PASSWORD)


@pytest.mark.parametrize("identifier", ["ana@example.com", "ANA@EXAMPLE.COM", "Ana", "ana"])
def test_sign_in_by_any_identifier(watchword: Client, ana, identifier):
    tokens = watchword.sign_in(identifier, password=PASSWORD)
    assert tokens.session.user_id == ana.user_id
    assert tokens.session.authentication_methods == ("pwd",)
    assert tokens.session.authentication_level == "aal1"
    assert watchword.verify(tokens.access_token).user_id == ana.user_id


def test_every_refusal_is_the_same(watchword: Client, ana):
    watchword.users.create(username="without-password")
    suspended = watchword.users.create(username="suspended", password=PASSWORD)
    watchword.users.suspend(suspended.user_id)
    answers = set()
    for identifier, password in [
        ("ana", "wrong horse battery"),
        ("nobody", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("not an address @ all", PASSWORD),
        ("\u202e\u0301@\u202e", PASSWORD),
        ("without-password", PASSWORD),
        ("suspended", PASSWORD),
        ("suspended", "wrong horse battery"),
        (ana.user_id, PASSWORD),
        ("' or 1=1 --", PASSWORD),
    ]:
        with pytest.raises(SignInRefusedError) as caught:
            watchword.sign_in(identifier, password=password)
        metadata = {key: value for key, value in caught.value.metadata.items() if key != "request_id"}
        answers.add((caught.value.message, str(metadata)))
    assert len(answers) == 1


def test_passwords_are_any_unicode_and_compared_in_nfc(watchword: Client):
    for n, (given, typed) in enumerate(
        [
            ("Ame\u0301lie la forte", "Am\u00e9lie la forte"),
            ("\u0000\u0001 control characters", "\u0000\u0001 control characters"),
            ("👩‍👩‍👧‍👦 🐎 🔋 staple", "👩‍👩‍👧‍👦 🐎 🔋 staple"),
            ("x y" * 85, "x y" * 85),
            (" leading and trailing ", " leading and trailing "),
        ]
    ):
        watchword.users.create(username=f"user{n}", password=given)
        assert watchword.sign_in(f"user{n}", password=typed).session
        with pytest.raises(SignInRefusedError):
            watchword.sign_in(f"user{n}", password=typed.strip() + "x")
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("user4", password="leading and trailing")


def test_a_session_remembers_device_and_audiences(watchword: Client, ana):
    device = Device(display_name="Ana's phone", user_agent="Mozilla/5.0", ip_address="2001:db8::7")
    tokens = watchword.sign_in("ana", password=PASSWORD, device=device, audiences=["shop", "billing", "shop"])
    assert tokens.session.device == device
    assert tokens.session.audiences == ("shop", "billing")
    assert watchword.verify(tokens.access_token, audience="billing").audiences == ("shop", "billing")
    assert watchword.tokens.introspect(tokens.access_token, audience="shop").active
    assert not watchword.tokens.introspect(tokens.access_token, audience="internal").active


def test_the_longest_token_has_1024_bytes(watchword: Client, ana):
    longest = 0
    for count in range(1, 17):
        try:
            tokens = watchword.sign_in("ana", password=PASSWORD, audiences=[f"{n:02}" + "x" * 30 for n in range(count)])
        except InvalidArgumentError as error:
            refusal = error
            break
        longest = len(tokens.access_token)
    else:
        pytest.fail("no limit met")
    assert refusal.field_violations[0].field == "audiences"
    assert 900 < longest <= 1024
    # A refused sign-in leaves no session behind.
    assert len(list(watchword.sessions.list(ana.user_id))) == count - 1


def test_a_new_password_ends_the_other_sessions(watchword: Client, ana):
    mine, other = (watchword.sign_in("ana", password=PASSWORD) for _ in range(2))
    new = "staple battery horse"
    with pytest.raises(CurrentPasswordWrongError):
        watchword.credentials.change_password(ana.user_id, current_password="wrong horse", new_password=new)
    credential = watchword.credentials.change_password(
        ana.user_id, current_password=PASSWORD, new_password=new, keep_session_id=mine.session.session_id
    )
    assert credential.kind is CredentialKind.PASSWORD
    assert watchword.tokens.introspect(mine.access_token).active
    assert not watchword.tokens.introspect(other.access_token).active
    ended = watchword.sessions.get(other.session.session_id)
    assert ended.end_reason is SessionEndReason.CREDENTIAL_CHANGED
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana", password=PASSWORD)
    watchword.sign_in("ana", password=new)
    watchword.credentials.set_password(ana.user_id, new_password="another horse altogether")
    assert list(watchword.sessions.list(ana.user_id)) == []


def test_change_password_tells_nobody_who_exists(watchword: Client, ana):
    nobody = "01890a5d-ac96-774b-bcce-b302099a8057"
    for user_id in (nobody, ana.user_id):
        with pytest.raises(CurrentPasswordWrongError) as caught:
            watchword.credentials.change_password(user_id, current_password="x" * 8, new_password="abc" * 5)
        assert set(caught.value.metadata) == {"request_id"}


def test_removing_the_password_leaves_no_way_in(watchword: Client, ana):
    tokens = watchword.sign_in("ana", password=PASSWORD)
    (credential,) = watchword.credentials.list(ana.user_id)
    assert credential.last_used_time is not None
    watchword.credentials.remove(ana.user_id, credential_id=credential.credential_id)
    assert watchword.credentials.list(ana.user_id) == ()
    assert not watchword.tokens.introspect(tokens.access_token).active
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana", password=PASSWORD)
    with pytest.raises(NotFoundError):
        watchword.credentials.remove(ana.user_id, credential_id=credential.credential_id)


def test_a_password_needs_a_living_user(watchword: Client, ana):
    with pytest.raises(PasswordRefusedError):
        watchword.credentials.set_password(ana.user_id, new_password="example-ana")
    watchword.users.delete(ana.user_id)
    with pytest.raises(WrongStatusError):
        watchword.credentials.set_password(ana.user_id, new_password="another horse altogether")
    with pytest.raises(NotFoundError):
        watchword.credentials.set_password(
            "01890a5d-ac96-774b-bcce-b302099a8057", new_password="another horse altogether"
        )


def test_no_session_survives_a_suspension_that_meets_sign_ins(watchword: Client):
    """Sign-ins and a suspension at the same time: whatever comes first, nobody is in afterwards."""
    start = threading.Barrier(9)

    def sign_in(name: str) -> str | None:
        start.wait()
        try:
            return watchword.sign_in(name, password=PASSWORD).access_token
        except (SignInRefusedError, SignInThrottledError):
            return None

    def suspend(user: User) -> None:
        start.wait()
        watchword.users.suspend(user.user_id)

    for number in range(5):
        # One for each time: the sign-ins that are too late are counted as failed.
        user = watchword.users.create(username=f"user{number}", password=PASSWORD)
        with ThreadPoolExecutor(9) as pool:
            suspension = pool.submit(suspend, user)
            tokens = list(pool.map(sign_in, [f"user{number}"] * 8))
            suspension.result()
        for token in filter(None, tokens):
            assert not watchword.tokens.introspect(token).active
        assert list(watchword.sessions.list(user.user_id)) == []
        watchword.users.reinstate(user.user_id)
        for token in filter(None, tokens):
            assert not watchword.tokens.introspect(token).active


def test_a_stored_hash_is_argon2id_of_the_configured_cost(watchword: Client, ana, sql):
    (row,) = sql("select password_hash from credentials")
    assert row["password_hash"].startswith("$argon2id$v=19$m=8,t=1,p=1$")
