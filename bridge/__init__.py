"""Bridges from battery boards and foreign messages to the telemetry contract.

Bytes to `Reading` is pure (`jbd`, `daly`, `daly_d2`, `jk`, `jk_ble`: no I/O, no clock); `link`
carries the bytes, `poller` holds the conversation, `publisher` speaks MQTT. This package imports
`monitor.contract` and `monitor.errors` and nothing else of ours.
"""
