"""Running a compact network: NumPy and the compiled core, nothing else."""
