"""The Schema Registry's HTTP interface, as far as a reader needs it. A schema never changes: whoever asks remembers.

A registry that does not answer, and an id that it does not know, are waited for: neither says anything about the record.
What an answer forbids (rights, a wrong address) is an operator's to mend.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final, Protocol

import msgspec

from bridge.errors import Fatal, Retriable

_SECONDS: Final = 10.0
_MEDIA: Final = "application/vnd.schemaregistry.v1+json, application/json"
_FORBIDDEN: Final = {401, 403}
_NOT_FOUND: Final = 404
_DEEPEST: Final = 16  # references within references


class RegistrySettings(msgspec.Struct, frozen=True):
    """Where the registry is; ``ca``: a file with the certificates to trust, "" for the system's."""

    url: str
    user: str = ""
    password: str = ""
    ca: str = ""

    def __repr__(self) -> str:
        """Without the password."""
        return f"RegistrySettings({self.url})"


class Registered(msgspec.Struct, frozen=True):
    """A schema's text, and the texts that it refers to by name, those first that others refer to."""

    kind: str  # AVRO, PROTOBUF, JSON
    text: str
    references: dict[str, str] = {}


class Registry(Protocol):
    def schema(self, schema_id: int) -> Registered:
        """Raises Retriable, Fatal."""


class _Reference(msgspec.Struct):
    name: str
    subject: str
    version: int


class _Answer(msgspec.Struct):
    text: str = msgspec.field(name="schema")
    kind: str = msgspec.field(name="schemaType", default="AVRO")
    references: list[_Reference] | None = None


class HttpRegistry:
    """``Registry`` over HTTP. It is reached directly, as the brokers are: proxies of the environment are not used."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._url = settings.url.rstrip("/")
        self._headers = {"Accept": _MEDIA}
        if settings.user:
            login = base64.b64encode(f"{settings.user}:{settings.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if settings.ca:
            try:
                handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=settings.ca)))
            except OSError as error:
                raise Fatal(f"registry.ca: {settings.ca} cannot be used: {error.strerror}", code="B542") from error
        self._open = urllib.request.build_opener(*handlers).open

    def schema(self, schema_id: int) -> Registered:
        """See ``Registry``."""
        answer = self._get(f"/schemas/ids/{schema_id}", f"schema {schema_id}")
        references: dict[str, str] = {}
        self._collect(answer, references, 0)
        return Registered(answer.kind, answer.text, references)

    def _collect(self, answer: _Answer, found: dict[str, str], depth: int) -> None:
        for one in answer.references or () if depth < _DEEPEST else ():
            if one.name not in found:
                subject = urllib.parse.quote(one.subject, safe="")
                referred = self._get(f"/subjects/{subject}/versions/{one.version}", f"schema {one.name!r}")
                self._collect(referred, found, depth + 1)
                found[one.name] = referred.text

    def _get(self, path: str, what: str) -> _Answer:
        request = urllib.request.Request(self._url + path, headers=self._headers)  # noqa: S310 - the config's URL
        try:
            with self._open(request, timeout=_SECONDS) as answer:
                return msgspec.json.decode(answer.read(), type=_Answer)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error, what) from error
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            reason = getattr(error, "reason", error)
            raise Retriable(
                f"the schema registry gives no {what}: {type(reason).__name__}: {reason}",
                "the bridge tries again by itself; see registry.url, and whether the registry runs",
                code="B441",
            ) from error

    def _refused(self, error: urllib.error.HTTPError, what: str) -> Fatal | Retriable:
        if error.code in _FORBIDDEN:
            return Fatal(
                f"the schema registry refuses {what}: HTTP {error.code}",
                "see registry.user and registry.password, and give that user the right to read schemas",
                code="B542",
            )
        if error.code != _NOT_FOUND:
            hint = "the bridge tries again by itself; the registry's own log says more"
            return Retriable(f"the schema registry gives no {what}: HTTP {error.code}", hint, code="B441")
        return Retriable(
            f"the schema registry does not know {what}: HTTP {error.code}",
            "the bridge waits for it, since a registry that was restored or is a wrong one knows no proof of a bad record: "
            "see that registry.url is the registry that the connector writes to, with its whole path, and register it there",
            code="B442",
        )
