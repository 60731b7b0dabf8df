"""Windows: the paper's hypergradients, of a few consecutive steps that are differentiated through."""
