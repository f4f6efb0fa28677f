"""A run small enough for a test: a tiny simulated log, narrow towers, two epochs."""

from configs import default
from configs.kinds import Causal, Sequence
from configs.schema import Config, Data
from configs.simulation import ShortVideoSimulation


def get_config() -> Config:
    """The smoke run."""
    config = default.get_config()
    config.simulation = ShortVideoSimulation(users=400, videos=600, creators=60)
    config.data = Data(partitions=3, shards=2, rows_per_record=64, max_next_queries=1_000)
    history = config.features["history"]
    assert isinstance(history, Sequence)
    history.causal = Causal(width=16, blocks=1)
    config.model.embedding_dim = 16
    config.model.residual_width = 32
    config.model.residual_blocks = 1
    config.model.cross_layers = 2
    config.model.cross_rank = 8
    config.train.batch_size = 256
    config.train.epochs = 2
    config.train.log_every_steps = 10
    config.train.checkpoint_every_steps = 20
    config.loss.uniform_negatives = 64
    config.export.k = 20
    return config
