"""What happens, followed as it becomes visible."""

from collections.abc import AsyncIterator, Iterable

from watchword.client._async.connection import AsyncConnection
from watchword.client._beats import AsyncBeat
from watchword.client._event_models import EventBatch
from watchword.client._places import Place, silence
from watchword.client._streams import MAX_RESUMPTIONS, AsyncPause, AsyncStream
from watchword.client._transport import new_id, path_of
from watchword.client.errors import DeadlineExceededError, UnavailableError
from watchword.v1 import watch_pb2


async def follow(
    connection: AsyncConnection, since: str | None, object_types: Iterable[str], *, until_now: bool
) -> AsyncIterator[EventBatch]:
    """See `AsyncClient.watch`."""
    place = Place(since, object_types)
    failures = 0
    while True:
        start = place.start()
        stream = AsyncStream(
            connection.open_channel(),
            path_of(start),
            watch_pb2.WatchResponse,
            settings=connection.settings,
            call_id=new_id(),
        )
        beat: AsyncBeat | None = None
        try:
            await stream.send(start)
            # Beside what is done with the events: that may take longer than the server waits for a ping.
            beat = AsyncBeat(silence(connection.settings.timeout), stream.send, place.ping)
            while not (until_now and place.has_caught_up):
                batch = place.take(await stream.receive_one())
                failures = 0
                if batch is not None:
                    yield batch
        except (DeadlineExceededError, UnavailableError):
            failures = min(failures + 1, MAX_RESUMPTIONS + 1)
            if failures > MAX_RESUMPTIONS and not place.has_begun:
                raise
        else:
            return
        finally:
            if beat is not None:
                await beat.stop()
            await stream.close()
        await AsyncPause.after(failures)
