"""Faults on a real cluster: real bridges, a proxy, a stream whose events are known, and a count of what a consumer saw."""
