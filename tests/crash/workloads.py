"""What the queue is put through while every call to the disk is recorded."""

from __future__ import annotations

from gateway.queue import SubjectKind
from tests.crash.explorer import Recording
from tests.crash.life import Lab, Life
from tests.crash.oracle import Oracle
from tests.simulated_disk import SimulatedDisk

BIG = 130_000  # two of these do not fit into a segment


class Script:
    """Lives one after another on one disk."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.disk, self.oracle = lab, SimulatedDisk(), Oracle()
        self.marks: list[tuple[int, Oracle]] = []
        self.life = self._begin()

    def _begin(self) -> Life:
        life = Life(self.lab, self.disk, self.oracle, marking=True)
        life.marks[:0] = self.marks
        self.marks = life.marks
        return life

    def restart(self) -> Life:
        self.life.close()
        self.disk.kill()
        self.life = self._begin()
        return self.life

    def recording(self) -> Recording:
        return Recording(self.disk.trace, self.marks)


def small_things(script: Script) -> None:
    """Everything that needs no second segment: out of order, refused, dropped, replayed, removed, restarted."""
    life = script.life
    for name, tenant in (("siem_a", "a"), ("siem_b", "b"), ("siem_all", "*")):
        life.add_consumer(name, tenant)
    life.append(("a", 3, 40), ("b", 2, 900))
    life.append_together(("a", 1, 10), ("b", 1, 2000), ("a", 2, 700), ("c", 1, 5))
    records = life.take("siem_a", 4)
    assert records is not None
    life.settle("siem_a", records, "delivered", [1, 3])
    life.checkpoint()
    in_flight = life.take("siem_a", 1)
    life.set_memo("siem_a", 10)
    life.checkpoint()
    life.settle_refused_of("siem_a", 2)
    assert in_flight is not None
    life.settle("siem_a", in_flight, "delivered")
    life.append(("siem_a", 2, 300), kind=SubjectKind.BACKFILL)
    life.drop("siem_b")
    life.append(("b", 2, 30), ("a", 1, 3000))
    life.checkpoint()
    life.settle_refused_of("siem_all", 3)
    life.deliver("siem_all", 2)
    life.checkpoint()
    life = script.restart()
    life.settle_refused_of("siem_a", 3)
    refused = [name for name, how in life.oracle.books["siem_a"].ended.items() if how == "dead_lettered"]
    life.replay("siem_a", refused[:2])
    life.delete_letters("siem_a", refused[2:3])
    life.append(("a", 4, 20))
    life.remove_consumer("siem_all")
    life.add_consumer("siem_new", "c")
    life.append_together(("c", 2, 50), ("a", 1, 600), ("b", 1, 1500))
    life.set_filter("siem_a", True)
    life.append(("a", 5, 30))
    life.deliver("siem_a", 2)
    for _ in range(8):
        life.set_memo("siem_b", 4000)
        life.checkpoint()
    life.delete_letters("siem_a", refused[3:])
    life.deliver("siem_new")
    script.restart().append(("c", 1, 1))


def large_things(script: Script) -> None:
    """Rotation, removal, compaction and eviction, and numbers that must outlive their segments."""
    life = script.life
    for name, tenant in (("siem_a", "a"), ("siem_b", "b"), ("siem_c", "c")):
        life.add_consumer(name, tenant)
    life.append(("c", 3, 100), ("a", 2, 500))
    life.deliver("siem_c")
    for _ in range(4):
        life.append(("b", 1, BIG), ("a", 1, 200))
        life.deliver("siem_b")
    life.retain()
    life.checkpoint()
    life.retain()
    life.retain()
    life.settle_refused_of("siem_a", 1)
    life.deliver("siem_a", 2)
    life.checkpoint()
    life.retain()
    life = script.restart()
    life.append(("c", 2, 100))
    life.deliver("siem_c")
    for _ in range(5):
        life.append(("a", 1, BIG))
    life.retain(failing=["siem_a"])
    life.append(("a", 2, 10), ("b", 1, BIG))
    life.deliver("siem_a")
    life.deliver("siem_b")
    life.checkpoint()
    life.retain()
    life = script.restart()
    life.append(("c", 1, 10), ("b", 1, 10))


WORKLOADS = {"small": small_things, "large": large_things}


def recorded(lab: Lab, name: str) -> Recording:
    """Of the whole workload, which itself shows nothing wrong."""
    script = Script(lab)
    WORKLOADS[name](script)
    assert script.oracle.differences(script.life.findings()) == []
    assert script.life.corrupt == []
    assert script.disk.violations == []
    return script.recording()
