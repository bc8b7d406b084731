"""Actions that reach no destination of their tenant, told of once each.

Such an event is left out by the filter of every destination that could get it. So only what filters leave out is looked
at, where it has been decoded already: ingest does nothing for it, and neither does delivery where there is no filter.

Not told of are a tenant of whom no destination is enabled, since nothing is streamed for it and that is no slip of a
filter, and the gateway's own events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from itertools import chain

import structlog

from gateway.delivery.trail import EMITTED
from gateway.destinations.filter import compile_actions
from gateway.destinations.store import Destination, Filter
from gateway.queue import ALL_TENANTS
from gateway.telemetry import Event, Metrics

ACTIONS_MAX = 100  # remembered of one tenant
ACTIONS_IN_ALL_MAX = 5_000
ACTION_CHARS_MAX = 200  # the beginning of a longer one stands for it
ASKED_AT_ONCE_MAX = 2_000  # filters: about a millisecond of work
_LOOKED_AT_MAX = 10_000

_REMEDY = "add the action to the filter of a destination that is to get it"


class _Gate:
    """Which actions a filter lets through. It is compiled when it is first asked."""

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen
        self._passes: Callable[[str], bool] | None = None

    def __call__(self, action: str) -> bool:
        if self._passes is None:
            self._passes = compile_actions(self._chosen)
        return self._passes(action)


class _Gates:
    """The filters of what is enabled in one view of the destinations; those that are alike are one.

    ``known`` are the gates of the view before: most of them are in this one too.
    """

    def __init__(self, view: Mapping[str, Destination], known: Mapping[Filter, _Gate]) -> None:
        self.of_filter: dict[Filter, _Gate] = {}
        self._of_tenant: dict[str, dict[_Gate, None]] = {}
        self.asked = 0  # also where there was no gate to ask
        for item in view.values():
            if item.enabled and not item.deleting:
                gate = self.of_filter.get(item.filter) or known.get(item.filter) or _Gate(item.filter)
                self.of_filter[item.filter] = gate
                self._of_tenant.setdefault(item.tenant_id, {})[gate] = None

    def leave_out(self, tenant_id: str, action: str) -> bool:
        """Whether there are gates for a tenant, and none lets the action through."""
        self.asked += 1
        are_there = False
        for gate in chain(self._of_tenant.get(tenant_id, ()), self._of_tenant.get(ALL_TENANTS, ())):
            are_there = True
            self.asked += 1
            if gate(action):
                return False
        return are_there


class Unreached:
    """Owned by the event loop. ``destinations`` shows those that are wanted; each change is another mapping.

    An action is remembered for good, so that it is told of once, and counts while it reaches nobody. After a change all
    are judged anew in steps, between which others work; that takes a running event loop where one step is not enough.
    """

    def __init__(self, destinations: Callable[[], Mapping[str, Destination]], metrics: Metrics) -> None:
        self._destinations, self._metrics = destinations, metrics
        self._view: Mapping[str, Destination] = {}
        self._gates = _Gates({}, {})
        self._looked_at: set[tuple[str, str]] = set()  # since the last change
        self._remembered: dict[str, dict[str, bool]] = {}  # of each tenant, whether the action reaches nobody now
        self._order: deque[tuple[str, str]] = deque()  # of what is remembered: judged the longest ago comes first
        self._unjudged = 0  # of these, since the last change
        self._judging: asyncio.Handle | None = None
        self._unreached = 0
        self._full: set[str] = set()

    def look_at(self, left_out: Collection[tuple[str, str]]) -> None:
        """``left_out`` are tenants and actions of events that a filter did not let through.

        Where there are many filters and many new actions, some are looked at when they come again.
        """
        self.follow()
        enough = self._gates.asked + ASKED_AT_ONCE_MAX
        for tenant_id, action in left_out:
            if self._gates.asked >= enough:
                return
            if self._is_fresh(tenant_id, action) and self._is_unreached(tenant_id, action):
                self._remember(tenant_id, _shown(action))

    def follow(self) -> None:
        """Begin to judge what is remembered by the present destinations, where they have changed."""
        view = self._destinations()
        if view is self._view:
            return
        self._view = view
        self._gates = _Gates(view, self._gates.of_filter)
        self._looked_at.clear()
        self._unjudged = len(self._order)
        self._judge_some()

    def actions(self) -> list[tuple[str, str]]:
        """The tenants and actions that reach nobody now, as far as they are remembered."""
        self.follow()
        return [
            (tenant, action) for tenant, actions in self._remembered.items() for action in actions if actions[action]
        ]

    # -- inside

    def _judge_some(self) -> None:
        enough = self._gates.asked + ASKED_AT_ONCE_MAX
        while self._unjudged and self._gates.asked < enough:
            tenant_id, action = self._order[0]
            self._set(tenant_id, action, self._is_unreached(tenant_id, action))
            self._order.rotate(-1)
            self._unjudged -= 1
        self._show()
        if self._unjudged and self._judging is None:
            self._judging = asyncio.get_running_loop().call_soon(self._judge_on)

    def _judge_on(self) -> None:
        self._judging = None
        self._judge_some()

    def _set(self, tenant_id: str, action: str, is_unreached: bool) -> None:
        actions = self._remembered.setdefault(tenant_id, {})
        self._unreached += is_unreached - actions.get(action, False)
        actions[action] = is_unreached

    def _is_fresh(self, tenant_id: str, action: str) -> bool:
        """Whether it was not looked at since the destinations changed, or not lately."""
        name = tenant_id, action[:ACTION_CHARS_MAX]
        if name in self._looked_at:
            return False
        if len(self._looked_at) >= _LOOKED_AT_MAX:
            self._looked_at.clear()
        self._looked_at.add(name)
        return True

    def _is_unreached(self, tenant_id: str, action: str) -> bool:
        return not action.startswith(EMITTED) and self._gates.leave_out(tenant_id, action)

    def _remember(self, tenant_id: str, action: str) -> None:
        actions = self._remembered.get(tenant_id, {})
        if action in actions:
            return
        if len(actions) >= ACTIONS_MAX or len(self._order) >= ACTIONS_IN_ALL_MAX:
            self._tell_that_it_is_full(tenant_id if actions else ALL_TENANTS)
            return
        self._set(tenant_id, action, True)
        self._order.append((tenant_id, action))
        self._show()
        structlog.get_logger().warning(Event.ACTION_UNREACHED, tenant=tenant_id, action=action, remedy=_REMEDY)

    def _tell_that_it_is_full(self, tenant_id: str) -> None:
        """Once for each tenant of whom something is told, and once for all others."""
        if tenant_id not in self._full:
            self._full.add(tenant_id)
            detail = "there are more such actions than are remembered: no more of them are told of or counted"
            structlog.get_logger().warning(Event.ACTION_UNREACHED, tenant=tenant_id, detail=detail, remedy=_REMEDY)

    def _show(self) -> None:
        """Without the tenants, which are the events' own words: whoever reaches the listener may read metrics."""
        self._metrics.unreached_actions.set(self._unreached)


def _shown(action: str) -> str:
    """As it may stand on a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in action[:ACTION_CHARS_MAX])
