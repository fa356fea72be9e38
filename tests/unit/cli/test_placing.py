"""Where a first configuration goes, and that it never takes the place of another."""

import os
from pathlib import Path

import pytest

from syncd.cli.commands.placing import first_place, put
from syncd.config import places
from syncd.errors import SyncdError


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the place of the machine's configuration, which is not there."""
    file = tmp_path / "etc" / "syncd.toml"
    monkeypatch.setattr(places, "SYSTEM_FILE", file)
    return file


def test_file_goes_where_it_will_be_looked_for(tmp_path: Path, system: Path) -> None:
    """Root makes that of the machine, others their own, and who names a place gets it there."""
    environ = {"HOME": str(tmp_path)}

    own = tmp_path / ".config" / "syncd" / "syncd.toml"
    assert first_place(None, environ=environ, is_root=True) == system
    assert first_place(None, environ=environ, is_root=False) == own
    assert first_place(None, environ=environ | {"SYNCD_CONFIG": "/a.toml"}, is_root=False) == Path("/a.toml")
    assert first_place(tmp_path / "b.toml", environ=environ, is_root=True) == tmp_path / "b.toml"


@pytest.mark.parametrize("is_root", [True, False])
def test_configuration_that_would_be_read_is_named_instead(tmp_path: Path, system: Path, is_root: bool) -> None:
    """A second file that nobody ever reads, or that hides the first one, is made for nobody."""
    environ = {"HOME": str(tmp_path)}
    system.parent.mkdir()
    system.touch()

    with pytest.raises(SyncdError, match=r"etc/syncd\.toml is there already"):
        first_place(None, environ=environ, is_root=is_root)

    dangling = tmp_path / "link.toml"
    dangling.symlink_to("nowhere")
    with pytest.raises(SyncdError, match=r"link\.toml is there already"):
        first_place(dangling, environ=environ, is_root=is_root)


def test_file_is_made_as_a_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    """Nobody else can look into it, or into the directory that was made for it, and no draft stays."""
    file = tmp_path / "syncd" / "syncd.toml"

    put(file, "text\n")

    assert file.read_text() == "text\n"
    assert [mode_of(path) for path in (file.parent, file)] == [0o700, 0o600]
    assert list(file.parent.iterdir()) == [file]


def test_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Also one that somebody made while the questions were answered."""
    file = tmp_path / "syncd.toml"
    file.write_text("theirs")

    with pytest.raises(SyncdError, match="is there already, and stays as it is"):
        put(file, "ours")

    assert file.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [file]


def test_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """The reason is that of the system, without a traceback."""
    (tmp_path / "file").touch()

    with pytest.raises(SyncdError, match=r"file/syncd\.toml cannot be written: "):
        put(tmp_path / "file" / "syncd.toml", "text")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes the file of the machine")
@pytest.mark.parametrize(("mode", "expected"), [(0o750, 0o640), (0o755, 0o600), (0o700, 0o600)])
def test_service_may_read_what_root_puts_into_its_directory(tmp_path: Path, mode: int, expected: int) -> None:
    """A directory of one group and nobody else, as /etc/syncd is made, says who is to read."""
    directory = tmp_path / "etc"
    directory.mkdir()
    os.chown(directory, 0, 65534)
    directory.chmod(mode)

    put(directory / "syncd.toml", "text")

    found = (directory / "syncd.toml").stat()
    assert mode_of(directory / "syncd.toml") == expected
    assert found.st_gid == (65534 if expected == 0o640 else os.getegid())


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777
