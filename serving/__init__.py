"""Checkpoint to answers."""

import configs.environment  # noqa: F401
