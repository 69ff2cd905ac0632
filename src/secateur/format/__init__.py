"""The compact file: packed weights, the graph that uses them, and a strict reader. See docs/format.md."""
