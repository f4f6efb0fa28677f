"""One run of a study: a setting and a seed, trained and measured once and kept."""

import copy
import gc
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf
from rich.console import Console

from benchmarks.ablation.studies import Setting
from benchmarks.quality import Run, seeded
from configs.errors import UserError
from configs.files import write_json
from configs.schema import Config
from configs.serialization import to_dict
from trainer.evaluation import MODEL
from trainer.report.curves import Curve, read_curves
from trainer.train import train_and_evaluate
from trainer.watch import DivergedError
from trainer.workdir import METRICS_FILE, TENSORBOARD

ROW_FILE = "row.json"
"""In a run's directory once it is done."""


def with_setting(config: Config, setting: Setting) -> Config:
    """A copy of a config with some values, by path, in place of its own.

    Raises:
        UserError: there is no such field, or the config makes no sense with them.
    """
    config = copy.deepcopy(config)
    for path, value in setting.items():
        *parents, name = path.split(".")
        holder: Any = config
        for parent in parents:
            holder = holder[parent] if isinstance(holder, dict) else getattr(holder, parent)
        if not hasattr(holder, name):
            raise UserError(f"config.{path}: found no such field in {type(holder).__name__}")
        setattr(holder, name, value)
    return config.validate()


def for_studies(config: Config, *, epochs: int | None, batch_size: int | None = None) -> Config:
    """A preset as every run of a study changes it.

    One protocol, no baselines, one validation, at the end; and a collapse of the embeddings is
    something to see, not a reason to stop.
    """
    config = copy.deepcopy(config)
    config.train.epochs = epochs or config.train.epochs
    config.train.batch_size = batch_size or config.train.batch_size
    config.train.validate_every_epochs = config.train.epochs
    config.train.log_every_steps = 25
    config.train.checkpoint_every_steps = 10**9
    config.train.keep_checkpoints = 1
    config.train.max_item_cosine = 1.0
    config.eval.protocols = config.eval.protocols[:1]
    config.eval.baselines.kinds = ()
    config.eval.bootstrap_samples = 0
    config.tensorboard.monitors = True
    config.tensorboard.projector_items = 0
    return config.validate()


def sample_users(logs: Path, *, users: int, output: Path) -> Path:
    """A log's tables with the events of so many users alone, drawn at random, in their order.

    Args:
        logs: directory with `events.parquet`, `videos.parquet` and, if so, `users.parquet`.
        users: how many; all where there are fewer.
        output: directory for the tables; used again where it is there.
    """
    if output.exists():
        return output
    events = pl.read_parquet(logs / "events.parquet")
    ids = events["user_id"].unique().sort()
    chosen = ids.gather(np.random.default_rng(0).permutation(len(ids))[:users])
    beside = output.with_name(f".{output.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    events.filter(pl.col("user_id").is_in(chosen.implode())).write_parquet(
        beside / "events.parquet"
    )
    for table in ("videos.parquet", "users.parquet"):
        if (logs / table).exists():
            shutil.copy(logs / table, beside / table)
    beside.rename(output)
    return output


def train_once(
    run: Run, config: Config, *, setting: Setting, seed: int, out: Console
) -> Mapping[str, Any]:
    """Trains a setting with one seed, or reads what an earlier command found of the same.

    Settings that come to the same config are one run. One that was cut off starts again, so that
    its seconds are those of a whole run.

    Args:
        run: the logs and dataset, and where runs are kept.
        config: of `for_studies`.
        setting: what is changed.
        seed: is added to the config's.
        out: for progress.

    Returns:
        JSON: `steps`, `loss` (mean of the last logged steps), `loss_spikes`, `item_uniformity`,
        `item_effective_rank`, `seconds` of wall clock and `cpu_seconds` of all threads for
        training and evaluation, and the metrics by name on `validation` and `test`; of a run that
        diverged, `diverged` says how, and there is nothing else.
    """
    config = seeded(with_setting(config, setting), seed)
    parts = {
        part: to_dict(getattr(config, part)) for part in ("features", "model", "loss", "train")
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    work = run.root / "studies" / digest
    if (work / ROW_FILE).exists():
        return json.loads((work / ROW_FILE).read_text(encoding="utf-8"))
    shutil.rmtree(work, ignore_errors=True)
    tf.keras.backend.clear_session()
    gc.collect()
    begin, cpu = time.perf_counter(), time.process_time()
    try:
        result = train_and_evaluate(config, run.dataset, work, console=out)
    except DivergedError as error:
        row: dict[str, Any] = {"diverged": str(error)}
    else:
        row = _row(config, work, steps=result.steps, loss=result.loss) | {
            "seconds": round(time.perf_counter() - begin, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "checkpoints", ignore_errors=True)  # nothing will be resumed
    write_json(work / ROW_FILE, row)
    return row


def _row(config: Config, work: Path, *, steps: int, loss: float | None) -> dict[str, Any]:
    """What a finished run says of itself."""
    curves = read_curves(work / TENSORBOARD)
    (protocol,) = (protocol.value for protocol in config.eval.protocols)
    found = json.loads((work / METRICS_FILE).read_text(encoding="utf-8"))["protocols"]
    prefix = f"validation/{protocol}/"
    return {
        "steps": steps,
        "loss": loss,
        "loss_spikes": int(sum(value for _, value in curves["train/loss_spikes"])),
        "item_uniformity": _last(curves["train/item_uniformity"]),
        "item_effective_rank": _last(curves["train/item_effective_rank"]),
        "validation": {
            tag.removeprefix(prefix): _last(curve)
            for tag, curve in curves.items()
            if tag.startswith(prefix)
        },
        "test": found[protocol]["models"][MODEL],
    }


def _last(curve: Curve) -> float:
    return curve[-1][1]
