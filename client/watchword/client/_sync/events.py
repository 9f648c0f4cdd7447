# Made by client/make_sync.py from client/watchword/client/_async/events.py: do not edit.
"""What happens, followed as it becomes visible."""

from collections.abc import Iterable, Iterator

from watchword.client._beats import Beat
from watchword.client._event_models import EventBatch
from watchword.client._places import Place, silence
from watchword.client._streams import MAX_RESUMPTIONS, Pause, Stream
from watchword.client._sync.connection import Connection
from watchword.client._transport import new_id, path_of
from watchword.client.errors import DeadlineExceededError, UnavailableError
from watchword.v1 import watch_pb2


def follow(
    connection: Connection, since: str | None, object_types: Iterable[str], *, until_now: bool
) -> Iterator[EventBatch]:
    """See `Client.watch`."""
    place = Place(since, object_types)
    failures = 0
    while True:
        start = place.start()
        stream = Stream(
            connection.open_channel(),
            path_of(start),
            watch_pb2.WatchResponse,
            settings=connection.settings,
            call_id=new_id(),
        )
        beat: Beat | None = None
        try:
            stream.send(start)
            # Beside what is done with the events: that may take longer than the server waits for a ping.
            beat = Beat(silence(connection.settings.timeout), stream.send, place.ping)
            while not (until_now and place.has_caught_up):
                batch = place.take(stream.receive_one())
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
                beat.stop()
            stream.close()
        Pause.after(failures)
