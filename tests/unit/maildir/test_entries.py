"""Names looked for in what the system says of a directory: the same that Python's own listing has, all of them."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.maildir.system import entries, libc
from tests.seed import SEED

SMALL_PIECE_BYTES = 1024
"""It holds any one record."""


@pytest.fixture(params=[True, False], ids=["records", "names"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read records where the system has them, and names where it has none."""
    if request.param and not libc.has_records:
        pytest.skip("this system's library reads no records")
    monkeypatch.setattr(libc, "has_records", request.param)
    monkeypatch.setattr(libc, "_RECORDS_BYTES", SMALL_PIECE_BYTES)


@pytest.fixture
def directory_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def found(directory_fd: int, wanted: set[str]) -> set[str]:
    """Return what begins with anything wanted."""
    pieces = entries.names_beside(directory_fd, wanted)
    return {name for piece in pieces for name in piece if name.startswith(tuple(wanted))}


@pytest.mark.usefixtures("ways")
def test_all_that_is_wanted_is_found_wherever_it_is(tmp_path: Path, directory_fd: int) -> None:
    """Names of any length and octets, one the beginning of another, among many and in many pieces."""
    chance = random.Random(SEED)
    alphabet = ["0", "1", ".", ",", ":2,S", "+", "ü", "\udcff"]
    names = {f"1{''.join(chance.choices(alphabet, k=chance.choice((1, 2, 5, 20, 80))))}" for _ in range(400)}
    names |= {"1" + "0" * 254, "1" + "0" * 250}
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory_fd))

    for count in (1, 3, entries._FEW, entries._FEW + 1):
        wanted = {name[: chance.choice((3, len(name)))] for name in chance.sample(sorted(names), count)}

        expected = {path.name for path in tmp_path.iterdir() if path.name.startswith(tuple(wanted))}
        assert found(directory_fd, wanted) == expected, (SEED, count)
    assert found(directory_fd, {"1nobody"}) == found(directory_fd, {"1nobody", "0"}) == set()


@pytest.mark.usefixtures("ways")
def test_who_stops_early_leaves_nothing_behind(tmp_path: Path, directory_fd: int) -> None:
    """The next listing, by whatever call, has everything."""
    for number in range(100):
        (tmp_path / f"1{number}").touch()

    pieces = entries.names_beside(directory_fd, {"1"})
    first = next(pieces)
    del pieces

    assert first
    assert len(os.listdir(directory_fd)) == len(found(directory_fd, {"1"})) == 100


@pytest.mark.skipif(not libc.has_records, reason="this system's library reads no records")
def test_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It is never one without names; nor is one that is gone."""
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file, pytest.raises(NotADirectoryError):
        list(libc.records(file.fileno()))
    (tmp_path / "gone").mkdir()
    fd = os.open(tmp_path / "gone", os.O_RDONLY)
    (tmp_path / "gone").rmdir()
    try:
        with pytest.raises(FileNotFoundError):
            list(entries.names_beside(fd, {"1"}))
        with pytest.raises(FileNotFoundError):
            list(libc.records(fd))
    finally:
        os.close(fd)
