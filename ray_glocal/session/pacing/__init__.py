"""Pacing: when hypergradients come, and what they cost."""
