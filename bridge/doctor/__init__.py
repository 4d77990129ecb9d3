"""What would hurt a source: its connector, its topics, its database and its mappings, looked at without changing anything.

``gather`` does the IO and gives one struct of facts; ``rules`` are functions from facts to findings, one for each code;
``report`` prints. What cannot be read is a finding too, and hides no other.
"""
