"""What an inner step depends on: copied before it, and put back where the step is run again."""
