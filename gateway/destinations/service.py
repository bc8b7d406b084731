"""What may be done to destinations, free of HTTP: check what was given, seal credentials, write through the catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.destinations.catalog import Catalog
from gateway.destinations.form import Form, read_form
from gateway.destinations.ids import new_destination_id
from gateway.destinations.problems import Problems, unknown_member
from gateway.destinations.secrets import SecretBox
from gateway.destinations.store import Destination, Filter
from gateway.errors import Conflict, CredentialsSealed, NotFound, RequestRejected
from gateway.providers.codec import Provider, Secret, Settings

ALL_TENANTS = "*"
DESTINATIONS_MAX = 10_000

# What a client that sends back what it has read gives beside the members that can be changed.
READ_ONLY_MEMBERS = frozenset(
    {
        *("id", "created_at", "updated_at", "credentials_set", "credentials_updated_at", "deleting", "revision"),
        *("status", "status_reason", "status_since", "health", "warnings"),
    }
)

_CHANGE_TRIES = 3

Value = TypeVar("Value")

# Members as they are given, or what makes them of the state that is changed.
Changes = Mapping[str, object] | Callable[[Destination], Mapping[str, object]]
Precondition = Callable[[Destination], None]


def settings_of(destination: Destination, secret_box: SecretBox) -> Settings:
    """What the provider's codec is built from. Raises CredentialsSealed."""
    return Settings(
        endpoint=destination.endpoint,
        credentials=secret_box.open(destination.sealed_credentials),
        options=destination.options,
    )


class DestinationService:
    """``check_endpoint`` is handed an endpoint as it will be used and raises EgressBlocked when it may not be reached;
    ``check_settings`` raises RequestRejected for what the operator does not allow or no connection can be made with.

    Every method that writes raises StoreUnavailable when the store is away.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        secret_box: SecretBox,
        providers: Mapping[str, Provider],
        check_endpoint: Callable[[str], object],
        check_settings: Callable[[Settings], None],
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._secret_box = secret_box
        self._providers = providers
        self._check_endpoint = check_endpoint
        self._check_settings = check_settings
        self._clock = clock

    async def create(self, given: Mapping[str, object], *, tenant_id: str, may_choose_tenant: bool) -> Destination:
        """Store a new destination of ``tenant_id``, or of the tenant that an operator chose. Raises RequestRejected."""
        destination = self.draft(given, tenant_id=tenant_id, may_choose_tenant=may_choose_tenant)
        if len(self._catalog.destinations()) >= DESTINATIONS_MAX:
            raise RequestRejected(f"there are {DESTINATIONS_MAX} destinations already; delete one first", status=409)
        await self._catalog.create_destination(destination)
        return destination

    def draft(self, given: Mapping[str, object], *, tenant_id: str, may_choose_tenant: bool) -> Destination:
        """The destination that ``create`` would store. Raises RequestRejected with everything that is wrong with it."""
        problems = Problems("the destination")
        provider = self._chosen_provider(given, problems)
        form = read_form(given, provider, problems)
        if given.get("endpoint") is None:
            problems.add("endpoint", "an address is required")
        now_s = self._clock.time_s()
        blank = Destination(
            id=new_destination_id(),
            tenant_id=_tenant(form, tenant_id, may_choose_tenant=may_choose_tenant),
            provider=provider.name,
            endpoint="",
            enabled=True,
            name="",
            options={},
            filter=Filter(),
            sealed_credentials=b"",
            credentials_set=(),
            created_at_s=now_s,
            updated_at_s=now_s,
        )
        return self._completed(blank, form, problems)

    async def update(
        self, destination_id: str, changes: Changes, *, precondition: Precondition = lambda _: None
    ) -> Destination:
        """Store the changes, leave the rest. Raises RequestRejected, NotFound, and Conflict while it is being deleted.

        ``"enabled": true`` asks a failed destination to stream again. A change by another gateway in between is taken
        up first: ``precondition`` is called with the very state that is changed, and raises when it is not as wanted.
        """
        return await self._change(destination_id, precondition, lambda known: self._changed(known, changes))

    def draft_update(self, destination_id: str, changes: Changes) -> Destination:
        """The destination as ``update`` would store it, to test it before that. Raises what ``update`` raises."""
        return self._changed(self._known(destination_id), changes)

    async def mark_deleting(self, destination_id: str, *, precondition: Precondition = lambda _: None) -> Destination:
        """Take no new events for it. Marking it twice is no error. Raises NotFound, and what ``precondition`` does."""
        return await self._change(destination_id, precondition, self._marked)

    async def remove(self, destination_id: str) -> None:
        """Delete it from the store. It may be gone already."""
        await self._catalog.delete_destination(destination_id)

    def settings_of(self, destination: Destination) -> Settings:
        return settings_of(destination, self._secret_box)

    # -- inside

    async def _change(
        self, destination_id: str, precondition: Precondition, change: Callable[[Destination], Destination]
    ) -> Destination:
        """Store what ``change`` makes of the newest state. It returns its argument when nothing is to be changed."""
        for _ in range(_CHANGE_TRIES):
            known = self._known(destination_id)
            precondition(known)
            changed = change(known)
            if changed is known:
                return known
            try:
                await self._catalog.update_destination(changed, expected_revision=known.revision)
            except Conflict:
                await self._catalog.refresh()
            else:
                return changed
        raise Conflict(f"destination {destination_id} is being changed by others too: try again")

    def _changed(self, known: Destination, asked: Changes) -> Destination:
        if known.deleting:
            raise Conflict(f"destination {known.id} is being deleted and cannot be changed")
        changes = asked(known) if callable(asked) else asked
        problems = Problems("the change")
        _check_fixed(known, changes, problems)
        given = {name: value for name, value in changes.items() if name not in READ_ONLY_MEMBERS}
        form = read_form(given, self._provider_of(known), problems)
        changed = self._completed(known, form, problems)
        if changed == known and form.enabled is not True:
            return known
        return self._stamped(changed, resumed=form.enabled is True)

    def _marked(self, known: Destination) -> Destination:
        return known if known.deleting else self._stamped(replace(known, deleting=True), resumed=False)

    def _stamped(self, changed: Destination, *, resumed: bool) -> Destination:
        now_s = self._clock.time_s()
        return replace(
            changed,
            revision=changed.revision + 1,
            updated_at_s=now_s,
            resumed_at_s=now_s if resumed else changed.resumed_at_s,
        )

    def _completed(self, known: Destination, form: Form, problems: Problems) -> Destination:
        """``known`` with what the form says, checked as a whole. Raises RequestRejected."""
        provider = self._provider_of(known)
        stored = self._stored_credentials(known)
        credentials = _merged(stored or {}, form.credentials)
        options = _merged(known.options, form.options)
        is_enabled = known.enabled if form.enabled is UNSET else form.enabled
        is_unreadable = stored is None and not form.credentials
        if is_unreadable and is_enabled:
            problems.add("credentials", "the stored ones cannot be decrypted with secret_key: give them again")
        if not is_unreadable:
            _check_required(provider, credentials, options, problems)
        endpoint = self._checked_endpoint(provider, known, form, problems)
        problems.raise_any()
        if not is_unreadable:
            settings = Settings(endpoint=endpoint, credentials=credentials, options=options)
            with problems.collecting("options"):
                provider.build(settings)
            if _touches_connection(form):
                with problems.collecting("options"):
                    self._check_settings(settings)
            problems.raise_any()
        changed = replace(
            known,
            endpoint=endpoint,
            enabled=is_enabled,
            ordered=known.ordered if form.ordered is UNSET else form.ordered,
            name=(known.name if form.name is UNSET else form.name) or f"{provider.label} destination",
            filter=known.filter if form.filter is UNSET else form.filter,
            options=options,
        )
        return self._sealed(changed, credentials, form) if form.credentials else changed

    def _checked_endpoint(self, provider: Provider, known: Destination, form: Form, problems: Problems) -> str:
        """As it was given: what the provider makes of it is the codec's business."""
        if form.endpoint is UNSET:
            return known.endpoint
        with problems.collecting("endpoint"):
            self._check_endpoint(provider.normalise_endpoint(form.endpoint))
        return form.endpoint

    def _sealed(self, destination: Destination, credentials: Mapping[str, Secret], form: Form) -> Destination:
        """Those that the form names are given anew, also where the value is the same."""
        times = {**destination.credentials_updated_at_s, **dict.fromkeys(form.credentials, self._clock.time_s())}
        return replace(
            destination,
            sealed_credentials=self._secret_box.seal(credentials),
            credentials_set=tuple(sorted(credentials)),
            credentials_updated_at_s={name: at_s for name, at_s in times.items() if name in credentials},
        )

    def _stored_credentials(self, known: Destination) -> dict[str, Secret] | None:
        """None when they cannot be opened; new ones mend that."""
        if not known.sealed_credentials:
            return {}
        try:
            return self._secret_box.open(known.sealed_credentials)
        except CredentialsSealed:
            return None

    def _provider_of(self, destination: Destination) -> Provider:
        provider = self._providers.get(destination.provider)
        if provider is None:
            raise Conflict(f"this gateway does not know {destination.provider}, the provider of {destination.id}")
        return provider

    def _known(self, destination_id: str) -> Destination:
        known = self._catalog.destination(destination_id)
        if known is None:
            raise NotFound(f"there is no destination {destination_id}")
        return known

    def _chosen_provider(self, given: Mapping[str, object], problems: Problems) -> Provider:
        """Without a provider nothing else can be judged: raises RequestRejected at once."""
        name = given.get("provider")
        if isinstance(name, str) and name in self._providers:
            return self._providers[name]
        if isinstance(name, str) and name:
            problems.add("provider", unknown_member(name, self._providers))
        else:
            problems.add("provider", f"must be one of {', '.join(self._providers)}")
        problems.raise_any()
        raise AssertionError("unreachable")


def _tenant(form: Form, tenant_id: str, *, may_choose_tenant: bool) -> str:
    if form.tenant_id is UNSET or form.tenant_id == tenant_id:
        return tenant_id
    if may_choose_tenant:
        return form.tenant_id
    message = "this key may only act for its own tenant"
    raise RequestRejected(f"tenant_id: {message}", status=403, errors=(("tenant_id", message),))


def _check_fixed(known: Destination, changes: Mapping[str, object], problems: Problems) -> None:
    for name, value in (("provider", known.provider), ("tenant_id", known.tenant_id)):
        if changes.get(name) not in (None, value):
            problems.add(name, "cannot be changed; create another destination instead")


def _touches_connection(form: Form) -> bool:
    """Whether the change is about how it connects. A certificate that has run out meanwhile must not keep anybody from
    a new name, or from switching the destination off.
    """
    return bool(form.credentials or form.options or form.endpoint is not UNSET or form.enabled is True)


def _check_required(
    provider: Provider, credentials: Mapping[str, Secret], options: Mapping[str, object], problems: Problems
) -> None:
    for field in provider.fields:
        is_missing = field.name not in (credentials if field.where == "credential" else options)
        place = field.name if field.where == "credential" else f"options.{field.name}"
        if field.required and is_missing and field.default is None and place not in problems:
            problems.add(place, "a value is required")


def _merged(known: Mapping[str, Value], given: Mapping[str, Value | None]) -> dict[str, Value]:
    """None takes a member away."""
    return {name: value for name, value in {**known, **given}.items() if value is not None}
