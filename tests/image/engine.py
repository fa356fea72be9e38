"""What runs containers here: a docker that answers, else podman on a base image of Debian's packages.

Theory. Where there is no docker there is often no registry of images either, so the base is made by debootstrap. The
options for podman are what it needs on a machine that is a container or a small virtual one itself: no systemd, no
bridge, no right to raise limits. What it stores is below `.cache`, apart from what the machine's own podman has.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.debian import CHECKOUT

STORE = CHECKOUT / ".cache" / "image"
DEBIAN = "bookworm"
DEBIAN_BASE = f"localhost/syncd-base-{DEBIAN}"
_DEBIAN_PACKAGES = "ca-certificates python3-venv tini"
_AUTHORITIES = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
_ANSWER_S = 20
_BUILD_S = 1800
_COMMAND_S = 120


class EngineUnavailable(RuntimeError):
    """Nothing here can build and run an image; the text says why, for each that could."""


class EngineError(RuntimeError):
    """A command of the engine failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Build images and run containers by one of the two programs, which take the same words."""

    name: str
    command: tuple[str, ...]
    build_options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    has_bases: bool = True
    """Whether it gets base images by itself."""

    def attempt(self, *arguments: str, timeout_s: float = _COMMAND_S) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, however it ends."""
        return subprocess.run(
            (*self.command, *arguments), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s
        )

    def octets(self, *arguments: str, timeout_s: float = _COMMAND_S) -> bytes:
        """Return what a command prints; EngineError when it fails."""
        done = self.attempt(*arguments, timeout_s=timeout_s)
        if done.returncode != 0:
            raise EngineError(f"{self.name} {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def text(self, *arguments: str) -> str:
        """Return what a command prints as text without its line end."""
        return self.octets(*arguments).decode(errors="replace").strip()

    def build(self, target: str, *, bases: dict[str, str], version: str) -> str:
        """Build a stage of the Dockerfile, printing what the engine prints, and return the name of the image."""
        given = dict(bases, VERSION=version)
        if not self.has_bases:
            _need_debian_base(self)
            given = {"BASE": DEBIAN_BASE, "DOVECOT_BASE": DEBIAN_BASE, "PACKAGES": _DEBIAN_PACKAGES} | given
        tag = "syncd" if target == "syncd" else f"syncd-{target}"
        arguments = [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
        file = CHECKOUT / "deploy" / "docker" / "Dockerfile"
        command = (*self.command, "build", *self.build_options, "--file", str(file), "--target", target, "--tag", tag)
        done = subprocess.run((*command, *arguments, str(CHECKOUT)), stdin=subprocess.DEVNULL, timeout=_BUILD_S)
        if done.returncode != 0:
            raise EngineError(f"{self.name} build ended with {done.returncode}")
        if not self.has_bases:
            self.attempt("image", "prune", "--force")  # what had this name before, in a store that is ours alone
        return tag


def find_engine() -> Engine:
    """Return docker if its engine answers, else podman; EngineUnavailable with the reasons against both."""
    try:
        return _docker()
    except EngineUnavailable as without_docker:
        try:
            return _podman()
        except EngineUnavailable as without_podman:
            raise EngineUnavailable(f"docker: {without_docker}; podman: {without_podman}") from None


def _docker() -> Engine:
    if not shutil.which("docker"):
        raise EngineUnavailable("not installed")
    engine = Engine("docker", ("docker",))
    try:
        asked = engine.attempt("version", "--format", "{{.Server.Version}}", timeout_s=_ANSWER_S)
    except subprocess.TimeoutExpired:
        raise EngineUnavailable("its engine does not answer") from None
    if asked.returncode != 0:
        lines = asked.stderr.decode(errors="replace").strip().splitlines()
        raise EngineUnavailable(lines[-1] if lines else "its engine does not answer")
    return engine


def _podman() -> Engine:
    missing = [program for program in ("podman", "runc", "debootstrap") if not shutil.which(program)]
    if missing:
        raise EngineUnavailable(f"{', '.join(missing)} not installed (Debian: apt-get install {' '.join(missing)})")
    if os.getuid() != 0:
        raise EngineUnavailable("the base image is made by debootstrap, which needs root")
    STORE.mkdir(parents=True, exist_ok=True)
    # NOTE: the registry of packages may be behind an authority that this machine trusts and the base does not know.
    trust = STORE / "pip.conf"
    trust.write_text("[global]\ncert = /run/authorities.crt\n")
    return Engine(
        "podman",
        (
            *("podman", "--root", str(STORE / "containers"), "--runroot", str(STORE / "run")),
            *("--runtime", "runc", "--cgroup-manager", "cgroupfs"),
        ),
        # NOTE: only the format of docker has health checks.
        build_options=(
            *("--isolation", "chroot", "--network", "host", "--format", "docker", "--pull=never", "--layers=false"),
            *("--volume", f"{_AUTHORITIES}:/run/authorities.crt:ro", "--volume", f"{trust}:/etc/pip.conf:ro"),
        ),
        run_options=("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1000:1000", "--read-only-tmpfs=false"),
        has_bases=False,
    )


def _need_debian_base(engine: Engine) -> None:
    """Make the base image unless it is there."""
    if engine.attempt("image", "exists", DEBIAN_BASE).returncode == 0:
        return
    print(f"    {DEBIAN_BASE} is made by debootstrap, once; this takes a minute or two", flush=True)
    root = STORE / "base"
    shutil.rmtree(root, ignore_errors=True)
    try:
        made = subprocess.run(
            ("debootstrap", "--variant=minbase", DEBIAN, str(root)), capture_output=True, text=True, timeout=_BUILD_S
        )
        if made.returncode != 0:
            raise EngineError(f"debootstrap failed: {(made.stdout + made.stderr).strip()[-500:]}")
        with subprocess.Popen(("tar", "-C", str(root), "-c", "."), stdout=subprocess.PIPE) as tar:
            subprocess.run((*engine.command, "import", "--quiet", "-", DEBIAN_BASE), stdin=tar.stdout, check=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
