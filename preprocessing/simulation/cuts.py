"""Where the preprocessing job will cut a simulated log."""

import dataclasses

from configs.errors import UserError
from configs.schema import Split, SplitBy
from preprocessing.simulation.arrays import Ints
from preprocessing.splits import cut_ranks, parse_date


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Split times.

    Attributes:
        validation_time: UTC second at which validation begins; events before it train.
        test_time: UTC second at which test begins.
    """

    validation_time: int
    test_time: int


def find_cuts(split: Split, timestamp: Ints) -> Cuts:
    """The cuts of a log, by the rule that the preprocessing job follows.

    Args:
        split: the rule.
        timestamp: [num_events] int64, UTC seconds, never falling, not empty, no duplicate events.

    Raises:
        UserError: the rule is not by time.
    """
    if split.by is SplitBy.LOO:
        raise UserError(
            f"config.data.split.by: found {split.by.value}, expected a split by time for "
            "simulated logs"
        )
    if split.by is SplitBy.DATE:
        return Cuts(
            validation_time=parse_date("validation_date", split.validation_date),
            test_time=parse_date("test_date", split.test_date),
        )
    validation_rank, test_rank = cut_ranks(split, len(timestamp))
    return Cuts(
        validation_time=int(timestamp[validation_rank - 1]) + 1,
        test_time=int(timestamp[test_rank - 1]) + 1,
    )
