"""The bilevel problem: what trains, the inner step, and the outer loss."""
