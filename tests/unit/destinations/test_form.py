"""What a caller gave, member by member, against the fields of a provider that has one of each type."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from msgspec import UNSET

from gateway.destinations.form import Form, read_form
from gateway.destinations.problems import Problems
from gateway.destinations.store import Filter
from gateway.errors import RequestRejected
from gateway.providers.codec import Codec, Field, Provider, Secret, Settings


def build(settings: Settings) -> Codec:
    raise AssertionError(f"a form builds nothing: {settings}")


PROVIDER = Provider(
    name="sample",
    label="Sample",
    fields=(
        Field("token", "Token", "credential", required=True, secret=True),
        Field("spare", "Spare", "credential", secret=True),
        Field("index", "Index", "option", pattern=r"^[a-z]+$", help="Lower-case letters."),
        Field("text", "Text", "option"),
        Field("count", "Count", "option", type="integer", default=3),
        Field("pause", "Pause", "option", type="integer", default=3, minimum=2, maximum=60),
        Field("ack", "Ack", "option", type="boolean"),
        Field("tags", "Tags", "option", type="array"),
        Field("headers", "Headers", "option", type="object"),
        Field("mode", "Mode", "option", type="enum", choices=("one", "two")),
        Field("key", "Key", "credential", secret=True, multiline=True),
        Field("chain", "Chain", "option", multiline=True),
    ),
    endpoint_help="",
    credentials_help="",
    example_endpoint="https://sample.example.com",
    normalise_endpoint=lambda endpoint: endpoint,
    build=build,
)


def read(**given: object) -> Form:
    problems = Problems("the destination")
    form = read_form(given, PROVIDER, problems)
    problems.raise_any()
    return form


def errors(**given: object) -> dict[str, str]:
    with pytest.raises(RequestRejected) as caught:
        read(**given)
    assert caught.value.status == 422
    return dict(caught.value.errors)


def test_nothing_given_is_nothing_set() -> None:
    """Every member is UNSET, so that a change leaves what it does not name."""
    assert read() == Form()
    form = read()
    assert (form.endpoint, form.enabled, form.name, form.filter) == (UNSET, UNSET, UNSET, UNSET)


def test_plain_members() -> None:
    """Text is trimmed, flags are taken as they are."""
    form = read(
        provider="sample", endpoint=" https://h/x ", enabled=False, ordered=True, name=" N ", tenant_id="t-ü", token="s"
    )
    assert (form.endpoint, form.enabled, form.ordered, form.name) == ("https://h/x", False, True, "N")
    assert (form.tenant_id, form.credentials) == ("t-ü", {"token": Secret("s")})


def test_null_is_not_given() -> None:
    """A null member changes nothing, but brings name and filter back to their defaults."""
    form = read(
        endpoint=None,
        enabled=None,
        ordered=None,
        tenant_id=None,
        options=None,
        credentials=None,
        name=None,
        filter=None,
    )
    assert form == Form(name="", filter=Filter())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", 7),
        ("enabled", "true"),
        ("enabled", 1),
        ("ordered", "no"),
        ("name", ["n"]),
        ("name", "n" * 201),
        ("name", "a\nb"),
        ("tenant_id", ""),
        ("tenant_id", "  "),
        ("tenant_id", 5),
        ("tenant_id", "t" * 129),
        ("tenant_id", "a\x00b"),
        ("filter", ["attestation.*"]),
        ("options", []),
        ("credentials", "token"),
    ],
)
def test_wrong_values_name_their_member(name: str, value: object) -> None:
    """One error, at the member that is wrong."""
    assert list(errors(**{name: value})) == [name]


def test_everything_wrong_is_said_at_once() -> None:
    """Each problem stands in ``errors``; the detail shows the first three and counts the rest."""
    with pytest.raises(RequestRejected) as caught:
        read(enabled="x", ordered="x", name=7, token=7, endpoint=7)
    assert [field for field, _ in caught.value.errors] == ["token", "endpoint", "name", "enabled", "ordered"]
    assert caught.value.detail.startswith("the destination is not valid: token: must be text; ")
    assert caught.value.detail.endswith("; and 2 more")


def test_unknown_members_name_the_nearest() -> None:
    """A misspelt member is refused with the one that was probably meant."""
    assert errors(endpont="https://h") == {"endpont": "unknown; the nearest known one is endpoint"}
    assert errors(tokn="s") == {"tokn": "unknown; the nearest known one is token"}
    assert errors(options={"idnex": "a"}) == {"options.idnex": "unknown; the nearest known one is index"}
    assert errors(filter={"action": []}) == {"filter.action": "unknown; the nearest known one is actions"}
    assert errors(credentials={"tokens": "s"}) == {"credentials.tokens": "unknown; the nearest known one is token"}


def test_an_option_at_the_top_is_sent_to_its_place() -> None:
    """Options stand inside of ``options`` alone."""
    assert "options" in errors(index="main")["index"]


def test_an_unknown_name_is_shown_harmlessly() -> None:
    """What is repeated of a caller's own names is short and printable."""
    (name,) = errors(**{"a\n" + "b" * 500: 1})
    assert name == "a?" + "b" * 62


@pytest.mark.parametrize("place", ["", "options", "filter", "credentials"])
def test_unknown_members_without_end_are_counted(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest known one is looked for a hundred times at the most: that takes time which all others wait for."""
    compared: list[str] = []

    def close_matches(name: str, known: Collection[str], *, n: int, cutoff: float) -> list[str]:
        compared.append(name)
        return list(known)[:n]

    monkeypatch.setattr("difflib.get_close_matches", close_matches)
    unknown = {f"m{number:05}": "x" for number in range(5_000)}
    problems = Problems("the destination")
    read_form({place: unknown} if place else unknown, PROVIDER, problems)
    with pytest.raises(RequestRejected) as caught:
        problems.raise_any()
    assert len(compared) == len(caught.value.errors) == 100
    assert caught.value.detail.endswith("; and 4997 more")


def test_a_long_unknown_name_is_compared_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is shown of it: to compare one of a megabyte would keep all others waiting."""
    compared: list[str] = []

    def close_matches(name: str, known: Collection[str], *, n: int, cutoff: float) -> list[str]:
        compared.append(name)
        return list(known)[:n]

    monkeypatch.setattr("difflib.get_close_matches", close_matches)
    errors(**{"x" * 100_000: 1})
    assert compared == ["x" * 64]


# -- credentials


def test_credentials_at_the_top_or_inside() -> None:
    """Both places are read; the same value in both is no contradiction."""
    expected = {"token": Secret("s"), "spare": Secret("t")}
    assert read(token=" s ", spare="t").credentials == expected
    assert read(credentials={"token": "s", "spare": "t"}).credentials == expected
    assert read(token="s", credentials={"token": "s", "spare": "t"}).credentials == expected
    assert "twice" in errors(token="s", credentials={"token": "other"})["token"]


def test_a_credential_that_is_null_is_taken_away() -> None:
    """None in the form; whether it may go is decided with what is stored."""
    assert read(spare=None).credentials == {"spare": None}
    assert read(credentials={"spare": None}).credentials == {"spare": None}


@pytest.mark.parametrize("value", ["", "  \n", "in\nside", "in\x00side", 7, ["s"], "hunter2" * 2_000])
def test_credentials_that_cannot_be_right(value: object) -> None:
    """Empty, with control characters, no text, or too long: refused, and the value is not repeated."""
    found = errors(token=value)
    assert list(found) == ["token"]
    assert "hunter2" not in str(found)


# -- options


def test_options_of_each_type() -> None:
    """They come out as the codec reads them."""
    chosen = {"index": " main ", "count": 5, "ack": True, "tags": ["a", " b "], "headers": {"X": "1"}, "mode": "two"}
    assert read(options=chosen).options == {**chosen, "index": "main", "tags": ["a", "b"]}


def test_a_list_may_be_one_text() -> None:
    """Commas stand between the items; what is empty is left out."""
    assert read(options={"tags": "env:prod, team:a,,"}).options == {"tags": ["env:prod", "team:a"]}


def test_an_option_is_taken_away_by_null_or_nothing() -> None:
    """Null, and empty text as web forms send it, even where a pattern would not allow it."""
    assert read(options={"index": None, "text": "", "mode": " "}).options == {"index": None, "text": None, "mode": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("index", "Main"),
        ("index", "main\nx"),
        ("index", 7),
        ("text", "a\x7fb"),
        ("text", "x" * 5_000),
        ("count", "5"),
        ("count", True),
        ("count", 5.5),
        ("ack", "true"),
        ("ack", 1),
        ("tags", [1]),
        ("tags", ["a\nb"]),
        ("tags", ["x"] * 101),
        ("headers", ["X: 1"]),
        ("headers", {"X": 1}),
        ("headers", {"X": "a\r\nB: c"}),
        ("mode", "three"),
        ("mode", 1),
    ],
)
def test_options_of_the_wrong_kind(name: str, value: object) -> None:
    """Type, pattern, choices and size are checked, and the error names the option."""
    assert list(errors(options={name: value})) == [f"options.{name}"]


@pytest.mark.parametrize(("name", "value"), [("pause", 1), ("pause", 61), ("count", -1), ("count", 10**31)])
def test_a_number_keeps_its_bounds(name: str, value: int) -> None:
    """Also one that nothing uses for now, and one without bounds of its own: not every number can be kept."""
    low, high = (2, 60) if name == "pause" else (0, 1 << 31)
    assert errors(options={name: value}) == {f"options.{name}": f"must be a whole number from {low} to {high}"}
    assert read(options={name: low}).options == {name: low}
    assert read(options={name: high}).options == {name: high}


def test_a_pattern_explains_itself() -> None:
    """The help of the field stands in the message, for a pattern alone tells most people nothing."""
    assert "Lower-case letters." in errors(options={"index": "A"})["options.index"]


# -- filter


def test_a_filter_is_read_whole() -> None:
    """Members that are null or missing let everything through."""
    form = read(filter={"actions": ["attestation.*", " key.* "], "outcomes": ["DENIED"], "services": None})
    assert form.filter == Filter(actions=("attestation.*", "key.*"), outcomes=("DENIED",))
    assert read(filter={}).filter == Filter()


@pytest.mark.parametrize("value", ["attestation.*", [1], [""], ["a\nb"], ["x" * 300], ["x"] * 300, {"a": "b"}])
def test_filters_of_the_wrong_kind(value: object) -> None:
    """Each list holds patterns that can match something, and not too many."""
    assert list(errors(filter={"actions": value})) == ["filter.actions"]


def test_a_filter_has_a_bound_on_what_is_searched_for() -> None:
    """Each is looked for in every event; what stands at the end of a pattern takes no search."""
    lists = {"actions": ["a*b*"] * 100, "services": ["*s"] * 100}
    assert read(filter={**lists, "outcomes": ["S*"] * 200}).filter == Filter(
        actions=("a*b*",) * 100, services=("*s",) * 100, outcomes=("S*",) * 200
    )
    assert list(errors(filter={**lists, "exclude_actions": ["***x"]})) == ["filter"]


def test_text_of_several_lines_keeps_them() -> None:
    """A certificate and a key may have line breaks and be long; no other control character comes with them."""
    pem = "-----BEGIN X-----\r\n" + "QUJD\n" * 5_000 + "-----END X-----"
    form = read(key=f"{pem}\n", options={"chain": f"\n{pem}"})
    assert (form.credentials["key"], form.options["chain"]) == (Secret(pem), pem)
    for wrong in ("a\rb", "a\x00b", "a\tb", "x" * 70_000):
        found = errors(key=wrong, options={"chain": wrong})
        assert found.keys() == {"key", "options.chain"}
    assert errors(token="a\nb", options={"text": "a\nb"}).keys() == {"token", "options.text"}
