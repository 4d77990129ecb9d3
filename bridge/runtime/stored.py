"""Stored checkpoints: a source's state and offsets as of one Kafka transaction, in a directory.

A checkpoint is what the changelog held up to an offset, record by record in its order; whoever restores it has the state
that a bridge had there. What a backfill staged beside the state (``bridge.runtime.evolve``) is left out: it is no part of
the state until an owner took it over, and while one does no checkpoint can be made.

One directory each: ``manifest.json``, and ``changelog.gz``, MessagePack pairs of key and value in frames with four bytes of
length. It takes its name when all of it is written, and gives it up before any of it is deleted.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.pipeline import CHECKPOINT
from bridge.errors import Fatal
from bridge.model import Changelog, ChangelogRecord
from bridge.runtime.evolve import MERGE
from bridge.state.rows import LAYOUTS, meta_key

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
AUTOMATIC: Final = "auto-"
NOT_NOW: Final = "B529"  # nothing to store yet, or it is being changed: later there is
_MANIFEST: Final = "manifest.json"
_RECORDS: Final = "changelog.gz"
_PART: Final = ".part"
_LITTER_SECONDS: Final = 24 * 3600
_LAST_LAP: Final = 10_000  # offsets: what comes while they are read is not compacted yet
_CHECKPOINT: Final = meta_key(CHECKPOINT)
_LAYOUTS: Final = meta_key(LAYOUTS)
_MERGE: Final = meta_key(MERGE)
_OURS: Final = (b"r", b"m")  # the state's keys in the changelog
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]]).decode
_decode_layout = msgspec.json.Decoder(dict[str, list[str]]).decode
Tell = Callable[[int, int], None]


class Manifest(msgspec.Struct, frozen=True):
    """``made_at_ms``: by the clock of the machine that made it; ``changelog``: identity of the topic it is a copy of.

    ``layout``: the columns of its rows, by table. ``size``: bytes of its records' file.
    """

    name: str
    source: str
    made_at_ms: int
    changelog: str
    records: int
    checkpoint: Checkpoint
    layout: dict[str, list[str]] = {}
    size: int = 0


class Stored:
    """One of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.manifest = msgspec.json.decode((path / _MANIFEST).read_bytes(), type=Manifest)
            size = (path / _RECORDS).stat().st_size
        except (OSError, msgspec.DecodeError) as error:
            raise damaged(path, type(error).__name__) from error
        if size != self.manifest.size:
            raise damaged(path, f"{_RECORDS} has {size:,} bytes, not {self.manifest.size:,}")

    @property
    def end_offset(self) -> int:
        """Of the last END that it holds."""
        return self.manifest.checkpoint.end_offset

    def records(self) -> Iterator[list[ChangelogRecord]]:
        """In the changelog's order. Raises Fatal."""
        count = 0
        try:
            with gzip.open(self.path / _RECORDS, "rb") as file:
                while size := file.read(4):
                    frame = _decode(file.read(int.from_bytes(size, "big")))
                    count += len(frame)
                    yield [ChangelogRecord(key, value) for key, value in frame]
        except (OSError, EOFError, zlib.error, msgspec.DecodeError) as error:
            raise damaged(self.path, type(error).__name__) from error
        if count != self.manifest.records:
            raise damaged(self.path, f"it has {count:,} records, not {self.manifest.records:,}")


class Checkpoints:
    """Those of one source, in a directory of its own."""

    def __init__(self, directory: Path, source: str) -> None:
        self.directory = directory
        self._source = source

    def create(self, name: str, changelog: Changelog, made_at_ms: int, tell: Tell) -> Stored:
        """Copy the changelog as it is now; ``tell``: offsets read, of how many.

        Raises Fatal where the name is taken, the directory cannot be written, or (NOT_NOW) there is nothing to be stored.
        """
        path = self._path(name)
        if path.exists():
            raise self._taken(name)
        part = None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._sweep()
            part = Path(tempfile.mkdtemp(_PART, f".{name}.", self.directory))
            manifest = self._write(part, name, changelog, made_at_ms, tell)
            (part / _MANIFEST).write_bytes(msgspec.json.encode(manifest))
            for file in (part / _MANIFEST, part / _RECORDS, part):
                _sync(file)
            part.rename(path)
            _sync(self.directory)
        except OSError as error:
            if path.exists():
                raise self._taken(name) from error
            raise Fatal(f"{path}: the checkpoint cannot be written: {error.strerror}", code="B526") from error
        finally:
            if part is not None:
                shutil.rmtree(part, ignore_errors=True)
        return Stored(path)

    def _write(self, part: Path, name: str, changelog: Changelog, made_at_ms: int, tell: Tell) -> Manifest:
        with (part / _RECORDS).open("wb") as raw:
            with gzip.GzipFile("", "wb", 1, raw) as file:
                copy = _Copy(file)
                copy.run(changelog, tell)
            size = raw.tell()
        if copy.checkpoint is None:
            raise Fatal(f"source {self._source} has no state yet", "let the bridge run first", code=NOT_NOW)
        if copy.is_merging:
            raise Fatal(
                f"the state of source {self._source} is taking over what `bridge backfill` staged",
                "try again when the bridge is the owner and ready",
                code=NOT_NOW,
            )
        checkpoint = Checkpoint.decode(copy.checkpoint)
        layout = copy.layouts[max(copy.layouts)] if copy.layouts else {}
        identity = changelog.identity()
        return Manifest(name, self._source, made_at_ms, identity, copy.records, checkpoint, layout, size)

    def all(self) -> list[Stored]:
        """Those that can be used, the oldest first."""
        return self.look()[0]

    def look(self) -> tuple[list[Stored], dict[str, Fatal]]:
        """The same, and by name what is wrong with each of the others."""
        stored, wrong = [], {}
        for path in sorted(self.directory.iterdir()) if self.directory.is_dir() else ():
            if NAME.fullmatch(path.name) and path.is_dir():
                try:
                    stored.append(Stored(path))
                except Fatal as error:
                    wrong[path.name] = error
        return sorted(stored, key=lambda one: (one.end_offset, one.manifest.made_at_ms)), wrong

    def get(self, name: str) -> Stored:
        """Raises Fatal where there is none of this name."""
        return Stored(self._existing(name))

    def before(self, end: int, changelog: str) -> list[Stored]:
        """Those of this changelog that hold nothing from the END at ``end`` on, the nearest first."""
        found = [one for one in self.all() if one.end_offset < end and one.manifest.changelog == changelog]
        return found[::-1]

    def delete(self, name: str) -> None:
        """Raises Fatal where there is none of this name."""
        path = self._existing(name)
        gone = Path(tempfile.mkdtemp(_PART, f".{name}.", self.directory))
        path.rename(gone)
        shutil.rmtree(gone)

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            text = f"{name!r} is no name of a checkpoint"
            raise Fatal(text, "up to 80 letters, digits, '.', '_' and '-', the first a letter or digit", code="B526")
        return self.directory / name

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        if not path.is_dir():
            names = ", ".join(one.manifest.name for one in self.all()) or "none"
            raise Fatal(f"there is no checkpoint {name!r} of source {self._source}", f"there are: {names}", code="B527")
        return path

    def _taken(self, name: str) -> Fatal:
        return Fatal(f"there is a checkpoint {name} in {self.directory}", "choose another name", code="B526")

    def _sweep(self) -> None:
        """What killed processes left behind."""
        for path in self.directory.glob(f".*{_PART}"):
            if path.stat().st_mtime < time.time() - _LITTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


class _Copy:
    """Writes the state's records of a changelog that may be written meanwhile.

    What comes later may make the log's cleaner drop a record that was not read yet. So it reads on in laps, until one was
    so short that nothing written during it can have been cleaned.
    """

    def __init__(self, out: gzip.GzipFile) -> None:
        self._out = out
        self.records = 0
        self.checkpoint: bytes | None = None
        self.layouts: dict[int, dict[str, list[str]]] = {}
        self.is_merging = False

    def run(self, changelog: Changelog, tell: Tell) -> None:
        start, end = changelog.settled()
        place = start
        while True:
            for records, after in changelog.read(place, end):
                self._add([one for one in records if one.key.startswith(_OURS)])
                tell(after - start, end - start)
            lap, place = end - place, end
            if lap <= _LAST_LAP:
                return
            end = changelog.settled()[1]

    def _add(self, records: list[ChangelogRecord]) -> None:
        for key, value in records:
            if key == _CHECKPOINT:
                self.checkpoint = value
            elif key == _MERGE:
                self.is_merging = value is not None
            elif value is not None and key.startswith(_LAYOUTS):
                self.layouts[int(key[len(_LAYOUTS) :])] = _decode_layout(value)
        frame = _encode(records)
        self._out.write(len(frame).to_bytes(4, "big") + frame)
        self.records += len(records)


def damaged(path: Path, reason: str) -> Fatal:
    text = f"{path}: the checkpoint cannot be read: {reason}"
    return Fatal(text, f"bridge checkpoint delete {path.name}", code="B528")


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
