"""Whatever holds a secret may end up in a traceback or a log line, and shows none there."""

from __future__ import annotations

import pytest

from gateway.announcement import Announcement
from gateway.cli.connection import connection
from gateway.cli.destination_form import Given
from gateway.config import Config
from gateway.destinations.form import Form
from gateway.destinations.ids import new_api_key
from gateway.destinations.keys import CreatedKey, bootstrap_key
from gateway.destinations.postgres import PostgresStore
from gateway.destinations.secrets import SecretBox
from gateway.providers import PROVIDERS
from gateway.providers.codec import Batch, Context, Provider, Reply, Request, Secret, Settings
from gateway.providers.sigv4 import SigningKey
from gateway.providers.tls import Tls
from gateway.server.shapes import new_key
from tests.provider_cases import signed

CANARY = "Kanarienvogel-" * 3
KEY = bootstrap_key(new_api_key(), 0.0)
CONTEXT = Context(now_s=1_782_822_900.0, channel="c", instance="i")


@pytest.mark.parametrize(
    "holder",
    [
        Secret(CANARY),
        {"token": Secret(CANARY)},
        Settings("https://h", {"token": Secret(CANARY)}, {}),
        Form(credentials={"token": Secret(CANARY)}),
        Tls(client_key=CANARY),
        Config(secret_key=CANARY, bootstrap_key=CANARY, database_url=CANARY),
        SecretBox(CANARY),
        PostgresStore(f"postgresql://u:{CANARY}@h/d"),
        bootstrap_key(CANARY, 0.0),
        CreatedKey(KEY, CANARY),
        new_key(KEY, CANARY),
        Announcement("http://h", "d", CANARY, "f"),
        connection({"GATEWAY_API_KEY": CANARY}),
        Given(None, None, None, None, {"token": CANARY}, [], {}),
        Request("https://h", (("Authorization", CANARY),), CANARY.encode()),
        Reply(200, {"x": CANARY}, CANARY.encode()),
        SigningKey("AKIA", CANARY, "eu-west-1", "logs"),
        Batch([CANARY.encode()]),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_what_holds_a_secret_shows_none(holder: object) -> None:
    """Neither printed nor formatted."""
    assert "Kanarienvogel" not in repr(holder) + str(holder) + f"{holder}"


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_codecs_and_their_requests_show_none(provider: Provider) -> None:
    """Built with secrets, they print as what they are."""
    credentials = {field.name: Secret(CANARY) for field in provider.fields if field.required and field.secret}
    credentials |= {"access_key_id": Secret("AKIAEXAMPLE")} if provider.name == "cloudwatch" else {}
    codec = provider.build(Settings(provider.example_endpoint, credentials, {}))
    line = (
        b'{"id":"e","timestamp":"2026-06-30T12:34:56.789Z","tenant_id":"t","actor_type":"USER","actor_id":"u",'
        b'"action":"a","resource_type":"r","resource_id":"i","service":"s","outcome":"SUCCESS"}'
    )
    encoded = codec.encode(Batch([line]), CONTEXT)
    assert encoded.requests
    sent = [signed(codec, request) for request in encoded.requests]
    assert "Kanarienvogel" not in repr(codec) + repr(encoded) + repr(sent)
