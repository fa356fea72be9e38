"""Floor 2: what an edit changes: two configurations compared, and what that reaches; nothing is done.

House rule: a key that is not named here as adjustable needs a new connection (of an account), a new task (of a
device) or a restart of syncd (of any other table). So a key that is forgotten is never half applied.
"""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

from pydantic import BaseModel

from syncd.config.model import Config, HooksConfig
from syncd.config.table import keys_of
from syncd.values import Value, replace

_ADJUSTABLE_OF_ACCOUNTS = frozenset({"mailboxes", "delete", "poll_interval", "max_message_size", "keep"})
"""What a connected account can go on with without another connection."""
_ADJUSTABLE = frozenset(
    {
        "store.key_file",
        "store.retention",
        "guard.count",
        "guard.share",
        "guard.window",
        "daemon.log_format",
        "daemon.log_level",
    }
).union(f"hooks.{key}" for key in keys_of(HooksConfig))
"""What counts from now on, outside of accounts and devices."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Name the accounts, or devices, that came, that went, and those of which these keys are others."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class Changes(Value):
    """Say what is different. keys: other keys that count from now on; at_restart: those that do only after a restart.

    config: what is to run from now on, the new one but for `at_restart`.
    """

    config: Config
    accounts: Difference
    devices: Difference
    keys: tuple[str, ...]
    at_restart: tuple[str, ...]

    def __bool__(self) -> bool:
        """Tell whether there is anything to do now."""
        return bool(self.accounts or self.devices or self.keys)

    @property
    def reconnecting(self) -> frozenset[str]:
        """Return the changed accounts that need another connection."""
        return frozenset(
            name for name, keys in self.accounts.changed.items() if not _ADJUSTABLE_OF_ACCOUNTS.issuperset(keys)
        )


def changes_between(running: Config, wanted: Config) -> Changes:
    """Compare what runs with what the file says now."""
    tables: dict[str, BaseModel] = {}
    keys: list[str] = []
    at_restart: list[str] = []
    for name in Config.model_fields:
        before, after = getattr(running, name), getattr(wanted, name)
        if not isinstance(after, BaseModel):
            continue
        changed = {f"{name}.{key}": attribute for key, attribute in _changed(before, after).items()}
        kept = {attribute: getattr(before, attribute) for key, attribute in changed.items() if key not in _ADJUSTABLE}
        tables[name] = after.model_copy(update=kept)
        keys += [key for key in changed if key in _ADJUSTABLE]
        at_restart += [key for key in changed if key not in _ADJUSTABLE]
    return Changes(
        wanted.model_copy(update=tables),
        _difference(running.accounts, wanted.accounts),
        _difference(running.devices, wanted.devices),
        tuple(keys),
        tuple(at_restart),
    )


class Reached(Value):
    """Name what is served by another task from now on, and the accounts whose task goes on otherwise than before."""

    accounts: frozenset[str]
    devices: frozenset[str]
    adjusted: frozenset[str]


def reached(running: Config, changes: Changes, *, other_ids: Set[str], with_mail: Set[str]) -> Reached:
    """Return whom changes reach beside those that are no more; all others are left alone.

    other_ids: the accounts that are served now and were not, or the other way round. with_mail: the devices that have
    mail of these, whether they select them or not: like those that do, they begin anew, with a first look if need be.
    """
    config = changes.config
    accounts = {*changes.accounts.added, *changes.reconnecting, *other_ids} & config.accounts.keys()
    devices = {*changes.devices.added, *changes.devices.changed, *with_mail}
    devices |= devices_of(running, other_ids) | devices_of(config, other_ids)
    adjusted = set(changes.accounts.changed)
    for before_or_after in (running, config):
        names = {*changes.devices.added, *changes.devices.removed, *changes.devices.changed}
        for name in names & before_or_after.devices.keys():
            adjusted |= before_or_after.accounts_of(name).keys()
    if running.guard != config.guard:
        devices |= config.devices.keys()  # a device judges all its holds anew when it begins
        adjusted |= config.accounts.keys()
    return Reached(
        frozenset(accounts),
        frozenset(devices & config.devices.keys()),
        frozenset((adjusted & config.accounts.keys()) - accounts),
    )


def with_other_passwords(changes: Changes, names: Iterable[str]) -> Changes:
    """Return changes to which it belongs that the password files of these accounts hold other passwords."""
    known = changes.config.accounts.keys() - set(changes.accounts.added)
    keys = {name: ("password_file", *changes.accounts.changed.get(name, ())) for name in names if name in known}
    return replace(changes, accounts=replace(changes.accounts, changed={**changes.accounts.changed, **keys}))


def devices_of(config: Config, accounts: Collection[str]) -> frozenset[str]:
    """Return the devices that select at least one of these accounts."""
    return frozenset(name for name in config.devices if not config.accounts_of(name).keys().isdisjoint(accounts))


def _difference(before: Mapping[str, BaseModel], after: Mapping[str, BaseModel]) -> Difference:
    changed = {name: tuple(_changed(before[name], one)) for name, one in after.items() if name in before}
    return Difference(
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        {name: keys for name, keys in changed.items() if keys},
    )


def _changed(before: BaseModel, after: BaseModel) -> dict[str, str]:
    """Return the keys that differ, as the file spells them, with their attributes."""
    if type(before) is not type(after):
        return {"type": "type"}
    fields = type(after).model_fields
    return {
        field.alias or name: name for name, field in fields.items() if getattr(before, name) != getattr(after, name)
    }
