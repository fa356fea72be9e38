"""Floor 3: the oddities of servers as named switches, and who has which."""

from syncd.values import Value


class Quirks(Value):
    """Say what of a server's word is not to be relied on.

    no_qresync: its VANISHED is malformed or wrong, although it announces QRESYNC. modseq_runs_ahead: HIGHESTMODSEQ
    rises before the session can see the change, so that only the MODSEQ of rows that were seen is a cursor.
    out_of_order: it does commands before others that change their meaning.
    """

    no_qresync: bool = False
    modseq_runs_ahead: bool = False
    out_of_order: bool = False


NONE = Quirks()
_BY_CAPABILITY = {
    "X-GM-EXT-1": Quirks(modseq_runs_ahead=True),  # Gmail
    "XAPPLEPUSHSERVICE": Quirks(no_qresync=True),  # iCloud
}
_BY_HOST = {
    "imap.mail.me.com": Quirks(no_qresync=True),
}


def quirks_of(host: str, capabilities: frozenset[str]) -> Quirks:
    """Return the quirks of a server by its name or by a capability that no other server has."""
    known = _BY_HOST.get(host.lower())
    if known is not None:
        return known
    return next((quirks for name, quirks in _BY_CAPABILITY.items() if name in capabilities), NONE)
