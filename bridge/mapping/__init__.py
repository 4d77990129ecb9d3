"""The mapping language: text in, ``MappingSet`` or diagnostics out. Nothing here reads a file, a clock or a socket.

``diagnostics.CODES`` and ``RUNTIME_CODES`` list what can be wrong; ``functions.FUNCTIONS`` what expressions can call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bridge.errors import MappingInvalid
from bridge.mapping.catalog import Catalog
from bridge.mapping.check import check_files
from bridge.mapping.compile import compile_set
from bridge.mapping.probes import Probes
from bridge.mapping.tokens import Tokenise, plain
from bridge.model import Diagnostic, MappingSet

__all__ = ["diagnose", "examine", "load"]


def load(
    files: Sequence[tuple[str, str]],
    source: str,
    catalog: Catalog | None = None,
    tokenise: Tokenise = plain,
    probe: Probes | None = None,
) -> MappingSet:
    """Check every file and compile those of one source.

    ``files``: (file name, text). ``catalog``: the source's, or None if nobody knows it; other sources' files are checked
    without one. ``tokenise``: what stands for personal data. ``probe``: a recorder of what the compiled code does.
    Raises MappingInvalid with every diagnostic.
    """
    drafts, found = check_files(files, lambda name: catalog if name == source else None)
    chosen = [draft for draft in drafts if draft.source == source]
    if any(not one.warning for one in found):
        raise MappingInvalid(found)
    others = {draft.file for draft in drafts if draft.source != source}
    return compile_set(chosen, source, catalog, [pair for pair in files if pair[0] not in others], tokenise, probe)


def examine(
    files: Sequence[tuple[str, str]],
    catalog: Callable[[str], Catalog | None],
    source: str | None = None,
    connector: Callable[[str], str] = lambda _: "",
) -> tuple[list[Diagnostic], dict[str, bool]]:
    """The same checks without compiling, each file with its source's catalog: diagnostics, and the sources named, each
    with whether a mapping of it has windows.

    With ``source``: only what concerns that source's files.
    """
    drafts, found = check_files(files, catalog, connector)
    if source is not None:
        others = {draft.file for draft in drafts if draft.source not in ("", source)}
        found = [diagnostic for diagnostic in found if diagnostic.file not in others]
    sources: dict[str, bool] = {}
    for draft in drafts:
        sources[draft.source] = sources.get(draft.source, False) or draft.window is not None
    return found, sources


def diagnose(files: Sequence[tuple[str, str]], catalog: Catalog | None = None, connector: str = "") -> list[Diagnostic]:
    """All diagnostics of files of one source."""
    return examine(files, lambda _: catalog, connector=lambda _: connector)[0]
