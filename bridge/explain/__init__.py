"""``bridge explain``: why an event came, or did not. The core runs over the history; one transaction is told in full."""
