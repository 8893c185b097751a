"""What is published of alarms: each one's retained record, and every transition. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from monitor.alarms.book import AlarmBook, Key
from monitor.contract import AlarmRecord, Topics, encode
from monitor.results import Results


class Announcement(NamedTuple):
    """A message about an alarm."""

    topic: str
    payload: bytes
    retained: bool


def announcements(results: Results, book: AlarmBook, topics: Topics) -> list[Announcement]:
    """What is to be published of the alarms of some inputs, in order."""
    found: list[Announcement] = []
    for event in results.events:
        record = event.alarm
        if event.group is None:
            payload = b"" if record.state == "normal" else encode(record)
            found.append(Announcement(_topic(record, topics), payload, True))
        topic = topics.of(record.asset, "event")
        found.append(Announcement(topic, encode(event), False))
    return found + [as_it_stands(key, book, topics) for key in results.changed]


def as_it_stands(key: Key, book: AlarmBook, topics: Topics) -> Announcement:
    """An alarm's record as it is to be retained."""
    record = book.record_of(key)
    topic = topics.of(key[0], "alarm", *key[1:])
    return Announcement(topic, b"" if record is None else encode(record), True)


def differences(
    retained: Mapping[str, bytes], book: AlarmBook, topics: Topics
) -> Iterator[Announcement]:
    """What makes a broker's retained alarm records, by topic, those of the book."""
    wanted = {_topic(record, topics): encode(record) for record in book.records()}
    for topic, payload in wanted.items():
        if retained.get(topic) != payload:
            yield Announcement(topic, payload, True)
    for topic in retained.keys() - wanted.keys():
        yield Announcement(topic, b"", True)


def _topic(record: AlarmRecord, topics: Topics) -> str:
    return topics.of(record.asset, "alarm", record.code, record.source)
