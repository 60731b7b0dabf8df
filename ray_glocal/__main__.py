"""The command line: `python -m ray_glocal`."""
