"""A mosquitto with the shipped configuration and ACL, and the users that try it.

The ACL is the shipped file. A second operator is a copy of the operator's block under another name
and the gateway is the block that stands there as a comment: as the file tells people to make them.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.mqtt.address import BrokerAddress
from tests.conftest import ROOT, need, wait_for_port

SHIPPED = ROOT / "deploy/mosquitto"
OBSERVER = "observer"  # of the tests alone: it may do everything
USERS = (
    "monitor", "dashboard", "operator", "ann", "rack7", "rack8", "garage", "simulator",
    "homeassistant", "device", OBSERVER,
)  # fmt: skip


@dataclass(frozen=True)
class GuardedBroker:
    """A running broker whose users' passwords are their names."""

    port: int
    folder: Path

    def address(self, user: str) -> BrokerAddress:
        """Where `user` signs in."""
        return BrokerAddress("127.0.0.1", self.port, user=user, password=user)


def acl() -> str:
    """The shipped ACL with a second operator, the commented gateway and the observer."""
    text = (SHIPPED / "acl").read_text(encoding="utf-8")
    blocks = re.findall(r"^user operator\n(?:topic .*\n)+", text, flags=re.MULTILINE)
    gateway = re.findall(r"^# user garage\n(?:# topic .*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) == len(gateway) == 1
    more = [
        blocks[0].replace("operator", "ann"),
        gateway[0].replace("# ", ""),
        f"user {OBSERVER}\ntopic readwrite #\n",
    ]
    return "\n".join([*more, text])


@contextlib.contextmanager
def guarded_broker(binary: str, port: int, folder: Path) -> Iterator[GuardedBroker]:
    """mosquitto with our files, only the folders and the port moved."""
    tool = shutil.which("mosquitto_passwd")
    need(tool is not None, "mosquitto_passwd")
    (folder / "passwords").write_text("".join(f"{user}:{user}\n" for user in USERS))
    subprocess.run([str(tool), "-U", str(folder / "passwords")], check=True)  # hashed in place
    (folder / "acl").write_text(acl())
    text = (SHIPPED / "mosquitto.conf").read_text(encoding="utf-8")
    text = text.replace("listener 1883", f"listener {port} 127.0.0.1")
    for shipped in ("/mosquitto/data/", "/mosquitto/config/"):
        text = text.replace(shipped, f"{folder}/")
    (folder / "mosquitto.conf").write_text(text + "user root\n")
    for name in ("passwords", "acl"):
        (folder / name).chmod(0o700)
    process = subprocess.Popen(
        [binary, "-c", str(folder / "mosquitto.conf")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(port, process)
        yield GuardedBroker(port, folder)
    finally:
        process.terminate()
        process.wait(10)
