"""The losses, each in a file of its own behind one interface, and the weights that they share."""

from configs.schema import Loss as LossConfig
from configs.schema import LossKind
from trainer.losses.base import MASKED, Loss, Scores
from trainer.losses.bce import BinaryCrossEntropy
from trainer.losses.bpr import BayesianPersonalizedRanking
from trainer.losses.chunks import sum_in_chunks
from trainer.losses.correction import Drawn, log_expected, log_weights
from trainer.losses.softmax import Softmax
from trainer.losses.triplet import Triplet

__all__ = [
    "MASKED",
    "BayesianPersonalizedRanking",
    "BinaryCrossEntropy",
    "Drawn",
    "Loss",
    "Scores",
    "Softmax",
    "Triplet",
    "log_expected",
    "log_weights",
    "make_loss",
    "sum_in_chunks",
]


def make_loss(config: LossConfig) -> Loss:
    """The loss that a config asks for; what its negatives are is `trainer.negatives`' business."""
    match config.kind:
        case LossKind.SAMPLED_SOFTMAX | LossKind.FULL_SOFTMAX:
            return Softmax(label_smoothing=config.label_smoothing)
        case LossKind.BCE:
            return BinaryCrossEntropy()
        case LossKind.TRIPLET:
            return Triplet(margin=config.margin)
        case LossKind.BPR:
            return BayesianPersonalizedRanking()
