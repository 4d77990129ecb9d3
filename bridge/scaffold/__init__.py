"""Drafts mappings from a catalog and a sample, for ``bridge init``: ``scaffold.py`` is the one to read first."""
