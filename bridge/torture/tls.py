"""Secured clusters: the proxy speaks TLS to the brokers, and the bridges speak plain text to the proxy on this machine."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

PLAIN: Final = {"ssl": "plaintext", "sasl_ssl": "sasl_plaintext"}


def behind_proxy(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties of a client behind the proxy: SASL stays, TLS is the proxy's."""
    found = {name: value for name, value in properties.items() if not name.startswith("ssl.")}
    protocol = found.get("security.protocol", "plaintext").lower()
    if protocol in PLAIN:
        found["security.protocol"] = PLAIN[protocol]
    return found


def context(properties: Mapping[str, str]) -> ssl.SSLContext | None:
    """What the proxy's connections to the brokers check and show; None without TLS."""
    if properties.get("security.protocol", "plaintext").lower() not in PLAIN:
        return None
    made = ssl.create_default_context(cafile=properties.get("ssl.ca.location"), cadata=properties.get("ssl.ca.pem"))
    certificate = properties.get("ssl.certificate.location")
    if certificate is not None:
        made.load_cert_chain(certificate, properties.get("ssl.key.location"), properties.get("ssl.key.password"))
    return made
