"""Stored checkpoints: a source's state and offsets as of one Kafka transaction, in a directory.

A checkpoint is what the changelog held up to an offset, record by record in its order; whoever restores it has the state
that a bridge had there. One directory each: ``manifest.json``, and ``changelog.gz``, MessagePack pairs of key and value in
frames with four bytes of length. It takes its name when all of it is written.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.pipeline import CHECKPOINT
from bridge.errors import Fatal
from bridge.model import Changelog, ChangelogRecord
from bridge.state.rows import meta_key

_MANIFEST: Final = "manifest.json"
_RECORDS: Final = "changelog.gz"
_CHECKPOINT: Final = meta_key(CHECKPOINT)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]]).decode


class Manifest(msgspec.Struct, frozen=True):
    """``made_at_ms``: by the clock of the machine that made it; ``changelog``: identity of the topic it is a copy of."""

    name: str
    source: str
    made_at_ms: int
    changelog: str
    records: int
    checkpoint: Checkpoint


class Stored:
    """One of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.manifest = msgspec.json.decode((path / _MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise damaged(path, error) from error

    @property
    def end_offset(self) -> int:
        """Of the last END that it holds."""
        return self.manifest.checkpoint.end_offset

    def records(self) -> Iterator[list[ChangelogRecord]]:
        """In the changelog's order. Raises Fatal."""
        try:
            with gzip.open(self.path / _RECORDS, "rb") as file:
                while size := file.read(4):
                    yield [
                        ChangelogRecord(key, value) for key, value in _decode(file.read(int.from_bytes(size, "big")))
                    ]
        except (OSError, EOFError, msgspec.DecodeError) as error:
            raise damaged(self.path, error) from error


class Checkpoints:
    """Those of one source, in a directory of its own."""

    def __init__(self, directory: Path, source: str) -> None:
        self._directory = directory
        self._source = source

    def create(self, name: str, changelog: Changelog, made_at_ms: int, tell: Callable[[int, int], None]) -> Stored:
        """Copy the changelog as it is now. Raises Fatal where the name is taken or nothing was ever committed."""
        path = self._directory / name
        if path.exists():
            raise Fatal(f"there is a checkpoint {name} in {self._directory}", "choose another name", code="B526")
        part = self._directory / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            manifest = self._write(part, name, changelog, made_at_ms, tell)
            (part / _MANIFEST).write_bytes(msgspec.json.encode(manifest))
            for file in (part / _MANIFEST, part / _RECORDS):
                _sync(file)
            part.replace(path)
            _sync(self._directory)
        except OSError as error:
            raise Fatal(f"{path}: the checkpoint cannot be written: {error.strerror}", code="B526") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return Stored(path)

    def _write(
        self, part: Path, name: str, changelog: Changelog, made_at_ms: int, tell: Callable[[int, int], None]
    ) -> Manifest:
        checkpoint: bytes | None = None
        count = 0
        start, end = changelog.bounds()
        with gzip.open(part / _RECORDS, "wb", compresslevel=1) as file:
            for records, after in changelog.read(start, end):
                for key, value in records:
                    if key == _CHECKPOINT:
                        checkpoint = value
                frame = _encode(records)
                file.write(len(frame).to_bytes(4, "big") + frame)
                count += len(records)
                tell(after - start, end - start)
        if checkpoint is None:
            raise Fatal(f"source {self._source} has no state yet", "let the bridge run first", code="B526")
        return Manifest(name, self._source, made_at_ms, changelog.identity(), count, Checkpoint.decode(checkpoint))

    def all(self) -> list[Stored]:
        """The oldest first. Raises Fatal for one that is damaged."""
        found = [] if not self._directory.is_dir() else sorted(self._directory.glob(f"*/{_MANIFEST}"))
        stored = [Stored(path.parent) for path in found if not path.parent.name.startswith(".")]
        return sorted(stored, key=lambda one: (one.end_offset, one.manifest.made_at_ms))

    def get(self, name: str) -> Stored:
        """Raises Fatal where there is none of this name."""
        path = self._directory / name
        if not path.is_dir():
            names = ", ".join(one.manifest.name for one in self.all()) or "none"
            raise Fatal(f"there is no checkpoint {name!r} of source {self._source}", f"there are: {names}", code="B527")
        return Stored(path)

    def before(self, end: int, changelog: str) -> list[Stored]:
        """Those of this changelog that hold nothing from the END at ``end`` on, the nearest first."""
        found = [one for one in self.all() if one.end_offset < end and one.manifest.changelog == changelog]
        return found[::-1]

    def delete(self, name: str) -> None:
        """Raises Fatal where there is none of this name."""
        shutil.rmtree(self.get(name).path)


def damaged(path: Path, error: Exception) -> Fatal:
    return Fatal(f"{path}: the checkpoint cannot be read: {type(error).__name__}", "delete it", code="B528")


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
