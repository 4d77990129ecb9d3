"""The config file: every mistake at once with its place, and text from outside that no diagnostic or log shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.cli.common import mapping_set
from bridge.config import load
from bridge.errors import ConfigInvalid

GOOD = """\
kafka: {bootstrap.servers: localhost:9092, sasl.password: "${env:KAFKA_PASSWORD}"}
sources:
  legacy: {connector: postgresql, topics: [shop.public.t_ord], transaction_topic: shop.transaction}
mappings: mappings/
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text)
    return path


def test_text_from_outside_is_filled_in_and_known_as_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "open sesame")
    config = load(write(tmp_path, GOOD))
    assert config.kafka["sasl.password"] == "open sesame"
    assert config.secrets == ("open sesame",)
    assert config.sources["legacy"].changelog_topic == "bridge.legacy.changelog"


def test_every_mistake_at_once_with_its_place(tmp_path: Path) -> None:
    bad = GOOD.replace("transaction_topic", "transaction_topik").replace("postgresql", "oracle") + "mapings: x\n"
    with pytest.raises(ConfigInvalid) as caught:
        load(write(tmp_path, bad))
    found = {(problem.code, problem.line) for problem in caught.value.diagnostics}
    assert {("C002", 3), ("C002", 5), ("C003", 3), ("C006", 3)} <= found
    assert "did you mean 'mappings'?" in str(caught.value)


def test_a_missing_variable_is_named_and_nothing_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    with pytest.raises(ConfigInvalid) as caught:
        load(write(tmp_path, GOOD))
    assert [problem.code for problem in caught.value.diagnostics] == ["C008"]
    assert "KAFKA_PASSWORD" in str(caught.value)


def test_properties_that_exactly_once_rests_on_are_not_the_users(tmp_path: Path) -> None:
    bad = GOOD.replace('sasl.password: "${env:KAFKA_PASSWORD}"', "isolation.level: read_uncommitted")
    with pytest.raises(ConfigInvalid) as caught:
        load(write(tmp_path, bad))
    assert [problem.code for problem in caught.value.diagnostics] == ["C005"]


TOKENS = (
    GOOD.replace(', sasl.password: "${env:KAFKA_PASSWORD}"', "") + 'tokens: {key_id: k1, key: "${env:TOKEN_KEY}"}\n'
)


def test_a_token_is_stable_and_needs_a_long_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", "a key of thirty-two letters, see")
    config = load(write(tmp_path, TOKENS))
    assert config.secrets == ("a key of thirty-two letters, see",)
    assert config.tokenise is not None
    token = config.tokenise("email", "ann@example.org")
    assert token.startswith("k1.")
    assert len(token) == len("k1.") + 27
    assert "ann" not in token
    assert config.tokenise("email", "ann@example.org") == token
    assert config.tokenise("name", "ann@example.org") != token
    monkeypatch.setenv("TOKEN_KEY", "short")
    with pytest.raises(ConfigInvalid) as caught:
        load(write(tmp_path, TOKENS))
    assert [problem.code for problem in caught.value.diagnostics] == ["C010"]
    assert "short" not in str(caught.value).replace("is short", "")


def test_tokens_without_a_key_do_not_start(tmp_path: Path) -> None:
    (tmp_path / "customer.yaml").write_text(
        """
aggregate: Customer
source: legacy
key: cust.id
tables: {cust: {table: public.cust}}
model: {contact: {type: token, from: cust.email, pii: email}}
events: {CustomerAdded: {topic: crm, when: created(), data: [contact]}}
"""
    )
    assert mapping_set(tmp_path, "legacy", None).mappings
    with pytest.raises(ConfigInvalid) as caught:
        mapping_set(tmp_path, "legacy", None, None)
    assert [problem.code for problem in caught.value.diagnostics] == ["C010"]
