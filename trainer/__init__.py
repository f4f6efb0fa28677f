"""Dataset to checkpoint and metrics."""

import configs.environment  # noqa: F401
