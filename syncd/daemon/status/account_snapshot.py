"""Floor 5: the status of an account, put together from the store and what its task is doing, if that runs."""

from collections.abc import Sequence

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.daemon.status.remedies import account_remedy
from syncd.daemon.status.seen import Seen, cause_of, doing_of, error_of, is_lasting_of, progress_of, since_of
from syncd.daemon.status.status import AccountStatus, ConnectionStatus, MailboxStatus, NewsStatus, Progress
from syncd.store.people.report import AccountReport, MailboxReport
from syncd.sync.activity import Activity

_RUNGS = ("listing", "condstore", "qresync")
"""As `imap.news.observe.Rung` has them; the highest costs least."""


def account_status(
    name: str,
    config: ImapConfig | Pop3Config,
    row: AccountReport | None,
    activity: Activity | None,
    seen: Seen,
) -> AccountStatus:
    """Return the status of one account; activity: None when it has no task."""
    mine = seen.mailboxes.get(row.id, ()) if row is not None else ()
    known = (row.succeeded_at if row else None, activity.succeeded_at if activity else None)
    succeeded_at = max((at for at in known if at is not None), default=None)
    error = error_of(activity, row.error if row else None)
    cause = cause_of(activity, row.cause if row else None)
    is_lasting, is_running = is_lasting_of(activity, error), activity is not None
    remedy = account_remedy(cause, name, config, error=error, is_lasting=is_lasting, is_running=is_running)
    return AccountStatus(
        name=name,
        type=config.type,
        server=f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}",
        security=config.tls.value,
        doing=doing_of(activity),
        since_at=since_of(activity),
        connection=_connection(activity),
        news=_news(config, activity, mine),
        succeeded_at=succeeded_at,
        lag_s=None if succeeded_at is None else max(seen.now - succeeded_at, 0.0),
        error=error,
        cause=None if cause is None else cause.value,
        remedy=remedy,
        is_lasting=is_lasting,
        failed_at=row.failed_at if row else None,
        failing_since_at=activity.failing_since if activity and error is not None else None,
        failures=row.failures if row else 0,
        retry_at=activity.retry_at if activity else None,
        messages=sum(one.messages for one in mine),
        mailbox_count=len(mine),
        set_aside=sum(one.account == name for one in seen.troubles),
        held=seen.held(account=name),
        progress=_progress(mine, activity, seen),
        mailboxes=tuple(
            MailboxStatus(one.name, one.messages, one.fetched, one.error, _changes_by(activity, one))
            for one in sorted(mine, key=lambda one: one.name)
        ),
        done=activity.done if activity else 0,
        total=activity.total if activity else 0,
        kept=row.kept if row and _keeps(config) else 0,
        kept_until_at=_kept_until(config, row),
    )


def _keeps(config: ImapConfig | Pop3Config) -> bool:
    # NOTE: by the default all of a first drain is in the store and in the maildrop as well until its session ends.
    return config.type == "pop3" and config.keeps


def _kept_until(config: ImapConfig | Pop3Config, row: AccountReport | None) -> float | None:
    if config.type == "imap" or not config.keep_s or row is None or row.kept_since is None:
        return None
    return row.kept_since + config.keep_s


def _connection(activity: Activity | None) -> ConnectionStatus | None:
    link = activity.link if activity else None
    return None if link is None else ConnectionStatus(link.since, link.is_open, link.tls_version, link.rung)


def _news(config: ImapConfig | Pop3Config, activity: Activity | None, mailboxes: Sequence[MailboxReport]) -> NewsStatus:
    link = activity.link if activity else None
    pushed = activity.watched if activity and link and link.has_push else None
    heard = activity.heard if activity else None
    why: str | None = None
    if config.type == "pop3":
        why = "pop3"
    elif link is not None:
        why = "one_mailbox_per_connection" if link.has_push else "no_idle"
    others = [one.name for one in mailboxes if one.name != pushed and (heard is None or one.id not in heard)]
    polled = len(others) if config.type == "imap" else 1
    if why == "one_mailbox_per_connection" and not polled:
        why = None
    polls_at = activity.polls_at if activity and activity.rests_s is not None and activity.error is None else None
    can_push = link is not None and link.has_push
    all_pushed = pushed is not None and heard is not None and not others
    if why == "one_mailbox_per_connection" and heard is not None:
        why = "not_told"
    return NewsStatus(can_push, pushed, polled, why, config.poll_interval_s, polls_at, all_pushed)


def _changes_by(activity: Activity | None, mailbox: MailboxReport) -> str | None:
    """Return the rung that the server stands on for a mailbox, as far as it has shown."""
    rung = activity.link.rung if activity and activity.link else None
    if activity is None or rung is None:
        return None
    names = [rung, activity.demoted.get(mailbox.id, rung), rung if mailbox.has_modseq else "listing"]
    return min(names, key=_RUNGS.index)


def _progress(mailboxes: Sequence[MailboxReport], activity: Activity | None, seen: Seen) -> Progress:
    """Return how far an account is with bodies, or where it has all of them with what it pushes."""
    to_come = [seen.still_wanted(one.id) for one in mailboxes]
    left, left_bytes = sum(one.messages for one in to_come), sum(one.size_bytes for one in to_come)
    done, done_bytes = sum(one.fetched for one in mailboxes), sum(one.fetched_bytes for one in mailboxes)
    if activity is not None and activity.expected[0] > activity.taken[0]:
        left += activity.expected[0] - activity.taken[0]
        left_bytes += max(activity.expected[1] - activity.taken[1], 0)
    elif activity is not None and not left and activity.total > activity.done:
        done, left, done_bytes = activity.done, activity.total - activity.done, 0
    return progress_of(done, left, done_bytes, left_bytes, activity, now=seen.now)
