"""The source catalog from outside: read from a live database or inferred from a capture, kept as a file, compared.

``database`` says where, ``postgresql`` and ``mysql`` read, ``capture`` infers, ``committed`` keeps the file with what people
wrote into it, ``diff`` tells what changed and which mappings it breaks.
"""
