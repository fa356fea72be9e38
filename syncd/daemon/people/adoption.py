"""Floor 5: a device's directory adopted without a daemon, for `syncd adopt`: the next sync or daemon does the rest."""

import asyncio
import time

from syncd.config.model import Config, LogLevel
from syncd.daemon.people.answers import AdoptReport
from syncd.daemon.process import logs
from syncd.store.engine.database import Database
from syncd.sync.device.attachment import Attachment


def adopt_alone(config: Config, device: str, *, leaves_others: bool) -> AdoptReport:
    """Own the store for as long as that takes; StoreBusyError while another syncd does.

    A store that is not there is made: then it is what was lost.
    """
    logs.configure(config.daemon, at_least=LogLevel.ERROR)
    with Database.open(config.store.url.get_secret_value(), auto_migrate=config.store.auto_migrate) as db:
        attachment = Attachment(db, device, config.devices[device], accounts=config.accounts, clock=time.time)
        adopted = asyncio.run(attachment.adopt(leaves_others=leaves_others))
    return AdoptReport(device, adopted.found, adopted.is_empty, adopted.files, adopted.mailboxes, adopted.left)
