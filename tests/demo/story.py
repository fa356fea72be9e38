"""The story: every step does something that people do, and holds only when it is so everywhere."""

import time
from collections.abc import Callable, Iterable, Mapping

from tests.demo.letters import (
    ARCHIVE,
    BILL,
    DRAFT,
    DRAFT_WHOLE,
    DRAFTS,
    INBOX,
    INVOICE,
    LUNCH,
    NEWEST,
    PARCEL,
    POSTCARD,
    TRASH,
    Letter,
    Years,
    maildrop,
)
from tests.demo.narrator import Narrator
from tests.demo.replica import Reader, Replica
from tests.demo.stage import DEVICES, ISP, MAILBOXES, WORK, Stage
from tests.demo.waiting import Claims, StepFailedError, wait_for
from tests.demo.webmail import Webmail, left_on_pop3

SERVER = "server"
PLACES = (SERVER, *DEVICES)
STOP_WITHIN_S = 5.0


class Story:
    """Play the steps one after the other; StepFailedError at the first that does not hold within `patience_s`."""

    def __init__(
        self, stage: Stage, narrator: Narrator, years: Years, *, pop3_messages: int, patience_s: float
    ) -> None:
        self._stage = stage
        self._narrator = narrator
        self._years = years
        self._pop3_messages = pop3_messages
        self._patience_s = patience_s
        self._webmail = Webmail(stage.server, WORK)

    def play(self) -> None:
        """Tell it all, up to the status as the last picture."""
        self._narrator.headings()
        self.first_sync()
        self.new_mail()
        self.read_on_phone()
        self.changed_on_server()
        self.pop3()
        self.server_away()
        self.draft_on_laptop()
        self.filed_on_phone()
        self.deleted_on_nas()
        self.emptied()
        self.status()

    def first_sync(self) -> None:
        """Bring years of mail to three new devices, the newest first."""
        tell, years = self._narrator, self._years
        tell.begin(f"First sync: {years.messages:,} messages to laptop, phone and nas")
        replicas = {device: [self._stage.replica(device, one) for one in MAILBOXES] for device in DEVICES}
        counts = {device: _counter(boxes) for device, boxes in replicas.items()}
        began = time.monotonic()
        self._stage.daemon.launch()
        newest = {device: _shows(self._stage.replica(device), NEWEST, "") for device in DEVICES}
        with tell.progress(counts, total=years.messages) as look:
            first, whole = "the newest message can be read", "all messages are there"
            complete = {device: _has(boxes, years.messages) for device, boxes in replicas.items()}
            readable_s = self._wait(first, newest, began, every_s=0.05, meanwhile=look)
            complete_s = self._wait(whole, complete, began, every_s=0.1, meanwhile=look)
        tell.held(first, readable_s)
        tell.held(whole, complete_s)
        reader = Reader()
        for device, mailbox in ((device, mailbox) for device in DEVICES for mailbox in MAILBOXES):
            found, expected = reader.read(self._stage.replica(device, mailbox)), years.expected[mailbox]
            if found != expected:
                missing, others = (expected - found).total(), (found - expected).total()
                raise StepFailedError(f"{mailbox} on {device} lacks {missing} messages and has {others} others")
        tell.fact(f"compared with the server: every octet and every flag, on {len(DEVICES)} devices")
        tell.fact(
            f"{reader.disk_bytes / 1e6:,.0f} MB on disk for all three; the mail is {years.size_bytes / 1e6:,.0f} MB"
        )

    def new_mail(self) -> None:
        """Push what arrives on the server to every device."""
        self._narrator.begin("New mail arrives on the server")
        for letter in (LUNCH, INVOICE, PARCEL):
            self._webmail.receive(letter)
            self._become(f'"{letter.subject}" is there', self._on_devices(letter, ""))

    def read_on_phone(self) -> None:
        """Share what one device reads."""
        self._narrator.begin("The phone reads a message")
        self._stage.replica("phone").mark(LUNCH, "S")
        claims = self._on_devices(LUNCH, "S", but="phone")
        self._become(f'"{LUNCH.subject}" is read', {SERVER: self._webmail.shows(LUNCH, "\\Seen"), **claims})

    def changed_on_server(self) -> None:
        """Follow what another program does on the server."""
        self._narrator.begin("In the web mail one message is flagged, another deleted")
        self._webmail.flag(INVOICE, "\\Flagged")
        self._become(f'"{INVOICE.subject}" is flagged', self._on_devices(INVOICE, "F"))
        self._webmail.delete(PARCEL)
        gone = {device: _is_gone(replica, PARCEL) for device, replica in self._stage.replicas().items()}
        self._become(f'"{PARCEL.subject}" is gone', gone)

    def pop3(self) -> None:
        """Take the mail of a POP3 account, and treat it like any other from then on."""
        count = self._pop3_messages
        self._narrator.begin(f"The POP3 account gets {count} messages; syncd sync {ISP}")
        self._stage.server.deliver_all(ISP, INBOX, maildrop(count, seed=self._years.seed))
        began = time.monotonic()
        self._stage.sync(ISP)
        replicas = self._stage.replicas(account=ISP)
        here = {device: _has((replica,), count) for device, replica in replicas.items()}
        empty: Claims = {SERVER: lambda: left_on_pop3(self._stage.server, ISP) == 0}
        self._become("all are there, and the server is empty", {**empty, **here}, began)
        replicas["laptop"].mark(BILL, "S")
        claims = {device: _shows(replicas[device], BILL, "S") for device in DEVICES if device != "laptop"}
        self._become(f'"{BILL.subject}" is read on laptop', claims)

    def server_away(self) -> None:
        """Keep what devices change while the server is away, also two changes of one message."""
        self._narrator.begin("The server goes away, three devices change mail, it comes back")
        self._stage.server.stop()
        began = time.monotonic()
        told = "syncd status tells of it"
        self._narrator.took(told, self._wait(told, {SERVER: self._reports_trouble}, began)[SERVER])
        self._stage.replica("laptop").mark(LUNCH, "F")
        self._stage.replica("nas").mark(LUNCH, "R")
        self._stage.replica("nas").mark(INVOICE, "S")
        self._stage.replica("phone", DRAFTS).write(POSTCARD, "DS")
        waiting = "syncd plan has the four changes"
        began = time.monotonic()
        self._narrator.took(waiting, self._wait(waiting, {SERVER: lambda: self._stage.plan() == 4}, began)[SERVER])
        self._stage.server.start()
        began = time.monotonic()
        flags = "\\Seen", "\\Flagged", "\\Answered"
        both = {SERVER: self._webmail.shows(LUNCH, *flags), **self._on_devices(LUNCH, "FRS")}
        self._become(f'"{LUNCH.subject}" has the changes of both', both, began)
        read = {SERVER: self._webmail.shows(INVOICE, "\\Seen", "\\Flagged"), **self._on_devices(INVOICE, "FS")}
        self._become(f'"{INVOICE.subject}" is read', read, began)

        self._written(f'"{POSTCARD.subject}" is in Drafts', POSTCARD, began)

    def draft_on_laptop(self) -> None:
        """Bring a draft everywhere, and its newer version instead of it."""
        self._narrator.begin("A draft is saved on the laptop, and saved again")
        drafts = self._stage.replica("laptop", DRAFTS)
        saved = drafts.write(DRAFT, "DS")
        self._written(f'"{DRAFT.subject}" is in Drafts', DRAFT)
        drafts.write(DRAFT_WHOLE, "DS", instead_of=saved)
        self._written("and its newer version, instead of it", DRAFT_WHOLE)

    def filed_on_phone(self) -> None:
        """Move on the server and everywhere what one device moves."""
        self._narrator.begin("A message is filed on the phone, from INBOX into another mailbox")
        self._stage.replica("phone").file_into(self._stage.replica("phone", ARCHIVE), LUNCH)
        gone = {device: _is_gone(replica, LUNCH) for device, replica in self._stage.replicas().items()}
        self._become(f'"{LUNCH.subject}" is gone from INBOX', {SERVER: self._webmail.lacks(LUNCH), **gone})
        filed = {device: _shows(replica, LUNCH, "FRS") for device, replica in self._stage.replicas(ARCHIVE).items()}
        self._become(f"and is in {ARCHIVE}, with its flags", {SERVER: self._webmail.has(LUNCH, ARCHIVE), **filed})
        if self._webmail.has(LUNCH, TRASH)():
            raise StepFailedError(f'"{LUNCH.subject}" is in Trash')
        self._narrator.fact("it was moved, and nothing of it is in Trash")

    def deleted_on_nas(self) -> None:
        """Delete on the server and everywhere what one device deletes."""
        self._narrator.begin("A message is deleted on the nas")
        self._stage.replica("nas").remove(INVOICE)
        gone = {device: _is_gone(replica, INVOICE) for device, replica in self._stage.replicas().items()}
        self._become(f'"{INVOICE.subject}" is gone from INBOX', {SERVER: self._webmail.lacks(INVOICE), **gone})
        in_trash = {device: _is_there(replica, INVOICE) for device, replica in self._stage.replicas(TRASH).items()}
        self._become("and is in Trash", {SERVER: self._webmail.has(INVOICE, TRASH), **in_trash})

    def emptied(self) -> None:
        """Believe no device that it deletes all of its mail, and forget about it when the files are back."""
        self._narrator.begin("All mail of the nas is taken away, and put back")
        before = self._webmail.count()
        replicas = {name: self._stage.replica("nas", name) for name in (*MAILBOXES, DRAFTS, TRASH)}
        replicas[ISP] = self._stage.replica("nas", account=ISP)
        aside = {name: self._stage.root / "taken-away" / str(number) for number, name in enumerate(replicas)}
        taken = sum(replica.take_away(aside[name]) for name, replica in replicas.items())
        self._become("syncd status says that the deletions are held", {SERVER: lambda: self._held() == taken})
        if (left := self._webmail.count()) != before:
            raise StepFailedError(f"the server has {left} messages in INBOX, not {before}")
        self._narrator.fact(f"{taken:,} are held, and the server keeps them all")
        for name, replica in replicas.items():
            replica.put_back(aside[name])
        self._become("nothing is held any more", {SERVER: lambda: self._held() == 0})

    def status(self) -> None:
        """Show how things stand, as a person asks for it; by now nothing waits and nothing is wrong."""
        self._narrator.begin("syncd status")
        self._narrator.say()
        self._stage.show_status()
        self._wait("nothing waits and nothing is wrong", {"syncd status": self._is_at_rest}, time.monotonic())

    def end(self) -> None:
        """Stop syncd as a service manager does."""
        self._narrator.begin("syncd is told to stop")
        self._narrator.took("it ended", self._stage.stop(within_s=STOP_WITHIN_S))
        replicas = [self._stage.replica(device, mailbox) for device in DEVICES for mailbox in MAILBOXES]
        if left := sum(replica.half_written() for replica in replicas):
            raise StepFailedError(f"{left} half-written files are left")
        self._narrator.fact("nothing half-written is left")

    def _reports_trouble(self) -> bool:
        return self._stage.daemon.account(WORK)["error"] is not None

    def _held(self) -> int:
        return sum(hold["count"] for hold in self._stage.daemon.status()["holds"])

    def _is_at_rest(self) -> bool:
        status = self._stage.daemon.status()
        accounts = {account["name"]: account["error"] for account in status["accounts"]}
        devices = {device["name"]: (device["state"], device["waiting"]) for device in status["devices"]}
        return accounts == {WORK: None, ISP: None} and devices == dict.fromkeys(DEVICES, ("active", 0))

    def _on_devices(self, letter: Letter, letters: str, *, but: str = "") -> Claims:
        replicas = self._stage.replicas()
        return {device: _shows(replicas[device], letter, letters) for device in DEVICES if device != but}

    def _written(self, text: str, letter: Letter, since: float | None = None) -> None:
        drafts = self._stage.replicas(DRAFTS)
        claims = {device: _reads(replica, letter) for device, replica in drafts.items()}
        self._become(text, {SERVER: self._webmail.has_one(letter, DRAFTS), **claims}, since)

    def _become(self, text: str, claims: Claims, since: float | None = None) -> None:
        self._narrator.held(text, self._wait(text, claims, time.monotonic() if since is None else since))

    def _wait(
        self,
        what: str,
        claims: Claims,
        since: float,
        *,
        every_s: float = 0.01,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Mapping[str, float]:
        def look() -> None:
            self._stage.check_alive()
            meanwhile()

        return wait_for(what, claims, patience_s=self._patience_s, since=since, every_s=every_s, meanwhile=look)


def _shows(replica: Replica, letter: Letter, letters: str) -> Callable[[], bool]:
    return lambda: replica.shows(letter, letters)


def _reads(replica: Replica, letter: Letter) -> Callable[[], bool]:
    return lambda: replica.reads(letter)


def _is_gone(replica: Replica, letter: Letter) -> Callable[[], bool]:
    return lambda: replica.find(letter) is None


def _is_there(replica: Replica, letter: Letter) -> Callable[[], bool]:
    return lambda: replica.find(letter) is not None


def _has(replicas: Iterable[Replica], count: int) -> Callable[[], bool]:
    return lambda: sum(replica.count() for replica in replicas) == count


def _counter(replicas: Iterable[Replica]) -> Callable[[], int]:
    return lambda: sum(replica.count() for replica in replicas)
