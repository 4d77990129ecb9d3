"""How fast the whole job is, against a process that does nothing but move the same records."""
