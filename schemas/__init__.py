"""What things are: the words, the rows, the tables, the parameters and where they lie. Imports nothing above it."""
