"""What a network costs and does, measured: counts, activations, significance."""
