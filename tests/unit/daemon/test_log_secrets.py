"""No secret gets through, whatever form it has, wherever it stands, whoever renders it."""

import base64
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import structlog
from sqlalchemy import URL

from syncd.config.model import DaemonConfig, LogFormat, LogLevel
from syncd.daemon.process import logs
from tests.servers import journal
from tests.unit.daemon.test_logs import as_before  # noqa: F401

PASSWORD = 'Tr0ub4dor&3 "ünd\\/+=~'
TOKEN = "ya29.a0Af_B-x/y+z~9Q=="
log = structlog.get_logger()


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": base64_of,
    "url-safe base64": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a URL, lower case": lambda secret: re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe="")),
    "in a form": quote_plus,
    "base64 in a form": lambda secret: quote_plus(base64_of(secret)),
    "as password of a URL": lambda secret: URL.create("postgresql", "ana", secret, "db").render_as_string(
        hide_password=False
    ),
    "in a command": lambda secret: 'a1 LOGIN ana "{}"'.format(secret.replace("\\", "\\\\").replace('"', '\\"')),
    "SASL PLAIN": lambda secret: base64_of(f"\0ana\0{secret}"),
    "XOAUTH2": lambda secret: base64_of(f"user=ana\1auth=Bearer {secret}\1\1"),
    "OAUTHBEARER": lambda secret: base64_of(f"n,a=ana,\1host=imap.example.org\1port=993\1auth=Bearer {secret}\1\1"),
    "JSON": json.dumps,
    "repr": repr,
    "repr of octets": lambda secret: repr(secret.encode()),
}


def tell_value(text: str) -> None:
    log.debug("things_told", thing=text)


def tell_nested(text: str) -> None:
    log.debug("things_told", thing={"deep": [{text: (text, {"deeper": text})}]}, octets=text.encode())


def tell_event(text: str) -> None:
    log.debug(text)


def tell_context(text: str) -> None:
    with structlog.contextvars.bound_contextvars(thing=text):
        log.debug("things_told")


def tell_exception(text: str) -> None:
    try:
        try:
            raise OSError(text)
        except OSError as error:
            raise ValueError(f"because of {text}", text.encode()) from error
    except ValueError:
        log.exception("things_failed")


def tell_by_library(text: str) -> None:
    logging.getLogger("aiohttp.client").warning("sent %s", text, exc_info=ValueError(text))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(text, stacklevel=1)


@contextmanager
def shown(log_format: LogFormat) -> Iterator[list[str]]:
    """Log at debug level inside; afterwards the list has all that anybody can read of it."""
    stream, told = io.StringIO(), []
    config = DaemonConfig(socket=Path("/run/syncd.sock"), log_format=log_format, log_level=LogLevel.DEBUG)
    with journal.temporary() as received:
        logs.configure(config, stream=stream, journal_socket=received.path)
        yield told
        told += [text for record in received.records() for text in record.values()]
    told += stream.getvalue().splitlines()
    if log_format is LogFormat.JSON:
        told += [repr(json.loads(line)) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("log_format", [LogFormat.CONSOLE, LogFormat.JSON, LogFormat.JOURNALD])
@pytest.mark.parametrize("tell", [tell_value, tell_nested, tell_event, tell_context, tell_exception, tell_by_library])
@pytest.mark.parametrize("secret", [PASSWORD, TOKEN], ids=["password", "token"])
def test_no_secret_gets_through(log_format: LogFormat, tell: Callable[[str], None], secret: str) -> None:
    """Not in any form: what is left of it is the word that says so."""
    logs.secrets.add(secret)
    texts = {name: form(secret) for name, form in FORMS.items()}

    for name, text in texts.items():
        with shown(log_format) as told:
            tell(text)

        everything = "\n".join(told)
        assert "[redacted]" in everything, name
        leaked = [
            other for other, form in texts.items() if form in everything or form.replace("\\", "\\\\") in everything
        ]
        assert leaked == [], f"{name}: {everything}"
