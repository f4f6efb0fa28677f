"""Trains the tiny run as one worker of a cluster, which `TF_CONFIG` names.

python -m tests.one_worker DATASET WORKDIR
"""

import sys

import trainer  # noqa: F401  before TensorFlow: it chooses Keras 2
from configs.schema import Config, Distribution
from tests.quiet import QUIET
from tests.tiny_run import tiny_config


def config_of(distribution: Distribution) -> Config:
    """Without draws, which are each replica's own, and without evaluation."""
    config = tiny_config()
    config.model.dropout = config.train.history_dropout = 0.0
    config.eval.protocols = ()
    config.train.distribution = distribution
    return config.validate()


if __name__ == "__main__":
    from trainer.train import train_and_evaluate

    train_and_evaluate(
        config_of(Distribution.MULTI_WORKER), sys.argv[1], sys.argv[2], console=QUIET
    )
