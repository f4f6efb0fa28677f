"""How fast the preprocessing job is, beside what else one would write: see `__main__.py`."""
