"""What handlers read of a query string: numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.server.parameters import NUMBER, Parameter
from gateway.server.routes import ROUTES, Route
from tests.loopback_gateway import Gateway

NUMBERS = [
    (route, parameter)
    for route in ROUTES
    for parameter in route.parameters
    if parameter.schema.get("type") == "integer" or parameter is NUMBER
]
each_number = pytest.mark.parametrize(
    ("route", "parameter"),
    NUMBERS,
    ids=[f"{route.method} {route.path} {parameter.name}" for route, parameter in NUMBERS],
)
STRANGE = (
    *("", " ", "x", "-1", "+1", "1.5", "1e2", "1_0", "0x1", "\N{SUPERSCRIPT TWO}", "\N{FULLWIDTH DIGIT ONE}"),
    *("1%00", "%FF", "%ED%A0%80", "9" * 16, "9" * 40, "1" * 5_000, "0" * 5_000, "01", "0" * 14 + "99999999"),
)


async def refusals(gateway: Gateway, route: Route, parameter: Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """What each of the values is answered with, where that is a problem of this parameter."""
    path = route.path.replace("{id}", await gateway.make_destination())
    found = {}
    for value in values:
        answer = await gateway.ask(route.method, f"{path}?{parameter.name}={value}")
        if answer.status == 400:
            assert answer.errors().keys() == {parameter.name}
            found[value] = answer.detail
    return found


def out_of_range(schema: Mapping[str, object]) -> tuple[str, ...]:
    bounds = [(schema[name], step) for name, step in (("minimum", -1), ("maximum", 1)) if name in schema]
    return tuple(str(bound + step) for bound, step in bounds if isinstance(bound, int))


@each_number
async def test_a_number_is_plain_digits_within_its_bounds(gateway: Gateway, route: Route, parameter: Parameter) -> None:
    """Every number of every query: 400 with what is allowed for what is none, too long, or out of range however it is
    written.
    """
    wrong = (*STRANGE, *out_of_range(parameter.schema))
    found = await refusals(gateway, route, parameter, wrong)
    assert found.keys() == set(wrong)
    assert all("whole number from" in detail for detail in found.values())


@each_number
async def test_the_bounds_of_a_number_are_allowed(gateway: Gateway, route: Route, parameter: Parameter) -> None:
    """The smallest and the largest that the description tells of, and 15 digits for a cursor."""
    schema = parameter.schema
    bounds = tuple(str(schema[name]) for name in ("minimum", "maximum") if name in schema) or ("0", "9" * 15)
    if route.method == "DELETE":
        bounds = bounds[:1]  # nothing is delivered here: the others would be waited for
    assert await refusals(gateway, route, parameter, bounds) == {}


def test_all_of_them_are_looked_at() -> None:
    """Numbers of a query are limits, cursors and a timeout."""
    assert {parameter.name for _, parameter in NUMBERS} == {"limit", "cursor", "timeout"}
