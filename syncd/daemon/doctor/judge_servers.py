"""Floor 5: judge the servers of accounts: whether they can be reached, trusted and logged in at, what they offer."""

from collections.abc import Iterator
from datetime import UTC, datetime

from syncd.daemon.doctor.facts import ServerFacts, Trouble
from syncd.daemon.doctor.findings import Finding, error, note, ok, warning
from syncd.daemon.status.remedies import OF_KEY, taken_by, wants_token
from syncd.values import asdict

_DAY_S = 86400.0
_SOON_S = 14 * _DAY_S
_REMEDIES = {
    Trouble.NAME: "correct host of accounts.{account}, or look at the resolver: getent hosts {host}",
    Trouble.ROUTE: "correct host and port of accounts.{account}, or the firewall: nc -vz {host} {port}",
    Trouble.SLOW: "see whether anything keeps connections away: nc -vz {host} {port}",
    Trouble.TLS: 'tls ("implicit" or "starttls") and port of accounts.{account} should fit together',
    Trouble.EXPIRED: "whoever runs {host} has to renew its certificate; until then syncd sends it no password",
    Trouble.NOT_YET: "set the clock of this machine right (timedatectl), else tell whoever runs {host}",
    Trouble.OTHER_NAME: "name the server in accounts.{account} as its certificate does: host is {host} now",
    Trouble.UNKNOWN_AUTHORITY: (
        "install ca-certificates; for an authority of your own: ca_file of accounts.{account}, a PEM file with it; for"
        " a certificate that no authority signed: pin_sha256, which whoever runs {host} reads off there"
        " (openssl x509 -noout -fingerprint -sha256 -in FILE)"
    ),
    Trouble.CA_FILE: "see that ca_file of accounts.{account} is a PEM file, and that the daemon's user can read it",
    Trouble.PIN: (
        "ask whoever runs {host}, who reads it off there (openssl x509 -noout -fingerprint -sha256 -in FILE), and"
        " set pin_sha256 of accounts.{account} to it"
    ),
    Trouble.OWN_CERTIFICATE: "see that client_cert of accounts.{account} is the certificate that {host} knows",
    Trouble.OWN_CERTIFICATE_FILE: "see whether the daemon's user gets it: client_cert of accounts.{account}",
    Trouble.PROOF: "it may not be your server: check host of accounts.{account}, and ask whoever runs {host}",
    Trouble.TRUST: "see what the server shows: openssl s_client -connect {host}:{port}",
    Trouble.NO_TOKEN: "syncd auth login {account}",
    Trouble.PASSWORD: "see whether the daemon's user gets it: {login_key} of accounts.{account}",
    Trouble.OTHER: "syncd tries again by itself; with SYNCD_WIRE_TRACE={account} it logs what is said",
}
_OF_TOKENS = "correct username or token_command of accounts.{account}: the token should be one for mail of this user"
_OF_ACCESS = "correct username of accounts.{account}, or log in as that one: syncd auth login {account}"
_OF_KEY = "see what it says, and whether key_file of store works for the daemon's user"
_OF_OAUTH = "see what it says, and oauth of accounts.{account}"
_OF_PASSWORDS = "correct username or {login_key} of accounts.{account}"
_WORTH = ("QRESYNC", "CONDSTORE", "LIST-STATUS", "IDLE", "NOTIFY", "MOVE", "UIDPLUS")
"""What makes syncd faster and is used, by the names that servers announce."""


def judge_server(server: ServerFacts, now: float) -> Iterator[Finding]:
    """Judge one account's server, as far as it was asked."""
    where = f"accounts.{server.account}: {server.host}:{server.port}"
    if server.trouble is Trouble.BUSY:
        yield note("login", where, "another session has the maildrop, which may be that of the daemon")
    elif server.trouble is Trouble.TOKEN_ENDED:
        yield note(
            "login",
            where,
            server.error,
            "syncd sync {account} renews it, and shows whether it is taken".format(**asdict(server)),
        )
    elif server.trouble is not None:
        remedy = _remedy(server, server.trouble).format(**asdict(server))
        yield error(_check_of(server.trouble), where, server.error, remedy)
    if server.protocol is not None:
        yield from _certificate(server, where, now)
    elif server.trouble is None and server.tls == "none":
        yield from _plaintext(server, where)
    if server.capabilities is not None:
        yield from _offers(server, server.capabilities, where)


def _remedy(server: ServerFacts, trouble: Trouble) -> str:
    if trouble is Trouble.LOGIN:
        return _of_login(server)
    if trouble is Trouble.PASSWORD and server.login_key == "oauth":
        return _OF_KEY if server.error.startswith(OF_KEY) else _OF_OAUTH
    return _REMEDIES[trouble]


def _check_of(trouble: Trouble) -> str:
    if trouble in (Trouble.NAME, Trouble.ROUTE, Trouble.SLOW, Trouble.OTHER):
        return "server"
    is_of_login = trouble in (
        Trouble.PASSWORD,
        Trouble.NO_TOKEN,
        Trouble.LOGIN,
        Trouble.OWN_CERTIFICATE_FILE,
        Trouble.PROOF,
    )
    return "login" if is_of_login else "certificate"


def _of_login(server: ServerFacts) -> str:
    if server.login_key == "oauth":
        return _OF_ACCESS
    if server.login_key == "token_command":
        return _OF_TOKENS
    taken = taken_by(server.provider)
    if wants_token(server.provider, server.login_key):
        return f"{taken}: set oauth or token_command of accounts.{{account}} in place of {{login_key}}"
    if taken is None:
        return f"{_OF_PASSWORDS}; with two factors most providers want an app password"
    return f"{_OF_PASSWORDS}; {taken}" if taken else _OF_PASSWORDS


def _certificate(server: ServerFacts, where: str, now: float) -> Iterator[Finding]:
    shown = f"SHA-256 {server.fingerprint}"
    if server.valid_until is None:
        yield ok("certificate", where, f"encrypted ({server.protocol}) and trusted; {shown}")
        return
    left_s = server.valid_until - now
    day = datetime.fromtimestamp(server.valid_until, UTC).strftime("%Y-%m-%d")
    if server.is_pinned:  # then dates do not count
        what = f"encrypted ({server.protocol}); its certificate is the pinned one, and valid until {day}; {shown}"
        yield ok("certificate", where, what)
        return
    what = f"encrypted ({server.protocol}); its certificate is valid until {day}, for {_days(left_s)}; {shown}"
    if left_s < _SOON_S:
        remedy = f"whoever runs {server.host} has to renew it; on {day} syncd stops trusting the server"
        yield warning("certificate", where, what, remedy)
    else:
        yield ok("certificate", where, what)


def _days(seconds: float) -> str:
    days = round(seconds / _DAY_S)
    return f"{days:,} day{'' if days == 1 else 's'}"


def _plaintext(server: ServerFacts, where: str) -> Iterator[Finding]:
    if server.is_loopback:
        yield ok("certificate", where, "not encrypted, and on this machine")
    else:
        remedy = f'tls = "implicit" or "starttls" for accounts.{server.account}, without allow_plaintext'
        yield warning("certificate", where, "not encrypted: whoever is in between reads password and mail", remedy)


def _offers(server: ServerFacts, capabilities: frozenset[str], where: str) -> Iterator[Finding]:
    if server.kind == "pop3":
        if "UIDL" in capabilities or not capabilities:
            yield ok("capabilities", where, "logged in")
        else:
            what = "logged in; the server announces no UIDL, so that messages are told apart by their content"
            yield note("capabilities", where, what)
        return
    has_rev2 = "IMAP4REV2" in capabilities
    offered = [name for name in _WORTH if name in capabilities or (has_rev2 and name in ("IDLE", "MOVE", "UIDPLUS"))]
    yield ok("capabilities", where, f"logged in; the server has {', '.join(offered) or 'no extension that syncd uses'}")
    if "IDLE" not in offered:
        what = "without IDLE the server does not tell of new mail: it is looked for"
        yield note("capabilities", where, what, f"a shorter poll_interval for accounts.{server.account}, if it matters")
