"""The password of an account: kept until it is refused, and another one when its file is."""

from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig
from syncd.daemon.serving.passwords import Password
from syncd.errors import SecretError


def password_of(**keys: object) -> Password:
    return Password(ImapConfig.model_validate({"type": "imap", "host": "h", "username": "u", **keys}))


@pytest.mark.parametrize("is_refused", [True, False])
async def test_file_with_another_password_is_told_from_one_that_is_only_written_again(
    tmp_path: Path, is_refused: bool
) -> None:
    """Whether the server took the old one or not."""
    file = tmp_path / "password"
    file.write_text("old\n")
    file.chmod(0o600)
    password = password_of(password_file=str(file))
    assert not await password.is_another()
    assert await password() == "old"
    if is_refused:
        password.forget()

    file.write_text("old\nwith a note\n")
    assert not await password.is_another()
    file.write_text("new\n")
    assert await password.is_another()
    file.unlink()
    assert not await password.is_another()


async def test_file_that_is_made_after_it_was_missed_is_another_one(tmp_path: Path) -> None:
    """Its account need not wait until it is tried again."""
    file = tmp_path / "password"
    password = password_of(password_file=str(file))
    with pytest.raises(SecretError):
        await password()
    assert not await password.is_another()

    file.write_text("new\n")
    file.chmod(0o600)

    assert await password.is_another()


async def test_command_is_not_run_to_find_out(tmp_path: Path) -> None:
    """It may make a person touch a key."""
    ran = tmp_path / "ran"
    password = password_of(password_command=["sh", "-c", f"echo x >> {ran}; echo secret"])
    assert await password() == "secret"

    assert not await password.is_another()
    assert ran.read_text() == "x\n"
