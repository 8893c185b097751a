"""The deployed stack, as far as it goes without a container engine.

The compose file is held against the Compose Specification's schema; the exact command and health
check of each of our services, and mosquitto's with the shipped files, run by hand on free ports:
only paths, host names and ports are moved. InfluxDB 2's and Grafana's images are not run here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest
import yaml

from cellpulse.stack_secrets import ROUNDS, add_broker_user, make_secrets
from monitor.alarms.operators import Operators
from monitor.errors import ConfigurationError
from monitor.web.login import read_logins
from tests.conftest import ROOT, free_ports, need, wait_for_port

OURS = ("monitor", "dashboard", "simulator")
THEIRS = ("mosquitto", "influxdb", "grafana")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_the_compose_file_is_one() -> None:
    schema = json.loads((ROOT / "tests/compose_spec/compose-spec.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    wrong = {**COMPOSE, "services": {"x": {"image": "y", "helthcheck": {}}}}
    assert list(validator.iter_errors(wrong))  # the schema does look inside a service
    assert set(SERVICES) == {*OURS, *THEIRS}


def test_names_lead_somewhere() -> None:
    """Every secret, config and volume that a service uses is defined, used and has its file."""
    used: dict[str, set[str]] = {"secrets": set(), "configs": set(), "volumes": set()}
    for service in SERVICES.values():
        used["secrets"] |= set(service.get("secrets", ()))
        used["configs"] |= {entry["source"] for entry in service.get("configs", ())}
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).parent.is_dir(), source
            else:
                used["volumes"].add(source)
        assert set(service.get("depends_on", ())) <= set(SERVICES)
    for kind, names in used.items():
        assert names == set(COMPOSE[kind]), kind
    for config in COMPOSE["configs"].values():
        assert (ROOT / config["file"]).is_file()
    for text in re.findall(r"/run/secrets/(\w+)", (ROOT / "docker-compose.yml").read_text()):
        assert text in COMPOSE["secrets"]


@pytest.mark.parametrize("name", [*OURS, *THEIRS])
def test_a_service_is_guarded(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+(-alpine)?", service["image"])
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), f"{name} is published beyond loopback: {port}"
    for key, value in service.get("environment", {}).items():
        secret = re.search("PASSWORD|TOKEN|SECRET", key)
        assert secret is None or value.startswith("/run/secrets/"), f"{name}: {key}"
        assert not re.search(r"://[^/]*:[^/]*@", value)
    if name in OURS:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_the_image_is_not_run_as_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert all(re.match(r"python:3\.11\.\d+-slim-bookworm\b", stage) for stage in stages)
    user = re.findall(r"^USER (\S+)$", stages[-1], flags=re.MULTILINE)[-1]
    assert int(user.split(":")[0]) > 0
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), path
            assert f"!{path}" in (ROOT / ".dockerignore").read_text().split()
    packages = (ROOT / "pyproject.toml").read_text().split("packages = [")[1].split("]")[0]
    for package in re.findall(r'"(\w+)"', packages):
        assert f"COPY {package} {package}" in text


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    told = make_secrets(folder, "ann")
    wanted = {Path(entry["file"]).name for entry in COMPOSE["secrets"].values()}
    made = {path.name: path.read_text().strip() for path in folder.iterdir()}
    assert wanted <= made.keys()
    assert len(set(made.values())) == len(made)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert read_logins(folder / "logins")["ann"].fits(made["page_password"])
    assert not any(secret in told for secret in made.values())
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        make_secrets(folder, "ann")
    assert made == {path.name: path.read_text().strip() for path in folder.iterdir()}


def test_a_device_gets_a_password_of_its_own(tmp_path: Path) -> None:
    """Nobody has one without being given it; the hash is as mosquitto reads it."""
    folder = tmp_path / "secrets"
    make_secrets(folder, "ann")
    users = [line.split(":")[0] for line in (folder / "mosquitto_passwords").read_text().split()]
    assert users == ["monitor", "simulator", "dashboard"]
    told = add_broker_user(folder, "rack7")
    password = (folder / "rack7_password").read_text().strip()
    assert password not in told
    assert (folder / "rack7_password").stat().st_mode & 0o777 == 0o644
    for name, wrong in (("rack7", "already"), ("monitor", "already"), ("a:b", "expected")):
        with pytest.raises(ConfigurationError, match=wrong):
            add_broker_user(folder, name)
    lines = (folder / "mosquitto_passwords").read_text().split()
    assert [line.split(":")[0] for line in lines] == [*users, "rack7"]
    salt, digest = lines[-1].split("$")[3:]
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), ROUNDS)
    assert base64.b64decode(digest) == made


def test_the_first_user_of_the_page_is_an_operator() -> None:
    """Who signs in with what `cellpulse secrets` made may command; the broker has a block too."""
    from cellpulse.cli import secrets as command

    first = inspect.signature(command).parameters["user"].default
    assert SERVICES["monitor"]["environment"]["CELLPULSE_OPERATORS"] == first
    assert Operators.parse(first).refusal("rack7", first, lambda name: False) is None
    assert f"user {first}\n" in (ROOT / "deploy/mosquitto/acl").read_text()


class ByHand:
    """The stack's services as processes: their own commands, moved to free ports and a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: free_ports(1)[0] for port in (1883, 8050, 8086, 9464)}
        make_secrets(folder / "secrets", "ann")
        (folder / "data").mkdir()

    def moved(self, text: str, service: str) -> str:
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(free), text)
        for source in ("mosquitto_conf", "mosquitto_acl"):
            target = "mosquitto.conf" if source == "mosquitto_conf" else "acl"
            text = text.replace(f"/run/configs/{target}", str(self.folder / target))
        text = re.sub(r"\b(mosquitto|influxdb):(?=\d)", "127.0.0.1:", text)
        text = text.replace("@mosquitto:", "@127.0.0.1:").replace("//influxdb:", "//127.0.0.1:")
        text = text.replace("0.0.0.0", "127.0.0.1")
        for path in ("/run/secrets", "/data", "/mosquitto"):
            text = re.sub(
                rf"(?<![\w./]){path}(?=/|$)", f"{self.folder}/{path.split('/')[-1]}", text
            )
        return text

    def command(self, service: str, words: list[str]) -> list[str]:
        words = [self.moved(word, service) for word in words]
        return [sys.executable, "-m", "cellpulse", *words] if service in OURS else words

    def environment(self, service: str) -> dict[str, str]:
        given = SERVICES[service].get("environment", {})
        path = os.environ["PATH"] + ":/usr/sbin"
        return {"PATH": path, **{k: self.moved(v, service) for k, v in given.items()}}

    @contextlib.contextmanager
    def started(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(service, SERVICES[service]["command"]), cwd=ROOT, stdout=log,
                stderr=subprocess.STDOUT, env=self.environment(service),
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def probe(self, service: str) -> int:
        """The status of the service's own health check."""
        words = [self.moved(word, service) for word in SERVICES[service]["healthcheck"]["test"][1:]]
        assert words.pop(0) == "cellpulse"
        return subprocess.run(
            [sys.executable, "-m", "cellpulse", *words], cwd=ROOT, timeout=30,
            env=self.environment(service), capture_output=True,
        ).returncode  # fmt: skip

    def healthy(self, service: str, process: subprocess.Popen[bytes]) -> None:
        """Return once the health check passes; fail if the service ends first."""
        words = SERVICES[service]["healthcheck"]["test"]
        url = self.moved(words[-1], service)
        deadline = time.monotonic() + 60
        while url.startswith("http") and not answers(url):  # asked without a process a time
            assert process.poll() is None, f"{service} ended: {self.log(service)}"
            assert time.monotonic() < deadline, f"{service} is not healthy: {self.log(service)}"
            time.sleep(0.1)
        assert self.probe(service) == 0, self.log(service)

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()


def answers(url: str) -> bool:
    """Whether a URL is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def start_mosquitto(stack: ByHand) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The broker with the shipped configuration and ACL, by the compose file's own command."""
    for folder in ("mosquitto/config", "mosquitto/data"):
        (stack.folder / folder).mkdir(parents=True)
    shipped = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    conf = stack.moved(shipped, "mosquitto")
    conf = re.sub(r"(?m)^listener (\d+)$", r"listener \1 127.0.0.1", conf)
    (stack.folder / "mosquitto.conf").write_text(conf + "user root\n")
    shutil.copy(ROOT / "deploy/mosquitto/acl", stack.folder / "acl")
    return stack.started("mosquitto")


@pytest.mark.timeout(240)
def test_each_command_and_health_check_by_hand(mosquitto_binary: str, tmp_path: Path) -> None:
    stack = ByHand(tmp_path)
    assert stack.probe("monitor") == 1
    with start_mosquitto(stack) as broker:
        wait_for_port(stack.ports[1883], broker)  # the image's `nc -z`, which Debian lacks
        with stack.started("monitor") as monitor:
            stack.healthy("monitor", monitor)
            with stack.started("dashboard") as page, stack.started("simulator") as simulator:
                stack.healthy("dashboard", page)
                assert frames(stack) > 0
                stack.healthy("simulator", simulator)
                see_the_page(stack)
            assert stack.probe("simulator") == 1  # its will, or its farewell
            assert (page.returncode, simulator.returncode) == (0, 0)
        assert monitor.returncode == 0
    for line in stack.log("monitor").splitlines():
        json.loads(line)
    secrets = [p.read_text().strip() for p in (tmp_path / "secrets").iterdir()]
    written = "".join(stack.log(service) for service in (*OURS, "mosquitto"))
    assert not [secret for secret in secrets if secret in written]


def frames(stack: ByHand) -> float:
    """What /metrics says of accepted frames, as soon as it is not nothing."""
    url = f"http://127.0.0.1:{stack.ports[9464]}/metrics"
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(r"^cellpulse_frames_total (\S+)$", text, flags=re.MULTILINE)
        assert found is not None
        if float(found[1]) or time.monotonic() > deadline:
            return float(found[1])
        time.sleep(0.1)


def see_the_page(stack: ByHand) -> None:
    """The page asks who it is, and lets the first user in."""
    url = f"http://127.0.0.1:{stack.ports[8050]}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/asset/x", timeout=10)
    with refused.value as answer:
        assert answer.code == 401
    password = (stack.folder / "secrets/page_password").read_text().strip()
    form = urlencode({"name": "ann", "password": password, "next": "/"}).encode()
    jar = urllib.request.HTTPCookieProcessor()
    with urllib.request.build_opener(jar).open(f"{url}/login", form, timeout=20) as answer:
        assert b"cp-texts" in answer.read()


@pytest.mark.parametrize("name", ["cellpulse-monitor", "cellpulse-dashboard"])
def test_the_systemd_unit_is_one(tmp_path: Path, name: str) -> None:
    tool = shutil.which("systemd-analyze")
    need(tool is not None, "systemd-analyze")
    text = (ROOT / f"deploy/systemd/{name}.service").read_text()
    assert text.count("/opt/cellpulse/bin/cellpulse") == 1
    unit = tmp_path / f"{name}.service"
    unit.write_text(text.replace("/opt/cellpulse/bin/cellpulse", sys.executable))
    done = subprocess.run([str(tool), "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # What the unit sets is what the program knows.
    for key in re.findall(r"^Environment=CELLPULSE_(\w+)=", text, flags=re.MULTILINE):
        from monitor.config import Config

        assert hasattr(Config, key.lower()), key
