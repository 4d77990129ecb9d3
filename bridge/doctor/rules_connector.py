"""The connector itself: is it there, alone, running, of a version that works, and does it write BEGIN and END?"""

from __future__ import annotations

from collections.abc import Iterator

from bridge.doctor import versions
from bridge.doctor.facts import Facts
from bridge.doctor.finding import Found, Severity

AT_REST = frozenset({"PAUSED", "STOPPED"})


def no_connector(facts: Facts) -> Iterator[Found]:
    if facts.connectors is None or any(one.transaction_topic in (facts.owner_topic, None) for one in facts.ours):
        return
    written = ", ".join(f"{one.name} writes {one.transaction_topic}" for one in facts.ours)
    mend = (
        "topic.prefix, topic.transaction and RegexRouter of the connector must lead to the topic that the config names"
    )
    yield Found(Severity.STOPS, facts.owner_topic, f"no connector writes it{f'; {written}' if written else ''}", mend)


def several_connectors(facts: Facts) -> Iterator[Found]:
    writers = [one for one in facts.ours if one.transaction_topic == facts.owner_topic]
    if len(writers) > 1:
        names = ", ".join(one.name for one in writers)
        mend = f"another topic.prefix for all but one, or curl -X DELETE CONNECT/connectors/{writers[-1].name}"
        yield Found(Severity.LOSES, facts.owner_topic, f"connectors {names} all write it", mend)


def not_running(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        tasks = [what for what, _, _ in one.states if what.startswith("task")]
        for what, state, trace in one.states:
            status = f"CONNECT/connectors/{one.name}/status"
            restart = f"curl -X POST 'CONNECT/connectors/{one.name}/restart?includeTasks=true&onlyFailed=true'"
            if state == "FAILED":
                yield Found(
                    Severity.STOPS,
                    one.place,
                    f"{what} has failed: {trace}",
                    f"curl {status} has the whole trace; {restart}",
                )
            elif state in AT_REST:
                mend = f"curl -X PUT CONNECT/connectors/{one.name}/resume"
                yield Found(Severity.STOPS, one.place, f"{what} is {state.lower()}", mend)
                break  # its tasks are too
        else:
            if not tasks:
                yield Found(
                    Severity.STOPS, one.place, "it has no task", f"curl -X POST CONNECT/connectors/{one.name}/restart"
                )


def bad_version(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        for known in versions.bad(one.kind, one.version):
            what = f"version {one.version}: {known.what} ({known.source})"
            yield Found(known.severity, one.place, what, f"Debezium {versions.text(known.mended)} or later")


def wrong_kind(facts: Facts) -> Iterator[Found]:
    server = "" if facts.mariadb is None else facts.mariadb.catalog.connector
    for one in facts.ours:
        wanted = server or facts.source.connector
        if one.kind not in ("", facts.source.connector):
            mend = f"sources.{facts.source.name}.connector: {one.kind}"
            what = f"it is a connector for {one.kind}, the config says {facts.source.connector}"
            yield Found(Severity.STOPS, one.at("connector.class"), what, mend)
        elif one.kind == "mysql" and wanted == "mariadb":
            mend = "connector.class=io.debezium.connector.mariadb.MariaDbConnector"
            yield Found(Severity.STOPS, one.at("connector.class"), "the connector for MySQL reads a MariaDB", mend)


def several_tasks(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        running = sum(what.startswith("task") for what, _, _ in one.states)
        if running > 1:
            yield Found(Severity.LOSES, one.place, f"{running} tasks write one transaction topic", "tasks.max=1")
        elif one["tasks.max"] not in ("", "1"):
            yield Found(Severity.ADVICE, one.at("tasks.max"), f"it is {one['tasks.max']}", "tasks.max=1")


def no_transaction_metadata(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        if not one.flag("provide.transaction.metadata"):
            key = "provide.transaction.metadata"
            yield Found(Severity.STOPS, one.at(key), "it is not true", f"{key}=true")


def exactly_once_off(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        if one["exactly.once.support"].lower() != "required":
            mend = "exactly.once.source.support=enabled for the workers, then exactly.once.support=required"
            yield Found(Severity.ADVICE, one.at("exactly.once.support"), "it is not required", mend)


def snapshot_mode(facts: Facts) -> Iterator[Found]:
    severities = {
        "": None,
        "initial": None,
        "when_needed": None,
        "always": Severity.HURTS,
        "initial_only": Severity.STOPS,
        "never": Severity.LOSES,
        "no_data": Severity.LOSES,
        "schema_only": Severity.LOSES,
        "recovery": Severity.LOSES,
        "schema_only_recovery": Severity.LOSES,
    }
    for one in facts.ours:
        severity = severities.get(one["snapshot.mode"].lower(), Severity.HURTS)
        if severity is not None:
            what = f"it is {one['snapshot.mode']}"
            yield Found(
                severity, one.at("snapshot.mode"), what, "snapshot.mode=initial, for a connector that is made anew"
            )


def no_heartbeat(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        wanted = "heartbeat.interval.ms=10000 and heartbeat.action.query, an upsert of one row of a table of its own"
        if one["heartbeat.interval.ms"] in ("", "0"):
            yield Found(Severity.HURTS, one.at("heartbeat.interval.ms"), "no heartbeats", wanted)
        elif not one["heartbeat.action.query"].strip():
            what = "heartbeats do not come through the database"
            yield Found(Severity.HURTS, one.at("heartbeat.action.query"), what, wanted)
