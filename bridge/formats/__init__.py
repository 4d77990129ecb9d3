"""Avro and Protobuf through a Schema Registry, translated at one border into the JSON that the core reads."""
