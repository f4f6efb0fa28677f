"""A model beside the baselines, on the full catalog, by every protocol of the config."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from configs.schema import Config, Protocol
from configs.schema import Eval as EvalConfig
from preprocessing.features import SECONDS_PER_DAY
from trainer.baselines import Baseline, fit_baselines
from trainer.dataset import AskedQueries, Dataset, load_interactions, load_queries, query_batches
from trainer.metrics import evaluate_lists, evaluation_slices
from trainer.model import TwoTower
from trainer.queries import Int64Array, Queries, eligible_relevant
from trainer.retrieval import DotProductScorer, Scorer, top_k

MODEL = "streamrec"
_QUERIES_AT_ONCE = 1_024


def evaluate(
    config: Config,
    dataset: Dataset,
    model: TwoTower,
    *,
    split: str,
    with_baselines: bool,
    console: Console,
    others: Mapping[str, Scorer] | None = None,
) -> dict[str, Any]:
    """Measures a model on a split's queries.

    Candidates are the whole catalog less what did not exist at the query and, by config, what the
    user had seen; item vectors are those of the split's first day.

    Args:
        config: protocols and list lengths.
        dataset: that the queries are of.
        model: trained.
        split: `validation` or `test`.
        with_baselines: also measure every baseline, with the same queries and candidates.
        console: for progress.
        others: also measure these, by `window` alone.

    Returns:
        JSON: `protocols` by name, each with `queries`, `dropped_queries`, `lost_share` and, by
        model, metrics (`HR@10`, …), and `slices` of ours. Protocols without queries are left out.
    """
    if not config.eval.protocols:
        return {"split": split, "protocols": {}}
    item_vectors = model.embed_catalog(dataset.catalog.size, day=_split_day(dataset, split))
    available = _available(dataset, config)
    baselines = _fit_baselines(config, dataset, split, console) if with_baselines else {}
    embed = tf.function(
        lambda rows, history: model.embed_users(model.look_up(rows), history), reduce_retracing=True
    )
    found: dict[str, Any] = {}
    for protocol in config.eval.protocols:
        asked = _capped(load_queries(dataset, f"queries/{split}/{protocol.value}"), config.eval)
        eligible = eligible_relevant(
            asked.queries, available=available, exclude_seen=config.eval.exclude_seen
        )
        asked = asked.take(eligible.rows, eligible.queries)
        if not len(asked.queries):
            continue
        vectors = np.concatenate(
            [
                embed(rows, history).numpy()
                for rows, history in query_batches(asked, dataset.spec, _QUERIES_AT_ONCE)
            ]
        )
        ours: Scorer = DotProductScorer(query_embedding=vectors, item_embedding=item_vectors)
        scorers: dict[str, Scorer] = {MODEL: ours, **baselines}
        if others and protocol is Protocol.WINDOW:
            scorers |= others
        models, slices = {}, {}
        for name, scorer in scorers.items():
            console.print(f"evaluating {name} by {protocol.value}") if with_baselines else None
            models[name], by_slice = _measure(scorer, asked.queries, config, dataset, available)
            if name == MODEL:
                slices = by_slice
        found[protocol.value] = {
            "queries": len(asked.queries),
            "dropped_queries": eligible.dropped_queries,
            "lost_share": eligible.lost_share,
            "models": models,
            "slices": slices,
        }
    return {"split": split, "protocols": found}


def _measure(
    scorer: Scorer,
    queries: Queries,
    config: Config,
    dataset: Dataset,
    available: Int64Array,
) -> tuple[dict[str, float], dict[str, Any]]:
    lists, _ = top_k(
        scorer,
        queries,
        k=max(config.eval.ks),
        available=available,
        exclude_seen=config.eval.exclude_seen,
    )
    metrics = evaluate_lists(
        lists, queries.relevant, config.eval.ks, catalog_size=dataset.catalog.size - 1
    )
    slices = evaluation_slices(
        metrics, queries, train_count=dataset.catalog.train_count, available=available
    )
    return metrics.means, slices


def _split_day(dataset: Dataset, split: str) -> int:
    splits = dataset.manifest.splits
    start = splits.test_time if split == "test" else splits.validation_time
    return start // SECONDS_PER_DAY


def _available(dataset: Dataset, config: Config) -> Int64Array:
    """When each item became a candidate; leave-one-out has no such thing."""
    loo = {Protocol.LOO_FILE, Protocol.LOO_STRICT} & set(config.eval.protocols)
    upload_time = dataset.catalog.upload_time
    return np.zeros_like(upload_time) if loo else upload_time


def _capped(asked: AskedQueries, config: EvalConfig) -> AskedQueries:
    """The queries that the config wants: with a history if it says so, at most `max_queries`."""
    keep = np.arange(len(asked.queries))
    if not config.new_users:
        keep = keep[asked.queries.history.lengths > 0]
    if config.max_queries and len(keep) > config.max_queries:
        chosen = np.random.default_rng(0).permutation(len(keep))[: config.max_queries]
        keep = keep[np.sort(chosen)]
    return asked.take(keep, asked.queries.take(keep))


def _fit_baselines(
    config: Config, dataset: Dataset, split: str, console: Console
) -> dict[str, Baseline]:
    """Baselines that learn from the train rows, and count all before the split."""
    before = ["train"] if split == "validation" else ["train", "validation"]
    return fit_baselines(
        config.eval.baselines,
        load_interactions(dataset, ["train"]),
        before_split=load_interactions(dataset, before),
        console=console,
    )


def print_tables(
    metrics: dict[str, Any], console: Console, *, ks: Sequence[int] = (10, 100)
) -> None:
    """One table a protocol: models down, metrics across, the best of each in bold."""
    for protocol, found in metrics["protocols"].items():
        table = Table(
            title=f"{protocol}: {found['queries']:,} queries on the {metrics['split']} split, "
            f"{100 * found['lost_share']:.1f} % of relevant items no candidates"
        )
        table.add_column("model")
        some = next(iter(found["models"].values()))
        names = [f"{m}@{k}" for m in ("HR", "Recall", "NDCG", "MRR") for k in ks]
        names = [n for n in [*names, f"Coverage@{max(ks)}"] if n in some]
        for name in names:
            table.add_column(name, justify="right")
        best = {n: max(m[n] for m in found["models"].values()) for n in names}
        for model, values in found["models"].items():
            cells = [f"{values[n]:.4f}" for n in names]
            table.add_row(
                model,
                *(
                    f"[bold]{c}[/bold]" if values[n] == best[n] else c
                    for n, c in zip(names, cells, strict=True)
                ),
            )
        console.print(table)
