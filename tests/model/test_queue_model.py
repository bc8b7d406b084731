"""The queue against a model of a dozen lines: whatever happens in whatever order, the books are exact."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import Entry, GapReason, Records, Refused, Subject, SubjectKind
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics

T = TypeVar("T")
TENANTS = ("a", "b")
CONSUMERS = {"siem_a": "a", "siem_b": "b", "siem_all": "*"}
# Small enough that a run crosses segments and leaves the memory tail behind.
SETTINGS = Queue(segment_bytes=Bytes(256 << 10), disk_budget_bytes=Bytes(64 << 20), tail_bytes=Bytes(8 << 10))


class QueueMachine(RuleBasedStateMachine):
    """``accepted`` is what each consumer has accepted; ``ended`` how each of its events has ended, by id.

    When a filter judges an event is the queue's affair: ``perhaps`` are the dull ones that waited while there was one.
    They may be filtered by now, and those of them that were dropped ended in ``either`` way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.generation = 0
        self.next_id = 0
        self.accepted: dict[str, list[str]] = {name: [] for name in CONSUMERS}
        self.ended: dict[str, dict[str, str]] = {name: {} for name in CONSUMERS}
        self.checkpointed: dict[str, dict[str, str]] = {name: {} for name in CONSUMERS}
        self.taken: dict[str, list[Records]] = {name: [] for name in CONSUMERS}
        self.filtering: set[str] = set()
        self.perhaps: dict[str, set[str]] = {name: set() for name in CONSUMERS}
        self.perhaps_checkpointed: dict[str, set[str]] = {name: set() for name in CONSUMERS}
        self.queue = self.run(self.open())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    async def open(self) -> WalQueue:
        queue = await open_queue(DiskFiles(self.folder), SETTINGS, clock=SystemClock(), metrics=Metrics())
        for name, tenant in CONSUMERS.items():
            consumer = await queue.add_consumer(name, tenant)
            consumer.set_filter(passing if name in self.filtering else None)
        return queue

    @property
    def folder(self) -> Path:
        return self.root / str(self.generation)

    def consumer(self, name: str) -> WalConsumer:
        consumer = self.queue.consumer(name)
        assert isinstance(consumer, WalConsumer)
        return consumer

    @rule(
        tenant=st.sampled_from(TENANTS),
        count=st.integers(1, 30),
        padding=st.sampled_from([10, 2000]),
        dull_each=st.integers(1, 5),
    )
    def append(self, tenant: str, count: int, padding: int, dull_each: int) -> None:
        ids = [f"{tenant}{self.next_id + n}{'' if (n + 1) % dull_each else 'd'}" for n in range(count)]
        self.next_id += count
        payload = b"\n".join(b'{"id":"%s","p":"%s"}' % (i.encode(), b"x" * padding) for i in ids)
        self.run(self.queue.append([Entry(Subject(SubjectKind.TENANT, tenant), payload, count)]))
        for name, wanted in CONSUMERS.items():
            if wanted in (tenant, "*"):
                self.accepted[name] += ids
                self.may_be_filtered(name)

    @rule(name=st.sampled_from(sorted(CONSUMERS)), is_on=st.booleans())
    def change_filter(self, name: str, is_on: bool) -> None:
        async def change() -> None:
            self.consumer(name).set_filter(passing if is_on else None)

        self.filtering = self.filtering | {name} if is_on else self.filtering - {name}
        self.run(change())
        self.may_be_filtered(name)

    @rule(name=st.sampled_from(sorted(CONSUMERS)), count=st.integers(1, 40))
    def take(self, name: str, count: int) -> None:
        records = self.run(self.consumer(name).take(events_max=count, bytes_max=1 << 16))
        if records is not None:
            self.taken[name].append(records)
            for position, line in zip(records.positions, records.lines, strict=True):
                assert self.accepted[name][position] == id_of(line)
                assert id_of(line) not in self.ended[name], "a settled event was handed out again"
                assert not (name in self.filtering and is_dull(id_of(line))), "the filter was passed by"
                self.perhaps[name].discard(id_of(line))

    @precondition(lambda self: any(self.taken.values()))
    @rule(data=st.data(), outcome=st.sampled_from(["delivered", "dead_lettered"]))
    def settle(self, data: st.DataObject, outcome: str) -> None:
        name, records = self.some_batch(data)
        chosen = data.draw(st.lists(st.integers(0, len(records.positions) - 1), unique=True, min_size=1).map(sorted))
        consumer = self.consumer(name)
        positions = [records.positions[at] for at in chosen]
        if outcome == "delivered":
            consumer.settle_delivered(positions)
        else:
            refused = [Refused(records.positions[at], records.lines[at], "400", "no") for at in chosen]
            self.run(consumer.settle_refused(refused))
        for at in chosen:
            self.ended[name][id_of(records.lines[at])] = outcome
        rest = [position for position in records.positions if position not in positions]
        consumer.release(rest)
        self.may_be_filtered(name)

    @precondition(lambda self: any(self.taken.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name, records = self.some_batch(data)
        self.consumer(name).release(records.positions)
        self.may_be_filtered(name)

    @rule(name=st.sampled_from(sorted(CONSUMERS)))
    def drop(self, name: str) -> None:
        waiting, perhaps = self.waiting(name), self.perhaps[name]
        dropped = self.run(self.consumer(name).drop_pending(GapReason.DISABLED))
        assert len(waiting) - len(perhaps) <= dropped <= len(waiting)
        self.ended[name].update({i: "either" if i in perhaps else "dropped" for i in waiting})
        self.perhaps[name] = set()

    @rule()
    def checkpoint(self) -> None:
        self.run(self.queue.checkpoint())
        self.note_checkpoint()

    @rule()
    def crash(self) -> None:
        """Go on from a copy of the files as they are: no close, no checkpoint. A dead letter is durable at once."""
        old = self.queue
        previous = self.folder
        self.generation += 1
        shutil.copytree(previous, self.folder)
        self.queue = self.run(self.open())
        self.run(old.close())
        shutil.rmtree(previous)
        self.ended = {
            name: self.checkpointed[name] | {i: how for i, how in ended.items() if how == "dead_lettered"}
            for name, ended in self.ended.items()
        }
        self.perhaps = {name: perhaps - self.ended[name].keys() for name, perhaps in self.perhaps_checkpointed.items()}
        self.nothing_is_taken()

    @rule()
    def restart(self) -> None:
        self.run(self.queue.close())
        self.queue = self.run(self.open())
        self.note_checkpoint()
        self.nothing_is_taken()

    @invariant()
    def books_are_exact(self) -> None:
        for name in CONSUMERS:
            consumer = self.consumer(name)
            ledger, ended = consumer.ledger(), list(self.ended[name].values())
            assert ledger.balanced
            assert ledger.accepted == len(self.accepted[name])
            assert ledger.delivered == ended.count("delivered")
            assert ledger.dead_lettered == ended.count("dead_lettered")
            either, dropped = ended.count("either"), ended.count("dropped")
            assert dropped <= ledger.dropped <= dropped + either
            assert either <= ledger.filtered + ledger.dropped - dropped <= either + len(self.perhaps[name])
            gaps = self.run(consumer.gaps())
            assert sum(gap.count for gap in gaps) == ledger.dropped

    def teardown(self) -> None:
        try:
            self.restart()
            for name in CONSUMERS:
                self.drain(name)
            self.run(self.queue.close())
        finally:
            self.loop.close()
            shutil.rmtree(self.root)

    def drain(self, name: str) -> None:
        """Every accepted event that has not ended is handed out, once, in order, or is filtered."""
        consumer = self.consumer(name)
        seen: list[str] = []
        while (records := self.run(consumer.take(events_max=50, bytes_max=1 << 20))) is not None:
            consumer.settle_delivered(records.positions)
            seen += [id_of(line) for line in records.lines]
        left = [i for i in self.accepted[name] if i not in self.ended[name]]
        filtered = set(left) - set(seen)
        assert seen == [i for i in left if i not in filtered]
        assert filtered <= self.perhaps[name]
        ledger, ended = consumer.ledger(), list(self.ended[name].values())
        assert ledger.pending == 0
        assert ledger.filtered + ledger.dropped == ended.count("either") + ended.count("dropped") + len(filtered)

    def some_batch(self, data: st.DataObject) -> tuple[str, Records]:
        name = data.draw(st.sampled_from([name for name, batches in self.taken.items() if batches]))
        index = data.draw(st.integers(0, len(self.taken[name]) - 1))
        return name, self.taken[name].pop(index)

    def waiting(self, name: str) -> list[str]:
        in_flight = {id_of(line) for records in self.taken[name] for line in records.lines}
        return [i for i in self.accepted[name] if i not in self.ended[name] and i not in in_flight]

    def may_be_filtered(self, name: str) -> None:
        if name in self.filtering:
            self.perhaps[name].update(filter(is_dull, self.waiting(name)))

    def note_checkpoint(self) -> None:
        self.checkpointed = {name: dict(ended) for name, ended in self.ended.items()}
        self.perhaps_checkpointed = {name: set(perhaps) for name, perhaps in self.perhaps.items()}

    def nothing_is_taken(self) -> None:
        self.taken = {name: [] for name in CONSUMERS}
        for name in CONSUMERS:
            self.may_be_filtered(name)


def is_dull(event_id: str) -> bool:
    return event_id.endswith("d")


def passing(lines: Sequence[bytes]) -> list[bool]:
    return [not is_dull(id_of(line)) for line in lines]


def id_of(line: bytes) -> str:
    return line.split(b'"')[3].decode()


TestQueueModel = QueueMachine.TestCase
TestQueueModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
