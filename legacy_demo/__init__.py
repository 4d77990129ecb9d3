"""The legacy monolith of the demo: an order system as such systems are. It knows nothing of the bridge."""
