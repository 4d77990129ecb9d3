"""What a proxy changes in brokers' answers, against answers written by hand after the protocol's description."""

from __future__ import annotations

import struct

import pytest

from bridge.testing.frames import NEWEST, Api, Request, rewritten


def short(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def compact(text: str | None) -> bytes:
    return b"\0" if text is None else bytes([len(text) + 1]) + text.encode()


def number(value: int) -> bytes:
    return struct.pack(">i", value)


def translate(host: str, port: int) -> tuple[str, int]:
    return f"proxy-of-{host}", port + 1


HOSTS = [("broker-1", 9092), ("b2", 9093)]
MOVED = [translate(*address) for address in HOSTS]
REST = b"whatever follows"


def metadata(version: int, hosts: list[tuple[str, int]]) -> bytes:
    if version >= 9:
        brokers = b"".join(number(i) + compact(h) + number(p) + compact(None) + b"\0" for i, (h, p) in enumerate(hosts))
        return number(7) + b"\0" + number(0) + bytes([len(hosts) + 1]) + brokers + REST
    rack = struct.pack(">h", -1) if version >= 1 else b""
    brokers = b"".join(number(i) + short(h) + number(p) + rack for i, (h, p) in enumerate(hosts))
    return number(7) + (number(0) if version >= 3 else b"") + number(len(hosts)) + brokers + REST


def coordinator(version: int, hosts: list[tuple[str, int]]) -> bytes:
    host, port = hosts[0]
    if version >= 4:
        found = compact("group") + number(1) + compact(host) + number(port) + b"\0\0" + compact(None) + b"\0"
        return number(7) + b"\0" + number(0) + b"\2" + found + REST
    text, tags = (compact, b"\0") if version >= 3 else (short, b"")
    head = b"" if version == 0 else number(0)
    message = text("oh") if version >= 1 else b""
    return number(7) + tags + head + b"\0\0" + message + number(1) + text(host) + number(port) + REST


def cluster(version: int, hosts: list[tuple[str, int]]) -> bytes:
    brokers = b"".join(number(i) + compact(h) + number(p) + compact("r1") + b"\0" for i, (h, p) in enumerate(hosts))
    kind = b"\1" if version >= 1 else b""
    head = number(7) + b"\0" + number(0) + b"\0\0" + compact(None) + kind + compact("id") + number(1)
    return head + bytes([len(hosts) + 1]) + brokers + REST


@pytest.mark.parametrize(
    ("api", "answer"), [(Api.METADATA, metadata), (Api.FIND_COORDINATOR, coordinator), (Api.DESCRIBE_CLUSTER, cluster)]
)
def test_addresses_lead_through_the_proxy(api: Api, answer: object) -> None:
    assert callable(answer)
    for version in range(NEWEST[api] + 1):
        given, expected = answer(version, HOSTS), answer(version, MOVED)
        assert rewritten(Request(api, version, 7), given, translate) == expected, version


def test_a_coordinator_that_is_not_known_stays_unknown() -> None:
    answer = coordinator(2, [("", -1)])
    assert rewritten(Request(Api.FIND_COORDINATOR, 2, 7), answer, translate) == answer


@pytest.mark.parametrize("version", [0, 3])
def test_no_version_is_offered_that_is_not_understood(version: int) -> None:
    def answer(newest: dict[Api, int]) -> bytes:
        tags = b"\0" if version >= 3 else b""
        entries = b"".join(struct.pack(">hhh", api, 0, last) + tags for api, last in newest.items())
        count = bytes([len(newest) + 1]) if version >= 3 else number(len(newest))
        return number(7) + b"\0\0" + count + entries + number(0) + tags

    offered = {Api.PRODUCE: 12, Api.METADATA: 13, Api.FIND_COORDINATOR: 3, Api.END_TXN: 5}
    lowered = {Api.PRODUCE: 9, Api.METADATA: 12, Api.FIND_COORDINATOR: 3, Api.END_TXN: 5}
    assert rewritten(Request(Api.API_VERSIONS, version, 7), answer(offered), translate) == answer(lowered)


def test_other_answers_stay_as_they_are() -> None:
    assert rewritten(Request(Api.FETCH, 15, 7), REST, translate) == REST
