"""Consecutive inner steps: taken and recorded, taken again from a remembered state, and checked."""
