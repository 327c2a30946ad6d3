"""The benchmarks: `python -m benchmarks` measures Vigil beside its peers and writes docs/BENCHMARKS.md."""
