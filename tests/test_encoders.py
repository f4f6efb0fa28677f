"""One contract for every kind of feature: raw columns, look-up and embedding fit together."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs.kinds import (
    KINDS,
    Bag,
    Bounded,
    Bucketized,
    Count,
    Cyclical,
    Dense,
    Distribution,
    Entity,
    Feature,
    Freshness,
    HashedId,
    LogZScore,
    Measure,
    OneHot,
    Period,
    Sequence,
    Text,
    Vocabulary,
)
from configs.schema import Data
from preprocessing.columns import TIMESTAMP, DType, default_of
from preprocessing.features import FeatureSpec, columns_of
from trainer.catalog import Assets, DailyCounts
from trainer.encoders import Encoder, make_encoder
from trainer.history_encoder import HistoryEncoder

FEATURES: dict[str, Feature] = {
    "user": HashedId(column="user_id", num_buckets=97, dim=6),
    "country": Vocabulary(column="country", dim=5),
    "gender": OneHot(column="gender"),
    "age": Bucketized(column="age", boundaries=(18, 30, 50), dim=4),
    "minutes": LogZScore(column="minutes"),
    "account_age": LogZScore(column="signup_date", elapsed=True),
    "likes": LogZScore(count=Count(event="like"), freshness=Freshness.EVENT),
    "watch_minutes": LogZScore(
        count=Count(event="watch", measure=Measure.WATCH_MS, window_days=2),
        freshness=Freshness.EVENT,
    ),
    "share": Bounded(column="share"),
    "like_ratio": Bounded(
        numerator=Count(event="like"),
        denominator=Count(event="impression"),
        freshness=Freshness.EVENT,
    ),
    "hour": Cyclical(column="timestamp", entity=Entity.CONTEXT),
    "weekday": Cyclical(column="timestamp", entity=Entity.CONTEXT, period=Period.WEEK),
    "upload_hour": Cyclical(column="upload_time", entity=Entity.ITEM),
    "tags": Bag(column="tags", entity=Entity.ITEM, dim=5, max_length=4),
    "title": Text(column="title", dim=6),
    "profile": Dense(column="profile", length=3),
    "category": Vocabulary(column="category", entity=Entity.ITEM),
    "affinity": Distribution(of="category", max_keys=3),
    "creator": HashedId(column="creator_id", entity=Entity.ITEM, num_buckets=97),
    "creator_affinity": Distribution(of="creator", max_keys=3, dim=4),
}
ASSETS = Assets(
    vocabularies={
        "country": ["de", "fr"],
        "gender": ["f", "m"],
        "category": ["news", "music"],
        "tags": ["news", "music"],
    },
    statistics={
        n: {"mean": 1.0, "std": 2.0} for n in ("minutes", "account_age", "likes", "watch_minutes")
    },
    daily=DailyCounts(key=np.zeros(0, np.int64), counts=np.zeros((0, 0), np.int64)),
)
SPEC = FeatureSpec(features=FEATURES, data=Data())
NOW = 1_700_000_000


def raw(name: str, rows: int, seed: int = 0) -> dict[str, tf.Tensor]:
    """Random raw columns of one feature, as a request carries them."""
    rng = np.random.default_rng(seed)
    words = {"country": ["de", "fr", "xx", ""], "gender": ["f", "m", "?"]}.get(
        name, ["news", "music", "new", ""]
    )
    columns: dict[str, tf.Tensor] = {TIMESTAMP: tf.fill([rows], tf.constant(NOW, tf.int64))}
    for column in columns_of(name, FEATURES[name]):
        width = column.length or column.max_length
        shape = [rows, width] if width else [rows]
        if column.dtype is DType.BYTES:
            columns[column.name] = tf.constant(rng.choice(words, shape))
        elif column.dtype is DType.INT64:
            high = NOW if column.name in ("signup_date", "timestamp", "upload_time") else 50
            columns[column.name] = tf.constant(rng.integers(0, high, shape))
        else:
            high = 1.5 if column.name == "share" else 60
            columns[column.name] = tf.constant(rng.uniform(0, high, shape), tf.float32)
    return columns


@pytest.fixture(params=FEATURES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return make_encoder(request.param, SPEC, ASSETS, seed=1)


def test_every_kind_is_tried() -> None:
    assert {type(f) for f in FEATURES.values()} | {Sequence} == set(KINDS)


def test_each_row_by_itself_and_alike_in_a_graph(encoder: Encoder) -> None:
    columns = raw(encoder.feature_name, 7)
    whole = encoder(encoder.look_up(columns)).numpy()
    assert whole.shape[0] == 7 and whole.dtype == np.float32
    in_graph = tf.function(lambda c: encoder(encoder.look_up(c)))(columns).numpy()
    np.testing.assert_allclose(in_graph, whole, rtol=1e-6)
    for row in range(7):
        alone = {n: v[row : row + 1] for n, v in columns.items()}
        np.testing.assert_allclose(encoder(encoder.look_up(alone))[0], whole[row], rtol=1e-6)


def test_different_values_are_told_apart(encoder: Encoder) -> None:
    vectors = encoder(encoder.look_up(raw(encoder.feature_name, 64))).numpy()
    assert len(np.unique(vectors, axis=0)) > 1


def test_missing_is_finite(encoder: Encoder) -> None:
    missing: dict[str, tf.Tensor] = {TIMESTAMP: tf.constant([NOW], tf.int64)}
    for column in columns_of(encoder.feature_name, encoder.feature):
        if column.max_length:
            shape = tf.TensorShape([1, column.max_length])
            missing[column.name] = tf.zeros(shape, column.dtype.value)
        elif column.length:
            missing[column.name] = tf.zeros([1, column.length])
        else:
            missing[column.name] = tf.constant([default_of(column)], column.dtype.value)
    vector = encoder(encoder.look_up(missing)).numpy()
    assert np.isfinite(vector).all()


def test_gradients_reach_every_table(encoder: Encoder) -> None:
    columns = raw(encoder.feature_name, 16)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(encoder.look_up(columns)) ** 2)
    for variable in encoder.trainable_variables:
        gradient = tf.convert_to_tensor(tape.gradient(loss, variable))
        assert np.abs(gradient).max() > 0


def test_vocabulary_ids_start_at_one_and_strangers_share_zero() -> None:
    encoder = make_encoder("country", SPEC, ASSETS, seed=1)
    ids = encoder.look_up({"country": tf.constant(["fr", "de", "xx", ""])})
    assert ids.numpy().tolist() == [2, 1, 0, 0]


def test_bucket_begins_at_its_boundary_and_missing_is_below_all() -> None:
    encoder = make_encoder("age", SPEC, ASSETS, seed=1)
    ids = encoder.look_up({"age": tf.constant([-1.0, 17.9, 18.0, 49.0, 50.0, 99.0])})
    assert ids.numpy().tolist() == [0, 0, 1, 2, 3, 3]


def test_log_z_score_by_hand() -> None:
    count = make_encoder("likes", SPEC, ASSETS, seed=1)
    found = count.look_up({"likes": tf.constant([0, 9], tf.int64)})
    np.testing.assert_allclose(found, [-0.5, (np.log(10) - 1) / 2], rtol=1e-6)
    age = make_encoder("account_age", SPEC, ASSETS, seed=1)
    times = [NOW - 2 * 86_400, 0, NOW + 5]
    found = age.look_up(
        {"signup_date": tf.constant(times, tf.int64), TIMESTAMP: tf.fill([3], np.int64(NOW))}
    )
    np.testing.assert_allclose(found, [(np.log(3) - 1) / 2, 0.0, -0.5], rtol=1e-6)


def test_watch_time_is_minutes_a_day() -> None:
    encoder = make_encoder("watch_minutes", SPEC, ASSETS, seed=1)
    found = encoder.look_up({"watch_minutes": tf.constant([0, 6 * 60_000], tf.int64)})
    np.testing.assert_allclose(found, [-0.5, (np.log(4) - 1) / 2], rtol=1e-6)  # 3 a day


def test_bounded_divides_clips_and_knows_what_is_missing() -> None:
    ratio = make_encoder("like_ratio", SPEC, ASSETS, seed=1)
    found = ratio.look_up(
        {
            "like_ratio_numerator": tf.constant([1, 0, 5, 0], tf.int64),
            "like_ratio_denominator": tf.constant([4, 4, 4, 0], tf.int64),
        }
    )
    np.testing.assert_allclose(found, [[0.25, 1], [0, 1], [1, 1], [0, 0]])
    column = make_encoder("share", SPEC, ASSETS, seed=1)
    found = column.look_up({"share": tf.constant([-1.0, 0.0, 0.5, 1.5])})
    np.testing.assert_allclose(found, [[0, 0], [0, 1], [0.5, 1], [1, 1]])


def test_times_go_round_the_day_and_the_week() -> None:
    monday = 1_699_833_600  # 2023-11-13T00:00:00Z
    quarter = np.array([[0, 1], [1, 0], [0, -1], [-1, 0], [0, 0]])
    for name, seconds in (("hour", 86_400), ("weekday", 7 * 86_400)):
        encoder = make_encoder(name, SPEC, ASSETS, seed=1)
        times = [monday + part * seconds // 4 for part in range(4)]
        found = encoder.look_up({TIMESTAMP: tf.constant([*times, 0], tf.int64)})
        np.testing.assert_allclose(found, quarter, atol=1e-6)
        again = encoder.look_up({TIMESTAMP: tf.constant([times[1] + 9 * seconds], tf.int64)})
        np.testing.assert_array_equal(again, found[1:2])


def test_bag_is_the_mean_of_what_is_there() -> None:
    encoder = make_encoder("tags", SPEC, ASSETS, seed=1)
    tags = tf.constant([["music", "news", "", ""], ["new", "", "", ""], [""] * 4])
    ids = encoder.look_up({"tags": tags})
    assert ids.numpy().tolist() == [[2, 1, -1, -1], [0, -1, -1, -1], [-1] * 4]
    table = encoder.embedding.table.numpy()  # type: ignore[attr-defined]
    expected = [(table[1] + table[2]) / 2, table[0], np.zeros(5)]
    np.testing.assert_allclose(encoder(ids), expected, rtol=1e-6)


def test_distribution_divides_what_it_was_given() -> None:
    encoder = make_encoder("affinity", SPEC, ASSETS, seed=1)
    found = encoder.look_up(
        {
            "affinity_key": tf.constant([["music", "gone", ""], ["", "", ""]]),
            "affinity_count": tf.constant([[3, 1, 0], [0, 0, 0]], tf.int64),
        }
    )
    np.testing.assert_allclose(found, [[0.25, 0.0, 0.75], [0.0, 0.0, 0.0]])


def test_hashed_distribution_is_a_mean_by_count() -> None:
    encoder = make_encoder("creator_affinity", SPEC, ASSETS, seed=1)
    keys = tf.constant([["a", "b", ""], ["a", "", ""], ["b", "", ""], ["", "", ""]])
    counts = tf.constant([[3, 1, 0], [5, 0, 0], [1, 0, 0], [0, 0, 0]], tf.int64)
    found = encoder(
        encoder.look_up({"creator_affinity_key": keys, "creator_affinity_count": counts})
    ).numpy()
    np.testing.assert_allclose(found[0], 0.75 * found[1] + 0.25 * found[2], rtol=1e-5)
    assert np.abs(found[1] - found[2]).max() > 0.01
    assert not found[3].any()


def history(**given: Any) -> HistoryEncoder:
    return HistoryEncoder("history", Sequence(**given), dropout=0.0, seed=1)


def test_window_means_take_the_newest_wherever_padding_stands() -> None:
    layer = history(max_length=4, windows=(4, 2, 1))
    values = tf.constant([[[1.0], [2.0], [6.0], [99.0]], [[99.0], [1.0], [2.0], [6.0]]])
    mask = tf.constant([[True, True, True, False], [False, True, True, True]])
    age = tf.zeros([2, 4], tf.int64)
    np.testing.assert_allclose(layer(values, mask, age), [[3.0, 4.0, 6.0]] * 2)
    np.testing.assert_array_equal(layer(values, tf.zeros_like(mask), age), np.zeros((2, 3)))


def test_a_session_ends_at_the_first_long_gap() -> None:
    layer = history(max_length=4, windows=(4,), session_length=2, session_gap_sec=100)
    values = tf.reshape(tf.constant([1.0, 2.0, 4.0, 8.0]), [1, 4, 1]).numpy().repeat(6, 0)
    mask = tf.constant([[True] * 4] * 5 + [[True, True, True, False]])
    times = NOW - np.array(
        [
            [300, 200, 100, 0],  # no gap is longer than 100: the last two of four
            [300, 200, 99, 98],
            [300, 200, 99, -5],  # the newest is newer than the request: no gap
            [999, 998, 997, 101],  # the request itself begins a new session
            [200, 199, 98, 97],
            [99, 98, 97, NOW],  # 0: padding
        ]
    )
    age = layer.look_up(
        {
            "history_timestamp": tf.constant(times, tf.int64),
            TIMESTAMP: tf.fill([6], tf.constant(NOW, tf.int64)),
        }
    )
    assert age.numpy()[2:4].tolist() == [[300, 200, 99, 0], [999, 998, 997, 101]]
    found = layer(values, mask, age)[:, 1].numpy().tolist()
    assert found == [6.0, 6.0, 6.0, 0.0, 6.0, 3.0]


def test_ages_are_pooled_beside_the_items() -> None:
    layer = history(max_length=2, windows=(2, 1), age_dim=3)
    mask = tf.constant([[True, True], [True, False]])
    ages = tf.constant([[86_400, 5], [5, 0]], tf.int64)
    pooled = layer(tf.zeros([2, 2, 4]), mask, ages).numpy().reshape(2, 2, 7)
    assert layer.means is not None and layer.means.ages is not None
    table = layer.means.ages.table.numpy()
    day = int(np.floor(np.log2(86_400 / 60))) + 1
    np.testing.assert_allclose(pooled[0, 0, 4:], (table[day] + table[0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(pooled[:, 1, 4:], [table[0]] * 2, rtol=1e-6)
    assert not pooled[..., :4].any()


def test_history_dropout_hides_items_in_training_only() -> None:
    layer = HistoryEncoder("history", Sequence(max_length=50, windows=(50,)), dropout=0.5, seed=1)
    values = tf.reshape(tf.range(50.0), [1, 50, 1])
    mask, age = tf.ones([1, 50], tf.bool), tf.zeros([1, 50], tf.int64)
    still = {round(layer(values, mask, age).numpy().item(), 3) for _ in range(3)}
    moving = {layer(values, mask, age, training=True).numpy().item() for _ in range(5)}
    assert still == {24.5}
    assert len(moving) > 1
