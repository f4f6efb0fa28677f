"""How fast training is: ratios within one run, its contestants in turn, medians of rounds.

    python -m benchmarks.training --dataset=DATASET [--part=step …] [--output=FILE]
    python -m benchmarks.training --dataset=MOVIELENS_LOO --preset=movielens [--part=until …]

DATASET is one of the default config (`make demo` leaves one), MOVIELENS_LOO one of
`configs/movielens.py:loo`. The parts:

- `step`: floating-point operations of a step's matrix products over the time of the step, beside
  the rate of one large product of the same type (model FLOP utilisation);
- `peer`: rows a second, input included, beside a TFRS `fit` of the same towers, and beside the
  input pipeline alone;
- `table`: a step and its memory with 10 M hashed users of 64 dimensions, beside 100 k;
- `until`: seconds of training until HR@10 on MovieLens' test split passes last-items
  co-occurrence's.
"""

import copy
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.table import Table

import trainer  # noqa: F401  before TensorFlow: it chooses Keras 2
from configs import default, movielens
from configs.cli import console, run_app
from configs.errors import UserError
from configs.files import write_json
from configs.kinds import HashedId
from configs.schema import Config, Model, Precision, Protocol

_PRESETS = {"default": default.get_config, "movielens": lambda: movielens.get_config("loo")}
_PARTS = ("step", "peer", "table", "until")
_STEPS = 4  # of a round, and batches that are held for it
# Rows of a turn with input: what is read ahead in the others' turns, and what `fit` does once, are
# little beside.
_STREAMED_ROWS = 65_536
_TUTORIAL_BATCH = 8_192  # https://www.tensorflow.org/recommenders/examples/basic_retrieval
_READ_ROWS = 262_144  # of the input alone, or all there are: many more than are made ahead
_LAST_ITEMS_HR = 0.266
# The larger first, or a part of it would go where the smaller was made, and not be seen.
_ROWS = {"10 M": 10_000_000, "100 k": 100_000}
_WIDTH = 64

Seconds = dict[str, list[float]]


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> Seconds:
    """Seconds of each call in each round; one round before them is not counted."""
    found: Seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if number:
                found[name].append(time.perf_counter() - begin)
    return found


def over(seconds: Seconds, one: str, other: str, factor: float = 1.0) -> dict[str, float]:
    """Median, least and most of the rounds' ratios of two calls' seconds, times a factor."""
    ratios = factor * np.array(seconds[one]) / np.array(seconds[other])
    return {
        "median": round(float(np.median(ratios)), 3),
        "least": round(float(ratios.min()), 3),
        "most": round(float(ratios.max()), 3),
    }


class Training:
    """A model at its training, on batches of a dataset."""

    def __init__(self, config: Config, dataset: Any) -> None:
        """Builds model, optimiser and step, as `trainer.train` does."""
        import tensorflow as tf

        from preprocessing.features import spec_of
        from trainer.candidates import sampling_of
        from trainer.input import train_batches
        from trainer.model import TwoTower
        from trainer.optimizers import Optimizer
        from trainer.step import TrainStep

        self.config = config
        dataset = replace(dataset, spec=spec_of(config))  # a case may have features of its own
        self.model = TwoTower(
            config, dataset.spec, dataset.catalog, dataset.assets, precision=config.train.precision
        )
        tables, dense = self.model.embedding_tables, self.model.dense_weights
        steps = dataset.manifest.rows("train") // config.train.batch_size * config.train.epochs
        optimizer = Optimizer(config.train, tables=tables, dense=dense, total_steps=steps)
        self.step = TrainStep(self.model, optimizer, tf.distribute.get_strategy())
        sampling = sampling_of(config, dataset.spec, dataset.catalog)
        self.batches = lambda epoch: train_batches(
            dataset,
            config=config,
            sampling=sampling,
            look_up=self.model.look_up,
            epoch=epoch,
        )

    def held(self) -> tuple[Callable[[], None], int]:
        """Steps over batches that are in memory, and the operations of all of them."""
        import tensorflow as tf

        from benchmarks.flops import matmul_flops

        batches = list(self.batches(0).take(_STEPS))
        call = tf.function(self.step.on_batch, reduce_retracing=True)

        def flops(batch: dict[str, tf.Tensor]) -> int:
            spec = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), batch)
            # Products grow with the batch's distinct items, so the first one's stand for all.
            return matmul_flops(tf.function(self.step.on_batch).get_concrete_function(spec).graph)

        def run() -> None:
            for batch in batches:
                loss, _ = call(batch)
            loss.numpy()

        return run, _STEPS * flops(batches[0])

    def stream(self) -> Callable[[int], None]:
        """Steps with the input pipeline, so many at a call."""
        batches: Iterator[Any] = iter(self.batches(0).repeat())

        def run(steps: int) -> None:
            for _ in range(steps):
                losses, _ = self.step(batches, 1)
            losses.numpy()

        return run


def utilisation(config: Config, dataset: Any, rounds: int) -> dict[str, Any]:
    """Achieved rate of a step over a large product's."""
    import tensorflow as tf

    from benchmarks.flops import LargeMatmul

    preset = f"the preset (cross rank {config.model.cross_rank})"
    cases = {
        f"{preset}, batch 1,024": (config.model, 1_024, Precision.FLOAT32),
        f"{preset}, batch 4,096": (config.model, 4_096, Precision.FLOAT32),
        "towers as Model() has them (full rank), batch 2,048": (
            Model(), 2_048, Precision.FLOAT32,
        ),
        "the same in mixed bfloat16": (Model(), 2_048, Precision.MIXED_BFLOAT16),
    }  # fmt: skip
    found = {}
    for name, (model, batch_size, precision) in cases.items():
        case = copy.deepcopy(config)
        case.model, case.train.batch_size, case.train.precision = model, batch_size, precision
        run, flops = Training(case, dataset).held()
        is_float = precision is Precision.FLOAT32
        product = LargeMatmul(tf.float32 if is_float else tf.bfloat16)
        calls = {"step": run, "product": lambda each=product: [each() for _ in range(_STEPS)]}
        seconds = in_turn(calls, rounds)
        found[name] = {
            "GFLOP of a step": round(flops / _STEPS / 1e9, 2),
            "ms of a step": round(1e3 * float(np.median(seconds["step"])) / _STEPS, 1),
            "GFLOP/s of the large product": round(
                _STEPS * product.flops / float(np.median(seconds["product"])) / 1e9, 1
            ),
            "utilisation": over(seconds, "product", "step", flops / (_STEPS * product.flops)),
        }
    return found


def beside_tfrs(config: Config, dataset: Any, rounds: int) -> dict[str, Any]:
    """Rows a second of training, of a tutorial's, and of the input alone, by size of a batch."""
    found = {}
    for batch_size in (config.train.batch_size, _TUTORIAL_BATCH):
        case = copy.deepcopy(config)
        case.train.batch_size = batch_size
        found[f"batches of {batch_size:,}"] = _beside_tfrs(case, dataset, rounds)
    return found


def _beside_tfrs(config: Config, dataset: Any, rounds: int) -> dict[str, Any]:
    from benchmarks.training_peer import tutorial

    in_batch = copy.deepcopy(config)
    # The tutorials' loss: the batch's negatives, and those of the history among them.
    in_batch.loss.uniform_negatives, in_batch.loss.mask_history = 0, False
    ours, as_they = (Training(c, dataset).stream() for c in (config, in_batch))
    batch_size = config.train.batch_size
    steps = _STREAMED_ROWS // batch_size
    read = min(_READ_ROWS, dataset.manifest.rows("train")) // batch_size
    alone = Training(config, dataset).batches(1).take(read)
    with tempfile.TemporaryDirectory() as folder:
        model, batches = tutorial(config, dataset, Path(folder), steps=steps)
        rows = {
            "streamrec": _STREAMED_ROWS,
            "streamrec, in-batch negatives only": _STREAMED_ROWS,
            "TFRS fit": _STREAMED_ROWS,
            "input alone": read * batch_size,
        }
        seconds = in_turn(
            {
                "streamrec": lambda: ours(steps),
                "streamrec, in-batch negatives only": lambda: as_they(steps),
                "TFRS fit": lambda: model.fit(batches, epochs=1, verbose=0),
                "input alone": lambda: [None for _ in alone],
            },
            rounds,
        )
    return {
        "rows a second": {
            name: round(rows[name] / float(np.median(each))) for name, each in seconds.items()
        },
        "streamrec over TFRS": over(seconds, "TFRS fit", "streamrec"),
        "streamrec over TFRS, both with in-batch negatives only": over(
            seconds, "TFRS fit", "streamrec, in-batch negatives only"
        ),
        "input over training": over(
            seconds, "streamrec", "input alone", read * batch_size / _STREAMED_ROWS
        ),
    }


def large_table(config: Config, dataset: Any, rounds: int) -> dict[str, Any]:
    """A step with many hashed users over one with few, and what they add to resident memory."""
    runs, resident = {}, {}
    for name, rows in _ROWS.items():
        case = copy.deepcopy(config)
        case.features["user_id"] = HashedId(column="user_id", num_buckets=rows, dim=_WIDTH)
        before = _resident()
        runs[name], _ = Training(case, dataset).held()
        runs[name]()
        resident[name] = _resident() - before
    seconds = in_turn(runs, rounds)
    many, few = _ROWS
    needed = 4 * (_WIDTH + 1) * (_ROWS[many] - _ROWS[few])
    return {
        "step over step": over(seconds, many, few),
        "GiB of the table and a float a row": round(needed / 2**30, 2),
        "GiB resident": round((resident[many] - resident[few]) / 2**30, 2),
    }


def _resident() -> int:
    """Bytes of this process in memory."""
    import gc

    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096


def to_last_items(config: Config, dataset: Any, *, every_steps: int) -> dict[str, Any]:
    """Seconds of training until HR@10 passes, evaluation apart."""
    from trainer.evaluation import MODEL, evaluate
    from trainer.recommenders import Towers

    config.eval.protocols = (Protocol.LOO_FILE,)
    out = console()
    begin = time.perf_counter()
    training = Training(config, dataset)
    of_epoch = dataset.manifest.rows("train") // config.train.batch_size
    spent, done, curve = time.perf_counter() - begin, 0, []
    for epoch in range(config.train.epochs):
        batches, left = iter(training.batches(epoch)), of_epoch
        while left:
            count = min(every_steps, left)
            begin = time.perf_counter()
            for _ in range(count):
                losses, _ = training.step(batches, 1)
            losses.numpy()
            spent += time.perf_counter() - begin
            left, done = left - count, done + count
            towers = Towers(training.model, dataset, split="test")
            metrics = evaluate(
                config, dataset, towers, split="test", with_baselines=False, console=out
            )
            hit_rate = metrics["protocols"][Protocol.LOO_FILE.value]["models"][MODEL]["HR@10"]
            curve.append({"step": done, "seconds": round(spent, 1), "HR@10": round(hit_rate, 4)})
            out.print(curve[-1])
            if hit_rate > _LAST_ITEMS_HR:
                return {"seconds": round(spent, 1), "curve": curve}
    return {"seconds": None, "curve": curve}


def main(
    dataset_dir: str, preset: str, parts: list[str], *, rounds: int, output: str | None
) -> dict[str, Any]:
    """Runs the parts."""
    from trainer.dataset import open_dataset

    if "until" in parts and preset != "movielens":
        raise UserError(f"--part=until: found --preset={preset}, expected movielens")
    config = _PRESETS[preset]().validate()
    dataset = open_dataset(dataset_dir, config)
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: utilisation(config, dataset, rounds),
        "peer": lambda: beside_tfrs(config, dataset, rounds),
        "table": lambda: large_table(config, dataset, rounds),
        "until": lambda: to_last_items(config, dataset, every_steps=60),
    }
    found = {}
    for part in parts:
        found[part] = work[part]()
        table = Table(title=part, show_header=False)
        for name, value in found[part].items():
            table.add_row(name, json.dumps(value))
        console().print(table)
    if output:
        write_json(Path(output), found)
    return found


if __name__ == "__main__":
    _DATASET = flags.DEFINE_string("dataset", None, "What preprocessing.run wrote.", required=True)
    _PRESET = flags.DEFINE_enum("preset", "default", list(_PRESETS), "Of the dataset.")
    _CHOSEN = flags.DEFINE_multi_enum("part", ["step", "peer", "table"], _PARTS, "What to measure.")
    _ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds.", lower_bound=1)
    _OUTPUT = flags.DEFINE_string("output", None, "JSON file.")
    run_app(
        lambda argv: main(
            _DATASET.value,
            _PRESET.value,
            _CHOSEN.value,
            rounds=_ROUNDS.value,
            output=_OUTPUT.value,
        )
    )
