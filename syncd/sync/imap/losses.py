"""Floor 4: connections that ended in the middle of a mailbox, and the messages that were on their way then.

Theory. A server may end its connection at one message each time that it is asked for it, and ask for it we would in
every run, before all others. So what was on its way when a connection ended is *suspected*: it is asked for after the
rest, one message at a time. One that is lost alone again, although others came, is the trouble itself. To find that
out in one run, a few connections in a minute are made at once; after that the supervisor's wait is due. A server that
dies takes with it what it had not sent, such as its answer to SELECT, and then nothing says whether a message is the
reason: so bodies of that mailbox are asked for only once it is selected, from then on.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

_ALONE_MAX = 3
_AT_ONCE_MAX = 4
_AT_ONCE_S = 60.0


class Losses:
    """Remember, from one connection of an account to the next, where connections ended."""

    def __init__(self) -> None:
        self._came = 0
        self._came_before: dict[int, int] = {}
        self._alone: dict[int, int] = {}
        self._at_selection: set[int] = set()
        self._is_lead = False
        self._again: deque[float] = deque()

    def is_suspected(self, message_id: int) -> bool:
        """Tell whether a message was on its way when a connection ended, and did not come since."""
        return message_id in self._alone

    def lost_alone(self, message_id: int) -> int:
        """Return how often a connection ended with nothing else on its way."""
        return self._alone.get(message_id, 0)

    def came(self, message_id: int) -> None:
        """Suspect a message no longer."""
        self._came += 1
        self._alone.pop(message_id, None)
        self._came_before.pop(message_id, None)

    def lost(self, message_ids: Iterable[int]) -> None:
        """Suspect the messages that were on their way."""
        for message_id in message_ids:
            self._alone.setdefault(message_id, 0)
            self._came_before.setdefault(message_id, self._came)

    def is_culprit(self, message_id: int) -> bool:
        """Count that a message was lost alone; tell whether it is the reason, for others came since the first time."""
        self.lost((message_id,))
        self._alone[message_id] += 1
        return self._came > self._came_before[message_id] or self._alone[message_id] >= _ALONE_MAX

    def at_selection(self, mailbox_id: int) -> None:
        """Note that a connection ended before a mailbox was selected, with bodies asked for behind that."""
        self._at_selection.add(mailbox_id)

    def was_at_selection(self, mailbox_id: int) -> bool:
        """Tell whether a connection ended like that, and the mailbox was not read since."""
        return mailbox_id in self._at_selection

    def was_read(self, mailbox_id: int) -> None:
        """Note that all bodies came that were asked for in a mailbox: they may be asked for behind SELECT again."""
        self._at_selection.discard(mailbox_id)

    def at_mailbox(self) -> None:
        """Note that a connection ended while a mailbox was read."""
        self._is_lead = True

    def may_connect_at_once(self) -> bool:
        """Tell whether to look at once for what ended the connection; once for each end in a mailbox."""
        now = asyncio.get_running_loop().time()
        while self._again and self._again[0] < now - _AT_ONCE_S:
            self._again.popleft()
        is_lead, self._is_lead = self._is_lead, False
        if not is_lead or len(self._again) >= _AT_ONCE_MAX:
            return False
        self._again.append(now)
        return True
