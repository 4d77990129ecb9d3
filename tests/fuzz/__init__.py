"""Coverage-guided fuzzing (atheris) of what reads text and bytes from outside: no crash, no hang over 1 s, no escape."""
