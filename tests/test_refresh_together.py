"""Refreshes that come at the same time share a transaction, and each is judged for itself."""

import asyncio
from uuid import uuid4

import pytest
from conftest import PASSWORD

from watchword.client import AsyncClient, RefreshTokenInvalidError, RefreshTokenReusedError, SessionTokens


@pytest.fixture
async def sessions(watchword_async: AsyncClient) -> list[SessionTokens]:
    await watchword_async.users.create(username="ana", password=PASSWORD)
    return list(await asyncio.gather(*(watchword_async.sign_in("ana", password=PASSWORD) for _ in range(40))))


async def test_each_gets_the_tokens_of_its_own_session(watchword_async: AsyncClient, sessions, sql):
    before = sql("SELECT max(event_id) AS last FROM events")[0]["last"]
    ids = [str(uuid4()) for _ in sessions]

    async def refresh(number: int) -> SessionTokens:
        return await watchword_async.sessions.refresh(sessions[number].refresh_token, request_id=ids[number])

    refreshed = await asyncio.gather(*map(refresh, range(40)))
    for old, new in zip(sessions, refreshed, strict=True):
        assert new.session.session_id == old.session.session_id
        assert new.refresh_token != old.refresh_token
        who = await watchword_async.tokens.introspect(new.access_token)
        assert who.active
        assert who.session_id == old.session.session_id
    events = sql("SELECT xid::text, objects[1] AS session FROM events WHERE event_id > %s", before)
    assert sorted(event["session"] for event in events) == sorted(f"session:{s.session.session_id}" for s in sessions)
    assert len({event["xid"] for event in events}) < 40, "none of them shared a transaction"
    # Sent again under their ids, all hear the same, and nothing is written.
    again = await asyncio.gather(*map(refresh, range(40)))
    assert [each.refresh_token for each in again] == [each.refresh_token for each in refreshed]
    assert sql("SELECT count(*) FROM events WHERE event_id > %s", before)[0]["count"] == 40
    # And what they got works.
    await asyncio.gather(*(watchword_async.sessions.refresh(each.refresh_token) for each in refreshed))


async def test_among_many_good_ones_a_bad_one_is_found(watchword_async: AsyncClient, sessions, sql):
    """One is stolen and used twice before, one is of a session that has ended, and two come with the same token."""
    stolen, ended, twice, *good = sessions
    newer = await watchword_async.sessions.refresh(stolen.refresh_token)
    await watchword_async.sessions.refresh(newer.refresh_token)
    await watchword_async.sessions.revoke(ended.session.session_id)
    asked = [*good[:15], stolen, ended, twice, twice, *good[15:]]
    outcomes = await asyncio.gather(
        *(watchword_async.sessions.refresh(each.refresh_token) for each in asked), return_exceptions=True
    )
    told = dict(zip(range(len(asked)), outcomes, strict=True))
    assert isinstance(told.pop(15), RefreshTokenReusedError)
    assert isinstance(told.pop(16), RefreshTokenInvalidError)
    assert all(isinstance(outcome, SessionTokens) for outcome in told.values())
    assert told[17].refresh_token == told[18].refresh_token
    assert sql("SELECT count(*) FROM sessions WHERE end_reason = 'refresh_token_reused'")[0]["count"] == 1
