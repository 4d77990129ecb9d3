"""The little of Kafka's protocol that a proxy needs: which request a frame holds, and the addresses in three answers.

A frame is four bytes of length and its content. A request begins with its API (2 bytes), the API's version (2) and a
correlation id (4), which the answer repeats. Brokers tell clients their addresses in the answers of Metadata,
FindCoordinator and DescribeCluster, and since Produce 10 and Fetch 16 in errors of those. So that no other version is
ever used, ``limit_versions`` lowers what the broker offers in its answer of ApiVersions, in place.
"""

# ruff: noqa: PLR2004 - versions and bits of Kafka's protocol are numbers

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

Translate = Callable[[str, int], tuple[str, int]]  # a broker's host and port → those that clients shall use


class Api(IntEnum):
    """Kafka's API keys that faults are aimed at."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_CONFIGS = 32
    DESCRIBE_CLUSTER = 60


# The last versions whose answers are understood here, or hold no address.
NEWEST: Final = {
    Api.PRODUCE: 9,
    Api.FETCH: 15,
    Api.METADATA: 12,
    Api.FIND_COORDINATOR: 4,
    Api.DESCRIBE_CLUSTER: 1,
}
_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhi")
LONGEST: Final = 1 << 28  # bytes of a frame; more is not Kafka's protocol


class Request(NamedTuple):
    """What a request's first bytes say."""

    api: int
    version: int
    correlation: int


def request_of(content: bytes) -> Request:
    """Of a request's content, without its length."""
    return Request(*_REQUEST.unpack_from(content))


def correlation_of(content: bytes) -> int:
    """Of an answer's content."""
    return int(_LENGTH.unpack_from(content)[0])


def framed(content: bytes) -> bytes:
    """With its length in front."""
    return _LENGTH.pack(len(content)) + content


def rewritten(request: Request, content: bytes, translate: Translate) -> bytes:
    """The answer of ``request`` as a client shall see it: through ``translate`` where it tells addresses."""
    if request.api == Api.API_VERSIONS:
        return limit_versions(request.version, content)
    copy = _COPIES.get(request.api)
    if copy is None:
        return content
    answer = _Answer(content, translate, flexible=request.version >= _FLEXIBLE[request.api])
    copy(answer, request.version)
    return answer.end()


def limit_versions(version: int, content: bytes) -> bytes:
    """The answer of ApiVersions, offering no version that is newer than ``NEWEST``."""
    changed = bytearray(content)
    place = 4  # behind the correlation id; this answer's header never has tagged fields
    (error,) = struct.unpack_from(">h", content, place)
    place += 2
    flexible = version >= 3 and error == 0  # a refusal of the version comes as version 0
    if flexible:
        count, place = _varint(content, place)
        count -= 1
    else:
        (count,) = _LENGTH.unpack_from(content, place)
        place += 4
    for _ in range(count):
        api, oldest, newest = struct.unpack_from(">hhh", content, place)
        if api in NEWEST:
            struct.pack_into(">h", changed, place + 4, max(oldest, min(newest, NEWEST[Api(api)])))
        place += 6
        if flexible:
            place = _behind_tags(content, place)
    return bytes(changed)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _behind_tags(data: bytes, place: int) -> int:
    count, place = _varint(data, place)
    for _ in range(count):
        _, place = _varint(data, place)
        size, place = _varint(data, place)
        place += size
    return place


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Answer:
    """An answer on its way from one buffer to another; what is not an address is copied as it is."""

    def __init__(self, content: bytes, translate: Translate, *, flexible: bool) -> None:
        self._in = content
        self._place = 0
        self._out = bytearray()
        self._translate = translate
        self._flexible = flexible
        self.skip(4)
        self.tags()

    def skip(self, size: int) -> None:
        self._out += self._in[self._place : self._place + size]
        self._place += size

    def tags(self) -> None:
        if self._flexible:
            self.skip(_behind_tags(self._in, self._place) - self._place)

    def count(self) -> int:
        """The number of an array's elements."""
        before = self._place
        if self._flexible:
            count, self._place = _varint(self._in, before)
            count -= 1
        else:
            (count,) = _LENGTH.unpack_from(self._in, before)
            self._place += 4
        self._out += self._in[before : self._place]
        return int(count)

    def text(self) -> None:
        start, size, end = self._measured()
        del start, size
        self.skip(end - self._place)

    def address(self) -> None:
        """A host and a port; none where the broker is not known (an empty host, port -1)."""
        start, size, end = self._measured()
        host = self._in[start : start + size].decode()
        (port,) = _LENGTH.unpack_from(self._in, end)
        self._place = end + 4
        if host and port >= 0:
            host, port = self._translate(host, port)
        data = host.encode()
        self._out += _as_varint(len(data) + 1) if self._flexible else struct.pack(">h", len(data))
        self._out += data + _LENGTH.pack(port)

    def _measured(self) -> tuple[int, int, int]:
        """Where a string's bytes begin, how many they are, and where it ends; a null has none."""
        if self._flexible:
            size, start = _varint(self._in, self._place)
            size -= 1
        else:
            (size,) = struct.unpack_from(">h", self._in, self._place)
            start = self._place + 2
        return start, max(size, 0), start + max(size, 0)

    def end(self) -> bytes:
        """All of it, with whatever follows."""
        return bytes(self._out + self._in[self._place :])


def _metadata(answer: _Answer, version: int) -> None:
    if version >= 3:
        answer.skip(4)  # throttle_time_ms
    for _ in range(answer.count()):
        answer.skip(4)  # node_id
        answer.address()
        if version >= 1:
            answer.text()  # rack
        answer.tags()


def _find_coordinator(answer: _Answer, version: int) -> None:
    if version >= 4:
        answer.skip(4)  # throttle_time_ms
        for _ in range(answer.count()):
            answer.text()  # key
            answer.skip(4)  # node_id
            answer.address()
            answer.skip(2)  # error_code
            answer.text()  # error_message
            answer.tags()
        return
    answer.skip(2 if version == 0 else 6)  # throttle_time_ms, error_code
    if version >= 1:
        answer.text()  # error_message
    answer.skip(4)  # node_id
    answer.address()


def _describe_cluster(answer: _Answer, version: int) -> None:
    answer.skip(6)  # throttle_time_ms, error_code
    answer.text()  # error_message
    if version >= 1:
        answer.skip(1)  # endpoint_type
    answer.text()  # cluster_id
    answer.skip(4)  # controller_id
    for _ in range(answer.count()):
        answer.skip(4)  # broker_id
        answer.address()
        answer.text()  # rack
        answer.tags()


_COPIES: Final[dict[int, Callable[[_Answer, int], None]]] = {
    Api.METADATA: _metadata,
    Api.FIND_COORDINATOR: _find_coordinator,
    Api.DESCRIBE_CLUSTER: _describe_cluster,
}
_FLEXIBLE: Final[dict[int, int]] = {Api.METADATA: 9, Api.FIND_COORDINATOR: 3, Api.DESCRIBE_CLUSTER: 0}
