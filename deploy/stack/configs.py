"""The servers' configuration files, tuned to start fast and to be small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.stack.dist import Dist

POSTGRES = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_wal_size": "1GB",
    "shared_buffers": "128MB",
    "wal_sender_timeout": "0",  # a suspended Connect keeps its slot's connection
    "timezone": "UTC",
    "unix_socket_directories": "",
    # The data dies with the stack, so nothing is waited for on disk. A killed *server* loses nothing by it; only a
    # crash of the machine would.
    "fsync": "off",
    "full_page_writes": "off",
}


def postgres_options(settings: Path) -> list[str]:
    """Command-line options of the server; its own postgresql.conf stays as initdb wrote it."""
    lines = settings.read_text().splitlines() if settings.exists() else []
    return [option for line in lines for option in ("-c", line)]


def write_all(home: Path, ports: Mapping[str, int], dist: Dist, *, exactly_once_source: bool, registry: bool) -> None:
    """Write the configuration of all services into `home`; `registry`: Connect has converters for one."""
    plugins = f"{dist.plugins},{dist.converters}" if registry else str(dist.plugins)
    support = "enabled" if exactly_once_source else "disabled"
    postgres = POSTGRES | {"port": str(ports["postgres"])}
    (home / "postgresql.conf").write_text("".join(f"{name}={value}\n" for name, value in postgres.items()))
    (home / "kafka.properties").write_text(
        KAFKA.format(port=ports["kafka"], controller=ports["controller"], data=home / "data" / "kafka")
    )
    (home / "connect.properties").write_text(
        CONNECT.format(kafka=ports["kafka"], port=ports["connect"], plugins=plugins, support=support)
    )


KAFKA = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.max.timeout.ms=900000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
# a consumer that comes alone need not wait three seconds for company
group.initial.rebalance.delay.ms=0
# how long a killed broker or worker stands in the way of its successor
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
log.retention.hours=-1
"""

CONNECT = """\
bootstrap.servers=127.0.0.1:{kafka}
group.id=connect
session.timeout.ms=3000
heartbeat.interval.ms=500
# the tasks of a worker that is gone are started at once; the default waits five minutes for it
scheduled.rebalance.max.delay.ms=0
listeners=http://127.0.0.1:{port}
rest.advertised.host.name=127.0.0.1
plugin.path={plugins}
# reads the manifests alone, where a scan of all classes would take seconds
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
config.storage.topic=connect-configs
config.storage.replication.factor=1
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=4
status.storage.topic=connect-status
status.storage.replication.factor=1
status.storage.partitions=2
offset.flush.interval.ms=5000
topic.creation.enable=true
connector.client.config.override.policy=All
exactly.once.source.support={support}
"""
