"""Floor 3: what each hook was told: up to which row of the history, and of which troubles that are not over.

Theory. A hook is told after its news is committed and before that is written here, so a kill in between tells it again,
and none is forgotten. A hook that the configuration does not name is forgotten: named again, it begins anew.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, insert, select, update

from syncd.store.engine.queries import groups
from syncd.store.people.tallies import last_deed
from syncd.store.tables.own_tables import hook, hook_told


def begin(conn: Connection, names: Collection[str]) -> None:
    """Know these hooks and no others; one that is new is told of what comes from now on."""
    conn.execute(delete(hook).where(hook.c.name.not_in(names)))
    if new := set(names).difference(conn.execute(select(hook.c.name)).scalars() if names else ()):
        newest = last_deed(conn)
        conn.execute(insert(hook), [{"name": name, "history_cursor": newest} for name in sorted(new)])


def told_upto(conn: Connection, name: str) -> int:
    """Return the row of the history up to which a hook was told; of one that is forgotten, the newest."""
    known = conn.execute(select(hook.c.history_cursor).where(hook.c.name == name)).scalar_one_or_none()
    return last_deed(conn) if known is None else int(known)


def advance(conn: Connection, name: str, *, upto: int) -> None:
    """Record that a hook was told of the history up to this row."""
    conn.execute(update(hook).where(hook.c.name == name).values(history_cursor=upto))


def told_troubles(conn: Connection, name: str) -> frozenset[str]:
    """Return the troubles of which a hook was told and that were not over."""
    return frozenset(conn.execute(select(hook_told.c.trouble).where(hook_told.c.hook == name)).scalars())


def record_told(conn: Connection, name: str, troubles: Iterable[str]) -> None:
    """Record that a hook was told of these; nothing, if it has been forgotten meanwhile."""
    if conn.execute(select(hook.c.name).where(hook.c.name == name)).one_or_none() is None:
        return
    known = told_troubles(conn, name)
    rows = [{"hook": name, "trouble": one} for one in dict.fromkeys(troubles) if one not in known]
    if rows:
        conn.execute(insert(hook_told), rows)


def record_over(conn: Connection, name: str, troubles: Iterable[str]) -> None:
    """Record that these are over: where one of them comes again, it is told again."""
    for group in groups(troubles):
        conn.execute(delete(hook_told).where(hook_told.c.hook == name, hook_told.c.trouble.in_(group)))
