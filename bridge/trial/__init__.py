"""The tests that stand beside the rules of a mapping, run by the real core in every arrival of their records.

``subject`` compiles what is tested, ``stream`` and ``log`` make the records, ``machine`` is the core that reads, commits
and dies, ``arrivals`` the ways in which records reach it, ``verdict`` one test's outcome, ``coverage`` what no test reached.
"""
