"""One suite for every HistoryStore: figures and activity in SQLite, a real PostgreSQL and in memory."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.destinations.history import (
    ACTIVITIES_PER_TENANT,
    ACTIVITY_KEPT_S,
    KEPT_S,
    Action,
    Activity,
    Change,
    Figures,
    HistoryStore,
)
from gateway.destinations.store import DestinationStore
from gateway.errors import StoreUnavailable

MINUTE = 1_782_822_900 - 1_782_822_900 % 3_600 + 1_800  # half past
FIGURES = Figures("siem_ä", MINUTE, "", delivered=10, failed=3, dead_lettered=2, dropped=1)
ANSWERED = Figures("siem_ä", MINUTE, "200", attempts=4, latency_ms_sum=20.5, latency_ms_max=9.25)
ENTRY = Activity(
    id="act_1",
    at_s=1_782_822_896.789,
    action=Action.UPDATED,
    tenant_id="tenant-ä",
    destination_id="siem_1",
    destination_name='Name with "quotes" and 漢字',
    key_id="key_1",
    key_name="Somebody",
    changes=(
        Change("endpoint", "https://a.example.com", "https://b.example.com"),
        Change("token", "***", "***"),
        Change("options.headers", None, {"X-A": "1"}),
        Change("filter.actions", [], ["a.*"]),
    ),
)


async def all_of(store: HistoryStore, step_s: int, destination_id: str = "siem_ä") -> list[Figures]:
    return await store.figures([destination_id], step_s=step_s, since_s=0)


async def test_figures_count_in_every_step(store: HistoryStore) -> None:
    """A minute's figures stand in their minute, their quarter of an hour and their hour."""
    await store.add_figures("gw", [FIGURES, ANSWERED])
    await store.add_figures("gw", [replace(FIGURES, at_s=MINUTE + 60), replace(FIGURES, at_s=MINUTE + 1_800)])
    assert await all_of(store, 60) == [
        FIGURES,
        ANSWERED,
        replace(FIGURES, at_s=MINUTE + 60),
        replace(FIGURES, at_s=MINUTE + 1_800),
    ]
    quarter, _, later = await all_of(store, 900)
    assert quarter == replace(FIGURES, delivered=20, failed=6, dead_lettered=4, dropped=2)
    assert (later.at_s, later.delivered) == (MINUTE + 1_800, 10)
    hours = await all_of(store, 3_600)
    assert [(item.at_s, item.answer, item.delivered) for item in hours] == [
        (MINUTE - 1_800, "", 20),
        (MINUTE - 1_800, "200", 0),
        (MINUTE + 1_800, "", 10),
    ]


async def test_figures_of_one_minute_add_up(store: HistoryStore) -> None:
    """Also those of several gateways, which are summed when read; of the longest latencies the longest is kept."""
    await store.add_figures("one", [FIGURES, ANSWERED])
    await store.add_figures("one", [FIGURES, replace(ANSWERED, latency_ms_max=1.0)])
    await store.add_figures("two", [FIGURES, replace(ANSWERED, latency_ms_max=77.5)])
    events, answered = await all_of(store, 60)
    assert events == replace(FIGURES, delivered=30, failed=9, dead_lettered=6, dropped=3)
    assert answered == replace(ANSWERED, attempts=12, latency_ms_sum=61.5, latency_ms_max=77.5)


async def test_figures_of_the_destinations_and_the_time_asked_for(store: HistoryStore) -> None:
    """By destination, time and answer; nothing of others, nothing older."""
    others = [replace(FIGURES, destination_id=name) for name in ("b", "a", "siem_other")]
    await store.add_figures("gw", [*others, replace(FIGURES, destination_id="a", at_s=MINUTE - 60)])
    found = await store.figures(["b", "a", "nobody"], step_s=60, since_s=MINUTE)
    assert found == [replace(FIGURES, destination_id="a"), replace(FIGURES, destination_id="b")]
    assert await store.figures([], step_s=60, since_s=0) == []


async def test_figures_of_a_deleted_destination_go(store: HistoryStore) -> None:
    """In every step, of every gateway; those of others stay. Nothing to forget is no error."""
    other = replace(FIGURES, destination_id="siem_other")
    await store.add_figures("one", [FIGURES, ANSWERED, other])
    await store.add_figures("two", [FIGURES])
    await store.forget_figures({"siem_ä", "nobody"})
    await store.forget_figures(set())
    for step_s in KEPT_S:
        assert await all_of(store, step_s) == []
        assert len(await all_of(store, step_s, "siem_other")) == 1


async def test_no_figures(store: HistoryStore) -> None:
    """Adding none is no error."""
    await store.add_figures("gw", [])
    assert await all_of(store, 60) == []


async def test_activity_comes_back_as_it_was_given(store: HistoryStore) -> None:
    """Whole, with changes of any JSON, and with everything missing that may be."""
    bare = Activity("act_2", ENTRY.at_s + 1, Action.KEY_CREATED, "*", None, None, None, None)
    await store.add_activities([ENTRY])
    await store.add_activities([bare])
    assert await store.activities(tenant_id=None, destination_id=None, before=None, limit=10) == [bare, ENTRY]


async def test_activity_is_read_page_by_page_newest_first(store: HistoryStore) -> None:
    """Entries of one moment are told apart by their ids; the next page begins where the last one ended."""
    entries = [replace(ENTRY, id=f"act_{number}", at_s=100.0 + number // 2) for number in range(6)]
    await store.add_activities(entries)
    seen: list[Activity] = []
    before: tuple[float, str] | None = None
    while page := await store.activities(tenant_id=None, destination_id=None, before=before, limit=4):
        seen += page
        before = page[-1].at_s, page[-1].id
    assert seen == entries[::-1]


async def test_activity_of_one_tenant_and_one_destination(store: HistoryStore) -> None:
    """Nothing of another tenant is among it."""
    foreign = replace(ENTRY, id="act_foreign", tenant_id="other")
    beside = replace(ENTRY, id="act_beside", destination_id="siem_2")
    await store.add_activities([ENTRY, foreign, beside])

    async def found(tenant_id: str | None, destination_id: str | None) -> set[str]:
        entries = await store.activities(tenant_id=tenant_id, destination_id=destination_id, before=None, limit=10)
        return {entry.id for entry in entries}

    assert await found("tenant-ä", None) == {"act_1", "act_beside"}
    assert await found(None, "siem_1") == {"act_1", "act_foreign"}
    assert await found("tenant-ä", "siem_1") == {"act_1"}
    assert await found("nobody", None) == set()


async def test_a_tenants_activity_is_bounded(store: HistoryStore) -> None:
    """Beyond 10,000 entries the oldest go; another tenant's do not."""
    await store.add_activities([replace(ENTRY, id="act_other", tenant_id="other", at_s=0.5)])
    batch = [replace(ENTRY, id=f"act_{number:06}", at_s=float(number), changes=()) for number in range(1_000)]
    for round_number in range(10):
        await store.add_activities(
            [replace(entry, id=f"{entry.id}{round_number}", at_s=entry.at_s + 1_000 * round_number) for entry in batch]
        )
    await store.add_activities([replace(ENTRY, id="newest", at_s=1e6)])
    kept = await store.activities(tenant_id="tenant-ä", destination_id=None, before=None, limit=20_000)
    assert len(kept) == ACTIVITIES_PER_TENANT
    assert (kept[0].id, kept[-1].at_s) == ("newest", 1.0)
    assert await store.activities(tenant_id="other", destination_id=None, before=None, limit=10) != []


async def test_what_is_old_is_forgotten(store: HistoryStore) -> None:
    """Each step of the figures and the activity after their time."""
    now_s = MINUTE + 9 * 86_400
    for step_s, kept_s in KEPT_S.items():
        edge = now_s - kept_s
        await store.add_figures(
            "gw", [replace(FIGURES, destination_id=str(step_s), at_s=edge - edge % step_s + step_s)]
        )
    await store.add_figures("gw", [FIGURES])
    await store.add_activities(
        [replace(ENTRY, at_s=now_s - ACTIVITY_KEPT_S - 1), replace(ENTRY, id="kept", at_s=now_s)]
    )
    await store.prune_history(now_s)
    for step_s in KEPT_S:
        assert await all_of(store, step_s) == []
        assert len(await all_of(store, step_s, str(step_s))) == 1
    (kept,) = await store.activities(tenant_id=None, destination_id=None, before=None, limit=10)
    assert kept.id == "kept"


async def test_a_closed_store_keeps_nothing(store: DestinationStore) -> None:
    """Every use is StoreUnavailable."""
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.add_figures("gw", [FIGURES])
    with pytest.raises(StoreUnavailable):
        await store.add_activities([ENTRY])
    with pytest.raises(StoreUnavailable):
        await store.figures(["a"], step_s=60, since_s=0)
    with pytest.raises(StoreUnavailable):
        await store.activities(tenant_id=None, destination_id=None, before=None, limit=1)
    with pytest.raises(StoreUnavailable):
        await store.prune_history(0.0)
