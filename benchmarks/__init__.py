"""What Secateur costs and gains, measured; results lie in ``benchmarks/results`` with their provenance."""
