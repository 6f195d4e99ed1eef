"""When, in what order, how wide. Computes nothing."""
