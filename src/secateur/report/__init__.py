"""Tables of what a run found."""
