"""Dataset to checkpoint and metrics."""

import configs.environment  # noqa: F401
from trainer.allocator import keep_freed_memory

keep_freed_memory()
