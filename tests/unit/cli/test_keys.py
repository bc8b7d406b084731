from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

Command = Callable[..., Result]


def test_a_new_key_goes_alone_to_standard_output(stub: Any, gateway_command: Command) -> None:
    """A script can catch the key; the advice for people is on standard error."""
    result = gateway_command("keys", "create", "--scope", "events:write", "--scope", "siem:read", "--tenant", "t1")
    assert result.exit_code == 0, result.output
    assert result.stdout == "tl_live_new\n"
    assert "not shown again" in result.stderr
    assert stub.requests[-1][2] == {"tenant_id": "t1", "scopes": ["events:write", "siem:read"]}


def test_a_key_may_end_by_itself(stub: Any, gateway_command: Command) -> None:
    """When it ends is the gateway's to check."""
    given = ("--scope", "events:write", "--expires-at", "2027-01-31T12:00:00Z")
    assert gateway_command("keys", "create", *given).exit_code == 0
    assert stub.requests[-1][2] == {"scopes": ["events:write"], "expires_at": "2027-01-31T12:00:00Z"}


def test_keys_are_listed_with_their_scopes(stub: Any, gateway_command: Command) -> None:
    """The table joins the scopes; JSON keeps them as they are."""
    assert "events:write siem:read" in gateway_command("keys", "list").stdout
    assert json.loads(gateway_command("keys", "list", "--json").stdout)["data"][0]["id"] == "key_1"


def test_a_key_is_revoked_by_its_id(stub: Any, gateway_command: Command) -> None:
    """The id travels as one segment of the path, whatever stands in it."""
    assert "key_1 revoked" in gateway_command("keys", "revoke", "key_1").stdout
    gateway_command("keys", "revoke", "../siem")
    assert [path for method, path, _ in stub.requests if method == "DELETE"][1] == "/v1/audit/keys/..%2Fsiem"
