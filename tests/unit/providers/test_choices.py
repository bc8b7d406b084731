from __future__ import annotations

import pytest

from gateway.errors import RequestRejected
from gateway.providers import PROVIDERS
from gateway.providers.choices import credential, text_option, whole_option
from gateway.providers.codec import Field, Secret, Settings
from tests.provider_cases import CREDENTIALS, settings

NUMBER = Field("n", "N", "option", type="integer", default=3, minimum=1, maximum=10)


def chosen(options: dict[str, object], **credentials: str) -> Settings:
    return Settings("https://h", {name: Secret(value) for name, value in credentials.items()}, options)


def test_credentials_are_trimmed() -> None:
    """White space from the clipboard is no part of a token."""
    assert credential(chosen({}, token=" abc\n"), "token") == "abc"


@pytest.mark.parametrize("value", ["", "  ", "a\r\nX-Evil: 1", "a\x00", "é"])
def test_credentials_that_do_not_fit_into_a_header(value: str) -> None:
    """They are refused by name, and not repeated."""
    with pytest.raises(RequestRejected) as caught:
        credential(chosen({}, token=value), "token")
    assert caught.value.errors[0][0] == "token"
    assert "Evil" not in str(caught.value)


def test_a_secret_that_is_no_header_may_be_any_text() -> None:
    """Signing keys are not sent."""
    assert credential(chosen({}, secret="geheim-é"), "secret", header=False) == "geheim-é"


def test_options_fall_back_to_the_default_of_their_field() -> None:
    """What was not chosen, or is null, has the default that the form shows."""
    field = Field("source", "Source", "option", default="truthlocks")
    choices: list[dict[str, object]] = [{}, {"source": None}, {"source": "x"}]
    assert [text_option(chosen(options), field) for options in choices] == [
        "truthlocks",
        "truthlocks",
        "x",
    ]


def test_options_hold_no_control_characters() -> None:
    """They would end up in headers or names."""
    with pytest.raises(RequestRejected, match=r"options\.source"):
        text_option(chosen({"source": "a\nb"}), Field("source", "Source", "option"))


@pytest.mark.parametrize("value", [0, 11, "5", 5.0, True])
def test_whole_numbers_keep_their_range(value: object) -> None:
    """Anything else is refused with the range."""
    with pytest.raises(RequestRejected, match="from 1 to 10"):
        whole_option(chosen({"n": value}), NUMBER)
    assert whole_option(chosen({}), NUMBER) == 3


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_a_required_credential_is_required(name: str) -> None:
    """No codec is built without the credentials that its form requires."""
    required = [field.name for field in PROVIDERS[name].fields if field.where == "credential" and field.required]
    assert sorted(required) == sorted(CREDENTIALS[name])
    for missing in required:
        with pytest.raises(RequestRejected, match=missing):
            PROVIDERS[name].build(settings(name, credentials={missing: ""}))
