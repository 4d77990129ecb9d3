"""The config file: read whole, every mistake at once, frozen.

``${env:NAME}`` and ``${file:/path}`` stand for text from outside (secrets above all); they are filled in after the file was
checked, so that a diagnostic never shows what they hold. An unknown key is a mistake, never passed in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from bridge.core.connectors import CONNECTORS, refusal
from bridge.errors import ConfigInvalid
from bridge.formats.registry import RegistrySettings
from bridge.kafka.settings import DENIED
from bridge.located_yaml import Located, parse
from bridge.mapping import catalog
from bridge.mapping.catalog import Catalog
from bridge.mapping.tokens import Tokenise, keyed
from bridge.model import MODES, MONEY_DIGITS_MAX, ConnectRest, Database, Diagnostic, Modes, SourceSettings
from bridge.runtime.worker import Limits

_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_-]{1,80}$"}
_TOPIC = {"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,249}$"}
_COUNT = {"type": "integer", "minimum": 1}
_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
_SECONDS = {"type": "number", "exclusiveMinimum": 0}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def key(name: str) -> str:
    """The config's key for a property of the connector."""
    return name.replace(".", "_")


_MODES = {
    key(name): {"enum": list(allowed)} if allowed else {"type": "integer", "minimum": 0, "maximum": MONEY_DIGITS_MAX}
    for name, (_, allowed) in MODES.items()
}

SCHEMA: dict[str, Any] = _object(
    {
        "application": _NAME,
        "kafka": {
            "type": "object",
            "required": ["bootstrap.servers"],
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
        "sources": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": _NAME,
            "additionalProperties": _object(
                {
                    "connector": {"type": "string"},
                    "topics": {"type": "array", "items": _TOPIC, "minItems": 1, "uniqueItems": True},
                    "transaction_topic": _TOPIC,
                    "log": _TOPIC,
                    "signal_table": {"type": "string", "minLength": 1},
                    "heartbeat_table": {"type": "string", "minLength": 1},
                    "catalog": {"type": "string", "minLength": 1},
                    "snapshot_changes": {"enum": ["report", "publish", "stop"]},
                    **_MODES,
                    "dead_letter_topic": _TOPIC,
                    "changelog_topic": _TOPIC,
                    "tables": {
                        "type": "object",
                        "additionalProperties": _object(
                            {"filtered": {"type": "boolean"}, "truncate": {"enum": ["report", "stop", "forget"]}}
                        ),
                    },
                    "database": _object(
                        {
                            "host": {"type": "string", "minLength": 1},
                            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                            "user": {"type": "string", "minLength": 1},
                            "password": {"type": "string"},
                            "database": {"type": "string", "minLength": 1},
                            "schemas": _TEXTS,
                            "tables": _TEXTS,
                            "options": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                        "database",
                    ),
                    "connect": _object(
                        {
                            "url": {"type": "string", "pattern": r"^https?://[^@\s]+$"},
                            "user": {"type": "string", "minLength": 1},
                            "password": {"type": "string"},
                        },
                        "url",
                    ),
                },
                "connector",
            ),
        },
        "mappings": {"type": "string", "minLength": 1},
        "registry": _object(
            {
                "url": {"type": "string", "pattern": "^https?://"},
                "user": {"type": "string", "minLength": 1},
                "password": {"type": "string"},
                "ca": {"type": "string", "minLength": 1},
            },
            "url",
        ),
        "tokens": _object({"key_id": _NAME, "key": {"type": "string", "minLength": 1}}, "key_id", "key"),
        "state": _object({"directory": {"type": "string", "minLength": 1}}),
        "checkpoints": _object(
            {
                "directory": {"type": "string", "minLength": 1},
                "every_hours": {"type": "number", "exclusiveMinimum": 0},
                "keep": _COUNT,
            }
        ),
        "http": _object({"host": {"type": "string"}, "port": {"type": "integer", "minimum": 0, "maximum": 65535}}),
        "logs": _object(
            {"format": {"enum": ["json", "console"]}, "level": {"enum": ["debug", "info", "warning", "error"]}}
        ),
        "topics": _object({"partitions": _COUNT, "replication_factor": {"type": "integer", "minimum": -1}}),
        "errors": _object(
            {
                "max_share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "of_last": {"type": "integer", "minimum": 10},
            }
        ),
        "limits": _object(
            {
                "read_records_max": _COUNT,
                "commit_rows": _COUNT,
                "commit_seconds": _SECONDS,
                "idle_commit_seconds": _SECONDS,
                "refresh_offsets_seconds": _SECONDS,
                "read_ahead_rows_max": _COUNT,
                "incomplete_after_seconds": _SECONDS,
                "state_cache_rows": _COUNT,
                "back_off_seconds_max": _SECONDS,
                "released_positions_max": _COUNT,
                "transaction_rows_in_memory_max": _COUNT,
                "session_timeout_seconds": _SECONDS,
                "transaction_timeout_seconds": _SECONDS,
            }
        ),
    },
    "kafka",
    "sources",
    "mappings",
)


class Source(msgspec.Struct, frozen=True):
    """One source: what the core needs, and the names of the topics around it."""

    settings: SourceSettings
    changelog_topic: str
    catalog: Catalog | None
    catalog_file: Path | None = None
    tables: tuple[str, ...] = ()  # those that the config says something of
    heartbeat_table: str = ""  # what heartbeat.action.query writes: `bridge check` wants it for windows
    database: Database | None = None  # for `bridge introspect`, `bridge init` and `bridge doctor` alone
    connect: ConnectRest | None = None  # for `bridge doctor` alone

    @property
    def owner_topic(self) -> str:
        return self.settings.log or self.settings.transaction_topic


class Schedule(msgspec.Struct, frozen=True):
    """When `bridge run` makes checkpoints by itself, and how many of them it keeps."""

    every_hours: float
    keep: int


class Config(msgspec.Struct, frozen=True):
    """The whole config with its defaults; paths are relative to the config file's directory."""

    application: str
    kafka: dict[str, str]
    sources: dict[str, Source]
    mappings: Path
    state_directory: Path
    checkpoints_directory: Path
    http_host: str
    http_port: int
    log_format: str
    log_level: str
    partitions: int
    replication_factor: int
    limits: Limits
    session_timeout_seconds: float
    transaction_timeout_seconds: float
    registry: RegistrySettings | None = None  # where schemas of Avro and Protobuf records are
    tokenise: Tokenise | None = None  # what stands for personal data; None where the config has no key
    schedule: Schedule | None = None  # of automatic checkpoints; None where the config says nothing of checkpoints
    secrets: tuple[str, ...] = ()
    """Texts from outside the file under a key that names a secret: they appear in no log."""


_CHECKPOINTS: dict[str, Any] = {"directory": "checkpoints", "every_hours": 24, "keep": 7}

DEFAULTS: dict[str, Any] = {
    "application": "bridge",
    "state": {"directory": "state"},
    "http": {"host": "127.0.0.1", "port": 8080},
    "logs": {"format": "json", "level": "info"},
    "topics": {"partitions": 3, "replication_factor": -1},
    "errors": {"max_share": 0.5, "of_last": 200},
    "limits": {
        **msgspec.structs.asdict(Limits()),
        "released_positions_max": 1_000_000,
        "transaction_rows_in_memory_max": 20_000,
        "session_timeout_seconds": 45.0,
        "transaction_timeout_seconds": 60.0,
    },
}


def load(path: Path, *, read_catalogs: bool = True) -> Config:
    """Raises ConfigInvalid with every mistake in the file, and in the catalogs that it names if they are read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigInvalid([Diagnostic("C001", f"the config file cannot be read: {reason}", str(path))]) from None
    located = parse(text, str(path))
    problems = list(located.diagnostics)
    data: Any = located.data
    if not problems:
        problems = check(located)
    secrets: list[str] = []
    if not problems:
        data = _filled_in(located, problems, secrets)
        problems += _short_key(located, data)
    catalogs = _catalogs(located, data, path.parent, problems) if read_catalogs and not problems else {}
    if problems:
        raise ConfigInvalid(problems)
    return msgspec.structs.replace(_config(data, catalogs, path.parent), secrets=tuple(secrets))


# -- checks ------------------------------------------------------------------------------------------------------------


def check(located: Located) -> list[Diagnostic]:
    """Every mistake that the text alone shows."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    errors = sorted(validator.iter_errors(located.data), key=lambda error: list(map(str, error.absolute_path)))
    problems = [problem for error in errors for problem in _described(located, error)]
    if isinstance(located.data, dict):
        problems += _kafka_problems(located) + _source_problems(located)
    return problems


def _described(located: Located, error: jsonschema.ValidationError) -> list[Diagnostic]:
    path = tuple(error.absolute_path)
    wants: Any = error.validator_value
    given: Any = error.instance
    where = ".".join(map(str, path)) or "the config"
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        known = list(schema.get("properties", {}))
        unknown = [key for key in given if key not in known]
        return [_unknown_key(located, (*path, key), known) for key in unknown]
    if error.validator == "required":
        missing = [key for key in wants if key not in given]
        return [located.diagnostic("C003", f"{where}: {key!r} is missing", located.index(path)) for key in missing[:1]]
    if error.validator == "enum":
        wanted = ", ".join(map(str, wants))
        return [located.diagnostic("C004", f"{where} must be one of: {wanted}", located.index(path))]
    if error.validator == "pattern":
        return [
            located.diagnostic("C004", f"{where} is not a valid name: {error.validator_value}", located.index(path))
        ]
    if error.validator == "type":
        return [located.diagnostic("C004", f"{where} must be of type {error.validator_value}", located.index(path))]
    return [located.diagnostic("C004", f"{where}: {error.validator} {error.validator_value}", located.index(path))]


def _unknown_key(located: Located, path: tuple[str | int, ...], known: list[str]) -> Diagnostic:
    close = get_close_matches(str(path[-1]), known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
    name = ".".join(map(str, path))
    return located.diagnostic("C002", f"unknown key {name!r}", located.index(path, key=True), hint)


def _kafka_problems(located: Located) -> list[Diagnostic]:
    kafka = located.data.get("kafka")
    if not isinstance(kafka, dict):
        return []
    return [
        located.diagnostic(
            "C005",
            f"kafka.{name} may not be set: {DENIED[name]}",
            located.index(("kafka", name), key=True),
            "remove it",
        )
        for name in kafka
        if name in DENIED
    ]


def _source_problems(located: Located) -> list[Diagnostic]:
    sources = located.data.get("sources")
    problems: list[Diagnostic] = []
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if not isinstance(source, dict):
            continue
        path: tuple[str | int, ...] = ("sources", name)
        connector = source.get("connector")
        if isinstance(connector, str) and connector not in CONNECTORS:
            problems.append(located.diagnostic("C006", refusal(connector), located.index((*path, "connector"))))
        many, single = "topics" in source or "transaction_topic" in source, "log" in source
        if many == single:
            text = f"sources.{name} needs either 'topics' and 'transaction_topic', or 'log' alone"
            problems.append(located.diagnostic("C007", text, located.index(path, key=True)))
        elif many and not ("topics" in source and "transaction_topic" in source):
            missing = "transaction_topic" if "topics" in source else "topics"
            text = f"sources.{name}: {missing!r} is missing"
            hint = "the connector writes BEGIN and END to <topic.prefix>.transaction when provide.transaction.metadata=true"
            problems.append(located.diagnostic("C003", text, located.index(path, key=True), hint))
        problems += _filter_problems(located, source, path)
    return problems


def _filter_problems(located: Located, source: dict[str, Any], path: tuple[str | int, ...]) -> list[Diagnostic]:
    tables = source.get("tables")
    if "log" in source or not isinstance(tables, dict):
        return []
    hint = "route rows and markers into one log (see README), or let the connector send every row"
    return [
        located.diagnostic(
            "C013",
            f"{table} cannot be filtered: with a topic per table only END's counts tell when a transaction is whole",
            located.index((*path, "tables", table, "filtered")),
            hint,
        )
        for table, policy in tables.items()
        if isinstance(policy, dict) and policy.get("filtered") is True
    ]


# -- text from outside -------------------------------------------------------------------------------------------------

SHORTEST_KEY = 32
_SECRET = re.compile(r"password|secret|token|jaas|credential|ssl\.key\.pem")
_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


def _filled_in(located: Located, problems: list[Diagnostic], secrets: list[str]) -> Any:
    def fill(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {key: fill(part, (*path, key)) for key, part in value.items()}
        if isinstance(value, list):
            return [fill(part, (*path, number)) for number, part in enumerate(value)]
        if not isinstance(value, str):
            return value

        def replace(match: re.Match[str]) -> str:
            found = _outside(match[1], match[2])
            if found is None:
                kind = "environment variable" if match[1] == "env" else "file"
                problems.append(
                    located.diagnostic(
                        "C008", f"{'.'.join(map(str, path))}: {kind} {match[2]} cannot be read", located.index(path)
                    )
                )
                return ""
            if _SECRET.search(".".join(map(str, path))):
                secrets.append(found)
            return found

        return _REFERENCE.sub(replace, value)

    return fill(located.data, ())


def _outside(kind: str, name: str) -> str | None:
    if kind == "env":
        return os.environ.get(name)
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError):
        return None


def _short_key(located: Located, data: Any) -> list[Diagnostic]:
    if "tokens" not in data or len(data["tokens"]["key"]) >= SHORTEST_KEY:
        return []
    text = f"tokens.key has fewer than {SHORTEST_KEY} characters: tokens could be tried out"
    return [located.diagnostic("C010", text, located.index(("tokens", "key")), "head -c 32 /dev/urandom | base64")]


# -- catalogs ----------------------------------------------------------------------------------------------------------


def read_catalog(path: Path) -> tuple[Catalog, list[Diagnostic]]:
    """A source catalog, and what is wrong with the file."""
    try:
        return catalog.read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError):
        return Catalog({}), [Diagnostic("C009", "the catalog cannot be read", str(path))]


def _catalogs(located: Located, data: Any, base: Path, problems: list[Diagnostic]) -> dict[str, Catalog]:
    catalogs: dict[str, Catalog] = {}
    for name, source in data["sources"].items():
        if "catalog" in source:
            catalogs[name], found = read_catalog(base / source["catalog"])
            if any(problem.line == 0 for problem in found):
                where = located.index(("sources", name, "catalog"))
                found = [located.diagnostic("C009", f"{source['catalog']}: the catalog cannot be read", where)]
            problems += found
    return catalogs


# -- the result --------------------------------------------------------------------------------------------------------


def _config(data: dict[str, Any], catalogs: dict[str, Catalog], base: Path) -> Config:
    parts = {
        key: {**default, **(data.get(key) or {})} for key, default in DEFAULTS.items() if isinstance(default, dict)
    }
    application = data.get("application", DEFAULTS["application"])
    limits = dict(parts["limits"])
    core = {key: limits.pop(key) for key in ("released_positions_max", "transaction_rows_in_memory_max")}
    session, transaction = limits.pop("session_timeout_seconds"), limits.pop("transaction_timeout_seconds")
    sources = {
        name: Source(
            _settings(name, source, parts["errors"] | core),
            source.get("changelog_topic", f"{application}.{name}.changelog"),
            _as_sent(source, catalogs.get(name)),
            base / source["catalog"] if "catalog" in source else None,
            tuple(source.get("tables", ())),
            source.get("heartbeat_table", ""),
            _database(source),
            ConnectRest(**source["connect"]) if "connect" in source else None,
        )
        for name, source in data["sources"].items()
    }
    return Config(
        application,
        {name: _librdkafka(value) for name, value in data["kafka"].items()},
        sources,
        base / data["mappings"],
        base / parts["state"]["directory"],
        base / data.get("checkpoints", {}).get("directory", _CHECKPOINTS["directory"]),
        parts["http"]["host"],
        parts["http"]["port"],
        parts["logs"]["format"],
        parts["logs"]["level"],
        parts["topics"]["partitions"],
        parts["topics"]["replication_factor"],
        Limits(**limits),
        session,
        transaction,
        _registry(data.get("registry"), base),
        _tokenise(data.get("tokens")),
        _schedule(data.get("checkpoints")),
    )


def _as_sent(source: dict[str, Any], found: Catalog | None) -> Catalog | None:
    """The types as the connector sends them: decimals are doubles in that mode."""
    return catalog.as_doubles(found) if found and source.get("decimal_handling_mode") == "double" else found


def _registry(given: dict[str, str] | None, base: Path) -> RegistrySettings | None:
    if given is None:
        return None
    ca = {"ca": str(base / given["ca"])} if "ca" in given else {}
    return RegistrySettings(**(given | ca))


def _tokenise(tokens: dict[str, str] | None) -> Tokenise | None:
    return None if tokens is None else keyed(tokens["key_id"], tokens["key"].encode())


def _schedule(given: dict[str, Any] | None) -> Schedule | None:
    if given is None:
        return None
    wanted = _CHECKPOINTS | given
    return Schedule(wanted["every_hours"], wanted["keep"])


def unknown_tables(path: Path, source: str, tables: Collection[str], mapped: Collection[str]) -> list[Diagnostic]:
    """Of a source's ``tables`` those that no mapping reads: what is said of them would pass in silence."""
    hint = f"mapped: {', '.join(sorted(mapped))}"
    return [
        Diagnostic("C014", f"sources.{source}.tables: no mapping reads {table}", str(path), hint=hint)
        for table in sorted(set(tables) - set(mapped))
    ]


def _settings(name: str, source: dict[str, Any], common: dict[str, Any]) -> SourceSettings:
    tables = source.get("tables", {})
    truncate = {table: policy.get("truncate", "report") for table, policy in tables.items()}
    return SourceSettings(
        name=name,
        connector=source["connector"],
        topics=tuple(source.get("topics", ())),
        transaction_topic=source.get("transaction_topic", ""),
        log=source.get("log", ""),
        signal_table=source.get("signal_table", "debezium_signal"),
        modes=Modes().told({name: source[key(name)] for name in MODES if key(name) in source}),
        dead_letter_topic=source.get("dead_letter_topic", f"{name}.DLT"),
        snapshot_changes=source.get("snapshot_changes", "report"),
        filtered=frozenset(table for table, policy in tables.items() if policy.get("filtered")),
        truncate={table: policy for table, policy in truncate.items() if policy != "report"},
        **common,
    )


def _database(source: dict[str, Any]) -> Database | None:
    given = source.get("database")
    if given is None:
        return None
    lists = {key: tuple(given.get(key, ())) for key in ("schemas", "tables")}
    return Database(source["connector"], **(given | lists))


def _librdkafka(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
