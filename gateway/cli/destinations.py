"""``destinations``: create, look at, change, try and delete them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from gateway.cli.client import DESTINATIONS, Json, open_client
from gateway.cli.destination_form import Given, provider_row, read_credentials, request_body
from gateway.cli.failure import WrongUse, run, told
from gateway.cli.output import NO_DESTINATION, JsonOption, print_json, print_pairs, print_table

commands = typer.Typer(no_args_is_help=True, help="Where events are streamed to.")

Reference = Annotated[str, typer.Argument(metavar="DESTINATION", help="Id or name of the destination.")]
Endpoint = Annotated[str | None, typer.Option(metavar="URL", help="The address that events are sent to.")]
Name = Annotated[str | None, typer.Option(metavar="TEXT", help="A name of your own.")]
Token = Annotated[str | None, typer.Option(metavar="TEXT", help="Short for --credential token=…")]
Secret = Annotated[str | None, typer.Option(metavar="TEXT", help="Short for --credential secret=…")]
Credentials = Annotated[list[str] | None, typer.Option("--credential", metavar="NAME=VALUE", help="May be repeated.")]
CredentialFiles = Annotated[
    list[str] | None, typer.Option("--credential-file", metavar="NAME=PATH", help="Read it from a file; - is stdin.")
]
CredentialVariables = Annotated[
    list[str] | None, typer.Option("--credential-env", metavar="NAME=VARIABLE", help="Read it from the environment.")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the provider, such as index=main."),
]
Actions = Annotated[
    list[str] | None, typer.Option("--filter-action", metavar="TEXT", help="Only these actions; * matches any text.")
]
ExcludedActions = Annotated[
    list[str] | None, typer.Option("--filter-exclude-action", metavar="TEXT", help="Not these actions.")
]
Services = Annotated[list[str] | None, typer.Option("--filter-service", metavar="TEXT", help="Only these services.")]
Outcomes = Annotated[list[str] | None, typer.Option("--filter-outcome", metavar="TEXT", help="Only these outcomes.")]
ActorTypes = Annotated[
    list[str] | None, typer.Option("--filter-actor-type", metavar="TEXT", help="Only these kinds of actor.")
]
Enabled = Annotated[bool | None, typer.Option("--enabled/--disabled", help="Whether it streams.")]
Ordered = Annotated[bool | None, typer.Option("--ordered/--unordered", help="One request at a time, in order.")]


@commands.command("list")
def list_destinations(
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only active, degraded or failed ones.")] = None,
    provider: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of one provider.")] = None,
    json: JsonOption = False,
) -> None:
    """All destinations that the key may see."""
    query = {name: value for name, value in (("status", status), ("provider", provider)) if value}

    async def work() -> list[Json]:
        async with open_client() as client:
            return await client.pages(DESTINATIONS, query)

    found = run(work())
    if json:
        print_json({"data": found})
        return
    columns = ("id", "name", "provider", "tenant_id", "status", "enabled", "endpoint")
    rows = [[entry.get(column) for column in columns] for entry in found]
    headings = [column.replace("_id", "") if column != "id" else column for column in columns]
    print_table(headings, rows, empty="No destination is like that." if query else NO_DESTINATION)


@commands.command()
def show(destination: Reference, json: JsonOption = False) -> None:
    """One destination with its health and its books."""

    async def work() -> Json:
        async with open_client() as client:
            path = await client.destination_path(destination)
            return {**await client.get(path), "ledger": await client.get(f"{path}/ledger")}

    found = run(work())
    if json:
        print_json(found)
        return
    print_pairs(_pairs(found))


@commands.command()
def create(
    *,
    provider: Annotated[str, typer.Option(metavar="NAME", help="splunk, datadog, cloudwatch, elastic or webhook.")],
    endpoint: Annotated[str, typer.Option(metavar="URL", help="The address that events are sent to.")],
    name: Name = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose events; an operator's default is * (all).")
    ] = None,
    token: Token = None,
    secret: Secret = None,
    credential: Credentials = None,
    credential_file: CredentialFiles = None,
    credential_env: CredentialVariables = None,
    option: Options = None,
    filter_action: Actions = None,
    filter_exclude_action: ExcludedActions = None,
    filter_service: Services = None,
    filter_outcome: Outcomes = None,
    filter_actor_type: ActorTypes = None,
    enabled: Enabled = None,
    ordered: Ordered = None,
    json: JsonOption = False,
) -> None:
    """Start streaming to a new destination. A required credential that is not given is asked for, unseen."""
    given = Given(
        endpoint=endpoint,
        name=name,
        enabled=True if enabled is None else enabled,
        ordered=ordered,
        credentials=_credentials(token, secret, credential, credential_file, credential_env),
        options=option or [],
        filters=_filters(filter_action, filter_exclude_action, filter_service, filter_outcome, filter_actor_type),
    )

    async def work() -> Json:
        async with open_client() as client:
            row = await provider_row(client, provider)
            body = {"provider": provider, **({"tenant_id": tenant} if tenant else {})}
            return await client.post(DESTINATIONS, {**body, **request_body(given, row, ask=True)})

    _print_change("created", run(work()), as_json=json)


@commands.command()
def update(
    destination: Reference,
    *,
    endpoint: Endpoint = None,
    name: Name = None,
    token: Token = None,
    secret: Secret = None,
    credential: Credentials = None,
    credential_file: CredentialFiles = None,
    credential_env: CredentialVariables = None,
    option: Options = None,
    filter_action: Actions = None,
    filter_exclude_action: ExcludedActions = None,
    filter_service: Services = None,
    filter_outcome: Outcomes = None,
    filter_actor_type: ActorTypes = None,
    enabled: Enabled = None,
    ordered: Ordered = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Change nothing when a test event with the change does not arrive.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Change what is given and leave the rest. --enabled makes a failed destination stream again.

    The --filter options replace the whole filter; one with an empty value clears it.
    """
    given = Given(
        endpoint=endpoint,
        name=name,
        enabled=enabled,
        ordered=ordered,
        credentials=_credentials(token, secret, credential, credential_file, credential_env),
        options=option or [],
        filters=_filters(filter_action, filter_exclude_action, filter_service, filter_outcome, filter_actor_type),
    )

    async def work() -> Json:
        async with open_client() as client:
            path = await client.destination_path(destination)
            stored = await client.get(path)
            body = request_body(given, await provider_row(client, stored["provider"]), ask=False)
            if not body:
                raise WrongUse("Nothing to change was given. `gateway destinations update --help` lists the options.")
            return await client.put(path + ("?verify=true" if verify else ""), body)

    _print_change("updated", run(work()), as_json=json)


@commands.command()
def delete(
    destination: Reference,
    force: Annotated[bool, typer.Option("--force", help="Drop what is left; it is recorded as a gap.")] = False,
    timeout: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, max=300, help="How long to wait for the flush.")
    ] = 30,
    json: JsonOption = False,
) -> None:
    """Flush a destination, then remove it."""

    async def work() -> Json:
        async with open_client() as client:
            query = {"timeout": str(timeout), **({"force": "true"} if force else {})}
            path = await client.destination_path(destination)
            return await client.delete(path, query, answer_s=timeout + 30)

    left = run(work())
    if json:
        print_json({"deleted": not left, **({"destination": left} if left else {})})
    elif left:
        print(f"{left.get('id', destination)} takes no new events and goes on flushing in the background.")
    else:
        print(f"{destination} deleted.")


@commands.command("test")
def send_test(destination: Reference, json: JsonOption = False) -> None:
    """Send one marked test event and show what came back."""

    async def work() -> Json:
        async with open_client() as client:
            return await client.post(await client.destination_path(destination) + "/test", {}, answer_s=120)

    answer = run(work())
    if json:
        print_json(answer)
    else:
        _print_test(answer)
    if not answer.get("ok"):
        raise typer.Exit(1)


def _print_test(answer: Json) -> None:
    verdict = "It arrived" if answer.get("ok") else "It did not arrive"
    code = f"status {answer['status_code']}, " if answer.get("status_code") else ""
    summary = [(verdict, f"{code}{answer.get('latency_ms', 0):.0f} ms"), ("Answer", answer.get("message"))]
    steps = [(str(step["name"]), _step_words(step)) for step in answer.get("steps", ())]
    advice = [("What to do", answer["advice"])] if answer.get("advice") else []
    print_pairs([*summary, *steps, *advice])


def _step_words(step: Json) -> str:
    mark = {True: "ok", False: "failed"}.get(step["ok"], "-")
    took = f" ({step['ms']:.0f} ms)" if step.get("ms") is not None else ""
    return f"{mark:<6}  {step['detail']}{took}"


def _credentials(
    token: str | None,
    secret: str | None,
    pairs: list[str] | None,
    files: list[str] | None,
    variables: list[str] | None,
) -> dict[str, str]:
    named = {name: value for name, value in (("token", token), ("secret", secret)) if value is not None}
    with told():
        return named | read_credentials(pairs or [], files or [], variables or [], os.environ)


def _filters(*lists: list[str] | None) -> dict[str, list[str]]:
    """In the order of the options above. What was not given is left out, an empty text clears its list."""
    names = ("actions", "exclude_actions", "services", "outcomes", "actor_types")
    return {name: [value for value in values if value] for name, values in zip(names, lists, strict=True) if values}


def _print_change(done: str, destination: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(destination)
    else:
        print(f"{destination['id']} {done}: {destination['provider']}, {destination['status']}")


def _pairs(destination: Json) -> list[tuple[str, object]]:
    """The destination's own members first, then its options, filter, health and books with a heading in front."""
    nested = ("options", "filter", "health", "ledger")
    pairs: list[tuple[str, object]] = [
        (name, _text(value)) for name, value in destination.items() if name not in nested
    ]
    for part in nested:
        members = destination.get(part) or {}
        pairs += [(f"{part}.{name}", _text(value)) for name, value in members.items() if part != "filter" or value]
    return pairs


def _text(value: object) -> object:
    """A list as words, an error as its code and message; the rest as it is."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict) and value.keys() == {"code", "message"}:
        return f"{value['code']}: {value['message']}"
    return value
