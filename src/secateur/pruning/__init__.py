"""What to cut, and how it stays cut."""
