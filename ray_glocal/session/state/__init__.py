"""State: what a session remembers, and how it is written and read again."""
