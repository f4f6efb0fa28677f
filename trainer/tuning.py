"""Baselines at their best: parameters chosen on the validation split."""

import copy
import time
from dataclasses import asdict
from typing import Any

from rich.console import Console

from configs.baselines import Baselines
from configs.errors import UserError
from configs.schema import Config
from trainer.baselines import BASELINES, parameters_of
from trainer.dataset import Dataset, load_interactions
from trainer.evaluation import ask, measure


def tune_baselines(
    config: Config, dataset: Dataset, *, console: Console
) -> tuple[Baselines, dict[str, Any]]:
    """Tries every combination of each baseline's grid on the validation queries.

    Baselines learn from the train rows, are asked by the first protocol of the config, and the
    highest `eval.tune_by` wins, the earlier of equals.

    Args:
        config: which baselines, the protocol and the metric.
        dataset: with a validation split.
        console: for progress, a line a combination.

    Returns:
        The config's baselines with what was chosen; and JSON, by baseline: `chosen` parameters
        and what was `tried`, each with `changed`, `value` and `seconds`.

    Raises:
        UserError: the validation split has no queries.
    """
    by, protocol = config.eval.tune_by, config.eval.protocols[0]
    asked, _ = ask(config, dataset, "validation", protocol)
    if not len(asked.queries):
        raise UserError(
            f"--tune_baselines: found no {protocol.value} query on the validation split of "
            f"{dataset.root}, expected some to tune on"
        )
    train = load_interactions(dataset, ["train"])
    tuned = copy.deepcopy(config.eval.baselines)
    told: dict[str, Any] = {}
    for kind in config.eval.baseline_kinds:
        entry = BASELINES[kind]
        tried, best = [], -1.0
        for changed, parameters in entry.candidates(parameters_of(tuned, kind)):
            begin = time.perf_counter()
            baseline = entry.make(parameters).fit(train)
            value = measure(baseline, asked.queries, config, dataset).means[by]
            seconds = round(time.perf_counter() - begin, 2)
            tried.append({"changed": changed, "value": value, "seconds": seconds})
            settings = "  ".join(f"{name}={setting:g}" for name, setting in changed.items())
            console.print(f"{kind.value}  {settings}  validation {by} {value:.4f}")
            if value > best:
                best, chosen = value, parameters
        setattr(tuned, kind.name.lower(), chosen)
        told[kind.value] = {"chosen": asdict(chosen), "tried": tried}
    return tuned, {"by": by, "protocol": protocol.value, "baselines": told}
