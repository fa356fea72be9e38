"""Floor 3: the access to its mail that each account was granted, sealed by whoever brings it."""

from sqlalchemy import Connection, insert, select, update

from syncd.store.tables.schema import oauth_grant


def sealed_grant(conn: Connection, account_id: int) -> str | None:
    """Return what was granted for an account, None where nobody has logged in yet."""
    found = select(oauth_grant.c.sealed).where(oauth_grant.c.account_id == account_id)
    return conn.execute(found).scalar_one_or_none()


def put_grant(conn: Connection, account_id: int, sealed: str, *, now: float) -> None:
    """Keep what a person was granted just now, in place of what was before."""
    values = {"sealed": sealed, "granted_at": now, "renewed_at": now}
    mine = update(oauth_grant).where(oauth_grant.c.account_id == account_id)
    if not conn.execute(mine.values(**values)).rowcount:
        conn.execute(insert(oauth_grant).values(account_id=account_id, **values))


def renew_grant(conn: Connection, account_id: int, sealed: str, *, before: str, now: float) -> bool:
    """Keep what an access was renewed to; False where it is not that one any more: somebody has logged in meanwhile."""
    mine = update(oauth_grant).where(oauth_grant.c.account_id == account_id, oauth_grant.c.sealed == before)
    return bool(conn.execute(mine.values(sealed=sealed, renewed_at=now)).rowcount)
