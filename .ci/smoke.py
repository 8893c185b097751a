"""Smoke test of the demo in a fresh clone: page, moving numbers, alarm, clean end.

    python .ci/smoke.py CLONE

Starts `make demo` there, and fails unless the page answers and every asset of the demo's recording
publishes an estimate within 15 s, an alarm is on the broker within 60 s, and Ctrl-C ends every
process within 5 s without a traceback.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from recordings.open import open_recording
from simulator.demo_file import demo_recording

PAGE_S, ALARM_S, STOP_S = 15.0, 60.0, 5.0
PORT = 8471


def main(clone: Path) -> None:
    """Run the demo and judge it."""
    assets = {recording.info.asset for recording in open_recording(demo_recording())}
    require(bool(assets), "the demo's recording has no asset", [])
    environment = {**os.environ, "DEMO": f"--no-browser --port {PORT}"}
    environment.pop("CI", None)
    process = subprocess.Popen(
        ["make", "-s", "demo"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []
    told = threading.Event()
    address: list[int] = []

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line)
            found = re.search(r"mqtt://127\.0\.0\.1:(\d+)", line)
            if found:
                address.append(int(found.group(1)))
                told.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    started = time.monotonic()
    try:
        require(told.wait(PAGE_S), "the demo did not say where its broker is", lines)
        estimates: set[str] = set()
        alarm = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2)

        def on_message(_client: object, _data: object, message: paho.MQTTMessage) -> None:
            asset, kind = message.topic.split("/")[1:3]
            if kind == "estimate":
                estimates.add(asset)
            elif message.payload:
                alarm.set()

        client.on_message = on_message
        client.connect("127.0.0.1", address[0])
        client.subscribe([("bms/+/estimate", 0), ("bms/+/alarm/#", 1)])
        client.loop_start()
        page = f"http://127.0.0.1:{PORT}/"
        while time.monotonic() - started < PAGE_S and not assets <= estimates:
            time.sleep(0.1)
        require(assets <= estimates, f"no estimate of {sorted(assets - estimates)}", lines)
        with urllib.request.urlopen(page, timeout=5) as answer:
            require(answer.status == 200, f"the page answered {answer.status}", lines)
        print(f"page and {len(estimates)} estimates after {time.monotonic() - started:.1f} s")
        left = ALARM_S - (time.monotonic() - started)
        require(alarm.wait(left), f"no alarm within {ALARM_S:.0f} s", lines)
        print(f"alarm after {time.monotonic() - started:.1f} s")
        client.disconnect()
        client.loop_stop()
        stopping = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            require(False, f"still there {STOP_S:.0f} s after Ctrl-C", lines)
        reader.join(STOP_S)
        print(f"ended {time.monotonic() - stopping:.1f} s after Ctrl-C")
        require("Traceback" not in "".join(lines), "a traceback was printed", lines)
        require(not group_alive(process.pid), "a process was left behind", lines)
    finally:
        if group_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def group_alive(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def require(condition: bool, sentence: str, lines: list[str]) -> None:
    """End with the sentence and what the demo printed."""
    if not condition:
        sys.exit(f"smoke test: {sentence}\n{''.join(lines)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
