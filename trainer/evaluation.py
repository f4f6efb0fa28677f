"""A model beside the baselines, on the full catalog, by every protocol of the config."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console

from configs.schema import Config, Protocol
from configs.schema import Eval as EvalConfig
from trainer.baselines import Baseline, fit_baselines
from trainer.bootstrap import bootstrap
from trainer.dataset import AskedQueries, Dataset, load_interactions, load_queries
from trainer.metrics import Metrics, evaluate_lists, evaluation_slices
from trainer.neighbours import nearest_neighbours
from trainer.queries import Int64Array, Queries, eligible_relevant
from trainer.recommenders import Recommender
from trainer.retrieval import Scorer, top_k

MODEL = "streamrec"


def evaluate(
    config: Config,
    dataset: Dataset,
    recommender: Recommender,
    *,
    split: str,
    with_baselines: bool,
    console: Console,
    others: Mapping[str, Scorer] | None = None,
) -> dict[str, Any]:
    """Measures a model on a split's queries.

    Candidates are the whole catalog less what did not exist at the query and, by config, what the
    user had seen.

    Args:
        config: protocols, list lengths, baselines.
        dataset: that the queries are of.
        recommender: the model.
        split: `validation` or `test`.
        with_baselines: also measure every baseline, with the same queries and candidates, and how
            sure the differences are.
        console: for progress.
        others: also measure these, by `window` alone, and how sure the differences from them are.

    Returns:
        JSON, see docs/evaluation.md: `split`, `neighbours`, and `protocols` by name, each with
        `queries`, `dropped_queries`, `lost_share` and, by model, `models` (metrics such as
        `HR@10`), `slices`, `intervals` and `differences`. Protocols without queries are left out.
    """
    found: dict[str, Any] = {"split": split, "protocols": {}}
    if not config.eval.protocols:
        return found
    baselines: dict[str, Baseline] = {}
    if with_baselines:
        baselines = fit_baselines(
            config.eval,
            load_interactions(dataset, ["train"]),
            before_split=load_interactions(dataset, splits_before(split)),
            console=console,
        )
    for protocol in config.eval.protocols:
        asked, counts = ask(config, dataset, split, protocol)
        if not len(asked.queries):
            continue
        scorers = {MODEL: recommender.scorer(asked), **baselines}
        if others and protocol is Protocol.WINDOW:
            scorers |= others
        compares = with_baselines or len(scorers) > 1
        metrics = {}
        for name, scorer in scorers.items():
            if compares:
                console.print(f"evaluating {name} by {protocol.value}")
            width = recommender.list_width if name == MODEL else None
            metrics[name] = measure(scorer, asked.queries, config, dataset, list_width=width)
        found["protocols"][protocol.value] = counts | _told(
            metrics, asked.queries, config, dataset, sure=compares
        )
    if recommender.item_vectors is not None:
        found["neighbours"] = nearest_neighbours(recommender.item_vectors, dataset.catalog)
    return found


def splits_before(split: str) -> list[str]:
    """The splits that are over when a split begins."""
    return ["train"] if split == "validation" else ["train", "validation"]


def ask(
    config: Config, dataset: Dataset, split: str, protocol: Protocol
) -> tuple[AskedQueries, dict[str, Any]]:
    """The queries that a ranking of the catalog can answer, and what was left out.

    Returns:
        Queries, each with a relevant candidate; and how many there are, how many were dropped, and
        the share of relevant items that are no candidates.
    """
    asked = _capped(load_queries(dataset, f"queries/{split}/{protocol.value}"), config.eval)
    eligible = eligible_relevant(
        asked.queries,
        available=available_from(config, dataset),
        exclude_seen=config.eval.exclude_seen,
    )
    return asked.take(eligible.rows, eligible.queries), {
        "queries": len(eligible.queries),
        "users": len(np.unique(eligible.queries.user_id)),
        "dropped_queries": eligible.dropped_queries,
        "lost_share": eligible.lost_share,
    }


def measure(
    scorer: Scorer,
    queries: Queries,
    config: Config,
    dataset: Dataset,
    *,
    list_width: int | None = None,
) -> Metrics:
    """Every metric of a scorer's lists, up to their own width where they have one."""
    ks = [k for k in config.eval.ks if list_width is None or k <= list_width]
    lists, _ = top_k(
        scorer,
        queries,
        k=max(ks),
        available=available_from(config, dataset),
        exclude_seen=config.eval.exclude_seen,
    )
    return evaluate_lists(lists, queries.relevant, ks, catalog_size=dataset.catalog.size - 1)


def available_from(config: Config, dataset: Dataset) -> Int64Array:
    """When each item became a candidate, int64 [num_items]; leave-one-out has no such thing."""
    loo = {Protocol.LOO_FILE, Protocol.LOO_STRICT} & set(config.eval.protocols)
    upload_time = dataset.catalog.upload_time
    return np.zeros_like(upload_time) if loo else upload_time


def _told(
    metrics: Mapping[str, Metrics],
    queries: Queries,
    config: Config,
    dataset: Dataset,
    *,
    sure: bool,
) -> dict[str, Any]:
    """One protocol's part of the result, by model; intervals and differences if `sure`."""
    told: dict[str, Any] = {
        "models": {name: each.means for name, each in metrics.items()},
        "slices": {
            name: evaluation_slices(
                each,
                queries,
                train_count=dataset.catalog.train_count,
                available=available_from(config, dataset),
            )
            for name, each in metrics.items()
        },
    }
    if not (sure and config.eval.bootstrap_samples):
        return told
    resampled = bootstrap(
        {name: each.per_query for name, each in metrics.items()},
        queries.user_id,
        samples=config.eval.bootstrap_samples,
    )
    told["intervals"] = {
        name: {metric: asdict(resampled.interval(name, metric)) for metric in each.per_query}
        for name, each in metrics.items()
    }
    told["differences"] = {
        name: {
            metric: asdict(resampled.difference(MODEL, name, metric))
            for metric in metrics[MODEL].per_query
            if metric in each.per_query
        }
        for name, each in metrics.items()
        if name != MODEL
    }
    return told


def _capped(asked: AskedQueries, config: EvalConfig) -> AskedQueries:
    """The queries that the config wants: with a history if it says so, at most `max_queries`."""
    keep = np.arange(len(asked.queries))
    if not config.new_users:
        keep = keep[asked.queries.history.lengths > 0]
    if config.max_queries and len(keep) > config.max_queries:
        chosen = np.random.default_rng(0).permutation(len(keep))[: config.max_queries]
        keep = keep[np.sort(chosen)]
    return asked.take(keep, asked.queries.take(keep))
