"""The loop, its phases, its checkpoints."""
