"""Floor 4: the deliveries of a round: what another device on the file system has is linked, the rest is written once.

Theory. What one device claims the others leave to it (`commons`). When it has made its files durable it offers them,
and settles them afterwards with whatever it commits next. Who has nothing to do but to wait for others announces
meanwhile what it will link, so that between their files and its own no transaction is left. An offer is no promise: a
file that changed since is not linked (`maildir.effects.perform`), and then its octets are written as if nobody had
them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from sqlalchemy import Connection

from syncd.store.engine.database import Database
from syncd.store.rounds import deliveries
from syncd.store.rounds.deliveries import Deliverable, LinkSource, Origin
from syncd.store.trees.devices import ACTIVE
from syncd.sync.bounded import BATCH_FILES
from syncd.sync.commons import Content
from syncd.sync.rounds.batch import Announced, Batches, Done, Job, Performed, writable
from syncd.sync.rounds.sides import FileDone, FileToDeliver
from syncd.values import Value

Offer = Callable[[Mapping[Content, LinkSource]], None]


class Looked(Value):
    """What is to be known of messages that are to be delivered, and files that could be linked by then.

    finished: what the commons said of that before it was read.
    """

    finished: int
    bodies: Mapping[int, Deliverable]
    sources: Mapping[Content, LinkSource]


class Sharing(Value):
    """Deliver to one replica; offer: what tells others of files that they can link."""

    db: Database
    batches: Batches
    offer: Offer

    async def deliver(
        self, jobs: Sequence[Job], looked: Looked, *, also: Performed | None
    ) -> tuple[Done, Performed | None]:
        """Link together what other devices have by now; write the next of what none has and none is writing.

        also: a batch that is to be settled. A last one that went as announced is returned to be settled.
        """
        unsettled = also
        commons, bodies, finished = self.batches.side.commons, looked.bodies, looked.finished
        found: Mapping[Content, LinkSource] | None = looked.sources
        by_id = {job.effect.message_id: job for job in jobs}
        rest = {id_: Job(job.effect, job.file, bodies[id_]) for id_, job in by_id.items() if id_ in bodies}
        is_patient, done = True, Done()
        while rest:
            free = writable(job for job in rest.values() if not (is_patient and commons.is_claimed(job.content)))
            if found is None:
                finished = commons.finished
                looked_for = dict.fromkeys((*islice(rest, BATCH_FILES), *(job.effect.message_id for job in free)))
                found = await self._sources([rest[id_] for id_ in looked_for])
            batch: Sequence[Job] = _linkable(rest.values(), {**found, **commons.offered(_contents(rest.values()))})
            found = None
            if batch:
                unsettled = await self.batches.begin(batch, also=unsettled)
            elif commons.finished != finished:
                continue  # what was looked for may be there by now
            elif batch := [job for job in free if not (is_patient and commons.is_claimed(job.content))]:
                with commons.claim(_contents(batch), by=self.batches.device.path):
                    unsettled = await self.batches.begin(batch, also=unsettled)
                    self._offer(unsettled)
                is_patient = True
            elif len(writable(rest.values())) == len(rest):
                batch = tuple(rest.values())
                unsettled = await self._follow(batch, also=unsettled)
            else:
                if unsettled is not None:
                    done, unsettled = done | await self.batches.end(unsettled), None
                if commons.finished == finished:  # else there is news already, and perhaps nobody to bring more
                    is_patient = await commons.wait()
            if unsettled is not None and unsettled.is_odd:
                done, unsettled = done | await self.batches.end(unsettled), None
            for job in batch:
                del rest[job.effect.message_id]
        return done, unsettled

    async def _follow(self, jobs: Sequence[Job], *, also: Performed | None) -> Performed:
        """Announce a last batch that others are writing, and link it when they have; write what they did not."""
        commons, is_patient = self.batches.side.commons, True
        announced = await self.batches.announce(jobs, also=also)
        while True:
            finished, sources = commons.finished, dict(commons.offered(_contents(jobs)))
            missing = [job for job in jobs if job.content not in sources]
            if is_patient and any(commons.is_claimed(job.content) for job in missing):
                is_patient = await commons.wait()
                continue
            if missing:
                sources |= await self._sources(missing)
                missing = [job for job in missing if job.content not in sources]
            # NOTE: meanwhile somebody may have finished, or have begun to write what we would.
            is_overtaken = commons.finished != finished
            is_overtaken |= is_patient and any(commons.is_claimed(job.content) for job in missing)
            if not (missing and is_overtaken):
                break
        with commons.claim(_contents(missing), by=self.batches.device.path):
            performed = await self.batches.carry_out(announced.linking(sources))
            self._offer(performed)
        return performed

    async def _sources(self, jobs: Iterable[Job]) -> Mapping[Content, LinkSource]:
        """Return files that can be linked, as the store tells."""
        roots = frozenset(self.batches.side.commons.roots)
        wanted = [job.body for job in jobs if job.body is not None]
        if not (roots and wanted):
            return {}
        return await self.db.read(partial(deliveries.link_sources, wanted=wanted, device_paths=roots))

    def _offer(self, performed: Performed) -> None:
        """Tell others of the files that are there as they were meant to be."""
        if self.batches.device.state != ACTIVE:
            return
        origin = Origin(self.batches.device.path, self.batches.of.directory)
        files = ((one, performed.outcomes[one.file.id]) for one in _written(performed.announced))
        self.offer(
            {
                one.body.content: LinkSource(origin, outcome.subdir, one.file.name, outcome.info)
                for one, outcome in files
                if isinstance(outcome, FileDone) and not outcome.is_touched
            }
        )


def look_for(conn: Connection, message_ids: Collection[int], *, device_paths: frozenset[str], finished: int) -> Looked:
    """Return what is to be known of messages, and files that can be linked already."""
    found = deliveries.deliverables(conn, message_ids) if message_ids else {}
    sources = deliveries.link_sources(conn, found.values(), device_paths=device_paths) if found and device_paths else {}
    return Looked(finished, found, sources)


def _linkable(jobs: Iterable[Job], sources: Mapping[Content, LinkSource]) -> Sequence[Job]:
    """Return those deliveries for which there is a file to link, as many as make a batch."""
    linkable = (Job(*job[:3], source) for job in jobs if (source := sources.get(job.content)) is not None)
    return tuple(islice(linkable, BATCH_FILES))


def _contents(jobs: Iterable[Job]) -> list[Content]:
    return [job.content for job in jobs]


def _written(announced: Announced) -> Iterable[FileToDeliver]:
    return (one for one in announced.tasks if isinstance(one, FileToDeliver) and one.source is None)
