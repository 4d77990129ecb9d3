"""A real Kafka, Kafka Connect with Debezium, PostgreSQL and, where asked for, MariaDB on one machine, without containers.

``Stack`` is one running set of servers in one home directory; ``python -m deploy.stack up`` is the same, detached.
Kafka and Connect need Java 17 or later and Maven on the PATH; MariaDB comes from Debian's packages; everything else is
downloaded once into ``.stack/dist``.
"""

from deploy.stack.connect import HEARTBEAT_TABLE, SIGNAL_TABLE
from deploy.stack.process import StackError
from deploy.stack.stack import Stack

__all__ = ["HEARTBEAT_TABLE", "SIGNAL_TABLE", "Stack", "StackError"]
