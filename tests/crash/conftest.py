from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.explorer import ROOMY, laboratory
from tests.crash.life import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """For workloads: a disk budget that they reach."""
    with laboratory():
        lab = Lab()
        yield lab
        lab.close()


@pytest.fixture
def roomy(lab: Lab) -> Iterator[Lab]:
    """For whoever looks at what is left: room to go on."""
    roomy = Lab(ROOMY)
    yield roomy
    roomy.close()


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> None:
    """Nothing here touches a real file, and everything runs in the loop's thread on purpose."""
