"""What the process must be told before TensorFlow is imported; imported for its effect."""

import os

# TFRS 0.7.7 is written for Keras 2, which TensorFlow takes from tf-keras when told so.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# What TensorFlow logs of CPU instructions and missing GPUs hides our own lines; what goes wrong in
# an operation reaches us as an exception all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# grpc's fork handlers run in a child between fork and exec, and can abort it there. No process of
# ours goes on with grpc in a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
