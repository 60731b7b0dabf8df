"""The tuning suite: choices may be made on it."""
