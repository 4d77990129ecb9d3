"""The same mappings for one who looks on: nothing that would stop the bridge stops him."""

from __future__ import annotations

import msgspec

from bridge.model import MappingSet, SourceSettings


def lenient(settings: SourceSettings, mappings: MappingSet) -> tuple[SourceSettings, MappingSet]:
    """The same without what stops the bridge: the policy ``stop``, and the limit of failures."""
    tolerant = [
        msgspec.structs.replace(mapping, on_error="skip") if mapping.on_error == "stop" else mapping
        for mapping in mappings.mappings
    ]
    return msgspec.structs.replace(settings, max_share=1.0), msgspec.structs.replace(mappings, mappings=tuple(tolerant))
