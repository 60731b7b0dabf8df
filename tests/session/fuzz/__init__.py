"""Random training loops, each judged against the plain loop and against differences of whole loops."""
