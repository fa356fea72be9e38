"""The files under deploy/docker/, which nothing here can run, agree with each other and with the code.

`make image-test` builds and runs them for real.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from syncd.config.places import SYSTEM_FILE
from syncd.config.sources import SECRETS_DIRECTORY, default_values

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
STATE = Path("/var/lib/syncd")
MAIL = Path("/srv/mail")


def stage(name: str) -> str:
    """Return a stage of the Dockerfile, its continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    return next(part for part in re.split(r"^(?=FROM )", text, flags=re.MULTILINE) if f" AS {name}\n" in part)


def service(name: str) -> str:
    """Return what compose.yaml says of a service."""
    services = (DOCKER / "compose.yaml").read_text().partition("\nservices:\n")[2]
    return next(part for part in re.split(r"^  (?=\w+:$)", services, flags=re.MULTILINE) if part.startswith(f"{name}:"))


def words(text: str, instruction: str) -> list[str]:
    """Return the words of an instruction in JSON form, wherever it is in its line."""
    found = re.findall(rf"\b{instruction} (\[.*\])$", text, re.MULTILINE)
    return [str(word) for word in json.loads(found[-1])]


def mounts(text: str) -> dict[str, str]:
    """Return what a service mounts, by path."""
    return {path: source for source, path in re.findall(r"^      - ([\w./]+):(/[\w./]+?)(?::ro)?$", text, re.MULTILINE)}


def test_image_starts_and_checks_commands_that_there_are() -> None:
    """Entry point, command and health check are words that the command line of syncd understands."""
    text = stage("syncd")
    entry = words(text, "ENTRYPOINT")
    commands = {words(text, r"^CMD")[0], words(text, "HEALTHCHECK .* CMD")[1]}

    assert (entry[-1], commands) == ("syncd", {"run", "health"})
    for command in commands:
        asked = subprocess.run([sys.executable, "-m", "syncd", command, "--help"], cwd=ROOT, capture_output=True)
        assert asked.returncode == 0


def test_image_puts_store_and_socket_into_its_volumes() -> None:
    """With the variables of the image, whatever syncd writes without being told where is in a volume that it owns."""
    text = stage("syncd")
    variables = dict(re.findall(r"\b([A-Z_]+)=(\S+)", re.findall(r"^ENV (.*)$", text, re.MULTILINE)[-1]))
    written = default_values(variables)

    assert set(words(text, "VOLUME")) == {str(MAIL), str(STATE)}
    assert written["store"]["url"] == f"sqlite:///{STATE}/syncd.db"
    assert Path(written["daemon"]["socket"]).parent == STATE
    assert f"-m 0700 {MAIL} {STATE}" in text
    assert variables["PATH"].startswith("/opt/syncd/bin:")


def test_compose_mounts_what_syncd_reads_and_writes_and_nothing_else() -> None:
    """Configuration, secrets and volumes are where the code looks for them, and the first two can only be read."""
    text = service("syncd")

    assert mounts(text) == {
        str(SYSTEM_FILE.parent): "./config",
        str(SECRETS_DIRECTORY): "./secrets/syncd",
        str(STATE): "state",
        str(MAIL): "mail",
    }
    assert {f"{SYSTEM_FILE.parent}:ro", f"{SECRETS_DIRECTORY}:ro"} <= set(
        re.findall(r":(/\S+:ro)$", text, re.MULTILINE)
    )
    assert mounts(service("dovecot"))[str(MAIL)] == "mail"


def test_compose_and_image_say_the_same_of_health() -> None:
    """The health check is written twice, for an engine that drops the one of the image, and is one."""
    of_image = stage("syncd")
    (options,) = re.findall(r"^HEALTHCHECK (.*) CMD ", of_image, re.MULTILINE)
    of_compose = service("syncd").partition("healthcheck:")[2]

    assert f"test: {json.dumps(['CMD', *words(of_image, 'HEALTHCHECK .* CMD')])}" in of_compose
    for name, value in re.findall(r"--([a-z-]+)=(\S+)", options):
        assert f"{name.replace('-', '_')}: {value}\n" in of_compose


@pytest.mark.parametrize("name", ["syncd", "dovecot"])
def test_containers_have_no_rights(name: str) -> None:
    """Neither container is root, gets a capability, or can write outside of its volumes and /tmp."""
    of_image, of_compose = stage(name), service(name)

    assert re.findall(r"^USER (.*)$", of_image, re.MULTILINE) == ["10001:10001"]
    assert set(re.findall(r"--[ug]id (\d+)", of_image)) | set(re.findall(r"-[og] (\d+)", of_image)) == {"10001"}
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]', "tmpfs: [/tmp]"):
        assert f"    {line}\n" in of_compose


def test_images_copy_only_what_is_not_ignored() -> None:
    """What the Dockerfile copies is there, and .dockerignore lets it through."""
    text = (DOCKER / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert copied == let_through
    assert all((ROOT / path).exists() for path in copied)


def test_configuration_of_the_container_is_one(tmp_path: Path) -> None:
    """The configuration that ships with compose.yaml needs a host and a user, and is understood as it is."""
    file = DOCKER / "config" / "syncd.toml"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
    checked = subprocess.run(
        [sys.executable, "-m", "syncd", "check-config", "--config", str(file)],
        cwd=ROOT,
        env=environment | {"STATE_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.endswith(": 1 account, 2 devices\n")
    config = tomllib.loads(file.read_text())
    assert all(Path(device["path"]).parent == MAIL for device in config["devices"].values())
    assert all(Path(account["password_file"]).parent == SECRETS_DIRECTORY for account in config["accounts"].values())
    assert f"maildir:{config['devices']['phone']['path']}/work:" in (ROOT / "deploy/dovecot/syncd.conf").read_text()


def test_packages_of_the_build_are_those_of_development() -> None:
    """What an image is built with is what a developer builds with, hash by hash."""
    build, development = (
        set((ROOT / f"requirements-{name}.txt").read_text().splitlines()) for name in ("build", "dev")
    )

    assert build <= development
