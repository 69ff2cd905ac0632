"""The paper's figures, each a function that takes records and returns a matplotlib figure."""
