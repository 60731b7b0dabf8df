"""First-order adaptation: cheap hypergradients at averaged weights, many of them, and what they lead to."""
