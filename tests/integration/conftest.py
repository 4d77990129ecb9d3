"""One real broker for all integration tests of a session; every test has topics, a group and an id of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.stack import Stack


@pytest.fixture(scope="session")
def kafka_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka alone. A test that kills the broker starts it again before it ends."""
    with Stack(tmp_path_factory.mktemp("kafka"), services=("kafka",), progress=lambda _: None) as stack:
        yield stack
