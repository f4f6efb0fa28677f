"""The StreamRec generator: exchangeable items in categories, with an oracle in closed form.

A user has a weight for each category (0 where not preferred). An interaction is a uniform user and
the item that maximises (weight of the item's category) + scale * Gumbel noise over all items. By
the Gumbel-max identity that is a draw from the softmax of weight / scale, so a category can be
drawn first and then any of its items, with no noise drawn per item.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.schema import Split
from configs.simulation import StreamRecSimulation
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.arrays import Doubles, Floats, Ints
from preprocessing.simulation.cuts import Cuts, find_cuts
from preprocessing.simulation.output import names, write_shards, write_table

_DEPTHS = (10, 50, 100)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecLogs:
    """All that the generator drew.

    Attributes:
        profile: [num_users, profile_dim] float32, standard normal; tells nothing of the weights.
        weight: [num_users, num_categories] float64, 0 where not preferred.
        content: [num_items, content_dim] float32, standard normal; tells nothing of the category.
        category: [num_items] int64.
        item_probability: [num_users, num_categories] float64: P(one given item of the category |
            user) for each interaction of the user.
        user: [num_interactions] int64.
        item: [num_interactions] int64.
        timestamp: [num_interactions] int64, UTC seconds, never falling.
        cuts: where the log is split.
    """

    profile: Floats
    weight: Doubles
    content: Floats
    category: Ints
    item_probability: Doubles
    user: Ints
    item: Ints
    timestamp: Ints
    cuts: Cuts


def simulate_streamrec(config: StreamRecSimulation, *, split: Split) -> StreamRecLogs:
    """Draws users, items and interactions.

    Args:
        config: the parameters, valid.
        split: where the log is cut.

    Raises:
        UserError: the split is not by time.
    """
    seeds = np.random.SeedSequence(config.seed).spawn(3)
    users_rng, items_rng, rng = (np.random.default_rng(seed) for seed in seeds)
    weight = _weights(config, users_rng)
    category = items_rng.integers(config.categories, size=config.items)
    sizes = np.bincount(category, minlength=config.categories)
    item_probability = item_probabilities(weight, sizes, noise_scale=config.noise_scale)

    user = rng.integers(config.users, size=config.interactions)
    cumulative = np.cumsum(item_probability * sizes, axis=1)
    cumulative[:, -1] = 1
    drawn = (cumulative[user] <= rng.random(config.interactions)[:, np.newaxis]).sum(axis=1)
    first = np.cumsum(sizes) - sizes
    within = (rng.random(config.interactions) * sizes[drawn]).astype(np.int64)
    item = np.argsort(category, kind="stable")[first[drawn] + within]
    timestamp = config.start + np.arange(config.interactions) * config.days * SECONDS_PER_DAY // (
        config.interactions
    )
    return StreamRecLogs(
        profile=users_rng.standard_normal((config.users, config.profile_dim), dtype=np.float32),
        weight=weight,
        content=items_rng.standard_normal((config.items, config.content_dim), dtype=np.float32),
        category=category,
        item_probability=item_probability,
        user=user,
        item=item,
        timestamp=timestamp,
        cuts=find_cuts(split, timestamp),
    )


def _weights(config: StreamRecSimulation, rng: np.random.Generator) -> Doubles:
    number = rng.integers(config.preferred_min, config.preferred_max + 1, size=config.users)
    # The first `number` of a random order of categories are preferred.
    place = np.argsort(rng.random((config.users, config.categories)), axis=1).argsort(axis=1)
    weight = rng.uniform(
        config.weight_min, config.weight_max, size=(config.users, config.categories)
    )
    return np.where(place < number[:, np.newaxis], weight, 0.0)


def item_probabilities(weight: Doubles, sizes: Ints, *, noise_scale: float) -> Doubles:
    """P(one given item of a category | user), the softmax over all items.

    Args:
        weight: [num_users, num_categories] float64.
        sizes: [num_categories] int64, items in each category.
        noise_scale: of the Gumbel noise.

    Returns:
        [num_users, num_categories] float64; each row's dot product with `sizes` is 1.
    """
    mass = np.exp(weight / noise_scale)
    return mass / (mass @ sizes)[:, np.newaxis]


def expected_hit_rate(
    item_probability: Doubles, *, user_rows: Ints, item_categories: Ints
) -> float:
    """Expected share of interactions whose item is in the list made for its user.

    Exact given the lists: no interaction is drawn. Items the user has had before count as any
    other, since an interaction may repeat them.

    Args:
        item_probability: [num_users, num_categories] float64, from truth.parquet.
        user_rows: [num_lists] int64, the row of each list's user.
        item_categories: [num_lists, k] int64, the category of each listed item; the items of one
            list must be distinct; -1 marks an empty place.

    Returns:
        The mean over lists of the sum of P(item | user), in [0, 1].
    """
    probability = item_probability[user_rows[:, np.newaxis], item_categories]
    return float(np.where(item_categories >= 0, probability, 0.0).sum(axis=1).mean())


def oracle_hit_rate(item_probability: Doubles, sizes: Ints, *, depth: int) -> float:
    """The greatest expected hit rate that any lists of `depth` items can reach.

    Args:
        item_probability: [num_users, num_categories] float64.
        sizes: [num_categories] int64, items in each category.
        depth: items in a list.
    """
    order = np.argsort(-item_probability, axis=1, kind="stable")
    listed_before = np.cumsum(sizes[order], axis=1) - sizes[order]
    listed = np.clip(depth - listed_before, 0, sizes[order])
    best = np.take_along_axis(item_probability, order, axis=1)
    return float((best * listed).sum(axis=1).mean())


def write_streamrec(config: StreamRecSimulation, logs: StreamRecLogs, directory: Path) -> None:
    """Writes events, videos, users and truth in the raw log contract.

    Beside the contract's columns, users have `profile_vector` and `category_weights` (list<float>,
    0 where not preferred, in the order of the category names "c00", "c01", ...). Truth has one row
    for each user and category: `probability` is that of any one item of the category at each
    interaction of the user.
    """
    user_id, item_id = names("u", config.users), names("v", config.items)
    category = pa.array([f"c{number:02d}" for number in range(config.categories)])

    def shard(rows: slice) -> pa.Table:
        return pa.table(
            {
                "event": pa.array(["like"] * (rows.stop - rows.start)),
                "user_id": user_id.take(pa.array(logs.user[rows])),
                "video_id": item_id.take(pa.array(logs.item[rows])),
                "timestamp": logs.timestamp[rows],
            }
        )

    write_shards(
        shard,
        directory / "events",
        rows=config.interactions,
        rows_per_shard=config.events_per_shard,
        log_format=config.format,
    )
    videos = {
        "video_id": item_id,
        "category": category.take(pa.array(logs.category)),
        "content_vector": _lists(logs.content),
    }
    users = {
        "user_id": user_id,
        "profile_vector": _lists(logs.profile),
        "category_weights": _lists(logs.weight.astype(np.float32)),
    }
    truth = {
        "user_id": user_id.take(pa.array(np.repeat(np.arange(config.users), config.categories))),
        "category": category.take(pa.array(np.tile(np.arange(config.categories), config.users))),
        "probability": logs.item_probability.ravel(),
    }
    for name, columns in (("videos", videos), ("users", users), ("truth", truth)):
        write_table(pa.table(columns), directory / name, config.format)


def _lists(rows: Floats) -> pa.Array:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel()))


def summarize_streamrec(logs: StreamRecLogs) -> dict[str, Any]:
    """Figures of the generator's draw and its oracle."""
    sizes = np.bincount(logs.category, minlength=logs.weight.shape[1])
    return {
        "events": len(logs.user),
        "users": len(logs.weight),
        "videos": len(logs.category),
        **dataclasses.asdict(logs.cuts),
        "oracle": {
            f"hr_at_{depth}": oracle_hit_rate(logs.item_probability, sizes, depth=depth)
            for depth in _DEPTHS
        },
        "random": {f"hr_at_{depth}": depth / len(logs.category) for depth in _DEPTHS},
    }
