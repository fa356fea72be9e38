"""Accounts side by side in one store: nothing of one reaches the other."""

from pathlib import Path

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.servers.dovecot import Dovecot

SEEN = "\\Seen"


async def test_accounts_with_the_same_names_and_numbers_stay_apart(
    tmp_path: Path, dovecot: Dovecot, mail_user: str
) -> None:
    """Equal mailboxes, UIDs and messages of two accounts are two of each, whatever happens to those of one."""
    ana, bo = Provider(dovecot, mail_user), Provider(dovecot, f"{mail_user}-bo")
    for user in (ana, bo):
        for mailbox in ("INBOX", "Work"):
            user.receive("a", "b", "c", mailbox=mailbox)
    accounts = {"ana": imap(dovecot, ana.user), "bo": imap(dovecot, bo.user)}
    async with House(tmp_path, accounts=accounts, devices=("laptop", "phone")) as house:
        await house.settle()

        ana.expunge("a", mailbox="Work")
        ana.store("b", "+FLAGS (\\Flagged todo)", mailbox="Work")
        house.replica("phone", "Work", account="ana").mark("c", add="S")
        await house.settle()

        assert ana.flags("Work") == {"b": {"\\Flagged", "todo"}, "c": {SEEN}}
        assert bo.flags("Work") == {"a": set(), "b": set(), "c": set()}
        for mailbox in ("INBOX", "Work"):
            for account, user in (("ana", ana), ("bo", bo)):
                for replica in house.replicas(mailbox, account=account):
                    assert replica.flags() == user.flags(mailbox)
