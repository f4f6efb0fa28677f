"""Figures that can be repeated, one command each."""

import configs.environment  # noqa: F401
