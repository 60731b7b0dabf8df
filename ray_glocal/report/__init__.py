"""What an experiment came to: its trials, its best configuration, why trials were pruned, and what it all cost."""
