"""Pacing: when hypergradients come, and what they cost.

A window is here what `Settings.window` calls so: the inner steps that end with a hypergradient, whether they are
differentiated through or are the stretch before a first-order observation. Settings, checkpoints, metrics and what is
said to users have that name for both.
"""
