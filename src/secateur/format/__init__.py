"""The compact file: the graph, the layouts of its weights, and how both are written and read."""
