"""The receive path: every packet is found wherever the bytes are cut, and bad ones end the link."""

from __future__ import annotations

import socket
import struct
import time

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.receive import BLOCK_BYTES, BlockClient, BlockSocket, Received

PROTOCOLS = [paho.MQTTv311, paho.MQTTv5]


def length(n: int) -> bytes:
    out = b""
    while True:
        n, low = divmod(n, 128)
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


def packet(message: Received, protocol: int, properties: bytes = b"") -> bytes:
    name = message.topic.encode()
    body = struct.pack(">H", len(name)) + name
    body += struct.pack(">H", message.mid) if message.qos else b""
    body += length(len(properties)) + properties if protocol == paho.MQTTv5 else b""
    body += message.payload
    return bytes([0x30 | message.qos << 1 | message.retain]) + length(len(body)) + body


class Wire:
    """A client on one end of a pair of sockets; what it hands out stands in `got`."""

    def __init__(self, protocol: int) -> None:
        ours, self.far = socket.socketpair()
        ours.setblocking(False)
        self.got: list[Received] = []
        self.client = BlockClient(
            CallbackAPIVersion.VERSION2, client_id="x", protocol=protocol, manual_ack=True
        )
        self.client.on_batch = self.got.extend
        self.client._sock = BlockSocket(ours)

    def pass_on(self, data: bytes) -> MQTTErrorCode:
        self.far.sendall(data)
        return self.client.loop_read()

    def close(self) -> None:
        self.far.close()
        if self.client._sock is not None:
            self.client._sock.close()


messages = st.builds(
    Received,
    topic=st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=40),
    payload=st.binary(max_size=400),
    qos=st.integers(0, 1),
    retain=st.booleans(),
    mid=st.integers(1, 65_535),
).map(lambda m: m if m.qos else m._replace(mid=0))


@given(
    st.lists(messages, min_size=1, max_size=12),
    st.sampled_from(PROTOCOLS),
    st.lists(st.integers(1, 300), min_size=1, max_size=20),
    st.data(),
)
def test_messages_are_found_wherever_the_stream_is_cut(
    sent: list[Received], protocol: int, cuts: list[int], data: st.DataObject
) -> None:
    other = data.draw(st.integers(0, len(sent)))
    packets = [packet(m, protocol, b"\x02\0\0\0\x09" if m.mid % 2 else b"") for m in sent]
    packets.insert(other, b"\xd0\x00")  # a PINGRESP goes paho's way
    stream = b"".join(packets)
    wire = Wire(protocol)
    try:
        at = 0
        for cut in [*cuts, len(stream)]:
            part = stream[at : at + cut]
            at += cut
            if part:
                assert wire.pass_on(part) == MQTTErrorCode.MQTT_ERR_SUCCESS
        assert wire.got == sent
    finally:
        wire.close()


def test_a_message_longer_than_a_block() -> None:
    wire = Wire(paho.MQTTv5)
    message = Received("a/b", bytes(3 * BLOCK_BYTES), 1, False, 7)
    data = packet(message, paho.MQTTv5)
    try:
        for at in range(0, len(data), 50_000):
            wire.pass_on(data[at : at + 50_000])
        wire.client.loop_read()
        assert wire.got == [message]
    finally:
        wire.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x32\xff\xff\xff\xff\x01",  # a length without an end
        b"\x32\x04\x00\x09ab",  # a topic longer than its packet
        b"\x30\x04\x00\x02\xff\xfe",  # not UTF-8
        b"\xf0\x00",  # AUTH, which nobody asked for
    ],
)
def test_a_broken_stream_ends_the_connection(data: bytes) -> None:
    wire = Wire(paho.MQTTv311)
    try:
        code = wire.pass_on(data)
        assert code != MQTTErrorCode.MQTT_ERR_SUCCESS or wire.got == []
        assert wire.got == []
    finally:
        wire.close()


def test_the_far_end_closes() -> None:
    wire = Wire(paho.MQTTv5)
    wire.far.close()
    assert wire.client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST


def test_acknowledges_go_out_in_order_and_at_once() -> None:
    wire = Wire(paho.MQTTv5)
    try:
        wire.client.ack_all([])
        wire.client.ack_all([1, 258, 65_535])
        while wire.client.want_write():
            wire.client.loop_write()
        assert wire.far.recv(100) == b"\x40\x02\x00\x01\x40\x02\x01\x02\x40\x02\xff\xff"
    finally:
        wire.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_a_real_broker(mosquitto: BrokerAddress, protocol: int) -> None:
    """What is not a PUBLISH goes paho's way, and the two ways do not disturb each other."""
    got: list[Received] = []
    client = BlockClient(CallbackAPIVersion.VERSION2, client_id="r", protocol=protocol)
    client.on_batch = got.extend
    client.username_pw_set(mosquitto.user or "", mosquitto.password)
    client.connect(mosquitto.host, mosquitto.port, keepalive=5)

    def connected(*_: object) -> None:
        client.subscribe("t/#", 1)

    def subscribed(*_: object) -> None:
        for k in range(50):
            client.publish(f"t/{k}", str(k), k % 2)

    client.on_connect, client.on_subscribe = connected, subscribed
    client.loop_start()
    deadline = time.monotonic() + 20
    while len(got) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    client.disconnect()
    client.loop_stop()
    assert sorted(int(m.payload) for m in got) == list(range(50))
    assert {m.topic for m in got} == {f"t/{k}" for k in range(50)}
