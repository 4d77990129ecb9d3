"""Bytes on local disk: an ordered key-value store, a disposable cache of the changelog.

LMDB was chosen by measurement (README, "Why it is so"): reads are memory-mapped, so a large state is not anonymous memory, and a
commit is one write transaction. It is written without fsync: after a crash of the process the page cache holds everything;
after a crash of the machine the store is not trusted, which the boot id in its stamp tells, and is rebuilt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol

import lmdb

from bridge.errors import Fatal, StateLost

_LONGEST_KEY = 480  # LMDB's limit is 511 bytes


class Store(Protocol):
    """Sorted bytes. Keys may be of any length; ``scan`` yields values only, in the order of keys.

    ``items``: keys as the store holds them (a long one ends in a hash) beyond ``after``, with their values.
    """

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, prefix: bytes) -> Iterator[bytes]: ...
    def items(self, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]: ...
    def write(self, items: Iterable[tuple[bytes, bytes | None]]) -> None: ...
    def wipe(self) -> None: ...
    def close(self) -> None: ...


class MemoryStore:
    """A store that ends with the process: for ``bridge transform`` and tests."""

    def __init__(self) -> None:
        self._items: dict[bytes, bytes] = {}
        self._families: dict[bytes, set[bytes]] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._items.get(key)

    def scan(self, prefix: bytes) -> Iterator[bytes]:
        return iter([self._items[key] for key in sorted(self._families.get(prefix, ()))])

    def items(self, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        keys = sorted(key for key in self._items if key.startswith(prefix) and key > after)
        return ((key, self._items[key]) for key in keys)

    def write(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in items:
            if value is None:
                if self._items.pop(key, None) is not None and (family := family_of(key)):
                    self._families[family].discard(key)
            else:
                self._items[key] = value
                if family := family_of(key):
                    self._families.setdefault(family, set()).add(key)

    def wipe(self) -> None:
        self._items.clear()
        self._families.clear()

    def close(self) -> None:
        """Nothing to release."""


class LmdbStore:
    """A store in a directory of its own. Raises StateLost when the files cannot be read, Fatal when it cannot write."""

    def __init__(self, directory: Path, map_size: int = 1 << 40) -> None:
        self._directory = directory
        _make_writable(directory)
        try:
            self._env = lmdb.open(
                str(directory),
                map_size=map_size,
                subdir=True,
                sync=False,
                metasync=False,
                readahead=False,
                max_dbs=0,
                lock=False,
            )
            self._refuse_cut()
            self._db = self._env.open_db(None)
        except lmdb.Error as error:
            raise StateLost(f"the local state in {directory} cannot be opened: {error}") from error
        self._begin_read()

    def _refuse_cut(self) -> None:
        """The file is mapped: to read a page behind its end would kill the process with SIGBUS, at each start again."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if (self._directory / "data.mdb").stat().st_size < needed:
            self._env.close()
            raise StateLost(f"the local state in {self._directory} was cut short")

    def _begin_read(self) -> None:
        self._read = self._env.begin(buffers=False)
        self._cursor = self._read.cursor()

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._read.get(_bounded(key))
        except lmdb.Error as error:
            raise StateLost(f"the local state in {self._directory} is damaged: {error}") from error
        return value

    def scan(self, prefix: bytes) -> Iterator[bytes]:
        prefix = _bounded(prefix)
        cursor = self._cursor
        if not cursor.set_range(prefix):
            return
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield value

    def items(self, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._read.cursor()
        found = cursor.set_range(max(prefix, after))
        if found and cursor.key() == after:
            found = cursor.next()
        while found and cursor.key().startswith(prefix):
            yield cursor.item()
            found = cursor.next()

    def write(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                put, delete = transaction.put, transaction.delete
                for key, value in items:
                    place = key if len(key) <= _LONGEST_KEY else _bounded(key)
                    if value is None:
                        delete(place)
                    else:
                        put(place, value)
        except lmdb.Error as error:
            raise Fatal(
                f"the local state in {self._directory} cannot be written: {error}",
                "make room on the disk, then start again: the state is rebuilt from its changelog where needed",
            ) from error
        self._read.abort()
        self._begin_read()

    def wipe(self) -> None:
        self._read.abort()
        with self._env.begin(write=True) as transaction:
            transaction.drop(self._db, delete=False)
        self._begin_read()

    def close(self) -> None:
        self._read.abort()
        self._env.close()


def temporary_store(directory: Path) -> LmdbStore:
    """A store whose files have no name any more: it ends with the process, however that ends."""
    _make_writable(directory)
    place = Path(mkdtemp(prefix="spool-", dir=directory))
    store = LmdbStore(place)
    shutil.rmtree(place)
    return store


def _make_writable(directory: Path) -> None:
    """Make the directory. Raises Fatal where it is not ours to write."""
    reason = "it is another user's, or read-only"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK | os.X_OK)
    except OSError as error:
        writable, reason = False, str(error.strerror)
    if not writable:
        raise Fatal(
            f"the local state in {directory} cannot be written: {reason}",
            "let state.directory name a directory that this process may write; in a container, the image's volume",
        )


def family_of(key: bytes) -> bytes:
    """The prefix that a key is scanned by: index entries by index and join value, named values up to their NUL."""
    kind = key[:1]
    if kind == b"i":
        end = 5 + int.from_bytes(key[3:5], "big")
        return key[:end]
    if kind == b"m":
        head, separator, _ = key.partition(b"\x00")
        return head + separator
    return b""


def _bounded(key: bytes) -> bytes:
    if len(key) <= _LONGEST_KEY:
        return key
    return key[: _LONGEST_KEY - 32] + blake2b(key, digest_size=32).digest()
