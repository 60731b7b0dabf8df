"""Training sets with wrong or rare labels, and what can weigh their examples."""
