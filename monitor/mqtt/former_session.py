"""An upgrade's one step: empty the session under the guessable client id and end it.

The new session stands and is subscribed already, so what comes meanwhile is in it. The former one
is unsubscribed and what it kept is taken first: the order stays, and what is in both comes as a
duplicate, which the engine drops.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.link import Message, MqttLink

log = logging.getLogger(__name__)

BATCH_MESSAGES = 5_000
QUIET_S = 1.0  # without a message for so long, the broker has no more


def empty_former_session(
    address: BrokerAddress,
    client_id: str,
    filters: Sequence[str],
    take: Callable[[list[Message]], object],
    ending: Callable[[], bool],
) -> bool:
    """Take all that a session keeps and end it; False where `ending` said to stop before.

    `take` commits messages or raises StoreError; they are acknowledged after it. Raises
    ConfigurationError where the broker does not answer.
    """
    link = MqttLink(address, client_id)
    link.open()
    taken = 0
    try:
        if link.session_kept:
            for topic in filters:
                link.unsubscribe(topic)
            quiet_s = time.monotonic() + QUIET_S
            while time.monotonic() < quiet_s:
                if ending():
                    return False
                messages = link.drain(BATCH_MESSAGES)
                if not messages:
                    time.sleep(0.01)
                    continue
                # Under QoS 0 the pipeline's own link does not take them for its own.
                take([message._replace(qos=0) for message in messages])
                link.acknowledge(messages)
                taken += len(messages)
                quiet_s = time.monotonic() + QUIET_S
    finally:
        link.close()
    last = MqttLink(address, client_id, keeps_session=False)
    last.open()
    last.close()
    log.info("the session %s is ended, %d messages came from it", client_id, taken)
    return True
