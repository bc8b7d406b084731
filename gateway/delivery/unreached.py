"""Actions that reach no destination of their tenant, told of once each.

Such an event is left out by the filter of every destination that could get it. So only what filters leave out is looked
at, where it has been decoded already: ingest does nothing for it, and neither does delivery where there is no filter.

Not told of are a tenant of whom no destination is enabled, since nothing is streamed for it and that is no slip of a
filter, and the gateway's own events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog

from gateway.delivery.trail import EMITTED
from gateway.destinations.filter import compile_actions
from gateway.destinations.store import Destination
from gateway.queue import ALL_TENANTS
from gateway.telemetry import Event, Metrics

ACTIONS_MAX = 100  # remembered of one tenant
ACTIONS_IN_ALL_MAX = 5_000
ACTION_CHARS_MAX = 200  # the beginning of a longer one stands for it
_LOOKED_AT_MAX = 10_000

_REMEDY = "add the action to the filter of a destination that is to get it"

Gate = Callable[[str], bool]


class Unreached:
    """Owned by the event loop. ``destinations`` shows those that are wanted; each change is another mapping.

    An action is remembered for good, so that it is told of once, and counts while it reaches nobody.
    """

    def __init__(self, destinations: Callable[[], Mapping[str, Destination]], metrics: Metrics) -> None:
        self._destinations, self._metrics = destinations, metrics
        self._view: Mapping[str, Destination] = {}
        self._gates: dict[str, list[Gate]] = {}
        self._looked_at: set[tuple[str, str]] = set()  # since the last change
        self._remembered: dict[str, dict[str, bool]] = {}  # of each tenant, whether the action reaches nobody now
        self._count = 0
        self._full: set[str] = set()

    def look_at(self, left_out: Collection[tuple[str, str]]) -> None:
        """``left_out`` are tenants and actions of events that a filter did not let through."""
        self.follow()
        for tenant_id, action in self._fresh(left_out):
            if self._is_unreached(tenant_id, action):
                self._remember(tenant_id, _shown(action))

    def follow(self) -> None:
        """Judge what is remembered by the present destinations, where they have changed."""
        view = self._destinations()
        if view is self._view:
            return
        self._view = view
        self._gates.clear()
        self._looked_at.clear()
        for tenant_id, actions in self._remembered.items():
            for action in actions:
                actions[action] = self._is_unreached(tenant_id, action)
        self._show()

    def actions(self) -> list[tuple[str, str]]:
        """The tenants and actions that reach nobody now, as far as they are remembered."""
        self.follow()
        return [
            (tenant, action) for tenant, actions in self._remembered.items() for action in actions if actions[action]
        ]

    # -- inside

    def _fresh(self, left_out: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that were not looked at since the destinations changed, or not lately."""
        fresh = [item for item in left_out if (item[0], item[1][:ACTION_CHARS_MAX]) not in self._looked_at]
        for tenant_id, action in fresh:
            if len(self._looked_at) >= _LOOKED_AT_MAX:
                self._looked_at.clear()
            self._looked_at.add((tenant_id, action[:ACTION_CHARS_MAX]))
        return fresh

    def _is_unreached(self, tenant_id: str, action: str) -> bool:
        gates = self._gates.get(tenant_id)
        if gates is None:
            if len(self._gates) >= _LOOKED_AT_MAX:
                self._gates.clear()
            gates = self._gates[tenant_id] = [
                compile_actions(item.filter)
                for item in self._view.values()
                if item.enabled and not item.deleting and item.tenant_id in (tenant_id, ALL_TENANTS)
            ]
        is_own = action.startswith(EMITTED)
        return bool(gates) and not is_own and not any(gate(action) for gate in gates)

    def _remember(self, tenant_id: str, action: str) -> None:
        actions = self._remembered.get(tenant_id, {})
        if action in actions:
            return
        if len(actions) >= ACTIONS_MAX or self._count >= ACTIONS_IN_ALL_MAX:
            self._tell_that_it_is_full(tenant_id if actions else ALL_TENANTS)
            return
        self._remembered.setdefault(tenant_id, actions)[action] = True
        self._count += 1
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
        self._metrics.unreached_actions.set(sum(sum(actions.values()) for actions in self._remembered.values()))


def _shown(action: str) -> str:
    """As it may stand on a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in action[:ACTION_CHARS_MAX])
