"""From logs to a dataset: what is positive, where splits are cut, how a dataset is described."""

import enum
from dataclasses import dataclass, field

from configs.checks import free, require, require_not_negative, require_positive
from configs.kinds import EVENTS


@dataclass(slots=True, kw_only=True)
class PositiveRule:
    """Which events say that the user wanted the video; an event that meets any line is positive.

    Attributes:
        min_watch_fraction: a watch of more than this share of the duration; 1.0 or more: never.
        min_watch_sec: a watch of at least so many seconds; 0: not by seconds.
        events: names of events that are positive whatever they carry.
    """

    min_watch_fraction: float = 0.5
    min_watch_sec: float = 0.0
    events: tuple[str, ...] = ("like", "share")


class SplitBy(enum.Enum):
    """How train, validation and test are cut."""

    FRACTION = "fraction"  # of events, in time
    DATE = "date"
    LOO = "loo"  # each user's last event out: for comparison with the literature only


@dataclass(slots=True, kw_only=True)
class Split:
    """Where train ends and test begins.

    Attributes:
        by: fraction of events, dates, or leave-one-out.
        validation_fraction: share of events before validation begins; equal to `test_fraction`
            leaves validation empty.
        test_fraction: share of events before test begins.
        validation_date: first UTC day of validation, `YYYY-MM-DD`; only by date.
        test_date: first UTC day of test, `YYYY-MM-DD`; only by date.
    """

    by: SplitBy = SplitBy.FRACTION
    validation_fraction: float = 0.8
    test_fraction: float = 0.9
    validation_date: str = ""
    test_date: str = ""

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        if self.by is SplitBy.FRACTION:
            require(
                0.0 < self.validation_fraction <= self.test_fraction < 1.0,
                "data.split",
                (self.validation_fraction, self.test_fraction),
                "0 < validation_fraction <= test_fraction < 1",
            )
        elif self.by is SplitBy.DATE:
            require(
                "" < self.validation_date <= self.test_date,
                "data.split",
                (self.validation_date, self.test_date),
                "validation_date <= test_date, each YYYY-MM-DD",
            )


class Ties(enum.Enum):
    """What an event knows of others of its user with the same timestamp."""

    STRICT = "strict"  # nothing
    FILE_ORDER = "file_order"  # those before it in the file: the literature's habit


class Seen(enum.Enum):
    """Which earlier contacts count as seen, and leave an item out of candidates and relevant."""

    ANY_EVENT = "any_event"
    POSITIVE = "positive"


class Form(enum.Enum):
    """What one record of the train split holds (docs/dataset.md)."""

    ROW = "row"  # rows of any users, each with a history of its own
    SEQUENCE = "sequence"  # rows of one user in the order of time, with one history for all


class DamagedFiles(enum.Enum):
    """What becomes of a job that meets a gzip or Parquet file that is cut or damaged."""

    FAIL = "fail"
    QUARANTINE = "quarantine"  # no row of it is used, and the manifest names it


@dataclass(slots=True, kw_only=True)
class Data:
    """From logs to dataset.

    Attributes:
        positive: the label rule.
        label_window_sec: a dislike or report of the video up to so long after a positive cancels
            the label; also the gap after which a repeated positive is a new one.
        repeats: keep later positives of the same (user, item); else the first only.
        watch_weight: a label weighs 1 + watch_weight · ln(1 + minutes watched in its event).
        negatives_per_row: items that the user was shown and did not want travel with the next
            label, at most so many (docs/dataset.md); 0: none.
        explicit_negatives: dislikes and reports are among them, before impressions.
        split: where train ends.
        ties: what events with one timestamp know of each other.
        seen: what evaluation leaves out.
        min_timestamp: earlier events are malformed (UTC seconds).
        max_timestamp: later events are malformed (UTC seconds).
        max_watch_sec: a longer watch is malformed.
        max_line_bytes: a longer line of JSON is malformed, and never held in memory whole.
        max_bad_fraction: the job fails when more lines than this share are malformed.
        damaged_files: fail, or go on without them, when a file is cut or damaged.
        form: rows, or sequences of a user's rows for an encoder that trains on all of them in one
            pass; queries are rows in any case.
        sequence_context: positives that a user's next sequence repeats from the one before, so that
            its first rows have a history too; a sequence holds as many as a history
            (`max_length`).
        max_next_queries: `next` queries kept for each split, chosen by a hash of user and time.
        partitions: groups of users that are worked on together; more need less memory each.
        rows_per_record: rows packed in one record; 1 gives the ordinary one-row Examples. A
            sequence is a record of its own.
        shards: files of the train split.
    """

    positive: PositiveRule = field(default_factory=PositiveRule)
    label_window_sec: int = 3_600
    repeats: bool = False
    watch_weight: float = 0.0
    negatives_per_row: int = 4
    explicit_negatives: bool = False
    split: Split = field(default_factory=Split)
    ties: Ties = Ties.STRICT
    seen: Seen = Seen.ANY_EVENT
    min_timestamp: int = 631_152_000  # 1990-01-01
    max_timestamp: int = 4_102_444_800  # 2100-01-01
    max_watch_sec: float = 86_400.0
    max_line_bytes: int = 1 << 20
    max_bad_fraction: float = free(0.01)
    damaged_files: DamagedFiles = free(DamagedFiles.FAIL)
    form: Form = Form.ROW
    sequence_context: int = 10
    max_next_queries: int = 20_000
    partitions: int = free(16)
    rows_per_record: int = free(1_024)
    shards: int = free(8)

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        self.split.validate()
        for event in self.positive.events:
            require(event in EVENTS, "data.positive.events", event, "one of " + ", ".join(EVENTS))
        require_not_negative(self.positive, "data.positive", "min_watch_fraction", "min_watch_sec")
        require_not_negative(
            self,
            "data",
            "label_window_sec",
            "watch_weight",
            "negatives_per_row",
            "sequence_context",
            "max_next_queries",
            "min_timestamp",
        )
        require_positive(
            self,
            "data",
            "max_watch_sec",
            "max_line_bytes",
            "partitions",
            "rows_per_record",
            "shards",
        )
        require(
            not self.explicit_negatives or self.negatives_per_row > 0,
            "data.explicit_negatives",
            self.explicit_negatives,
            "false where data.negatives_per_row is 0",
        )
        require(
            self.min_timestamp < self.max_timestamp,
            "data.max_timestamp",
            self.max_timestamp,
            f"a time after data.min_timestamp, {self.min_timestamp}",
        )
        require(
            0.0 <= self.max_bad_fraction <= 1.0,
            "data.max_bad_fraction",
            self.max_bad_fraction,
            "a share in [0, 1]",
        )


@dataclass(slots=True, kw_only=True)
class Describe:
    """The page about a dataset (`preprocessing.describe`).

    Attributes:
        max_category_drift: a feature whose share of some category differs by more between two sets
            of rows (L-infinity, in [0, 1]) is warned of.
        max_number_drift: the same for numbers, by Jensen-Shannon divergence (base 2, in [0, 1]).
        sample_rows: rows that histograms and drift are computed from, drawn uniformly from each
            set; 100,000 give a share with a standard error of at most 0.0016.
        bins: of histograms and of the drift of numbers.
        head: values shown of each vocabulary.
    """

    max_category_drift: float = 0.1
    max_number_drift: float = 0.1
    sample_rows: int = 100_000
    bins: int = 40
    head: int = 20

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        require_positive(self, "describe", "sample_rows", "bins", "head")
        for name in ("max_category_drift", "max_number_drift"):
            bound = getattr(self, name)
            require(0.0 <= bound <= 1.0, f"describe.{name}", bound, "a number in [0, 1]")
