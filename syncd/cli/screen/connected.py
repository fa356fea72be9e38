"""Floor 6: how an account is connected to its server, and how news of it arrive, as lines of text; pure."""

from syncd.cli.screen.words import age, ago, count, shown, tls, when
from syncd.daemon.status.status import AccountStatus
from syncd.hosts import is_loopback

_RUNGS = {"qresync": "QRESYNC", "condstore": "CONDSTORE", "listing": "full compare"}
_WHY_POLLED = {
    "pop3": "POP3 has no push",
    "no_idle": "the server has no push (IDLE)",
    "one_mailbox_per_connection": "IDLE tells of one mailbox",
    "not_told": "the server does not tell of those",
}


def connection_of(one: AccountStatus, at: float) -> str:
    """Return how an account is connected, or would be. at: now, in seconds since 1970."""
    link = one.connection
    plain = "not encrypted (it is this machine)" if is_loopback(one.server.rpartition(":")[0]) else "NOT ENCRYPTED"
    if link is None:
        return {"implicit": "TLS", "starttls": "STARTTLS"}.get(one.security, plain) + "; not connected"
    how = plain if link.tls_version is None else tls(link.tls_version)
    how += " by STARTTLS" if one.security == "starttls" else ""
    if not link.is_open:
        return f"{how}, last connected {ago(at - link.since_at)}"
    rung = f"; changes by {_rungs(one, link.changes_by)}" if link.changes_by is not None else ""
    return f"{how}, connected for {age(at - link.since_at)}{rung}"


def news_of(one: AccountStatus, at: float) -> str:
    """Return how news of an account's server arrive, and when it is asked next. at: as of `connection_of`."""
    news = one.news
    soon = "" if news.next_poll_at is None else f", next {when(news.next_poll_at - at)}"
    every = f"every {age(news.poll_interval_s)}{soon}"
    why = _WHY_POLLED.get(news.why_polled or "")
    because = "" if why is None else f" ({why})"
    if news.all_pushed:
        return f"news of all mailboxes by push (IDLE, NOTIFY); all is looked at {every}"
    if news.why_polled == "not_told":
        polled = count(news.polled, "mailbox", "mailboxes")
        return f"news by push (IDLE, NOTIFY), of {polled} by poll {every}{because}"
    if news.can_push and news.pushed is None:
        return f"news by push (IDLE) once it is at rest, and by poll {every}"
    if news.pushed is None:
        return f"news by poll {every}{because}"
    others = f", {count(news.polled, 'other')} by poll {every}" if news.polled else f"; all is looked at {every}"
    return f"news of {shown(news.pushed)} by push (IDLE){others}{because}"


def _rungs(one: AccountStatus, best: str) -> str:
    lower = [each.changes_by for each in one.mailboxes if each.changes_by not in {None, best}]
    said = [
        f", {count(lower.count(rung), 'mailbox', 'mailboxes')} by {_RUNGS[rung]}" for rung in _RUNGS if rung in lower
    ]
    return f"{_RUNGS.get(best, best)}{''.join(said)}"
