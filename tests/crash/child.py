"""The process that is killed: it enters a house, settles it, and says how many points it passed."""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog

from syncd.errors import SyncdError
from tests.contract.sync.house import House, Table
from tests.crash.faults import Fault, Faults, Kind
from tests.servers.forked import processes

_RUN_S = 60.0
_ATTEMPTS = 5
gc.set_threshold(50_000, 20, 50)  # as the daemon has it, and so the children of the fork server


async def run(
    directory: Path,
    accounts: Mapping[str, Table],
    devices: Mapping[str, Table],
    fault: Fault | None = None,
    *,
    adopts: bool = False,
    patience_s: float = _RUN_S,
) -> Counter[Kind] | None:
    """Settle a house in a process of its own; return the points it passed, None if it was killed at the fault.

    adopts: all devices first.
    """
    report = directory / "points.json"
    report.unlink(missing_ok=True)
    process = processes().Process(
        target=_settle, args=(directory, accounts, devices, fault, report, adopts, patience_s)
    )
    process.start()
    await asyncio.to_thread(_ended, process, patience_s)
    if process.exitcode == 0:
        return Counter({Kind(kind): count for kind, count in json.loads(report.read_text()).items()})
    assert (process.exitcode, fault is not None) == (-9, True), f"the process ended with {process.exitcode}"
    return None


def _ended(process: BaseProcess, patience_s: float) -> None:
    process.join(patience_s)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError("the process did not settle")


def _settle(
    directory: Path,
    accounts: Mapping[str, Table],
    devices: Mapping[str, Table],
    fault: Fault | None,
    report: Path,
    adopts: bool,
    patience_s: float,
) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory((directory / "child.log").open("a")))
    faults = Faults(fault)
    faults.install()
    house = House(directory, accounts=accounts, devices=devices, patience_s=patience_s)
    asyncio.run(_settled(house, adopts=adopts))
    report.write_text(json.dumps(faults.counted))
    (directory / "sites.json").write_text(json.dumps(faults.by_site))


async def _settled(house: House, *, adopts: bool) -> None:
    async with house:
        for device in house.devices.values() if adopts else ():
            await device.adopt()
        for attempt in range(_ATTEMPTS):
            try:
                await house.settle()
            except SyncdError as error:
                print(f"attempt {attempt}: {error}")
            else:
                return
    raise AssertionError("does not settle")
