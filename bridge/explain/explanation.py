"""``bridge explain`` as a whole: mappings, a history, what is wanted → the account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import Fatal
from bridge.explain.account import Account
from bridge.explain.history import over_records, over_topics
from bridge.explain.personal import Personal
from bridge.explain.teller import Teller
from bridge.explain.wanted import Wanted
from bridge.mapping import load
from bridge.mapping.catalog import Catalog
from bridge.mapping.probes import Probes
from bridge.mapping.tokens import Tokenise
from bridge.model import InputPartition, Modes, SourceSettings
from bridge.runtime.lenient import lenient
from bridge.runtime.transform import read_captures, settings_for
from bridge.runtime.wiring import throwaway_reader

if TYPE_CHECKING:
    from bridge.config import Config


class Explanation:
    """One question. The history runs through mappings as the bridge compiles them; what is found is told with probes."""

    def __init__(
        self,
        files: Sequence[tuple[str, str]],
        source: str,
        catalog: Catalog | None,
        wanted: Wanted,
        tokenise: Tokenise,
        *,
        show_data: bool,
    ) -> None:
        self.source = source
        self.wanted = wanted
        self.mappings = load(files, source, catalog, tokenise)
        self._probes = Probes()
        self._probed = load(files, source, catalog, tokenise, self._probes)
        self._personal = Personal(self._probes.drafts, catalog, show=show_data)

    def tell(self, settings: SourceSettings, partitions: Sequence[InputPartition], searched: str) -> Account:
        """What was found. Raises Fatal where it is nothing, or not one."""
        observed = self.wanted.one(searched)
        end = f"{settings.log or settings.transaction_topic}-0"
        return Teller(self._probed, self._probes, self._personal, partitions, end).tell(observed, self.wanted)


def from_captures(
    explanation: Explanation, names: Sequence[str], config: Config | None, told: dict[str, Any]
) -> Account:
    """From capture files; ``config``, if there is one, says what the connector does, and ``told`` more (see MODES)."""
    source = None if config is None else config.sources[explanation.source].settings
    records = read_captures(names)
    modes = (Modes() if source is None else source.modes).told(told)
    settings = settings_for(records, explanation.source, f"{explanation.source}.DLT", modes)
    if source is not None:
        settings = msgspec.structs.replace(settings, connector=source.connector, signal_table=source.signal_table)
    settings, mappings = lenient(settings, explanation.mappings)
    partitions = over_records(records, settings, mappings, explanation.wanted)
    return explanation.tell(settings, partitions, ", ".join(names))


def from_kafka(explanation: Explanation, config: Config | None, tell: Callable[[str], None]) -> Account:
    """From the topics of a config's source. ``tell``: progress, for people."""
    if config is None:
        hint = "give capture files, or --config, which says where Kafka is"
        raise Fatal("there is nothing to search", hint, code="B510")
    source = config.sources[explanation.source]
    settings, mappings = lenient(source.settings, explanation.mappings)
    reader = throwaway_reader(config, source, "explain")
    try:
        partitions = over_topics(reader, settings, mappings, explanation.wanted, tell)
    finally:
        reader.close()
    return explanation.tell(settings, partitions, f"the topics of {explanation.source}")
