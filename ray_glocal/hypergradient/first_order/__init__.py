"""Hypergradients without Hessian products, at averaged weights."""
