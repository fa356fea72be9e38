"""Whom a server runs as: ourselves, or an unprivileged user when we are root."""

import grp
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class ServerUnavailable(RuntimeError):
    """A server cannot be brought on this machine; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of this machine, by number and by name."""

    uid: int
    gid: int
    user: str
    group: str

    @property
    def is_ours(self) -> bool:
        """Whether no change of user is needed."""
        return self.uid == os.getuid()

    def can_reach(self, path: Path) -> bool:
        """Whether this user may pass through every directory down to `path`, and read it."""
        # NOTE: a directory that is closed for us as well stands here as an error, and means no.
        try:
            return all(self._may_pass(directory) for directory in (path, *path.parents))
        except OSError:
            return False

    def give(self, path: Path) -> None:
        """Make this user the owner of `path`."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid)

    def popen(
        self, command: tuple[str, ...], *, environment: dict[str, str], output: IO[bytes], cwd: Path
    ) -> subprocess.Popen[bytes]:
        """Start `command` as this user in a session of its own, so that it can be ended with all its children."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            user=None if self.is_ours else self.uid,
            group=None if self.is_ours else self.gid,
            extra_groups=None if self.is_ours else (),
        )

    def _may_pass(self, directory: Path) -> bool:
        facts = directory.stat()
        if facts.st_uid == self.uid:
            needed = 0o500
        elif facts.st_gid == self.gid:
            needed = 0o050
        else:
            needed = 0o005
        # NOTE: search permission is enough above the last directory, but asking for both keeps the answer safe.
        return facts.st_mode & needed == needed


def server_identity(preferred: tuple[str, ...] = ()) -> Identity:
    """Return whom to run servers as: ourselves, or for root the first user that exists of `preferred` and nobody."""
    if os.getuid() != 0:
        return _identity(_passwd(os.getuid()))
    for name in (*preferred, "nobody"):
        try:
            return _identity(pwd.getpwnam(name))
        except KeyError:
            continue
    raise ServerUnavailable("running as root, and there is no unprivileged user such as nobody to run servers as")


def _passwd(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError as error:
        raise ServerUnavailable(f"user number {uid} has no name in /etc/passwd, and servers need one") from error


def _identity(entry: pwd.struct_passwd) -> Identity:
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError as error:
        raise ServerUnavailable(f"group number {entry.pw_gid} has no name in /etc/group") from error
    return Identity(entry.pw_uid, entry.pw_gid, entry.pw_name, group)
