"""Studies of the trainer's settings: see `__main__.py`."""
