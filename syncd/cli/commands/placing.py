"""Floor 6: where a first configuration goes, and how: as a whole, for its owner only, never over another file."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from syncd.config.places import config_files
from syncd.errors import SyncdError


def first_place(named: Path | None, *, environ: Mapping[str, str], is_root: bool) -> Path:
    """Return where a first configuration is looked for; SyncdError if one is there that would be read, or none can be.

    named: by the person; else it is that of the machine for root, for others their own.
    """
    files = (named,) if named is not None else config_files(environ)
    place = files[0] if is_root else files[-1]
    for file in files:
        if os.access(file, os.R_OK) or (file == place and os.path.lexists(file)):
            raise SyncdError(f"{file} is there already: edit it, or name another place with --config")
    nearest = next(one for one in place.absolute().parents if os.path.lexists(one))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        why = "no directory" if not nearest.is_dir() else "not writable for you"
        raise SyncdError(f"{place} cannot be written: {nearest} is {why}; name another place with --config")
    return place


def schema() -> Path | None:
    """Return the JSON schema that was installed with us, None where it was not."""
    file = Path(sys.prefix, "share", "syncd", "syncd.toml.schema.json")
    return file if file.is_file() else None


def put(file: Path, text: str, *, directory_mode: int = 0o700) -> None:
    """Make a file of a text, and its directory; SyncdError if it is there already, or cannot be made."""
    try:
        file.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                _let_service_read(handle, file.parent)
                os.fsync(handle)
            _link(draft, file)
        finally:
            Path(draft).unlink()
    except OSError as error:
        raise SyncdError(f"{file} cannot be written: {(error.strerror or 'unknown').lower()}") from error


def _link(draft: str, file: Path) -> None:
    try:
        os.link(draft, file)  # which, unlike a rename, takes nobody's place
    except FileExistsError as error:
        raise SyncdError(f"{file} is there already, and stays as it is") from error


def _let_service_read(handle: int, directory: Path) -> None:
    """Let the group of a directory read what root puts there, where it is the directory of one group and nobody else.

    So is /etc/syncd (deploy/systemd/tmpfiles.d): the service has to read it.
    """
    found = directory.stat()
    if os.geteuid() == 0 and found.st_gid != 0 and found.st_mode & 0o057 == 0o050:
        os.fchown(handle, -1, found.st_gid)
        os.fchmod(handle, 0o640)
