"""The Modbus CRC, that Daly D2 and JK's RS485 port use."""

from __future__ import annotations


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_TABLE = tuple(_row(byte) for byte in range(256))


def crc16_modbus(data: bytes) -> bytes:
    """CRC-16/MODBUS of `data` as it stands on the wire, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")
