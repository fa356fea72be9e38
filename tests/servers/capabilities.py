"""What every Dovecot announces, and the shorter announcements that let it play lesser servers."""

_DOVECOT = (
    "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS "
    "THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED "
    "I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE "
    "SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE LITERAL+ NOTIFY SPECIAL-USE"
)


def without(*names: str) -> str:
    """Return Dovecot's announcement with these capabilities left out, for `Dovecot(capability=...)`.

    The commands themselves go on working; only a client that respects the announcement will not use them.
    """
    unknown = set(names) - set(_DOVECOT.split())
    if unknown:
        raise ValueError(f"dovecot does not announce {sorted(unknown)}")
    return " ".join(word for word in _DOVECOT.split() if word not in names)


NO_QRESYNC = without("QRESYNC")
NO_CONDSTORE = without("QRESYNC", "CONDSTORE")
NO_PUSH = without("IDLE", "NOTIFY")
NO_MOVE = without("MOVE")
NO_UIDPLUS = without("UIDPLUS")
NO_MOVE_NO_UIDPLUS = without("MOVE", "UIDPLUS")
NO_MULTIAPPEND = without("MULTIAPPEND")
NO_LITERAL_PLUS = without("LITERAL+")
BASE = "IMAP4rev1"
