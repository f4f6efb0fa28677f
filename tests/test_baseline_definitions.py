"""Each baseline against its definition, worked out by hand or by another way."""

from dataclasses import replace

import numpy as np
import pytest

from configs.baselines import (
    BprParameters,
    EaseFactoredParameters,
    EaseParameters,
    IalsParameters,
    ItemKnnParameters,
    LastItemsParameters,
    OwnItemsParameters,
    PopularityParameters,
    RecentPopularityParameters,
)
from tests.watched import DAY, SIDE, asking, checkerboard, interactions_of, lists_of, scores_of
from trainer.baselines.bpr import Bpr
from trainer.baselines.ease import Ease
from trainer.baselines.ease_factored import EaseFactored
from trainer.baselines.ials import Ials
from trainer.baselines.item_knn import ItemKnn
from trainer.baselines.last_items import LastItems
from trainer.baselines.own_items import OwnItems
from trainer.baselines.popularity import Popularity, RecentPopularity
from trainer.queries import Ragged


class TestPopularity:
    def test_counts_train_positives(self):
        baseline = Popularity(PopularityParameters()).fit(
            interactions_of([[1, 2, 2], [2, 0]], num_items=4)
        )
        assert scores_of(baseline, [[1], []]).tolist() == [[0, 1, 3, 0]] * 2


class TestRecentPopularity:
    TRAIN = interactions_of(
        [[1, 1, 1, 2, 3, 3, 4]],
        times=[[0, 1, 2, 3, 4, 2 * DAY, 2 * DAY + 1]],
        num_items=6,
    )

    def test_ranks_by_recent_then_by_all_events(self):
        # The last day holds one event of 3, which has two in all, and one of 4, which has one.
        baseline = RecentPopularity(RecentPopularityParameters(days=1)).fit(self.TRAIN)
        assert lists_of(baseline, [[]], 5, num_items=6) == [[3, 4, 1, 2, 5]]

    def test_the_window_starts_days_before_the_split(self):
        # The split is at 2 DAY + 2; two days before it are exactly the events from second 2 on.
        baseline = RecentPopularity(RecentPopularityParameters(days=2)).fit(self.TRAIN)
        assert lists_of(baseline, [[]], 5, num_items=6) == [[3, 1, 2, 4, 5]]


class TestOwnItems:
    TRAIN = interactions_of([[1, 1, 1, 2, 2, 3, 4]], num_items=7)

    def scores(self, history: list[int], days: list[int], *, half_life_days: float) -> list[float]:
        baseline = OwnItems(OwnItemsParameters(half_life_days=half_life_days)).fit(self.TRAIN)
        queries = asking([history, []])
        times = np.array(days, dtype=np.int64) * DAY
        queries = replace(
            queries, history_time=Ragged(values=times, offsets=queries.history.offsets)
        )
        scores = baseline.score(queries, rows=slice(0, 2), items=slice(0, 7))
        np.testing.assert_allclose(scores[1], [-1, -1 / 4, -1 / 3, -1 / 2, -1 / 2, -1, -1])
        return scores[0].tolist()

    def test_counts_the_users_own_before_what_is_popular(self):
        found = self.scores([5, 4, 5, 0], [3, 4, 5, 6], half_life_days=1e9)
        np.testing.assert_allclose(found, [-1, -1 / 4, -1 / 3, -1 / 2, 1, 2, -1], rtol=1e-6)

    def test_a_half_life_halves(self):
        found = self.scores([5, 4, 5], [0, 10, 20], half_life_days=10)
        np.testing.assert_allclose(found[4:6], [1 / 2, 1 + 1 / 4], rtol=1e-6)

    def test_however_old_it_stays_the_users_own(self):
        found = self.scores([5, 4], [0, 10_000], half_life_days=1)
        assert found[4] == 1 and 0 < found[5] < 1e-30


class TestItemKnn:
    # Users of 1: a, b, c, d; of 2: a, b, c, d; of 3: a; of 4: a.
    TRAIN = interactions_of([[1, 2, 3, 4], [1, 2], [1, 2], [2, 1, 1]], num_items=6)

    def test_sums_shrunk_cosines(self):
        baseline = ItemKnn(ItemKnnParameters(shrinkage=2)).fit(self.TRAIN)
        one_two, one_three, three_four = 4 / (4 + 2), 1 / (2 + 2), 1 / (1 + 2)
        scores = scores_of(baseline, [[1], [3, 1, 3]])
        expected = [[one_two, one_three, one_three], [one_two + one_three, three_four + one_three]]
        np.testing.assert_allclose(scores[0, [2, 3, 4]], expected[0], rtol=1e-6)
        np.testing.assert_allclose(scores[1, [2, 4]], expected[1], rtol=1e-6)

    def test_no_item_is_its_own_neighbour(self):
        assert scores_of(ItemKnn(ItemKnnParameters()).fit(self.TRAIN), [[1]])[0, 1] < 0

    def test_keeps_the_nearest_neighbours(self):
        scores = scores_of(
            ItemKnn(ItemKnnParameters(neighbours=1, shrinkage=0)).fit(self.TRAIN), [[1], [3]]
        )
        # Of 1 it is 2. Of 3 it is 4, with a cosine of 1 against 1/2.
        assert (scores > 0).tolist() == [
            [False, False, True, False, False, False],
            [False, False, False, False, True, False],
        ]

    def test_blocks_of_items_do_not_show(self, monkeypatch):
        board = checkerboard()
        whole = ItemKnn(ItemKnnParameters(neighbours=4)).fit(
            interactions_of(board, num_items=SIDE + 1)
        )
        monkeypatch.setattr("trainer.baselines.item_knn._SIMILARITY_BLOCK_BYTES", 4 * 21 * 4)
        blocked = ItemKnn(ItemKnnParameters(neighbours=4)).fit(
            interactions_of(board, num_items=SIDE + 1)
        )
        np.testing.assert_array_equal(scores_of(whole, board), scores_of(blocked, board))


class TestLastItems:
    # Followers within two places: of 1: 2 twice, 3, 4; of 2: 3, 4, 4; of 3: 4.
    SEQUENCES = [[1, 2, 3, 4], [1, 2, 4]]

    def plain(self, **parameters) -> LastItems:
        return LastItems(
            LastItemsParameters(window=2, source_exponent=0, target_exponent=0, **parameters)
        )

    def test_counts_followers_in_the_window(self):
        baseline = self.plain().fit(interactions_of(self.SEQUENCES, num_items=6))
        scores = np.maximum(scores_of(baseline, [[1], [2], [3], [4]]), 0)
        assert scores[:, 1:5].tolist() == [[0, 2, 1, 1], [0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 0]]

    def test_newer_items_weigh_more(self):
        baseline = self.plain().fit(interactions_of(self.SEQUENCES, num_items=6))
        scores = scores_of(baseline, [[1, 2], [2, 1]])
        assert scores[0, 3:5].tolist() == [1 + 1 / 2, 2 + 1 / 2]
        assert scores[1, 3:5].tolist() == [1 + 1 / 2, 1 + 2 / 2]

    def test_older_items_do_not_count(self):
        baseline = self.plain(last=2).fit(interactions_of(self.SEQUENCES, num_items=6))
        np.testing.assert_array_equal(
            scores_of(baseline, [[1, 3, 2]]), scores_of(baseline, [[3, 2]])
        )

    def test_damps_by_popularity(self):
        baseline = LastItems(
            LastItemsParameters(window=2, source_exponent=0.5, target_exponent=0.25)
        )
        scores = scores_of(baseline.fit(interactions_of(self.SEQUENCES, num_items=6)), [[1], [3]])
        # 1, 2 and 4 have two positives, 3 has one.
        np.testing.assert_allclose(scores[0, 2:5], [2 / 2**0.75, 1 / 2**0.5, 1 / 2**0.75])
        np.testing.assert_allclose(scores[1, 4], 1 / 2**0.25)

    def test_goes_by_time_and_where_it_ties_by_order(self):
        late_first = interactions_of([[3, 1, 2]], times=[[9, 5, 5]], num_items=4)
        scores = scores_of(
            LastItems(LastItemsParameters(window=1)).fit(late_first), [[1], [2], [3]]
        )
        assert (scores > 0).tolist() == [
            [False, False, True, False],
            [False, False, False, True],
            [False, False, False, False],
        ]

    def test_one_user_does_not_follow_another(self):
        baseline = self.plain().fit(interactions_of([[1, 2], [3, 4]], num_items=5))
        assert (scores_of(baseline, [[2]]) < 0).all()

    @pytest.mark.parametrize("window", [1, 9])
    def test_short_trains(self, window):
        baseline = LastItems(LastItemsParameters(window=window)).fit(
            interactions_of([[1]], num_items=3)
        )
        assert lists_of(baseline, [[2]], 2, num_items=3) == [[1, -1]]


class TestEase:
    def test_two_items_by_hand(self):
        # G = [[3, 2], [2, 2]]: the weight from 1 to 2 is c / (a + λ), from 2 to 1 c / (b + λ).
        train = interactions_of([[1, 2], [1, 2], [1, 1]], num_items=3)
        scores = scores_of(Ease(EaseParameters(regularization=2)).fit(train), [[1], [2]])
        np.testing.assert_allclose(scores[:, 1:], [[0, 2 / 5], [2 / 4, 0]], rtol=1e-6)

    def test_each_column_is_a_ridge_regression_on_the_others(self):
        rng = np.random.default_rng(0)
        sequences = [sorted(rng.permutation(8)[: rng.integers(1, 7)] + 1) for _ in range(40)]
        users = np.zeros((40, 9))
        for user, row in enumerate(sequences):
            users[user, row] = 1
        scores = scores_of(
            Ease(EaseParameters(regularization=3)).fit(interactions_of(sequences, num_items=9)),
            sequences,
        )
        for item in range(1, 9):
            others = np.delete(users, item, axis=1)
            ridge = others.T @ others + 3 * np.eye(8)
            weights = np.linalg.solve(ridge, others.T @ users[:, item])
            np.testing.assert_allclose(scores[:, item], others @ weights, atol=1e-5)

    def test_with_fewer_users_than_items_all_items_are_covered(self):
        """The same scores by the inverse over users as by that over items, whatever `max_items`."""
        rng = np.random.default_rng(1)
        sequences = [sorted(rng.permutation(60)[: rng.integers(2, 20)] + 1) for _ in range(12)]
        train = interactions_of(sequences, num_items=64)
        histories = [sequences[0], [3, 17], [63], [], [9, 9, 30]]
        by_items, by_users = (
            scores_of(Ease(EaseParameters(regularization=2, max_items=n)).fit(train), histories)
            for n in (100, 12)
        )
        known = np.flatnonzero(train.item_counts)
        assert len(known) > 30
        np.testing.assert_allclose(by_users[:, known], by_items[:, known], atol=1e-5)
        # Of what no user has, and for whom nothing is known, popularity alone decides.
        assert (by_users[:, [62, 63]] <= by_users[:, known].min(axis=1, keepdims=True)).all()
        # And so in the factored form.
        factored = [
            scores_of(
                EaseFactored(EaseFactoredParameters(dim=6, regularization=2, max_items=n)).fit(
                    train
                ),
                histories,
            )[:, known]
            for n in (100, 12)
        ]
        np.testing.assert_allclose(factored[0], factored[1], atol=1e-4)

    def test_what_is_not_covered_comes_after_by_popularity(self):
        sequences = [[1, 2, 3], [1, 2, 3], [1, 2, 4], [1, 4, 5], [2, 4]]
        train = interactions_of(sequences, num_items=7)
        baseline = Ease(EaseParameters(regularization=1, max_items=2)).fit(train)
        # Counts: 1 and 2 four, 4 three, 3 two, 5 one, 6 none; 1 and 2 are covered.
        assert lists_of(baseline, [[1], [2, 0]], 6, num_items=7) == [
            [2, 4, 3, 5, 6, -1],
            [1, 4, 3, 5, 6, -1],
        ]
        # A history beyond the covered items is none.
        assert lists_of(baseline, [[3]], 6, num_items=7) == [[1, 2, 4, 5, 6, -1]]


class TestEaseFactored:
    SEQUENCES = [[1, 2, 3], [1, 2, 3], [1, 2, 4], [1, 4, 5], [2, 4], [5, 6, 3], [6, 4, 1]]

    def test_in_full_width_it_is_ease_and_popularity(self):
        train = interactions_of(self.SEQUENCES, num_items=7)
        full = EaseFactored(EaseFactoredParameters(dim=7, regularization=2, popularity_weight=0.5))
        ease = Ease(EaseParameters(regularization=2))
        histories = [[1], [2, 4], [3, 5, 6]]
        recent = train.item_counts[1:]  # every second of the log is of the last week
        popular = 0.5 * np.sqrt(recent / recent.max())
        expected = scores_of(ease.fit(train), histories)[:, 1:] + popular
        np.testing.assert_allclose(
            scores_of(full.fit(train), histories)[:, 1:], expected, atol=1e-5
        )

    def test_it_keeps_the_best_directions(self):
        """No other projection of the predictions to as many dimensions errs less."""
        rng = np.random.default_rng(0)
        sequences = [sorted(rng.permutation(8)[: rng.integers(2, 7)] + 1) for _ in range(40)]
        train = interactions_of(sequences, num_items=9)
        whole = scores_of(Ease(EaseParameters(regularization=2)).fit(train), sequences)[:, 1:]
        factored = EaseFactored(
            EaseFactoredParameters(dim=4, regularization=2, popularity_weight=1e-9)
        )
        found = scores_of(factored.fit(train), sequences)[:, 1:]
        singular = np.linalg.svd(whole, compute_uv=False)
        error = np.square(whole - found).sum()
        assert error == pytest.approx(np.square(singular[3:]).sum(), rel=1e-3)
        assert error > 0

    def test_recent_popularity_is_of_all_before_the_split(self):
        train = interactions_of([[1, 2], [1, 2], [1]], num_items=4)
        later = interactions_of([[1, 2], [3, 3, 3, 3]], num_items=4)
        weighted = EaseFactored(EaseFactoredParameters(popularity_weight=100))
        scores = scores_of(weighted.fit(train, before_split=later), [[1]])[0]
        assert scores[3] == pytest.approx(100)
        assert scores[2] == pytest.approx(50, abs=1)


class TestIals:
    def test_folds_in_by_least_squares(self):
        """The user's vector of the paper's equation 4, with the library's weights."""
        parameters = IalsParameters(factors=3, regularization=0.5, alpha=4.0)
        baseline = Ials(parameters).fit(interactions_of(checkerboard(), num_items=SIDE + 1))
        history = [1, 3, 9]
        items = np.array(baseline._items, dtype=np.float64)
        weight = np.ones(SIDE + 1)
        weight[history] = parameters.alpha
        wanted = np.isin(np.arange(SIDE + 1), history)
        left = (items.T * weight) @ items + parameters.regularization * np.eye(3)
        user = np.linalg.solve(left, items.T @ (weight * wanted))
        scores = scores_of(baseline, [history])[0]
        np.testing.assert_allclose(scores[1:], (items @ user)[1:], atol=1e-4)

    def test_a_seed_is_a_model(self):
        train = interactions_of(checkerboard(), num_items=SIDE + 1)
        parameters = IalsParameters(factors=4)
        one, other = (scores_of(Ials(parameters).fit(train), checkerboard()) for _ in range(2))
        np.testing.assert_array_equal(one, other)


class TestBpr:
    def test_folds_in_at_the_top_of_its_objective(self):
        """No small change of the user's vector makes the same pairs likelier."""
        parameters = BprParameters(factors=3, iterations=50, regularization=0.1)
        baseline = Bpr(parameters).fit(interactions_of(checkerboard(), num_items=SIDE + 1))
        history = [1, 3, 9, 11]
        queries = asking([history])
        user = baseline._users(queries, slice(0, 1))[0].astype(np.float64)
        apart = baseline._items[history][:, None] - baseline._items[baseline._negatives[history]]

        def objective(vector: np.ndarray) -> float:
            margin = apart.astype(np.float64) @ vector
            likelihood = -np.log1p(np.exp(-margin)).mean()
            return float(likelihood - parameters.regularization / 2 * np.square(vector).sum())

        assert user[-1] == 1 and np.any(user[:-1] != 0)
        best = objective(user)
        for axis in range(3):
            for change in (-0.05, 0.05):
                moved = user.copy()
                moved[axis] += change
                assert objective(moved) < best

    def test_a_seed_is_a_model(self):
        train = interactions_of(checkerboard(), num_items=SIDE + 1)
        parameters = BprParameters(factors=4)
        one, other = (scores_of(Bpr(parameters).fit(train), checkerboard()) for _ in range(2))
        np.testing.assert_array_equal(one, other)

    def test_the_popular_are_preferred_where_users_are_alike(self):
        """By the library alone an item is as often the one not chosen as it is chosen."""
        rng = np.random.default_rng(0)
        share = 1 / np.arange(1, 41)
        share /= share.sum()
        sequences = [list(rng.choice(40, 6, replace=False, p=share) + 1) for _ in range(300)]
        train = interactions_of(sequences, num_items=41)
        baseline = Bpr(BprParameters(factors=2, iterations=60, regularization=0.1)).fit(train)
        popular = np.argsort(-train.item_counts)[:10]
        for scores in scores_of(baseline, [[1], [20], [40]]):
            first = np.argsort(-scores)[:10]
            assert len(np.intersect1d(first, popular)) >= 6
