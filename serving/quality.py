"""How good the towers of saved versions are, asked through their own signatures.

Each version embeds the dataset's catalog as of the split's first day and the split's queries; what
is compared is the exact search over those, so that no version gains by what it saw of the split.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.baselines import PopularityParameters
from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY, TIMESTAMP, UNKNOWN_ITEM, DType
from serving.requests import Request
from serving.saved_model import SavedModel
from trainer.baselines.popularity import Popularity
from trainer.dataset import AskedQueries, Dataset, load_interactions, load_queries
from trainer.metrics import evaluate_lists
from trainer.queries import eligible_relevant
from trainer.records import PAD_ITEM
from trainer.retrieval import DotProductScorer, Scorer, top_k

FloatArray = npt.NDArray[np.float32]

_ROWS_AT_ONCE = 4_096
_MAX_QUERIES = 2_000
# A list of most of what it may hold finds nearly everything, whatever its order.
_LARGEST_SHARE = 0.25
POPULARITY = "popularity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Recall of each contender on one set of queries.

    Attributes:
        part: the queries, such as `queries/test/window`; '' if the dataset has none.
        queries: how many.
        k: length of the lists.
        items: of the catalog.
        recall: Recall@k by contender; `popularity` is one of them.
    """

    part: str
    queries: int
    k: int
    items: int
    recall: Mapping[str, float]


def measure(config: Config, dataset: Dataset, versions: Mapping[str, SavedModel]) -> Quality:
    """Recall@k of versions and of popularity on the test queries, else on the validation queries.

    k is that of the exported lists, but at most a quarter of the items that half of the queries
    can be answered with: longer lists would find nearly all, and no version could be refused.

    Args:
        config: of the run.
        dataset: whose queries are asked.
        versions: by name; their `embed_item` and `embed_user` must take the dataset's features.
    """
    items = dataset.catalog.size - 1
    for split in ("test", "validation"):
        for protocol in config.eval.protocols:
            part = f"queries/{split}/{protocol.value}"
            asked = _some(load_queries(dataset, part))
            available = dataset.catalog.upload_time
            if config.data.split.by.value == "loo":
                available = np.zeros_like(available)
            eligible = eligible_relevant(
                asked.queries, available=available, exclude_seen=config.eval.exclude_seen
            )
            if len(eligible.queries):
                asked = asked.take(eligible.rows, eligible.queries)
                candidates = _candidates(config, asked, available)
                k = max(1, min(config.export.k, int(_LARGEST_SHARE * np.median(candidates))))
                recall = _recall(config, dataset, versions, asked, available, split=split, k=k)
                return Quality(
                    part=part, queries=len(asked.queries), k=k, items=items, recall=recall
                )
    return Quality(part="", queries=0, k=config.export.k, items=items, recall={})


def _candidates(
    config: Config, asked: AskedQueries, available: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many items each query's list may hold: int64 [Q]."""
    queries = asked.queries
    exist = np.sort(np.delete(available, UNKNOWN_ITEM))
    counts = np.searchsorted(exist, queries.as_of, side="right")
    if config.eval.exclude_seen:
        for row in range(len(queries)):
            seen = np.unique(queries.seen.row(row))
            seen = seen[seen != UNKNOWN_ITEM]
            counts[row] -= np.count_nonzero(available[seen] <= queries.as_of[row])
    return counts


def _some(asked: AskedQueries) -> AskedQueries:
    """At most so many queries, the same ones each time."""
    if len(asked.queries) <= _MAX_QUERIES:
        return asked
    chosen = np.random.default_rng(0).permutation(len(asked.queries))[:_MAX_QUERIES]
    rows = np.sort(chosen)
    return asked.take(rows, asked.queries.take(rows))


def _recall(
    config: Config,
    dataset: Dataset,
    versions: Mapping[str, SavedModel],
    asked: AskedQueries,
    available: npt.NDArray[np.int64],
    *,
    split: str,
    k: int,
) -> dict[str, float]:
    splits = dataset.manifest.splits
    start = splits.test_time if split == "test" else splits.validation_time
    before = ["train"] if split == "validation" else ["train", "validation"]
    scorers: dict[str, Scorer] = {
        POPULARITY: Popularity(PopularityParameters()).fit(load_interactions(dataset, before))
    }
    request = request_of(dataset, asked)
    for name, version in versions.items():
        items = embed(version, "embed_item", raw_items(dataset, start // SECONDS_PER_DAY))
        scorers[name] = DotProductScorer(
            query_embedding=embed(version, "embed_user", request), item_embedding=items
        )
    found = {}
    for name, scorer in scorers.items():
        lists, _ = top_k(
            scorer,
            asked.queries,
            k=k,
            available=available,
            exclude_seen=config.eval.exclude_seen,
        )
        metrics = evaluate_lists(
            lists, asked.queries.relevant, [k], catalog_size=dataset.catalog.size - 1
        )
        found[name] = metrics.means[f"Recall@{k}"]
    return found


def raw_items(dataset: Dataset, day: int) -> Request:
    """The whole catalog, row 0 the unknown item, as `embed_item` takes it at the start of a day."""
    catalog, spec = dataset.catalog, dataset.spec
    ids = np.arange(catalog.size)
    days = np.full(catalog.size, day)
    counts = catalog.daily.at(ids, days)
    statistics = {c.name: counts[:, i] for i, c in enumerate(spec.statistic_columns)}
    raw: Request = {}
    for column in spec.item_request_columns:
        if column.name == TIMESTAMP:
            raw[TIMESTAMP] = days * SECONDS_PER_DAY
        elif column.name in statistics:
            raw[column.name] = statistics[column.name]
        elif column.dtype is DType.BYTES:
            raw[column.name] = _encoded(catalog.columns[column.name])
        else:
            raw[column.name] = catalog.columns[column.name]
    return raw


def request_of(dataset: Dataset, asked: AskedQueries) -> Request:
    """Evaluation queries as requests: history by video id."""
    request: Request = {}
    spec = dataset.spec
    for column in spec.request_columns:
        if column.name == f"{spec.sequence[0]}_item_id":
            ids = asked.features[spec.history_item_column].numpy()
            names = _encoded(dataset.catalog.video_id)
            names[UNKNOWN_ITEM] = b"an unknown video"
            request[column.name] = np.where(ids == PAD_ITEM, b"", names[np.maximum(ids, 0)])
        else:
            request[column.name] = asked.features[column.name].numpy()
    return request


def embed(version: SavedModel, signature: str, inputs: Request) -> FloatArray:
    """Vectors of a version's `embed_user` or `embed_item`: float32 [n, dim]."""
    found = version.signatures[signature]
    arrays = [inputs[name] for name in found.input_names]
    blocks = [
        found.run(*(a[start : start + _ROWS_AT_ONCE] for a in arrays))[0]
        for start in range(0, len(arrays[0]), _ROWS_AT_ONCE)
    ]
    return np.concatenate(blocks)


def takes_features_of(version: SavedModel, dataset: Dataset) -> bool:
    """Whether a version's towers take just the features of a dataset."""
    wanted = {
        "embed_user": {c.name for c in dataset.spec.request_columns},
        "embed_item": {c.name for c in dataset.spec.item_request_columns},
    }
    return all(
        name in version.signatures and set(version.signatures[name].input_names) == columns
        for name, columns in wanted.items()
    )


def _encoded(values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Strings of any shape as bytes."""
    flat = [v.encode() for v in values.ravel()]
    return np.array(flat, object).reshape(values.shape)
