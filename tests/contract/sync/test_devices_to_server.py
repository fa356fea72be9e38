"""What devices do to flags reaches the server and every other device."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap, states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.servers.dovecot import Dovecot

SEEN, FLAGGED, ANSWERED, DELETED, DRAFT = "\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft"
FORWARDED = "$Forwarded"
DEVICES = ("laptop", "phone", "nas")


def house_of(directory: Path, provider: Provider, **more: object) -> House:
    account = imap(provider.server, provider.user, **more)
    return House(directory, accounts={"work": account}, devices=DEVICES)


def assert_everywhere(house: House, provider: Provider, wanted: dict[str, set[str]]) -> None:
    assert provider.flags() == wanted
    for replica in house.replicas():
        assert replica.flags() == wanted


async def test_change_that_counts_by_another_configuration_is_brought_at_once(
    tmp_path: Path, provider: Provider
) -> None:
    """That there was nothing to bring is known of the configuration before only."""
    provider.receive("a")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()
    async with house_of(tmp_path, provider, port=tap.port) as unheard:
        unheard.replica("laptop").mark("a", add="S")
        await unheard.ask("laptop")
    account = imap(provider.server, provider.user)
    async with House(tmp_path, accounts={"work": account}, devices=("phone",)) as house:
        await house.settle()
        house.accounts["work"].adjust(house.config.accounts["work"])  # so that it looks once more, and is not at rest
        await house.ask("work")
        whole = house_of(tmp_path, provider).config
        house.takers.adjust(whole)
        house.accounts["work"].adjust(whole.accounts["work"])

        await house.until(lambda: provider.flags()["a"] == {SEEN}, within_s=10.0)


async def test_what_waits_for_a_mailbox_to_be_read_anew_is_brought_then(tmp_path: Path, user: Provider) -> None:
    """That there is nothing to bring does not last where a replica has news, of which none need be a file's."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        push = house.accounts["work"]._push
        inbox = schema.mailbox.c.name == "INBOX"
        ((mailbox_id, uidvalidity),) = await house.rows(
            select(schema.mailbox.c.id, schema.mailbox.c.uidvalidity).where(inbox)
        )
        set_uidvalidity = update(schema.mailbox).where(inbox).values
        raised = update(schema.replica).where(schema.replica.c.mailbox_id == mailbox_id).values(version=99)

        await house.db.write(lambda conn: [conn.execute(one) for one in (set_uidvalidity(uidvalidity=0), raised)])
        before = await push._look_what_is_there()
        await house.db.write(lambda conn: conn.execute(set_uidvalidity(uidvalidity=uidvalidity)))
        after = await push._look_what_is_there()

    assert before is None
    assert [str(row.name) for row in after.changed] == ["INBOX"]


async def test_device_whose_flag_is_stored_hears_of_what_another_deletes_with_it(
    tmp_path: Path, user: Provider
) -> None:
    """Its own flag is no news to it, what leaves the mailbox in the same round is."""
    user.receive("flagged", "gone", "other")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, delete="expunge") as house:
        await house.settle()
        lists, may_go_on = [], asyncio.Event()

        async def hold(line: bytes) -> None:
            lists.append(line)
            await may_go_on.wait()

        tap.before_line = hold
        passing = asyncio.create_task(house.ask("work"))
        await house.until(lambda: bool(lists))
        house.replica("laptop").mark("flagged", add="F")
        house.replica("phone").find("gone").path.unlink()
        await house.ask("laptop", "phone")  # both are known before the account brings any

        may_go_on.set()

        await passing
        await house.until(lambda: user.flags() == {"flagged": {FLAGGED}, "other": set()}, within_s=10.0)
        await house.until(lambda: all(one.keys() == ["flagged", "other"] for one in house.replicas()), within_s=10.0)


async def test_flag_set_on_a_device_is_everywhere_at_once(tmp_path: Path, provider: Provider) -> None:
    """A renamed file reaches the server and the other devices within seconds, without anybody asking."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        house.replica("phone").mark("a", add="S")
        on_server_s = await house.until(lambda: provider.flags()["a"] == {SEEN}, within_s=5.0)
        others = (house.replica("laptop"), house.replica("nas"))
        on_devices_s = await house.until(lambda: all(one.flags()["a"] == {SEEN} for one in others), within_s=5.0)
        print(f"on the server after {on_server_s:.2f} s, on the other devices {on_devices_s:.2f} s later")

        house.replica("laptop").mark("a", remove="S", add="F")
        await house.until(lambda: provider.flags()["a"] == {FLAGGED}, within_s=5.0)
        await house.settle()
        assert_everywhere(house, provider, {"a": {FLAGGED}, "b": set()})


async def test_every_letter_is_a_flag_of_the_server(tmp_path: Path, user: Provider) -> None:
    """D, F, P, R, S and T are set and taken back; P is $Forwarded; T is a flag like others and removes nothing."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        house.replica("laptop").mark("a", add="DFPRST")
        await house.settle()
        assert_everywhere(house, user, {"a": {DRAFT, FLAGGED, FORWARDED, ANSWERED, SEEN, DELETED}})

        house.replica("phone").mark("a", remove="DFPRST" + "".join(house.replica("phone").keywords()))
        await house.settle()
        assert_everywhere(house, user, {"a": set()})


async def test_keywords_go_both_ways(tmp_path: Path, user: Provider) -> None:
    """A keyword of the server gets a letter on each device; one that a device's program adds reaches the others."""
    user.receive("a", flags=("server-made",))
    user.receive("b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        laptop = house.replica("laptop")
        letter_of = {name: each for each, name in laptop.keywords().items()}

        laptop.mark("b", add=letter_of["server-made"])
        laptop.mark("a", remove=letter_of["server-made"])
        await house.settle()
        assert_everywhere(house, user, {"a": set(), "b": {"server-made"}})

        number = len(laptop.keywords())
        with (laptop.directory / "dovecot-keywords").open("a") as keywords:
            keywords.write(f"{number} device-made\n")
        laptop.mark("a", add="abcdefghijklmnopqrstuvwxyz"[number])
        await house.settle()
        assert_everywhere(house, user, {"a": {"device-made"}, "b": {"server-made"}})


async def test_27th_keyword_is_kept_on_the_server(tmp_path: Path, user: Provider) -> None:
    """What a Maildir has no letter for is never taken for a removal, whatever else is changed on the message."""
    names = {f"kw{number:02}" for number in range(30)}
    user.receive("a", flags=tuple(sorted(names)))
    async with house_of(tmp_path, user) as house:
        await house.settle()

        house.replica("laptop").mark("a", add="S")
        await house.settle()
        house.replica("phone").mark("a", remove="a")
        await house.settle()

        gone = house.replica("phone").keywords()["a"]
        assert user.flags()["a"] == {SEEN} | names - {gone}
        for replica in house.replicas():
            assert len(replica.keywords()) == 26
            assert len(replica.flags()["a"]) == 26


async def test_two_devices_change_different_flags_of_one_message(tmp_path: Path, provider: Provider) -> None:
    """Both changes are kept, on the server and on every device."""
    provider.receive("a", flags=(ANSWERED,))
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        house.replica("laptop").mark("a", add="F")
        house.replica("phone").mark("a", add="S", remove="R")
        await house.settle()

        assert_everywhere(house, provider, {"a": {FLAGGED, SEEN}})


async def test_all_sides_change_while_the_server_is_down(
    tmp_path: Path, mail_user: str, make_dovecot: Callable[..., Dovecot]
) -> None:
    """Changes of devices wait for the server, meet what happened there, and every side keeps every change."""
    server = make_dovecot()
    provider = Provider(server, mail_user)
    provider.receive("a", "b", "c", "d", flags=(SEEN,))
    async with house_of(tmp_path, provider) as house:
        await house.settle()
        server.stop()
        house.replica("laptop").mark("a", add="F")
        house.replica("phone").mark("a", remove="S")
        house.replica("phone").mark("b", add="F")
        house.replica("nas").mark("c", add="R")
        await house.ask(*DEVICES)

    server.start()
    provider.store("a", "+FLAGS (\\Answered)")
    provider.store("b", "-FLAGS (\\Seen)")
    provider.store("b", "+FLAGS (\\Flagged)")
    provider.expunge("d")
    async with house_of(tmp_path, provider) as house:
        await house.settle()
        assert_everywhere(house, provider, {"a": {FLAGGED, ANSWERED}, "b": {FLAGGED}, "c": {SEEN, ANSWERED}})


async def test_flags_changed_while_syncd_is_stopped(tmp_path: Path, provider: Provider) -> None:
    """What devices and server did meanwhile is merged at the next start."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

    house.replica("laptop").mark("a", add="S")
    house.replica("phone").mark("b", add="FS")
    provider.store("a", "+FLAGS (\\Flagged)")
    async with house_of(tmp_path, provider) as house:
        await house.settle()
        assert_everywhere(house, provider, {"a": {SEEN, FLAGGED}, "b": {SEEN, FLAGGED}})


@pytest.mark.parametrize("on_server", ["+FLAGS (\\Answered)", "+FLAGS (\\Seen)", "-FLAGS (\\Flagged)"])
async def test_server_changes_the_message_between_observation_and_store(
    tmp_path: Path, user: Provider, on_server: str
) -> None:
    """A change that the server made first is observed, merged, and neither side's change is lost."""
    user.receive("a", flags=(FLAGGED,))
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        forestalled: list[bytes] = []

        async def forestall(line: bytes) -> None:
            if b"UID STORE" in line and not forestalled:
                forestalled.append(line)
                user.store("a", on_server)

        tap.before_line = forestall
        house.replica("laptop").mark("a", add="S")
        await house.settle()

        assert forestalled
        wanted = {FLAGGED, SEEN} | ({ANSWERED} if "Answered" in on_server else set())
        assert_everywhere(house, user, {"a": wanted - ({FLAGGED} if on_server.startswith("-") else set())})


@pytest.mark.parametrize("deed", ["+FLAGS (\\Flagged)", "remove"])
async def test_flag_that_is_set_while_a_round_is_at_the_file_is_brought_though_no_watch_tells_of_it(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    """What a round finds under another name is recorded by that round: nobody else need ever look."""
    user.receive("a", "b", flags=(SEEN,))
    account = imap(user.server, user.user)
    async with House(tmp_path, accounts={"work": account}, watches_devices=False) as house:
        await house.settle()
        files, replica, marked = house.devices["laptop"]._files, house.replica("laptop"), list[str]()
        perform = files.perform

        async def mark_and_perform(*args: Any, **more: Any) -> Any:
            if not marked:
                marked.append("a")
                replica.mark("a", add="R")
            return await perform(*args, **more)

        monkeypatch.setattr(files, "perform", mark_and_perform)
        user.expunge("a") if deed == "remove" else user.store("a", deed)
        await house.ask("work")

        wanted = {SEEN, ANSWERED} | ({FLAGGED} if deed != "remove" else set())
        await house.until(lambda: user.flags().get("a") == wanted)
        await house.settle()
        assert house.replica("laptop").flags() == user.flags() == {"a": wanted, "b": {SEEN}}


async def test_wire_is_cut_in_the_middle_of_a_store(tmp_path: Path, user: Provider) -> None:
    """A STORE whose answer is lost is observed and not made twice or taken back."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()

        async def cut(line: bytes) -> None:
            if b"UID STORE" in line and not tap.cuts:
                tap.cut_after_bytes = 3

        tap.before_line = cut
        house.replica("laptop").mark("a", add="S")
        await house.until(lambda: tap.cuts > 0)
        user.store("a", "+FLAGS (\\Flagged)")
        house.replica("phone").mark("b", add="F")
        await house.settle()

        assert_everywhere(house, user, {"a": {SEEN, FLAGGED}, "b": {FLAGGED}})


async def test_server_that_takes_no_new_keywords(tmp_path: Path, user: Provider) -> None:
    """Flags that the server says it cannot store stay with the device, and are tried without end by nobody."""
    user.receive("a")
    account = imap(user.server, user.user)
    async with House(tmp_path, accounts={"work": account}, devices=("laptop",)) as house:
        await house.settle()

        laptop = house.replica("laptop")
        (laptop.directory / "dovecot-keywords").write_text("0 not*an*atom\n1 fine\n")
        laptop.mark("a", add="abS")
        await house.settle()

        assert user.flags()["a"] == {SEEN, "fine"}
        assert "a" in laptop.find("a").letters


async def test_new_file_that_goes_before_it_is_sent_was_nothing(tmp_path: Path, user: Provider) -> None:
    """A message that a device's own program wrote, and took away again at once, reaches nobody."""
    user.receive("a")
    account = imap(user.server, user.user)
    devices = {name: {"settle": "2s"} for name in DEVICES}
    async with House(tmp_path, accounts={"work": account}, devices=devices) as house:
        await house.settle()

        own = house.replica("laptop").directory / "cur" / "1.own.host:2,S"
        own.write_bytes(letter("mine").replace(b"\r\n", b"\n"))
        await house.until_read(lambda found: found.count(ReplicaState.NEW) == 1, select(schema.replica_message.c.state))
        own.unlink()
        await house.settle()

        assert sorted(user.flags()) == ["a"]
        assert await states(house) == {ReplicaState.PRESENT: 3}


async def test_edit_is_kept_though_the_server_expunges_the_message(tmp_path: Path, user: Provider) -> None:
    """What was written into a file is a message of its own, and nobody else's deletion reaches it."""
    user.receive("a")
    async with House(
        tmp_path,
        accounts={"work": imap(user.server, user.user)},
        devices={"laptop": {"link": False, "settle": "2s"}, "phone": {"link": False}},
    ) as house:
        await house.settle()

        path = house.replica("laptop").find("a").path
        async with asyncio.timeout(10.0):
            while await states(house) != {ReplicaState.EDITED: 1, ReplicaState.PRESENT: 1}:
                # NOTE: no event tells of an edit that comes in one batch with the delivery, so it is made again.
                with path.open("ab") as file:
                    file.write(b"a note of mine\n")
                await asyncio.sleep(0.1)
        user.expunge("a")
        await house.settle()

        assert b"a note of mine" in path.read_bytes()
        assert len(user.bodies()) == 1
        assert b"a note of mine" in house.replica("phone").find("a").octets
