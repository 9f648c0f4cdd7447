"""Cookies of sessions and the defence against forged requests: pure, without a server or a browser."""

from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.client.cookies import Cookie, CsrfProtection, SessionCookies, parse_cookies
from watchword.client.models import Device, Session, SessionTokens

CSRF = CsrfProtection(secret=b"a secret of the application", trusted_origins=frozenset({"https://admin.example.com"}))
SESSION = "0191f3a0-0000-7000-8000-000000000001"
OTHER = "0191f3a0-0000-7000-8000-000000000002"
NOW = datetime(2020, 1, 1, tzinfo=UTC)


def tokens(access: str = "eyJ.a-b_c.d", refresh: str = "wwr_abc") -> SessionTokens:
    return SessionTokens(
        access_token=access,
        access_token_lifetime=timedelta(minutes=5),
        refresh_token=refresh,
        session=Session(
            session_id=SESSION,
            user_id="u",
            client_id="c",
            device=Device(),
            audiences=(),
            authentication_methods=("pwd",),
            authentication_level="aal1",
            authentication_time=NOW,
            create_time=NOW,
            last_active_time=NOW + timedelta(days=1),
            idle_expire_time=NOW + timedelta(days=8),
            expire_time=NOW + timedelta(days=4),
            end_time=None,
            end_reason=None,
        ),
    )


# --- cookies ------------------------------------------------------------------------------------------


def test_cookies_are_bound_to_the_host_and_hidden_from_scripts():
    access, refresh, csrf = (cookie.header() for cookie in SessionCookies().carrying(tokens(), csrf_token="t"))
    assert access == (
        "__Host-watchword-access=eyJ.a-b_c.d; Path=/; Max-Age=300; SameSite=Lax; Secure; HttpOnly"
    )  # fmt: skip
    assert refresh.startswith("__Host-watchword-refresh=wwr_abc; ")
    assert "HttpOnly" in refresh
    assert csrf.startswith("__Host-watchword-csrf=t; ")
    assert "HttpOnly" not in csrf
    for header in (access, refresh, csrf):
        (morsel,) = SimpleCookie(header).values()
        # What browsers demand of a cookie with the prefix `__Host-`.
        assert (morsel["secure"], morsel["path"], morsel["domain"]) == (True, "/", "")
        assert morsel["samesite"] == "Lax"


def test_cookies_live_as_long_as_what_they_carry_by_the_servers_clock():
    access, refresh, csrf = SessionCookies().carrying(tokens(), csrf_token="t")
    three_days = int(timedelta(days=3).total_seconds())  # the session's absolute end comes before the idle one
    assert [access.max_age, refresh.max_age, csrf.max_age] == [300, three_days, three_days]


def test_plain_http_is_asked_for():
    for cookie in SessionCookies(secure=False).carrying(tokens(), csrf_token="t"):
        assert cookie.name.startswith("watchword-")
        assert "Secure" not in cookie.header()
        assert "__Host-" not in cookie.header()


@pytest.mark.parametrize("secure", [True, False])
def test_clearing_deletes_the_very_cookies_that_were_set(*, secure: bool):
    cookies = SessionCookies(secure=secure)
    was_set = cookies.carrying(tokens(), csrf_token="t")
    assert [cookie.name for cookie in cookies.cleared()] == [cookie.name for cookie in was_set]
    for cookie in cookies.cleared():
        assert "=; Path=/; Max-Age=0; " in cookie.header()


@pytest.mark.parametrize("value", ["a; Domain=evil.example", "a\r\nSet-Cookie: b=c", 'a"', "a,b", "a b", "ä", "a\0"])
def test_a_value_cannot_write_attributes_and_is_not_repeated(value: str):
    (cookie, *_) = SessionCookies().carrying(tokens(access=value))
    with pytest.raises(ValueError, match="__Host-watchword-access") as caught:
        cookie.header()
    assert value not in str(caught.value)


def test_no_secret_in_a_repr():
    cookie = Cookie(name="n", value="s3cr3t", max_age=1, secure=True, http_only=True)
    assert "s3cr3t" not in repr(cookie)
    assert "s3cr3t" not in repr(CsrfProtection(secret=b"s3cr3t s3cr3t s3cr3t"))


# --- the header that comes back --------------------------------------------------------------------------


def test_what_was_set_comes_back():
    set_ = SessionCookies().carrying(tokens(), csrf_token=CSRF.token(SESSION))
    header = "; ".join(f"{cookie.name}={cookie.value}" for cookie in set_)
    assert parse_cookies(header) == {cookie.name: cookie.value for cookie in set_}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        (";;=;a", {"": ""}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        (" a = 1 ;\tb=2", {"a": "1", "b": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ('a="1"', {"a": '"1"'}),
        # Threat: a quoted value that swallows the cookies behind it, or hands them to whoever may read that one.
        ('x="; a=1; y="', {"x": '"', "a": "1", "y": '"'}),
        # Threat: one of two is planted.
        ("a=1; a=2; b=3", {"b": "3"}),
        ("a=1; a=1; a=1", {}),
        ("a=1; A=2", {"a": "1", "A": "2"}),
    ],
)
def test_the_header_is_read_as_browsers_write_it(header: str, found: dict[str, str]):
    assert parse_cookies(header) == found


@pytest.mark.parametrize(
    "blank", ["\u2000", "\u00a0", "\u0085", "\u3000", "\u00e2\u0080\u0080", "\x0b", "\x1c", "\r", "\n"]
)
def test_a_name_with_another_blank_is_another_name(blank: str):
    # To a browser these do not begin with "__Host-", so it takes them from a subdomain.
    for name in (f"{blank}__Host-a", f"__Host-a{blank}"):
        assert "__Host-a" not in parse_cookies(f"{name}=1")


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_header_comes_is_read_without_an_error(header: str):
    for name, value in parse_cookies(header).items():
        assert ";" not in name + value


# --- tokens -------------------------------------------------------------------------------------------


def test_a_token_is_good_for_its_session_alone():
    token = CSRF.token(SESSION)
    assert CSRF.accepts(SESSION, cookie=token, submitted=token)
    # Threat: the attacker's own token, planted as a cookie and sent by a form.
    assert not CSRF.accepts(OTHER, cookie=token, submitted=token)


def test_a_token_is_good_for_its_application_alone():
    token = CsrfProtection(secret=b"a secret of somebody else").token(SESSION)
    assert not CSRF.accepts(SESSION, cookie=token, submitted=token)


def test_both_must_come_and_be_the_same():
    one, other = CSRF.token(SESSION), CSRF.token(SESSION)
    assert one != other
    assert not CSRF.accepts(SESSION, cookie=one, submitted=other)
    assert not CSRF.accepts(SESSION, cookie=one, submitted=None)
    assert not CSRF.accepts(SESSION, cookie=None, submitted=one)
    assert not CSRF.accepts(SESSION, cookie="", submitted="")


def test_every_changed_character_is_noticed():
    token = CSRF.token(SESSION)
    for index in range(len(token)):
        changed = f"{token[:index]}{'0' if token[index] != '0' else '1'}{token[index + 1 :]}"
        assert not CSRF.accepts(SESSION, cookie=changed, submitted=changed)


@given(st.text(st.characters(exclude_categories=())), st.sampled_from([SESSION, "", "!"]))
def test_whatever_comes_is_refused_without_an_error(text: str, session_id: str):
    assert not CSRF.accepts(session_id, cookie=text, submitted=text)


def test_a_short_secret_is_refused_without_being_quoted():
    with pytest.raises(ValueError, match="at least 16 bytes") as caught:
        CsrfProtection(secret=b"hunter2")
    assert "hunter2" not in str(caught.value)


# --- where a request comes from ------------------------------------------------------------------------


def trusts(host: str, headers: dict[str, str]) -> bool:
    return CSRF.trusts_source(host=host, origin=headers.get("origin"), site=headers.get("sec-fetch-site"))


@pytest.mark.parametrize(
    ("headers", "trusted"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "nonsense"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://app.example.com"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://admin.example.com"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://admin.example.com.evil.example"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://admin.example.com"}, False),
        ({}, True),
        ({"origin": "https://app.example.com"}, True),
        ({"origin": "https://APP.example.com"}, True),
        ({"origin": "https://app.example.com:444"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://app.example.com.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "https://[bad"}, False),
    ],
)
def test_what_the_browser_says_of_the_page(headers: dict[str, str], *, trusted: bool):
    assert trusts("app.example.com", headers) == trusted


def test_no_host_trusts_no_page():
    assert not trusts("", {"origin": "null"})
    assert not trusts("", {"origin": "https://evil.example"})
