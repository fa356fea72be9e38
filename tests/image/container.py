"""A container of the image, run as compose.yaml runs it, killed and stopped as people and engines do."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.image.engine import Engine, EngineError

HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
_GRACE_S = 10


@dataclass(frozen=True, slots=True)
class Container:
    """Name a container of an image, and its mounts: by their paths volumes, and directories that are read only.

    It is on the network of this machine, where the servers of the tests are.
    """

    engine: Engine
    name: str
    image: str
    mounts: Mapping[str, str]
    arguments: tuple[str, ...] = ()

    def run(self) -> None:
        """Make and start it, detached."""
        mounts = [f"--volume={_mount(path, source)}" for path, source in self.mounts.items()]
        options = ("--detach", "--name", self.name, "--network=host", *HARDENED, *self.engine.run_options, *mounts)
        self.engine.text("run", *options, self.image, *self.arguments)

    def start(self) -> None:
        """Start it again after its end."""
        self.engine.text("start", self.name)

    def kill(self) -> None:
        """End all of it at once, as the kernel does when there is no memory left."""
        self.engine.text("kill", "--signal=KILL", self.name)
        deadline = time.monotonic() + _GRACE_S
        while self.state("Running") == "true" and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> float:
        """Ask it to end, and return the seconds that it took; it is killed when that is not soon enough."""
        began = time.monotonic()
        self.engine.text("stop", f"--time={_GRACE_S}", self.name)
        return time.monotonic() - began

    def state(self, field: str) -> str:
        """Return a field of the state that the engine knows, such as Running or ExitCode."""
        return self.engine.text("inspect", "--format", f"{{{{.State.{field}}}}}", self.name)

    def is_healthy(self) -> bool:
        """Whether the health check of the image says so."""
        if self.engine.name == "podman":
            # NOTE: podman lets a timer of systemd run the check, which may not be here; the check is the same.
            return self.engine.attempt("healthcheck", "run", self.name).returncode == 0
        return self.state("Health.Status") == "healthy"

    def syncd(self, *arguments: str) -> str:
        """Return what a command of syncd prints in the running container; EngineError when it fails."""
        return self.engine.text("exec", self.name, "syncd", *arguments)

    def shell(self, script: str) -> str:
        """Return what a script prints in the running container."""
        return self.engine.text("exec", self.name, "sh", "-c", script)

    def log(self) -> tuple[str, str]:
        """Return what it has written to standard output and to standard error so far."""
        done = self.engine.attempt("logs", self.name)
        return done.stdout.decode(), done.stderr.decode()

    def remove(self) -> None:
        """Remove it, also while it runs, and whatever of it there is."""
        self.engine.attempt("rm", "--force", self.name)


def _mount(path: str, source: str) -> str:
    return f"{source}:{path}:ro" if source.startswith("/") else f"{source}:{path}"


def image_of(engine: Engine, image: str) -> dict[str, Any]:
    """Return what the engine knows of an image."""
    found: list[dict[str, Any]] = json.loads(engine.octets("image", "inspect", image))
    if len(found) != 1:
        raise EngineError(f"{image}: {len(found)} images have this name")
    return found[0]
