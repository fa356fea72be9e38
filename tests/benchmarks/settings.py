"""What is measured with which numbers: the options of a run, and the settings of a work."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """A number of messages in a number of mailboxes, behind a wire with a round trip time."""

    messages: int
    mailboxes: int = 1
    rtt_ms: int = 0

    def __str__(self) -> str:
        where = "one mailbox" if self.mailboxes == 1 else f"{self.mailboxes} mailboxes"
        return f"{self.messages:,} in {where}, {self.rtt_ms} ms"


_SMOKE = Setting(6, 3, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person asked for; None: what the work itself measures."""

    works: tuple[str, ...]
    messages: tuple[int, ...] | None = None
    mailboxes: int | None = None
    rtts_ms: tuple[int, ...] | None = None
    devices: int = 3
    pairs: int = 3
    seed: int = 1
    directory: Path | None = None
    peers: frozenset[str] | None = None
    is_smoke: bool = False

    def settings(self, usual: Iterable[Setting]) -> tuple[Setting, ...]:
        """Return a work's settings with what was asked for in its place, each once; in a smoke run a tiny one."""
        if self.is_smoke:
            richest = max(usual, key=lambda one: (one.rtt_ms, one.mailboxes))
            return (
                Setting(_SMOKE.messages, min(richest.mailboxes, _SMOKE.mailboxes), min(richest.rtt_ms, _SMOKE.rtt_ms)),
            )
        chosen = (
            Setting(messages, self.mailboxes or one.mailboxes, rtt_ms)
            for one in usual
            for messages in self.messages or (one.messages,)
            for rtt_ms in self.rtts_ms or (one.rtt_ms,)
        )
        return tuple(dict.fromkeys(chosen))

    def wants(self, peer: str) -> bool:
        """Tell whether a peer should run."""
        return self.peers is None or peer in self.peers

    def command(self, work: str, *settings: Setting) -> str:
        """Return what measures a row again: of one setting, or of some that differ in the number of messages only."""
        messages = " ".join(str(one.messages) for one in sorted(settings))
        words = [f"--work {work} --messages {messages} --mailboxes {settings[0].mailboxes} --rtt {settings[0].rtt_ms}"]
        words += [f"--pairs {self.pairs}", f"--seed {self.seed}"]
        if self.devices != 3:
            words.append(f"--devices {self.devices}")
        return f"make bench ARGS='{' '.join(words)}'"
