"""Simulated raw logs with a known oracle: a short-video platform, and the StreamRec generator."""
