"""What the log says of an event: its columns, and what it says of a person, sealed under that person's key."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from watchword.server.call import Call
from watchword.server.identifiers import Randomness, node
from watchword.server.sealing import Sealer
from watchword.server.storage.events import Event, EventType


def event_row(event: Event, call: Call, now: datetime) -> dict[str, Any]:
    """The columns of an event but for what it says of a person."""
    return {
        "event_time": now,
        "type": event.type.value,
        "outcome": event.outcome.value,
        "actor": call.actor,
        "intermediary": call.intermediary,
        "organization": event.organization,
        "objects": list(event.objects),
        "nodes": [*(node(name) for name in event.nodes), *event.hashes],
        "request_id": call.request_id,
        "source": call.source,
        "payload": dict(event.payload),
        "person_id": event.person,
    }


def sealer_of(person: UUID, key_sealed: bytes, person_keys: Sealer, randomness: Randomness) -> Sealer:
    """Open the key of a person."""
    return Sealer.from_key(person_keys.open(key_sealed, context=str(person)), randomness=randomness)


_json: Final = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one each time


def sealed(
    sealer: Sealer, personal: Mapping[str, str], call: Call, type_: EventType, person: UUID | str | None
) -> bytes:
    """Seal what an event of a call says of a person, tied to its kind and call: moved to another it does not open."""
    told = {name: text for name, text in personal.items() if text}
    return sealer.seal(_json(told).encode(), context=f"events/{type_.value}/{call.request_id}/{person or ''}")
