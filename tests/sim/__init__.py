"""The world that the simulator gives to the bridge: a database, a Debezium that crashes, and the truth about both."""
