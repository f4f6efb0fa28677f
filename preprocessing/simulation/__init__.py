"""Simulated raw logs with a known oracle: a short-video platform, and the StreamRec generator."""

import os

# Blocks of users already run on all cores. OpenBLAS's own threads, which wait by spinning, would
# take 2.4 times the CPU time in all (2 cores). It reads this when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
