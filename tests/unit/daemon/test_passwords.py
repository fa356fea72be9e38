"""What an account logs in with: a password is kept until it is refused, a token only for as long as a login takes."""

from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig
from syncd.daemon.process import logs
from syncd.daemon.serving.passwords import Password
from syncd.errors import SecretError, Temper
from syncd.sasl.mechanisms import Secret
from syncd.sasl.tokens import Token


def password_of(**keys: object) -> Password:
    return Password(ImapConfig.model_validate({"type": "imap", "host": "h", "username": "u", **keys}))


async def asked(password: Password) -> Secret:
    """Return what it has for a login."""
    async with password() as secret:
        return secret


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
    assert await asked(password) == "old"
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
        await asked(password)
    assert not await password.is_another()

    file.write_text("new\n")
    file.chmod(0o600)

    assert await password.is_another()


async def test_command_is_not_run_to_find_out(tmp_path: Path) -> None:
    """It may make a person touch a key."""
    ran = tmp_path / "ran"
    password = password_of(password_command=["sh", "-c", f"echo x >> {ran}; echo secret"])
    assert await asked(password) == "secret"

    assert not await password.is_another()
    assert ran.read_text() == "x\n"


def numbered(tmp_path: Path) -> tuple[str, ...]:
    """Return a command that prints another token each time."""
    return ("sh", "-c", f"cd {tmp_path}; echo x >>ran; echo token-number.$(wc -l <ran | tr -d ' '); echo for people")


async def test_token_is_asked_for_at_each_login(tmp_path: Path) -> None:
    """The command knows when one expires; we do not."""
    password = password_of(token_command=numbered(tmp_path))

    assert [await asked(password), await asked(password)] == [Token("token-number.1"), Token("token-number.2")]
    assert not await password.is_another()
    assert (tmp_path / "ran").read_text() == "x\nx\n"


async def test_nothing_of_a_token_is_left_after_its_login() -> None:
    """Nor is it in a log meanwhile, also where two accounts log in with the same one."""
    command = ["echo", "ya29.a0Af_B-x"]
    one, other = password_of(token_command=command), password_of(token_command=command)

    async with one():
        async with other():
            assert "ya29" not in logs.secrets.redacted("it is ya29.a0Af_B-x")
        assert "ya29" not in logs.secrets.redacted("it is ya29.a0Af_B-x")

    assert logs.secrets.redacted("it is ya29.a0Af_B-x") == "it is ya29.a0Af_B-x"


async def test_token_after_a_refused_one_is_the_last_that_is_tried_soon(tmp_path: Path) -> None:
    """The first may have expired on its way; if the second is refused as well, it is not for that."""
    password = password_of(token_command=numbered(tmp_path))
    tempers = []

    for _ in range(3):
        token = await asked(password)
        assert isinstance(token, Token)
        tempers.append(token.refused)
        password.forget()
    await asked(password)
    after_a_good_one = await asked(password)

    assert tempers == [Temper.WAIT, Temper.GIVE_UP, Temper.GIVE_UP]
    assert isinstance(after_a_good_one, Token)
    assert after_a_good_one.refused is Temper.WAIT


async def test_token_that_was_not_judged_leaves_it_with_the_one_before(tmp_path: Path) -> None:
    """A connection that is lost in the middle of a login says nothing of tokens."""
    password = password_of(token_command=["echo", "ya29.abc"])
    assert (await asked(password)).follows_refused is False
    password.forget()
    with pytest.raises(ConnectionError):
        async with password():
            raise ConnectionError

    assert (await asked(password)).follows_refused is True
    assert (await asked(password)).follows_refused is False
