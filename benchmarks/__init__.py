"""Measurements of what Secateur costs and gains; results lie in ``benchmarks/results`` with their provenance."""
