from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRejected
from gateway.providers import PROVIDERS
from gateway.providers.cloudwatch import CLOUDWATCH
from gateway.providers.datadog import DATADOG, intake_url
from gateway.providers.elastic import ELASTIC
from gateway.providers.endpoint import parse_endpoint, strip_path_suffix
from gateway.providers.splunk import SPLUNK, collector_url


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" https://Host.Example:8088/a/b?x=1#part ", "https://host.example:8088/a/b?x=1"),
        ("host:8088/a", "https://host:8088/a"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
        ("https://host:443/a", "https://host/a"),
        ("http://host:80", "http://host"),
        ("https://[::1]:8088/x", "https://[::1]:8088/x"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
        ("https://xn--strae-oqa.example/", "https://xn--strae-oqa.example/"),
        ("https://my_host.xn--strae-oqa/", "https://my_host.xn--strae-oqa/"),
        ("https://host/a%20b?q=%C3%A4&t={x}", "https://host/a%20b?q=%C3%A4&t=%7Bx%7D"),
    ],
)
def test_cleans_an_address(text: str, address: str) -> None:
    """Trimmed, https where no scheme is given, no fragment, no default port, ASCII throughout."""
    assert parse_endpoint(text).address == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "ftp://host/",
        "https://user:word@host/",
        "https://user@host/",
        "https://host/a\r\nX-Evil: 1",
        "https://host/\x00",
        "https://ho st/",
        "https://host\\@evil/",
        "https://:8088/",
        "https://host:0/",
        "https://host:99999/",
        "https://host:port/",
        "https://[::1",
        "https://[nonsense]/",
        "https://ho!st/",
        "https://a..b/",
        "https://xn--a/",
        "https://xn--0.example.com/",
        "https://a.XN--b1-.example/",
        "https://" + "a" * 300,
        "https://host/" + "a" * 3000,
        "javascript:alert(1)",
    ],
)
def test_refuses_what_is_no_web_address(text: str) -> None:
    """The error names the field and never repeats a password."""
    with pytest.raises(RequestRejected) as caught:
        parse_endpoint(text)
    assert caught.value.errors[0][0] == "endpoint"
    assert "word@" not in caught.value.detail


@given(st.text(max_size=60))
def test_any_text_is_cleaned_or_refused(text: str) -> None:
    """No text makes it fail in another way, and cleaning twice changes nothing."""
    for provider in PROVIDERS.values():
        try:
            address = provider.normalise_endpoint(text)
        except RequestRejected:
            continue
        assert provider.normalise_endpoint(address) == address


def test_strips_the_first_suffix_that_fits() -> None:
    """The longest stands first; slashes at the end do not count."""
    assert strip_path_suffix("/proxy/a/b//", ("/a/b", "/b")) == "/proxy"
    assert strip_path_suffix("/", ("/a",)) == ""


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/services/collector",
        "/services/collector/",
        "/services/collector/event",
        "/services/collector/event/1.0",
        "/services/collector/raw",
        "/services/collector/raw/1.0",
        "/services/collector/ack",
        "/services/collector/health",
        "/services/collector/health/1.0",
    ],
)
@pytest.mark.parametrize("prefix", ["", "/proxy"])
def test_splunk_takes_every_form_that_users_paste(prefix: str, path: str) -> None:
    """A base, the collector, or one of its endpoints: all lead to the same collector, behind a proxy's path too."""
    endpoint = parse_endpoint(f"https://splunk.example:8088{prefix}{path}?token=x")
    assert collector_url(endpoint) == f"https://splunk.example:8088{prefix}/services/collector"


def test_splunk_drops_a_query() -> None:
    """Tokens are found in queries, and an endpoint is shown."""
    assert SPLUNK.normalise_endpoint("host:8088/services/collector?token=x") == "https://host:8088/services/collector"


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("datadoghq.eu", "https://http-intake.logs.datadoghq.eu/api/v2/logs"),
        ("https://app.datadoghq.com/logs", "https://http-intake.logs.datadoghq.com/api/v2/logs"),
        ("https://api.us5.datadoghq.com", "https://http-intake.logs.us5.datadoghq.com/api/v2/logs"),
        ("us3.datadoghq.com", "https://http-intake.logs.us3.datadoghq.com/api/v2/logs"),
        ("https://ap9.datadoghq.com", "https://http-intake.logs.ap9.datadoghq.com/api/v2/logs"),
        ("https://us2.ddog-gov.com", "https://http-intake.logs.us2.ddog-gov.com/api/v2/logs"),
        ("https://acme.datadoghq.com/", "https://http-intake.logs.datadoghq.com/api/v2/logs"),
        (
            "https://http-intake.logs.datadoghq.com/v1/input/0123abc",
            "https://http-intake.logs.datadoghq.com/api/v2/logs",
        ),
        (
            "https://agent-http-intake.logs.us3.datadoghq.com:443",
            "https://http-intake.logs.us3.datadoghq.com/api/v2/logs",
        ),
        ("https://proxy.example/v1/input/0123abc?k=1", "https://proxy.example/api/v2/logs"),
        ("https://proxy.example/dd/logs", "https://proxy.example/dd/logs"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("https://notdatadoghq.com/x", "https://notdatadoghq.com/x"),
    ],
)
def test_datadog_finds_the_intake_of_a_site(typed: str, address: str) -> None:
    """Any address of a Datadog site becomes its intake; another host is kept, and a key in a path is not."""
    assert DATADOG.normalise_endpoint(typed) == address


def test_datadog_completes_a_proxy_without_a_path() -> None:
    """A host alone gets the intake's path, a path that was typed stays."""
    assert intake_url(parse_endpoint("https://proxy.example/")) == "https://proxy.example/api/v2/logs"
    assert intake_url(parse_endpoint("https://proxy.example/in/")) == "https://proxy.example/in"


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("eu-west-1", "https://logs.eu-west-1.amazonaws.com"),
        ("cn-north-1", "https://logs.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "https://logs.eusc-de-east-1.amazonaws.eu"),
        ("logs.us-east-1.amazonaws.com/x?y", "https://logs.us-east-1.amazonaws.com"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/"),
    ],
)
def test_cloudwatch_takes_a_region_or_an_endpoint(typed: str, address: str) -> None:
    """A region alone becomes its endpoint, in the domain of its partition; a path is never used."""
    assert CLOUDWATCH.normalise_endpoint(typed) == address


def test_consoles_are_not_endpoints() -> None:
    """The addresses of the AWS console and of Kibana are refused with a word on the right one."""
    for provider, address in [
        (CLOUDWATCH, "https://eu-west-1.console.aws.amazon.com/cloudwatch/home"),
        (ELASTIC, "https://x.kb.eu-west-1.aws.found.io:9243"),
        (ELASTIC, "https://kibana.example/app/discover"),
    ]:
        with pytest.raises(RequestRejected, match="endpoint"):
            provider.normalise_endpoint(address)


def test_the_examples_of_the_public_page_stay_as_they_are() -> None:
    """What the documentation shows is already in the form that is stored."""
    for provider in PROVIDERS.values():
        assert provider.normalise_endpoint(provider.example_endpoint) == provider.example_endpoint
