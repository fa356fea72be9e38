"""Floor 3: what a server is asked once, and does from then on: ENABLE, ID, and NOTIFY."""

from syncd.errors import RefusedError
from syncd.imap.session import Session

_NOTIFY = "NOTIFY"
_OF_MESSAGES = b"MessageNew MessageExpunge FlagChange"


async def enable(session: Session, *names: str) -> None:
    """Enable those extensions that are offered (RFC 5161); one may be `refused`."""
    wanted = [name for name in names if name in session.capabilities and name not in session.enabled]
    if wanted and "ENABLE" in session.capabilities:
        try:
            await session.command("ENABLE", *(name.encode() for name in wanted), is_pipelined=True)
        except RefusedError as error:
            session.refuse(wanted, error)


async def identify(session: Session) -> None:
    """Say who we are (ID, RFC 2971) where that is offered; some servers refuse SELECT without it."""
    if "ID" in session.capabilities:
        await session.command("ID", b'("name" "syncd")', is_pipelined=True)


async def notify(session: Session) -> bool:
    """Ask for news of all mailboxes of the user, unless they are told already, and tell whether they are (RFC 5465).

    Not without mod-sequences: there nobody could tell news from what we did, and each look compares a whole mailbox.
    """
    elsewhere = session.elsewhere
    has_all = all(name in session.capabilities and session.trusts(name) for name in (_NOTIFY, "CONDSTORE"))
    if elsewhere.is_told or not has_all:
        return elsewhere.is_told
    # NOTE: what is not named is told no more, not even of the selected mailbox in IDLE. With `selected` in place of
    # `selected-delayed`, messages might lose their numbers in the middle of a FETCH. STATUS says how all others are by
    # now, so that nothing is missed between the last look at them and this.
    selected = b"(selected-delayed (%s))" % _OF_MESSAGES
    others = b"(personal (%s MailboxName))" % _OF_MESSAGES
    elsewhere.is_told = True  # the first of it comes before the end of the command
    try:
        await session.command(_NOTIFY, b"SET", b"STATUS", selected, others)
    except RefusedError as error:
        elsewhere.is_told = False
        session.refuse((_NOTIFY,), error)
    else:
        session.grant(_NOTIFY)
    return elsewhere.is_told
