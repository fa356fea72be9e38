"""Floor 4: the attachment of a device to its root: proof that the directory is there and the one that the store knows.

Theory. Attached means that the marker in the root is the one that the store expects. A new and empty directory is made
ours; anything else than these two is left as it is, and nothing is concluded from it.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig
from syncd.errors import DeviceAwayError, FileError, SyncdError, Temper, text_of
from syncd.log import log
from syncd.maildir.failures import failing
from syncd.maildir.marker import MARKER, Marker, Standing, read_marker, standing, write_marker
from syncd.maildir.root import ReplicaRoot
from syncd.store import devices
from syncd.store.database import Database
from syncd.store.devices import DeviceRow

Prove = Callable[[ReplicaRoot], None]
"""Raises DeviceAwayError unless the marker in an open root is the one that the store expects."""


class Attachment:
    """Attach a device to its root, prove it again, and keep the device's row; `attach` comes before all else."""

    def __init__(self, db: Database, name: str, config: DeviceConfig, *, clock: Callable[[], float]) -> None:
        self._db = db
        self._name = name
        self._config = config
        self._clock = clock
        self._store_id = ""
        self._device_id = 0

    async def attach(self) -> None:
        """Prove that the root is the one we know, or make it ours if it is new and empty.

        DeviceAwayError when it is not: the device is left alone until it is.
        """
        self._store_id = await self._db.write(lambda conn: devices.store_id(conn, now=self._clock()))
        row = await self._db.write(self._ensure_row)
        self._device_id = row.id
        try:
            await self._attach(row)
        except FileError as error:
            away = DeviceAwayError(str(error), temper=error.temper)
            await self.record("away", text_of(away))
            raise away from error
        except SyncdError as error:
            await self.record("foreign" if error.temper is Temper.GIVE_UP else "away", text_of(error))
            raise
        await self.record("active", None)

    async def prover(self) -> Prove:
        """Return what raises DeviceAwayError unless an open root is ours, for as long as no barrier is begun."""
        row = await self.row()

        def prove(root: ReplicaRoot) -> None:
            found = self._standing_of(root, row)
            if found is not Standing.KNOWN:
                raise DeviceAwayError(_WHY[found])

        return prove

    async def check(self) -> None:
        """Prove once more that the root is ours before anything is concluded from it."""
        found = await asyncio.to_thread(self._standing, await self.row())
        if found is not Standing.KNOWN:
            await self.record("away", _WHY[found])
            raise DeviceAwayError(_WHY[found])

    async def row(self) -> DeviceRow:
        """Return the device's row as it is now."""
        return await self._db.read(partial(devices.device_of, device_id=self._device_id))

    async def record(self, state: str, error: str | None) -> None:
        """Record how the device is: active, away or foreign."""
        record = partial(devices.record_device_state, device_id=self._device_id, state=state, error=error)
        await self._db.write(record)

    def marker(self, generation: int) -> Marker:
        """Return the marker that the root has after this generation's barrier."""
        return Marker(self._name, self._store_id, generation)

    def _ensure_row(self, conn: Connection) -> DeviceRow:
        return devices.ensure_device(conn, self._name, path=str(self._config.path), layout=self._config.layout.value)

    async def _attach(self, row: DeviceRow) -> None:
        path = str(self._config.path)
        is_new = row.generation_next == 0
        if is_new:
            await asyncio.to_thread(_make_root, self._config.path)
        found = await asyncio.to_thread(self._standing, row)
        if found is Standing.MISSING and (is_new or path != row.path):
            if not await asyncio.to_thread(_is_empty, self._config.path):
                raise DeviceAwayError(
                    "the directory holds files but no marker of syncd; give the device an empty directory",
                    temper=Temper.GIVE_UP,
                )
            layout = self._config.layout.value
            await self._db.write(lambda conn: devices.empty_device(conn, row.id, path=path, layout=layout))
            await asyncio.to_thread(self._write_first_marker)
            log.info("device_filled_afresh", device=self._name)
        elif found is not Standing.KNOWN:
            away = found in {Standing.MISSING, Standing.MALFORMED}
            raise DeviceAwayError(_WHY[found], temper=Temper.WAIT if away else Temper.GIVE_UP)
        elif self._config.layout.value != row.layout:
            raise DeviceAwayError(
                f"the replicas are in layout {row.layout}; another layout needs an empty directory",
                temper=Temper.GIVE_UP,
            )
        elif path != row.path:
            await self._db.write(lambda conn: devices.move_device(conn, row.id, path))

    def _standing(self, row: DeviceRow) -> Standing:
        with ReplicaRoot(self._config.path) as root:
            return self._standing_of(root, row)

    def _standing_of(self, root: ReplicaRoot, row: DeviceRow) -> Standing:
        return standing(read_marker(root), self.marker(row.generation), reserved_generation=row.generation_next)

    def _write_first_marker(self) -> None:
        with ReplicaRoot(self._config.path) as root:
            write_marker(root, self.marker(0))


_WHY = {
    Standing.MISSING: "there is no marker in the directory: unmounted, moved or emptied; its mail is left alone",
    Standing.MALFORMED: "the marker in the directory cannot be read; its mail is left alone",
    Standing.FOREIGN: "the marker in the directory belongs to another device or store; its mail is left alone",
    Standing.OLDER: "the directory is older than the store remembers: restored from a backup? its mail is left alone",
    Standing.NEWER: "the directory is newer than the store remembers: store from a backup? its mail is left alone",
}


def _make_root(path: Path) -> None:
    with failing("make the directory of the device"):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            pass  # opening it tells what is there instead


def _is_empty(path: Path) -> bool:
    with failing("list the directory of the device"):
        # NOTE: interrupted while we wrote the first marker, a root holds what was to become it.
        return {entry.name for entry in path.iterdir()} <= {"lost+found", f"{MARKER}~"}
