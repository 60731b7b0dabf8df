"""Rivals of the session: other ways to come by a learning rate, each a frozen dataclass that trains a `Run`."""
