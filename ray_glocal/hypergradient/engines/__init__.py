"""From a recorded window to its trajectory of hypergradients, backward and forward, and the exact truth."""
