"""The held-out suite: run only for what is published; every look is written down."""
