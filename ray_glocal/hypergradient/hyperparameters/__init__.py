"""What the outer problem adapts: names, values, coordinates, and the options of an optimizer that follow them."""
