"""Kafka Connect's REST interface, read with GET alone.

What a connector's settings say passes through a list of names: a password is not among them, so that none can be told.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final

from bridge.doctor.facts import Connector
from bridge.errors import Fatal
from bridge.model import ConnectRest

SECONDS: Final = 10
LONGEST_TRACE: Final = 200
# The settings that rules ask for.
ASKED: Final = re.compile(
    r"connector\.class|tasks\.max|topic\.(prefix|transaction|delimiter|naming\.strategy)|provide\.transaction\.metadata"
    r"|(table|schema|database|column)\.(include|exclude)\.list|column\.(mask|truncate)\..*|message\.key\.columns"
    r"|(decimal|bigint\.unsigned)\.handling\.mode|time\.precision\.mode|skipped\.operations"
    r"|(key|value)\.converter|(key|value)\.converter\.(schemas\.enable|replace\.null\.with\.default)"
    r"|transforms|transforms\.[^.]+\.(type|regex|replacement|predicate)"
    r"|signal\.data\.collection|snapshot\.mode|publication\.(name|autocreate\.mode)|slot\.(name|drop\.on\.stop)"
    r"|heartbeat\.(interval\.ms|action\.query)|lsn\.flush\.mode|flush\.lsn\.source|offset\.mismatch\.strategy"
    r"|producer\.override\.max\.request\.size|exactly\.once\.support"
    r"|schema\.history\.internal\.skip\.unparseable\.ddl"
)
_SECRET: Final = re.compile(r"password|secret|token|jaas|credential|\.key$|user\.info", re.IGNORECASE)
_IN_TEXT: Final = re.compile(r"(?<=//)[^/@\s]+@|(?<=password=)[^&\s]+", re.IGNORECASE)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the user's name and password to another place."""

    def redirect_request(self, *_: Any) -> None:
        return None


# A proxy from the environment must not see requests inside the house.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def read(rest: ConnectRest) -> list[Connector]:
    """Every Debezium connector of the worker. Raises Fatal: not reached, refused, or no Kafka Connect."""
    try:
        plugins = _get(rest, "/connector-plugins")
        versions = {one["class"]: str(one.get("version") or "") for one in plugins}
        found = _get(rest, "/connectors?expand=info&expand=status")
        made = [_connector(name, one, versions) for name, one in sorted(found.items())]
    except urllib.error.HTTPError as error:
        error.close()
        raise _failed(f"it answers {error.code}") from None
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _failed(f"it does not answer: {reason}") from None
    except (ValueError, HTTPException, AttributeError, KeyError, TypeError):
        raise _failed("what answers is no Kafka Connect") from None
    return [one for one in made if one["connector.class"].startswith("io.debezium.")]


def _failed(reason: str) -> Fatal:
    return Fatal(reason, "sources.*.connect: url, user and password of Kafka Connect's REST interface")


def _get(rest: ConnectRest, path: str) -> Any:
    request = urllib.request.Request(rest.url.rstrip("/") + path)  # noqa: S310 - the config allows http and https alone
    if rest.user:
        pair = base64.b64encode(f"{rest.user}:{rest.password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {pair}")
    with _OPENER.open(request, timeout=SECONDS) as answer:
        return json.load(answer)


def _connector(name: str, about: Mapping[str, Any], versions: Mapping[str, str]) -> Connector:
    config: dict[str, str] = {key: str(value) for key, value in about["info"]["config"].items() if value is not None}
    hidden = [value for key, value in config.items() if _SECRET.search(key) and value]
    status = about["status"]
    parts = [("the connector", status["connector"])]
    parts += [(f"task {task['id']}", task) for task in status["tasks"]]
    states = tuple((what, part["state"], _first_line(part.get("trace") or "", hidden)) for what, part in parts)
    shown = {key: value for key, value in config.items() if ASKED.fullmatch(key)}
    return Connector(name, shown, states, versions.get(config.get("connector.class", ""), ""))


def _first_line(trace: str, hidden: list[str]) -> str:
    line = trace.strip().partition("\n")[0]
    for secret in sorted(hidden, key=len, reverse=True):
        line = line.replace(secret, "…")
    return _IN_TEXT.sub("…", line)[:LONGEST_TRACE].strip()
