"""UserService, through the SDK, on the real server."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import grpc
import pytest
from conftest import PASSWORD
from wire import RPC, Outcome, outcome_of

from watchword.client import (
    AlreadyExistsError,
    Client,
    EtagMismatchError,
    InvalidArgumentError,
    InvalidPageTokenError,
    NotFoundError,
    PasswordRefusedError,
    SignInRefusedError,
    UserStatus,
    WrongStatusError,
)
from watchword.server.api.pages import Pages
from watchword.server.app import running
from watchword.server.bootstrap import ADMINISTRATOR
from watchword.server.call import Caller, server_call
from watchword.server.config import Config
from watchword.server.sealing import Keyring
from watchword.v1 import users_pb2 as pb


def test_a_user_is_found_by_every_name(watchword: Client):
    user = watchword.users.create(
        email="Ana.Lopez@Example.com",
        username="Ana",
        display_name="Ana López",
        locale="pt-BR",
        external_id="crm/42",
        attributes={"plan": "pro", "seats": 3, "tags": ["a", None, {"b": 1.5}]},
    )
    assert watchword.users.get(user.user_id) == user
    assert watchword.users.get_by_email("ana.lopez@EXAMPLE.com") == user
    assert watchword.users.get_by_username("aNA") == user
    assert watchword.users.get_by_external_id("crm/42") == user
    assert user.email == "Ana.Lopez@Example.com"
    assert user.status is UserStatus.ACTIVE
    assert user.attributes == {"plan": "pro", "seats": 3, "tags": ["a", None, {"b": 1.5}]}
    with pytest.raises(NotFoundError):
        watchword.users.get_by_external_id("CRM/42")


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ({"email": "ana@example.com"}, {"email": "ANA@Example.COM"}, "user.email"),
        ({"username": "straße"}, {"username": "STRASSE"}, "user.username"),
        ({"external_id": "7"}, {"external_id": "7"}, "user.external_id"),
    ],
)
def test_names_are_unique_whatever_the_case(watchword: Client, first, second, field):
    watchword.users.create(**first)
    with pytest.raises(AlreadyExistsError) as caught:
        watchword.users.create(**second)
    assert caught.value.metadata["field"] == field


def test_of_many_who_want_one_address_at_once_one_gets_it(watchword: Client):
    def create(number: int) -> str:
        try:
            return watchword.users.create(email="ana@example.com", display_name=str(number)).user_id
        except AlreadyExistsError:
            return ""

    with ThreadPoolExecutor(16) as pool:
        created = [user_id for user_id in pool.map(create, range(32)) if user_id]
    assert len(created) == 1
    assert watchword.users.get_by_email("ana@example.com").user_id == created[0]


def test_a_user_needs_a_name(watchword: Client):
    with pytest.raises(InvalidArgumentError) as caught:
        watchword.users.create(display_name="Nobody")
    assert caught.value.field_violations[0].field == "user"


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("short", "too_short"),
        ("x" * 257, "too_long"),
        ("password123", "common"),
        ("ana.lopez.2024", "personal"),
    ],
)
def test_a_weak_first_password_creates_nobody(watchword: Client, password, rule):
    with pytest.raises(PasswordRefusedError) as caught:
        watchword.users.create(email="ana.lopez@example.com", password=password)
    assert caught.value.metadata["rule"] == rule
    with pytest.raises(NotFoundError):
        watchword.users.get_by_email("ana.lopez@example.com")


def test_update_changes_what_it_names_and_nothing_else(watchword: Client):
    user = watchword.users.create(email="ana@example.com", display_name="Ana", locale="de")
    changed = watchword.users.update(user.user_id, display_name="Ana L.", locale=None)
    assert (changed.display_name, changed.locale, changed.email) == ("Ana L.", None, "ana@example.com")
    assert changed.etag != user.etag
    with pytest.raises(EtagMismatchError):
        watchword.users.update(user.user_id, display_name="Late", etag=user.etag)
    assert watchword.users.update(user.user_id, display_name="In time", etag=changed.etag).display_name == "In time"
    with pytest.raises(InvalidArgumentError, match="at least one"):
        watchword.users.update(user.user_id, email=None)


def test_an_update_that_changes_nothing_is_no_change(watchword: Client, sql):
    user = watchword.users.create(email="ana@example.com")
    before = sql("select count(*) as n from events")
    assert watchword.users.update(user.user_id, email="ana@example.com").etag == user.etag
    assert sql("select count(*) as n from events") == before


def test_of_concurrent_updates_with_one_etag_one_wins(watchword: Client):
    user = watchword.users.create(email="ana@example.com")

    def update(number: int) -> bool:
        try:
            watchword.users.update(user.user_id, display_name=f"Ana {number}", etag=user.etag)
        except EtagMismatchError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(update, range(16))) == 1


def test_suspension_ends_everything_at_once_and_reinstating_brings_nothing_back(watchword: Client):
    user = watchword.users.create(email="ana@example.com", password=PASSWORD)
    tokens = watchword.sign_in("ana@example.com", password=PASSWORD)
    assert watchword.users.suspend(user.user_id, reason="audit").status is UserStatus.SUSPENDED
    assert not watchword.tokens.introspect(tokens.access_token).active
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana@example.com", password=PASSWORD)
    assert list(watchword.sessions.list(user.user_id)) == []
    assert watchword.users.reinstate(user.user_id).status is UserStatus.ACTIVE
    assert not watchword.tokens.introspect(tokens.access_token).active
    assert watchword.sign_in("ana@example.com", password=PASSWORD).session


def test_a_deleted_user_leaves_an_id_and_frees_the_names(watchword: Client, sql):
    user = watchword.users.create(
        email="ana@example.com", username="ana", external_id="7", display_name="Ana", password=PASSWORD
    )
    tokens = watchword.sign_in("ana", password=PASSWORD)
    gone = watchword.users.delete(user.user_id)
    assert gone.status is UserStatus.DELETED
    assert gone.delete_time is not None
    assert (gone.email, gone.username, gone.external_id, gone.display_name) == (None, None, None, None)
    assert not watchword.tokens.introspect(tokens.access_token).active
    assert watchword.users.get(user.user_id) == gone
    assert sql("select * from credentials") == []
    with pytest.raises(NotFoundError):
        watchword.users.get_by_email("ana@example.com")
    for change in (watchword.users.suspend, watchword.users.reinstate):
        with pytest.raises(WrongStatusError):
            change(user.user_id)
    assert watchword.users.delete(user.user_id) == gone
    successor = watchword.users.create(email="ana@example.com", username="ana", external_id="7")
    assert successor.user_id != user.user_id


def test_batch_get_answers_in_order_and_names_who_is_missing(watchword: Client):
    ids = [watchword.users.create(username=f"user{n}").user_id for n in range(3)]
    nobody = "01890a5d-ac96-774b-bcce-b302099a8057"
    batch = watchword.users.batch_get([ids[2], nobody, ids[0], ids[2]])
    assert [user.user_id for user in batch.users] == [ids[2], ids[0]]
    assert list(batch.missing_user_ids) == [nobody]


def test_pages_hold_everybody_once_in_order(watchword: Client):
    ids = [watchword.users.create(email=f"u{n}@example.com").user_id for n in range(23)]
    assert [user.user_id for user in watchword.users.list(page_size=7)] == sorted(ids)
    page = watchword.users.list_page(page_size=23)
    assert len(page.items) == 23
    assert not page.next_page_token


def test_whose_address_begins_alike_is_listed_in_the_order_of_addresses(watchword: Client):
    names = ["an.na", "Anna", "an-na", "an_a", "an%a", "ANNE", "ånna", "Änna", "ann" + "a" * 40, "bob", "an+na", "aNZ"]
    for number, name in enumerate(names):
        user = watchword.users.create(email=f"{name}@example.com")
        if number % 3 == 1:
            watchword.users.suspend(user.user_id)
    watchword.users.create(email="anna@example.com.br")  # begins as another one's whole address
    addresses = sorted(f"{name.casefold()}@example.com" for name in names if name.casefold().startswith("an"))
    addresses.insert(addresses.index("anna@example.com") + 1, "anna@example.com.br")
    for size in (1, 2, 3, 50):
        found = [user.email or "" for user in watchword.users.list(email_prefix="aN", page_size=size)]
        assert [email.casefold() for email in found] == addresses
    assert [user.email for user in watchword.users.list(email_prefix="Å")] == ["ånna@example.com"]
    assert len(list(watchword.users.list(email_prefix="anna@EXAMPLE.com"))) == 2
    assert list(watchword.users.list(email_prefix="an_%")) == []


def test_filters(watchword: Client):
    for n, name in enumerate(["anna", "ANNE", "an_a", "an%a", "bob"]):
        watchword.users.create(email=f"{name}@example.com" if "%" not in name else None, external_id=str(n))
    suspended = watchword.users.suspend(watchword.users.get_by_email("bob@example.com").user_id)
    deleted = watchword.users.delete(watchword.users.get_by_external_id("3").user_id)

    def emails(**conditions) -> set[str | None]:
        return {user.email for user in watchword.users.list(**conditions)}

    assert emails(email_prefix="ANN") == {"anna@example.com", "ANNE@example.com"}
    assert emails(email_prefix="an_") == {"an_a@example.com"}
    assert emails(statuses=[UserStatus.SUSPENDED]) == {"bob@example.com"}
    assert {user.user_id for user in watchword.users.list(statuses=[UserStatus.DELETED])} == {deleted.user_id}
    assert len(emails()) == 4
    assert emails(create_time_from=suspended.create_time) == {"bob@example.com"}
    assert len(emails(create_time_until=suspended.create_time)) == 3


def test_a_page_token_belongs_to_its_query_and_caller(watchword: Client, watchword_server):
    for n in range(3):
        watchword.users.create(username=f"user{n}")
    token = watchword.users.list_page(page_size=1).next_page_token
    assert watchword.users.list_page(page_size=2, page_token=token).items
    with pytest.raises(InvalidPageTokenError):
        watchword.users.list_page(page_size=1, page_token=token, email_prefix="a")
    for forged in (token[:-8] + "A" * 8, token + "=", "x", token[::-1]):
        with pytest.raises(InvalidPageTokenError):
            watchword.users.list_page(page_token=forged)
    watchword.service_accounts.create("other")
    key = watchword.service_accounts.create_key("other", permissions=["read_users"])
    with Client(watchword_server.address, api_key=key.api_key) as other, pytest.raises(InvalidPageTokenError):
        other.users.list_page(page_size=1, page_token=token)


@pytest.mark.parametrize("prefix", ["", "a"])
async def test_a_page_token_of_a_server_before_migration_0007(prefix, watchword, watchword_server, metadata, sql):
    """It is ours in all but what it holds: the id of the last user, not a place in the list."""
    first, second = (watchword.users.create(email=f"{name}@example.com") for name in ("ana", "anb"))
    sql("delete from signing_keys")  # the server here has a master key of its own
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    rpc, pages, request = RPC["ListUsers"], Pages(keyring), pb.ListUsersRequest(filter={"email_prefix": prefix})
    call = replace(server_call("UserService/ListUsers"), caller=Caller(ADMINISTRATOR, UUID(int=0), frozenset()))
    page = pages.page(request, call)
    config = Config(listen="127.0.0.1:0")
    async with (
        running(config, database_url=watchword_server.database_url, keyring=keyring) as app,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        method = channel.unary_unary(rpc.path, rpc.request.SerializeToString, rpc.response.FromString)

        async def list_behind(position: str) -> Outcome:
            request.page_token = pages.token(page, position)
            try:
                return Outcome("OK", await method(request, metadata=metadata, timeout=20))
            except grpc.RpcError as error:
                return outcome_of(error)

        place = first.email if prefix else f"{first.create_time.isoformat()} {first.user_id}"
        answer = await list_behind(place)
        assert [user.user_id for user in answer.response.users] == [second.user_id], answer.short
        refused = await list_behind(first.user_id)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"), refused.short
