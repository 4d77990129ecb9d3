"""The mapping language: text in, ``MappingSet`` or diagnostics out. Nothing here reads a file, a clock or a socket.

``diagnostics.CODES`` and ``RUNTIME_CODES`` list what can be wrong; ``functions.FUNCTIONS`` what expressions can call.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.errors import MappingInvalid
from bridge.mapping.check import check_files
from bridge.mapping.compile import compile_set
from bridge.model import Diagnostic, MappingSet

__all__ = ["diagnose", "load"]


def load(files: Sequence[tuple[str, str]], source: str, types: dict[str, dict[str, str]] | None = None) -> MappingSet:
    """Check every file and compile those of one source.

    ``files``: (file name, text). ``types``: the source catalog {table: {column: SQL type}}, or None if nobody knows
    it; it
    describes ``source`` alone, so other sources' files are checked without it. Raises MappingInvalid with every
    diagnostic.
    """
    drafts, found = check_files(files, types, source)
    if found:
        raise MappingInvalid(found)
    chosen = [draft for draft in drafts if draft.source == source]
    names = {draft.file for draft in chosen}
    return compile_set(chosen, source, types, [pair for pair in files if pair[0] in names])


def diagnose(files: Sequence[tuple[str, str]], types: dict[str, dict[str, str]] | None = None) -> list[Diagnostic]:
    """The same checks, for every source, without compiling. With ``types`` all files must be of its source."""
    return check_files(files, types)[1]
