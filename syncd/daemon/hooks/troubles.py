"""Floor 5: what does not work now, each trouble with a key of its own, and which of them a hook is told.

Theory. A trouble is a state, not an event: it stands from when it is first seen until it is proven to be over, however
often something is tried again meanwhile. So it is told once, also over a restart, by which it is not over. One against
which waiting helps is told when it stood for a while, and is over when it was gone for as long: an outage of seconds,
or one that comes and goes, is not worth a word each time. Between two tries an account may be let in, and a device be
looked at: a trouble of theirs is over once they have nothing left to do.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from sqlalchemy import Connection

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.model import Config
from syncd.daemon.status.remedies import account_remedy, device_remedy
from syncd.errors import Reach
from syncd.reconcile.guard import as_words
from syncd.store.people.report import HoldReport, account_ids, device_reports
from syncd.store.people.trouble_report import mailbox_errors, mailbox_names, refused_mailboxes, troubles
from syncd.store.rounds.holds import HoldState
from syncd.store.trees.devices import NEW
from syncd.sync.activity import Activities, Activity
from syncd.values import replace

_OF_EACH_KIND = 1000
_AT_NEXT_POLL = "maildrop "
_OF_MESSAGES = ("message ", "maildrop ", "upload ")
_BY_ITSELF = "nothing: it is tried again by itself"
_PERSON = "waiting does not help: the error says why, and syncd status shows when it is over"
_SET_ASIDE = "it is not tried again by itself, and everything else goes on: syncd sync tries it once more"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Describe what does not work, as a hook is told of it.

    reach: how much stands still because of it. waiting_helps: it is tried again by itself. since_at: None where it is
    known only since now. hold: its number, where messages wait for a person, and how many.
    """

    error: str
    what_to_do: str
    reach: str
    waiting_helps: bool
    account: str | None = None
    device: str | None = None
    mailbox: str | None = None
    uid: int | None = None
    messages: int | None = None
    hold: int | None = None
    since_at: float | None = None
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Hold the troubles that stand by their keys, and of which others it is not known whether they do.

    is_whole: else there are more of messages than are here.
    """

    troubles: Mapping[str, Trouble]
    unknown: Set[str] = frozenset()
    is_whole: bool = True

    def is_over(self, key: str) -> bool:
        """Tell whether a trouble is proven to stand no more."""
        if key in self.troubles or key in self.unknown:
            return False
        return self.is_whole or not key.startswith(_OF_MESSAGES)


@dataclass(frozen=True, slots=True)
class StoredErrors:
    """Hold what the store has of troubles that are no holds.

    devices: those that failed when they were last served. states: of all devices.
    """

    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    is_whole: bool = True
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Patience:
    """Say which troubles are to be told, and which that were are over; ask it again and again.

    patience_s: how long one has to stand against which waiting helps. rest_s: how long one has to be gone.
    """

    patience_s: float
    rest_s: float
    _first_seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    _last_seen: dict[str, float] = field(default_factory=dict)
    _not_gone: Set[str] = frozenset()
    """What stood, or may have, at the last look, which may be long ago: a hook does not look between its tries."""

    def judge(
        self, standing: Standing, told: Collection[str], *, now: float, at: float
    ) -> tuple[Mapping[str, Trouble], frozenset[str]]:
        """Return what is to be told, and what is over. now: of a clock that never jumps; at: of that of people."""
        first, last = self._first_seen, self._last_seen
        lately = {key for key in first if key in self._not_gone or now - last[key] < self.rest_s}
        self._first_seen = dict.fromkeys(standing.troubles, (now, at)) | {key: first[key] for key in lately}
        kept = {key: last.get(key, now) for key in lately.union(told)}
        self._last_seen = kept | dict.fromkeys(standing.troubles, now)
        self._not_gone = frozenset(standing.troubles) | standing.unknown
        due = {
            key: one if one.since_at is not None else replace(one, since_at=self._first_seen[key][1])
            for key, one in standing.troubles.items()
            if key not in told and (not one.waiting_helps or now - self._first_seen[key][0] >= self.patience_s)
        }
        over = {key for key in told if standing.is_over(key) and now - self._last_seen[key] >= self.rest_s}
        return due, frozenset(over)


def auth_errors(config: Config, activities: Activities) -> Standing:
    """Return the accounts for which a person has to see to a password."""
    found = {
        f"password of {name}": Trouble(
            account=name,
            error=one.error,
            what_to_do=_remedy(one, name, config.accounts[name]) or _unnamed(one),
            reach=Reach.ACCOUNT,
            waiting_helps=not one.is_lasting,
            since_at=one.failing_since,
            retry_at=one.retry_at,
        )
        for name, one in activities.accounts.items()
        if one.error is not None and one.lacks_password and name in config.accounts
    }
    unproven = {f"password of {name}" for name in _unproven(config, activities)}
    return Standing(found, unproven)


def held_messages(config: Config, held: Iterable[HoldReport]) -> Standing:
    """Return what waits for a person; a hold that grows is the same one, in spite of its new number."""
    found = {}
    for one in held:
        hold = one.hold
        if hold.state is not HoldState.HELD or one.account not in config.accounts:
            continue
        if one.device is not None and one.device not in config.devices:
            continue
        kind = "judged" if hold.reason.is_judged else "lost"
        what = "messages" if hold.effects else "mailbox"
        found[f"hold {hold.scope} {hold.scope_id} {hold.mailbox_id} {kind} {what}"] = Trouble(
            account=one.account,
            device=one.device,
            mailbox=one.mailbox,
            error=as_words(hold.reason),
            what_to_do=(
                f"syncd holds show {hold.id} lists them; syncd holds release {hold.id} lets it happen, syncd holds"
                f" discard {hold.id} puts everything back"
            ),
            reach=Reach.MAILBOX,
            waiting_helps=False,
            messages=len(hold.effects),
            hold=hold.id,
            since_at=hold.held_at,
        )
    return Standing(found)


def other_errors(config: Config, activities: Activities, stored: StoredErrors) -> Standing:
    """Return whatever else does not work of what the configuration names."""
    found = {
        key: one
        for key, one in stored.troubles.items()
        if (one.account is None or one.account in config.accounts)
        and (one.device is None or one.device in config.devices)
    }
    found |= dict(_failing_accounts(config, activities.accounts))
    found |= dict(_failing_devices(config, activities.devices, stored.states))
    failing = stored.devices.union(_not_well(activities.devices)) & config.devices.keys()
    accounts = {*_unproven(config, activities), *_not_well(activities.accounts)} & config.accounts.keys()
    unproven = (("account", accounts), ("device", failing))
    unknown = {key for kind, names in unproven for name in names for key in _keys(kind, name)}
    return Standing(found, unknown, is_whole=stored.is_whole)


def stored_errors(conn: Connection) -> StoredErrors:
    """Return what the store has of troubles: messages, mailboxes, and devices that failed."""
    devices = {one.id: one for one in device_reports(conn)}
    accounts = account_ids(conn)
    reports = troubles(conn, limit=_OF_EACH_KIND)
    names = mailbox_names(conn, {one.mailbox_id for one in reports})
    found: dict[str, Trouble] = {}
    for one in reports:
        account, mailbox = names[one.mailbox_id]
        found[one.key] = Trouble(
            account=account,
            device=None if one.device_id is None else devices[one.device_id].name,
            mailbox=mailbox,
            uid=one.uid,
            error=one.error,
            what_to_do=_SET_ASIDE if one.retry_at is None else _BY_ITSELF,
            reach=Reach.MESSAGE,
            waiting_helps=one.retry_at is not None,
            since_at=one.since_at,
            retry_at=None if one.key.startswith(_AT_NEXT_POLL) else one.retry_at,
        )
    for (account, mailbox), error in mailbox_errors(conn, of_accounts=accounts.keys()).items():
        found[f"mailbox {account}/{mailbox}"] = Trouble(
            account=account,
            mailbox=mailbox,
            error=error,
            what_to_do=_BY_ITSELF,
            reach=Reach.MAILBOX,
            waiting_helps=True,
        )
    by_id = {id_: name for name, id_ in accounts.items()}
    for refused in refused_mailboxes(conn):
        found[refused.key] = Trouble(
            account=by_id[refused.account_id],
            device=devices[refused.device_id].name,
            mailbox=refused.name,
            error=refused.error,
            what_to_do=_PERSON if refused.retry_at is None else _BY_ITSELF,
            reach=Reach.MAILBOX,
            waiting_helps=refused.retry_at is not None,
            since_at=refused.since_at,
            retry_at=refused.retry_at,
        )
    failed = frozenset(one.name for one in devices.values() if one.error is not None)
    states = {one.name: one.state for one in devices.values()}
    return StoredErrors(found, failed, len(reports) < _OF_EACH_KIND, states)


def _failing_accounts(config: Config, activities: Mapping[str, Activity]) -> Iterator[tuple[str, Trouble]]:
    for name, one in activities.items():
        if name in config.accounts and not one.lacks_password:
            remedy = _remedy(one, name, config.accounts[name])
            yield from _failing("account", name, one, Reach.ACCOUNT, remedy)


def _failing_devices(
    config: Config, activities: Mapping[str, Activity], states: Mapping[str, str]
) -> Iterator[tuple[str, Trouble]]:
    for name, one in activities.items():
        if name in config.devices:
            remedy = device_remedy(one.cause, states.get(name, NEW), name, str(config.devices[name].path))
            yield from _failing("device", name, one, Reach.DEVICE, remedy)


def _failing(kind: str, name: str, one: Activity, reach: Reach, remedy: str | None) -> Iterator[tuple[str, Trouble]]:
    if one.error is not None:
        yield (
            _keys(kind, name)[one.is_lasting],
            Trouble(
                account=name if kind == "account" else None,
                device=name if kind == "device" else None,
                error=one.error,
                what_to_do=remedy or _unnamed(one),
                reach=reach,
                waiting_helps=not one.is_lasting,
                since_at=one.failing_since,
                retry_at=one.retry_at,
            ),
        )


def _remedy(one: Activity, name: str, config: ImapConfig | Pop3Config) -> str | None:
    """Return what `syncd status` says that there is to do for an account."""
    return account_remedy(one.cause, name, config, error=one.error, is_lasting=one.is_lasting)


def _unnamed(one: Activity) -> str:
    """Return what there is to do where there is no remedy with a name."""
    return _PERSON if one.is_lasting else _BY_ITSELF


def _unproven(config: Config, activities: Activities) -> Iterator[str]:
    """Yield the accounts that fail, in whatever way, or that have not been let in since the start."""
    for name in config.accounts:
        one = activities.accounts.get(name)
        if one is None or one.error is not None or not one.logins:
            yield name


def _not_well(activities: Mapping[str, Activity]) -> Iterator[str]:
    """Yield who fails, or has failed and not come to the end of its work since."""
    return (name for name, one in activities.items() if one.error is not None or one.failing_since is not None)


def _keys(kind: str, name: str) -> tuple[str, str]:
    """Return the keys of a trouble against which waiting helps, and of one against which it does not."""
    return f"{kind} {name}", f"{kind} {name} lasting"
