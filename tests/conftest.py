from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import structlog
from blockbuster import blockbuster_ctx

# Where a blocking call is no fault. The product calls the first four in threads; tests call them directly.
MAY_BLOCK = (
    ("gateway/queue/wal/files.py", "__init__"),
    ("gateway/queue/wal/inspect.py", "inspect_directory"),
    ("gateway/destinations/schema.py", "migrations"),
    ("gateway/destinations/snapshot_file.py", "load"),
    ("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args"),  # looks for password files before it connects
    ("structlog/_base.py", "_process_event"),  # a logged traceback reads its source lines
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="try as many cases as a night allows, not a minute")


def pytest_configure(config: pytest.Config) -> None:
    """Between two changes the same examples are tried each time; a soak looks for new ones."""
    hypothesis.settings.register_profile("same examples", derandomize=True)
    if not config.getoption("--soak"):
        hypothesis.settings.load_profile("same examples")


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> bool:
    """Whether there is time: a test then tries many times as many cases of the same kind."""
    return bool(pytestconfig.getoption("--soak"))


@pytest.fixture(autouse=True)
def logging_is_nobodys() -> Iterator[None]:
    """What a test sets up for the log's lines ends with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    """A call from the gateway's code that would block the event loop raises BlockingError instead."""
    with blockbuster_ctx("gateway") as guard:
        for function in guard.functions.values():
            for file, name in MAY_BLOCK:
                function.can_block_in(file, name)
        yield
