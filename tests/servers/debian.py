"""Debian packages downloaded and unpacked into a cache, without root and without installing them."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.identity import Identity, ServerUnavailable

CHECKOUT = Path(__file__).resolve().parents[2]
DOWNLOAD_TIMEOUT_S = 300
_LAYOUT_VERSION = 1


def unpack(
    packages: tuple[str, ...],
    *,
    identity: Identity,
    follow: tuple[str, ...] = ("lib",),
    skip: tuple[str, ...] = (),
    finish: Callable[[Path], None] = lambda root: None,
) -> Path:
    """Return the root of a tree that holds `packages` and the libraries that they need and the machine does not have.

    The tree is made once, in `.cache` of the checkout where possible, safely also when several processes ask at once,
    and is readable for `identity`.
    Needed packages are brought when their names begin with one of `follow` and none of `skip`; `finish` may change the
    tree before anybody sees it.
    """
    name = f"{'+'.join(sorted(packages))}-{_LAYOUT_VERSION}"
    for cache in _cache_directories():
        if (cache / name).is_dir() and identity.can_reach(cache / name):
            return cache / name
    cache = _writable_cache(identity)
    root = cache / name
    with _lock(cache / f"{name}.lock"):
        if not root.exists():
            fresh = cache / f"{name}.part"
            shutil.rmtree(fresh, ignore_errors=True)
            _fill(fresh, packages, follow=follow, skip=skip, cache=cache)
            finish(fresh)
            fresh.rename(root)
    return root


def library_path(root: Path, *first: str) -> str:
    """Return the LD_LIBRARY_PATH of an unpacked tree: the directories `first`, then its multiarch directories."""
    own = [root / name for name in first]
    triplets = sorted({library.parent for library in (root / "usr/lib").glob("*-linux-*/*.so*")})
    return ":".join(map(str, (*own, *triplets)))


def _cache_directories() -> tuple[Path, ...]:
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = Path(tempfile.gettempdir()) / f"syncd-tests-{os.getuid()}"
    return CHECKOUT / ".cache", xdg / "syncd-tests", Path("/var/cache/syncd-tests"), own


def _writable_cache(identity: Identity) -> Path:
    for cache in _cache_directories():
        try:
            _make_readable(cache)
        except OSError:
            continue
        if os.access(cache, os.W_OK) and cache.stat().st_uid == os.getuid() and identity.can_reach(cache):
            return cache
    raise ServerUnavailable("no directory for unpacked packages is both writable for us and readable for servers")


def _make_readable(directory: Path) -> None:
    """Make a directory that other users can read, whatever the umask."""
    if not directory.exists():
        _make_readable(directory.parent)
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)


def _fill(
    fresh: Path, packages: tuple[str, ...], *, follow: tuple[str, ...], skip: tuple[str, ...], cache: Path
) -> None:
    fresh.mkdir()
    downloads = fresh / "packages"
    downloads.mkdir()
    wanted, seen = list(packages), set(packages)
    while wanted:
        _download(tuple(wanted), downloads, cache=cache)
        wanted = []
        for archive in sorted(downloads.glob("*.deb")):
            _run("dpkg-deb", "-x", str(archive), str(fresh))
            for name in _missing(_run("dpkg-deb", "-f", str(archive), "Depends")):
                if name not in seen and name.startswith(follow) and not name.startswith(skip):
                    seen.add(name)
                    wanted.append(name)
            archive.unlink()
    downloads.rmdir()
    fresh.chmod(0o755)


def _download(packages: tuple[str, ...], directory: Path, *, cache: Path) -> None:
    """Download by the machine's own package lists, else by lists of our own (a fresh container has none)."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ServerUnavailable(f"{', '.join(packages)}: not installed, and apt-get is not here to download them")
    lists, archives = cache / "apt/lists", cache / "apt/archives"
    private = (
        f"-oDir::State::lists={lists}",
        f"-oDir::Cache={cache / 'apt'}",
        "-oAPT::Sandbox::User=root",
    )
    try:
        _run("apt-get", "-q", "-oAPT::Sandbox::User=root", "download", *packages, cwd=directory)
    except ServerUnavailable:
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        # NOTE: apt-get does not wait for another one that updates the same lists, as for another server's packages.
        with _lock(cache / "apt/lock"):
            _run("apt-get", "-q", *private, "update")
            _run("apt-get", "-q", *private, "download", *packages, cwd=directory)


def _missing(depends: str) -> Iterator[str]:
    for alternatives in depends.split(","):
        names = [re.split(r"[\s(:]", choice.strip(), maxsplit=1)[0] for choice in alternatives.split("|")]
        if names[0] and not any(map(_is_installed, names)):
            yield names[0]


def _is_installed(package: str) -> bool:
    query = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status}\n", package], capture_output=True, text=True)
    return query.returncode == 0 and "installed" in query.stdout.split()


def _run(*command: str, cwd: Path | None = None) -> str:
    # NOTE: apt-get looks for a terminal and for questions to ask; it gets neither.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerUnavailable(f"{command[0]} did not run: {error}") from error
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ServerUnavailable(f"{' '.join(command[:1])} failed: {reason[0]}")
    return done.stdout


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
