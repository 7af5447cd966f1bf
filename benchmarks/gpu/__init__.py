"""What `benchmarks/gpu_check.py` measures, a step each."""
