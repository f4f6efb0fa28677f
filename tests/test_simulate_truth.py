import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from configs.schema import Split, SplitBy
from preprocessing.simulation.cuts import find_cuts
from preprocessing.simulation.policy import LoggingPolicy
from preprocessing.simulation.short_video import ShortVideoLogs
from preprocessing.simulation.truth import make_truth, mean_recall, window_positives
from tests.tiny_platform import run, small

DAY_S = 86_400


@pytest.fixture(scope="module")
def logs() -> ShortVideoLogs:
    return run(small())


def test_truth_expects_as_much_as_happens() -> None:
    logs = run(small(users=600))
    log, split = logs.log, logs.cuts.test_time
    policy = LoggingPolicy(logs.platform.config, logs.platform.catalog)
    truth = make_truth(
        logs.platform,
        [policy.day(number) for number in range(logs.platform.config.days)],
        log,
        users=np.arange(600),
        split=split,
        advance=lambda share: None,
    )
    relevant = window_positives(logs.platform, log, split=split)
    happened = np.isin(
        truth.user * 1_500 + truth.video,
        log.user[relevant].astype(np.int64) * 1_500 + log.video[relevant],
    )
    for ranks in (truth.rank <= 10, truth.rank > 10):
        assert happened[ranks].sum() == pytest.approx(truth.expected[ranks].sum(), rel=0.15)


def test_oracle_beats_popularity(logs: ShortVideoLogs) -> None:
    log, split = logs.log, logs.cuts.test_time
    relevant = window_positives(logs.platform, log, split=split)
    pairs = {
        "users": log.user[relevant].astype(np.int64),
        "videos": log.video[relevant].astype(np.int64),
    }
    users = np.unique(pairs["users"])
    count = np.bincount(log.video[log.positive & (log.time_s < split)], minlength=1_500)
    scores = np.tile(count, (300, 1))
    before = log.time_s < split
    scores[log.user[before], log.video[before]] = -1
    top = np.argsort(-scores[users], axis=1)[:, :20]
    popularity = mean_recall(**pairs, listed_users=np.repeat(users, 20), listed_videos=top.ravel())
    listed = logs.truth.rank <= 20
    oracle = mean_recall(
        **pairs, listed_users=logs.truth.user[listed], listed_videos=logs.truth.video[listed]
    )
    assert oracle is not None
    assert popularity is not None
    assert oracle > 2 * popularity > 0


def test_mean_recall_by_hand() -> None:
    found = mean_recall(
        users=np.array([0, 0, 3]),
        videos=np.array([5, 6, 5]),
        listed_users=np.array([0, 0, 3, 4]),
        listed_videos=np.array([6, 9, 6, 5]),
    )
    assert found == 0.25
    none = np.empty(0, dtype=np.int64)
    assert mean_recall(users=none, videos=none, listed_users=none, listed_videos=none) is None


@given(
    times=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    percents=st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_cuts_are_the_first_second_with_enough_before(
    times: list[int], percents: tuple[int, int]
) -> None:
    low, high = sorted(percents)
    cuts = find_cuts(Split(validation_fraction=low / 100, test_fraction=high / 100), np.sort(times))
    for percent, cut in ((low, cuts.validation_time), (high, cuts.test_time)):
        enough = [100 * sum(t < c for t in times) >= percent * len(times) for c in (cut, cut - 1)]
        assert enough == [True, False]


def test_cuts_by_date_and_by_user() -> None:
    split = Split(by=SplitBy.DATE, validation_date="2025-01-20", test_date="2025-01-21")
    cuts = find_cuts(split, np.array([0]))
    assert cuts.test_time - cuts.validation_time == DAY_S
    with pytest.raises(UserError, match="split.by: found loo"):
        find_cuts(Split(by=SplitBy.LOO), np.array([0]))
