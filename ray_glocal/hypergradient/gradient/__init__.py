"""Derivatives of one inner step: its gradient with a graph, Hessian products, and through the update."""
