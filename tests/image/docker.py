"""A docker with compose: the one that answers here, else Debian's packages of both, started for as long as the test.

Theory. The engine is unpacked, not installed; its images, its networks and its socket are its own, and all that it
leaves are its chains of iptables. Debian 12 has no compose of version 2, which `compose.yaml` needs: that one program,
which needs no library, is of Debian 13.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.engine import DEBIAN_BASE, STORE, Engine, EngineError, EngineUnavailable
from tests.servers import debian
from tests.servers.identity import ServerUnavailable, server_identity

_ENGINE_PACKAGES = ("docker.io", "containerd")
_COMPOSE_RELEASE = "trixie"
_PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"
_COMPOSE_MIN = (2, 24)
"""Since then a file can replace a list of another one (`!override`), as the test does with ports."""
_POSTGRES = "postgres:17"
_START_S = 60
_STOP_S = 30
_FETCH_S = 300


@dataclass(frozen=True, slots=True)
class Docker:
    """Run docker and compose against one engine."""

    engine: Engine
    compose: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """Return what this is, for a person."""
        engine = self.engine.text("version", "--format", "{{.Server.Version}}")
        compose = self.attempt("version", "--short", timeout_s=_START_S).stdout.decode().strip()
        return f"docker {engine} and compose {compose}"

    def attempt(self, *words: str, timeout_s: float) -> "subprocess.CompletedProcess[bytes]":
        """Run compose with these words to its end, however it ends."""
        return subprocess.run(
            (*self.compose, *words),
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
        )


@contextmanager
def a_docker() -> Iterator[Docker]:
    """Yield a docker with a compose; EngineUnavailable with the reasons against each that could be."""
    try:
        installed = _installed()
    except EngineUnavailable as without:
        try:
            with _from_packages() as docker:
                yield docker
        except (ServerUnavailable, EngineUnavailable) as error:
            raise EngineUnavailable(f"docker: {without}; Debian's packages of it: {error}") from None
    else:
        yield installed


def _installed() -> Docker:
    engine = Engine("docker", ("docker",))
    if not shutil.which("docker"):
        raise EngineUnavailable("not installed")
    if engine.attempt("version", "--format", "{{.Server.Version}}").returncode != 0:
        raise EngineUnavailable("its engine does not answer")
    asked = engine.attempt("compose", "version", "--short")
    if asked.returncode != 0 or _version(asked.stdout) < _COMPOSE_MIN:
        raise EngineUnavailable("it has no compose that is new enough")
    return Docker(engine, ("docker", "compose"))


@contextmanager
def _from_packages() -> Iterator[Docker]:
    if os.getuid() != 0:
        raise EngineUnavailable("an engine needs root")
    identity = server_identity()
    root = debian.unpack(_ENGINE_PACKAGES, identity=identity, follow=("lib", "containerd", "runc", "iptables"))
    plugin = _compose_program()
    home = Path(tempfile.mkdtemp(prefix="syncd-docker-", dir="/tmp"))
    address = f"unix://{home}/docker.sock"
    path = f"{root / 'usr/sbin'}:{root / 'usr/bin'}:{os.environ['PATH']}"
    libraries = {"LD_LIBRARY_PATH": debian.library_path(root)}
    if not shutil.which("iptables", path=path):
        path = f"{_named_iptables(root, home / 'bin')}:{path}"
        libraries["XTABLES_LIBDIR"] = str(next((root / "usr/lib").glob("*-linux-*/xtables")))
    data = STORE / "docker"
    data.mkdir(parents=True, exist_ok=True)
    own = (f"--data-root={data}", f"--exec-root={home}/exec", f"--pidfile={home}/pid", f"--host={address}")
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ("dockerd", *own, "--ip6tables=false", "--bridge=none"),
            env=os.environ | {"PATH": path} | libraries,
            executable=root / "usr/sbin/dockerd",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    engine = Engine("docker", (str(root / "usr/bin/docker"), "--host", address))
    try:
        deadline = time.monotonic() + _START_S
        while engine.attempt("version").returncode != 0:
            if daemon.poll() is not None or time.monotonic() > deadline:
                lines = (home / "log").read_text(errors="replace").splitlines()
                raise EngineUnavailable(f"Debian's dockerd does not start: {lines[-1] if lines else 'no reason given'}")
            time.sleep(0.1)
        yield Docker(engine, (str(plugin),), {"DOCKER_HOST": address})
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        # NOTE: it leaves a mount of the network that it was in.
        subprocess.run(("umount", f"{home}/exec/netns/default"), capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


def _named_iptables(root: Path, directory: Path) -> Path:
    """Return a directory in which iptables has the names that Debian's package gets only by being installed."""
    directory.mkdir()
    for family in ("iptables", "ip6tables"):
        for ending in ("", "-save", "-restore"):
            (directory / f"{family}{ending}").symlink_to(root / "usr/sbin" / f"{family}-nft{ending}")
    return directory


def _compose_program() -> Path:
    """Return compose of another release of Debian than this machine's, from where this machine has its packages."""
    program = STORE / "compose" / _PLUGIN
    if program.exists():
        return program
    fresh = STORE / "compose.part"
    shutil.rmtree(fresh, ignore_errors=True)
    lists, archives = fresh / "apt/lists/partial", fresh / "apt/archives/partial"
    for directory in (lists, archives):
        directory.mkdir(parents=True)
    shown = _apt("indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages", "Origin: Debian")
    sites = [line.split()[0] for line in shown.splitlines() if "-" not in line.split()[-1]]
    if not sites:
        raise ServerUnavailable("this machine has no lists of Debian's packages (apt-get update)")
    sources = fresh / "sources.list"
    sources.write_text(f"deb {sites[0]} {_COMPOSE_RELEASE} main\n")
    private = (
        *(f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=-", "-oAPT::Sandbox::User=root"),
        *(f"-oDir::State::lists={lists.parent}", f"-oDir::Cache={fresh / 'apt'}"),
    )
    _apt(*private, "update")
    _apt(*private, "download", "docker-compose", cwd=fresh)
    (package,) = fresh.glob("docker-compose_*.deb")
    subprocess.run(("dpkg-deb", "-x", str(package), str(fresh)), check=True)
    fresh.rename(STORE / "compose")
    return program


def _apt(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        ("apt-get", "-q", *words), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FETCH_S
    )
    if done.returncode != 0:
        raise ServerUnavailable(f"apt-get {words[-1]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _version(said: bytes) -> tuple[int, ...]:
    parts = said.decode().strip().removeprefix("v").split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdecimal())


def need_postgres(docker: Docker, builder: Engine) -> None:
    """Let a docker have the PostgreSQL of compose.yaml: the one that it gets, else one of Debian's package."""
    if docker.engine.attempt("image", "inspect", _POSTGRES).returncode == 0:
        return
    if docker.engine.attempt("pull", "--quiet", _POSTGRES, timeout_s=_FETCH_S).returncode == 0:
        return
    load(docker, builder, DEBIAN_BASE)
    place = Path(__file__).with_name("postgres")
    docker.engine.octets(
        "build",
        "--network=host",
        f"--build-arg=BASE={DEBIAN_BASE}",
        f"--tag={_POSTGRES}",
        str(place),
        timeout_s=_FETCH_S,
    )


def load(docker: Docker, builder: Engine, image: str) -> None:
    """Bring an image that another engine has built to a docker, under the name that compose.yaml has for it."""
    if builder.command == docker.engine.command:
        return
    with subprocess.Popen(
        (*builder.command, "save", "--format", "docker-archive", image), stdout=subprocess.PIPE
    ) as saving:
        loaded = subprocess.run(
            (*docker.engine.command, "load", "--quiet"), stdin=saving.stdout, capture_output=True, text=True
        )
    if saving.returncode != 0 or loaded.returncode != 0:
        raise EngineError(f"{image} cannot be brought to docker: {loaded.stderr.strip()}")
    # NOTE: where it has an older image of the name it says so first, in a line of its own.
    docker.engine.text("tag", loaded.stdout.strip().splitlines()[-1].removeprefix("Loaded image: "), image)
