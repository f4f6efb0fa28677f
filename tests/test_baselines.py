"""What holds for every baseline, and which of them run."""

import numpy as np
import pytest
from rich.console import Console

from configs.baselines import (
    BaselineKind,
    Baselines,
    BprParameters,
    EaseFactoredParameters,
    EaseParameters,
    IalsParameters,
    PopularityParameters,
)
from configs.errors import UserError
from configs.evaluation import Eval
from tests.watched import ALL, SIDE, asking, checkerboard, interactions_of, lists_of, scores_of
from trainer.baselines import BASELINES, fit_baselines, parameters_of
from trainer.baselines.popularity import Popularity
from trainer.metrics import evaluate_lists
from trainer.retrieval import top_k

SAME_FOR_ALL = {BaselineKind.POPULARITY, BaselineKind.RECENT_POPULARITY}
# Own items are of the user alone: they do not say what goes with what.
PERSONAL = [
    kind for kind in BASELINES if kind not in SAME_FOR_ALL and kind is not BaselineKind.OWN_ITEMS
]
# Their first vectors are random, a row a user: what they learn is near, and no more.
SEEDED = {BaselineKind.IALS, BaselineKind.BPR}
# As wide as a checkerboard of twenty items needs.
PARAMETERS = Baselines(
    ials=IalsParameters(factors=2, regularization=0.1, alpha=5.0),
    bpr=BprParameters(factors=8, iterations=200),
    ease_factored=EaseFactoredParameters(dim=3),
)


def make(kind: BaselineKind):
    return BASELINES[kind].make(parameters_of(PARAMETERS, kind))


@pytest.mark.parametrize("name", BASELINES)
class TestContract:
    def fitted(self, name: str):
        return make(name).fit(interactions_of(checkerboard(), num_items=SIDE + 2))

    def test_scores_every_item_of_the_catalog_finitely(self, name):
        scores = self.fitted(name).score(
            asking(checkerboard()), rows=slice(3, 8), items=slice(0, SIDE + 2)
        )
        assert scores.shape == (5, SIDE + 2) and scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_a_block_of_queries_is_part_of_the_whole(self, name):
        baseline = self.fitted(name)
        queries = asking([*checkerboard(), [], [3]])
        whole = baseline.score(queries, rows=slice(0, len(queries)), items=ALL)
        parts = [
            baseline.score(queries, rows=slice(start, start + 2), items=ALL)
            for start in range(0, len(queries), 2)
        ]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-5)

    def test_a_block_of_items_is_part_of_the_whole(self, name):
        baseline = self.fitted(name)
        queries, rows = asking([*checkerboard(), [], [3]]), slice(2, SIDE + 2)
        whole = baseline.score(queries, rows=rows, items=ALL)
        parts = [
            baseline.score(queries, rows=rows, items=slice(start, min(start + 5, SIDE + 2)))
            for start in range(0, SIDE + 2, 5)
        ]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-6)

    def test_scores_may_be_overwritten(self, name):
        baseline = self.fitted(name)
        before = scores_of(baseline, [[1, 3], []])
        scores_of(baseline, [[1, 3], []])[:] = 7
        np.testing.assert_array_equal(scores_of(baseline, [[1, 3], []]), before)

    def test_fitting_again_forgets(self, name):
        first, second = interactions_of([[1, 2, 3]] * 3, num_items=9), checkerboard()
        refitted = make(name).fit(first).fit(interactions_of(second, num_items=SIDE + 2))
        np.testing.assert_array_equal(
            scores_of(refitted, second), scores_of(self.fitted(name), second)
        )

    def test_without_a_history_the_popular_come_first(self, name):
        sequences = [[1, 4, 3, 2], [2, 4, 3], [3, 4], [4, 3, 1, 2], [4]]
        baseline = make(name).fit(interactions_of(sequences, num_items=7))
        # 4 has five events, 3 four, 2 three, 1 two; 5 and 6 none.
        assert lists_of(baseline, [[], [0]], 7, num_items=7) == [[4, 3, 2, 1, 5, 6, -1]] * 2

    def test_the_unknown_item_tells_nothing(self, name):
        with_unknown = [[0, *row, 0] for row in checkerboard()]
        baseline = make(name).fit(interactions_of(with_unknown, num_items=SIDE + 2))
        np.testing.assert_array_equal(
            scores_of(baseline, checkerboard())[:, 1:],
            scores_of(self.fitted(name), checkerboard())[:, 1:],
        )
        unknown, empty = scores_of(baseline, [[0, 0], []])
        np.testing.assert_array_equal(unknown[1:], empty[1:])

    def test_items_without_train_events_come_last(self, name):
        lists = lists_of(self.fitted(name), [[1, 3, 5]], SIDE + 1, num_items=SIDE + 2)
        # SIDE + 1 was never watched; three items are seen.
        assert lists[0].index(SIDE + 1) == SIDE + 1 - 3 - 1


@pytest.mark.parametrize("name", PERSONAL)
class TestPersonalContract:
    def test_finds_the_withheld_diagonal_of_a_checkerboard(self, name):
        board = checkerboard()
        baseline = make(name).fit(interactions_of(board, num_items=SIDE + 1))
        queries = asking(board, [[u + 1] for u in range(SIDE)])
        available = np.zeros(SIDE + 1, dtype=np.int64)
        lists, _ = top_k(baseline, queries, k=2, available=available, exclude_seen=True)
        metrics = evaluate_lists(lists, queries.relevant, (1,), catalog_size=SIDE)
        assert metrics.per_query["HR@1"].tolist() == [1] * SIDE

    def test_popular_items_do_not_hide_it(self, name):
        """The other colour twice as popular: popularity alone is wrong for every odd item."""
        board = checkerboard()
        train = board + board[1::2]
        baseline = make(name).fit(interactions_of(train, num_items=SIDE + 1))
        popularity = Popularity(PopularityParameters()).fit(
            interactions_of(train, num_items=SIDE + 1)
        )
        answer = [[u + 1] for u in range(0, SIDE, 2)]
        assert lists_of(baseline, board[::2], 1, num_items=SIDE + 1) == answer
        assert lists_of(popularity, board[::2], 1, num_items=SIDE + 1) == [[2]] * (SIDE // 2)

    def test_answers_from_the_history_of_the_query(self, name):
        """A user who is not in train, and one whose history has moved on."""
        baseline = make(name).fit(interactions_of(checkerboard(), num_items=SIDE + 1))
        even, odd = lists_of(baseline, [[2, 4, 6], [1, 3, 5]], 7, num_items=SIDE + 1)
        assert sorted(even) == [8, 10, 12, 14, 16, 18, 20]
        assert sorted(odd) == [7, 9, 11, 13, 15, 17, 19]

    def test_the_order_of_users_does_not_matter(self, name):
        if name in SEEDED:
            pytest.skip("its first vectors are random, a row a user")
        board = checkerboard()
        once = make(name).fit(interactions_of(board, num_items=SIDE + 1))
        shuffled = make(name).fit(interactions_of(board[::-1], num_items=SIDE + 1))
        np.testing.assert_allclose(
            scores_of(once, board), scores_of(shuffled, board), rtol=1e-5, atol=1e-6
        )


class TestRegistry:
    def test_every_kind_has_its_parameters(self):
        assert set(BASELINES) == set(BaselineKind)
        for kind, entry in BASELINES.items():
            for changed, parameters in entry.candidates(parameters_of(Baselines(), kind)):
                assert all(getattr(parameters, name) == v for name, v in changed.items())

    @pytest.mark.parametrize("kind", BASELINES)
    def test_the_defaults_are_among_what_tuning_tries(self, kind):
        """Or a tuned baseline could be worse than one that was not."""
        defaults = parameters_of(Baselines(), kind)
        assert defaults in [parameters for _, parameters in BASELINES[kind].candidates(defaults)]

    def test_the_config_says_which_and_with_what(self):
        train = interactions_of([[1, 2, 3], [1, 2]], num_items=5)
        later = interactions_of([[4, 4, 4], [4, 1]], num_items=5)
        config = Eval(
            baselines=Baselines(
                kinds=(BaselineKind.RECENT_POPULARITY, BaselineKind.EASE),
                ease=EaseParameters(regularization=1, max_items=2),
            )
        )
        fitted = fit_baselines(config, train, before_split=later, console=Console(quiet=True))
        assert list(fitted) == ["recent popularity", "EASE"]
        assert lists_of(fitted["recent popularity"], [[]], 1, num_items=5) == [[4]]
        assert lists_of(fitted["EASE"], [[3]], 4, num_items=5) == [[1, 2, 4, -1]]

    def test_own_items_run_only_where_seen_items_may_be_recommended(self):
        train = interactions_of([[1, 2, 3], [1, 2]], num_items=5)
        for exclude_seen in (True, False):
            config = Eval(exclude_seen=exclude_seen)
            config.baselines.kinds = (BaselineKind.POPULARITY, BaselineKind.OWN_ITEMS)
            fitted = fit_baselines(config, train, before_split=train, console=Console(quiet=True))
            assert list(fitted) == ["popularity", "own items"][: 1 if exclude_seen else 2]

    def test_kinds_may_be_names(self):
        config = Baselines(kinds=("EASE", "recent popularity"))
        config.validate()
        assert config.kinds == (BaselineKind.EASE, BaselineKind.RECENT_POPULARITY)

    @pytest.mark.parametrize(
        ("kind", "field", "value", "expected"),
        [
            ("recent_popularity", "days", 0, "a positive number"),
            ("item_knn", "neighbours", 0, "a positive number"),
            ("item_knn", "shrinkage", -1.0, "0 or more"),
            ("last_items", "last", 0, "a positive number"),
            ("last_items", "target_exponent", 1.5, r"a share in \[0, 1\]"),
            ("ease", "regularization", 0.0, "a positive number"),
            ("ease_factored", "dim", 1, "2 or more"),
            ("ials", "factors", 0, "a positive number"),
            ("bpr", "iterations", 0, "a positive number"),
        ],
    )
    def test_the_config_refuses(self, kind, field, value, expected):
        config = Baselines()
        setattr(getattr(config, kind), field, value)
        path = rf"config\.eval\.baselines\.{kind}\.{field}: found {value}, expected {expected}"
        with pytest.raises(UserError, match=path):
            config.validate()
