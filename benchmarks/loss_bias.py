"""How far the gradient of the sampled softmax is from that of the full one, on a Zipf catalog.

    python -m benchmarks.loss_bias [--batches=2000] [--output=bias.json] [--docs=docs/losses.md]

Batches are drawn over and over: rows by q, the uniform ones, the memory's. For some rows, whose
logits stay as they are, the mean gradient of `trainer.losses` over the batches is compared with the
exact one over the items that are unmasked. Prints the tables of docs/losses.md, and with `--docs`
puts them there.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.progress import track

import trainer  # noqa: F401  before TensorFlow: it chooses Keras 2
from benchmarks.docs import put
from configs.cli import console, run_app
from configs.files import write_json
from configs.schema import Correction

_BATCHES = flags.DEFINE_integer("batches", 2_000, "Batches that the mean is over.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON with every figure.")
_DOCS = flags.DEFINE_string("docs", None, "Markdown file whose tables are replaced.")

ITEMS, ROWS, UNIFORM, MEMORY, IMPRESSED = 2_000, 1_024, 1_024, 4_096, 8
OWN_ROWS, OWN_ENTRIES = 3, 2  # of the row's user, in batch and memory
HEAD, TAIL = 10, 1_500  # ranks of the positives
OTHER_OWN = (3, 700)  # what else the row's user likes
LIKELIHOODS = (0.05, 0.5, 0.9)  # of the positive under the full softmax
DEVIATIONS = (1.0, 2.0, 3.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Where the negatives come from."""

    in_batch: bool = True
    uniform: int = 0
    impressed: int = 0
    memory: int = 0
    duplicates: bool = True


MIXES = {
    "in-batch": Mix(),
    "mixed": Mix(uniform=UNIFORM),
    "impressed": Mix(impressed=IMPRESSED),
    "deduplicated": Mix(duplicates=False),
    "cross-batch": Mix(memory=MEMORY),
    "all": Mix(uniform=UNIFORM, impressed=IMPRESSED, memory=MEMORY),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Of one positive at one likelihood, over several draws of logits.

    Attributes:
        positive: relative error of the mean gradient at the positive's logit.
        positive_se: its standard error.
        gradient: relative error of the whole gradient, its norm over the exact one's.
        gradient_se: its standard error.
    """

    mix: str
    correction: str
    deviation: float
    rank: int
    likelihood: float
    positive: float
    positive_se: float
    gradient: float
    gradient_se: float


def zipf() -> np.ndarray:
    """Shares of train rows by rank."""
    q = 1 / np.arange(1, ITEMS + 1)
    return q / q.sum()


def measure(
    name: str, correction: Correction, *, deviation: float, batches: int, draws: int = 12
) -> Iterator[Error]:
    """The errors of one mix, for head and tail positives and each likelihood.

    Args:
        name: of the mix.
        correction: of the loss.
        deviation: standard deviation of the logits.
        batches: to average over.
        draws: of logits for each positive and likelihood.
    """
    import tensorflow as tf

    from trainer.losses import MASKED, Drawn, Scores, Softmax, log_expected, log_weights

    mix, q = MIXES[name], zipf()
    rng = np.random.default_rng(17)
    cases = [(rank, p) for rank in (HEAD, TAIL) for p in LIKELIHOODS]
    rank = np.repeat([r for r, _ in cases], draws)
    logits = rng.normal(0, deviation, (len(rank), ITEMS))
    own = np.zeros(logits.shape, bool)
    own[np.arange(len(rank)), rank] = own[:, OTHER_OWN] = True
    # Impressed items: any but the user's own, the same ones in every batch.
    shown = np.argsort(rng.random(logits.shape) + own, 1)[:, : mix.impressed]
    likelihood = np.repeat([p for _, p in cases], draws)
    exact = np.where(own, 0, np.exp(logits))
    positive = np.log(likelihood / (1 - likelihood) * exact.sum(1))
    exact *= ((1 - likelihood) / exact.sum(1))[:, None]

    columns = ITEMS * (2 if mix.memory else 1)
    hidden = own.copy()
    np.put_along_axis(hidden, shown, True, 1)
    hidden = np.tile(hidden, columns // ITEMS)
    own_rows = float(OWN_ROWS + (OWN_ENTRIES if mix.memory else 0))
    share = tf.constant(np.tile(q, columns // ITEMS), tf.float32)
    negatives = np.concatenate(
        [np.tile(logits, columns // ITEMS), np.take_along_axis(logits, shown, 1)], 1
    )
    softmax = Softmax()
    at = tf.constant(positive, tf.float32), tf.constant(negatives, tf.float32)

    @tf.function
    def gradients(copies: tf.Tensor, of_item: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = Drawn(
            copies=copies,
            share=share,
            rows=tf.constant(float(ROWS + mix.memory)),
            own_rows=tf.fill([len(rank)], own_rows),
            uniform=mix.uniform,
            num_items=ITEMS,
        )
        weights = log_weights(drawn, correction, copies_of_item=None if mix.duplicates else of_item)
        weights = tf.where(hidden, MASKED, weights)
        weights = tf.concat([weights, tf.zeros([len(rank), mix.impressed])], 1)
        of_positive = tf.zeros([len(rank)])
        if correction is Correction.LOGQ:
            of_positive -= log_expected(
                drawn,
                drawn.rows,
                tf.constant(q[rank], tf.float32),
                with_duplicates=mix.duplicates,
            )
        with tf.GradientTape() as tape:
            tape.watch(at)
            losses = softmax(
                Scores(
                    positive=at[0],
                    negatives=at[1],
                    log_weight=weights,
                    positive_log_weight=of_positive,
                    temperature=tf.constant(1.0),
                )
            )
        return tape.gradient(losses, at)

    of_positive = np.zeros((batches, len(rank)))
    halves = np.zeros((2, len(rank), ITEMS))
    for batch in range(batches):
        copies = rng.multinomial(ROWS - OWN_ROWS, q) + rng.multinomial(
            mix.uniform, np.full(ITEMS, 1 / ITEMS)
        )
        if mix.memory:
            copies = np.concatenate([copies, rng.multinomial(mix.memory - OWN_ENTRIES, q)])
        of_item = np.tile(copies.reshape(-1, ITEMS).sum(0), columns // ITEMS)
        found = gradients(tf.constant(copies, tf.float32), tf.constant(of_item, tf.float32))
        of_positive[batch] = found[0].numpy()
        by_column = found[1].numpy().astype(np.float64)
        by_item = by_column[:, :columns].reshape(len(rank), -1, ITEMS).sum(1)
        np.put_along_axis(
            by_item, shown, np.take_along_axis(by_item, shown, 1) + by_column[:, columns:], 1
        )
        halves[batch % 2] += by_item
    halves /= batches / 2

    miss = of_positive / (likelihood - 1) - 1
    norm = np.square(exact).sum(1) + np.square(likelihood - 1)
    # The product of two halves' errors has no noise in its mean, a square would.
    first, second = halves - exact
    of_halves = [miss[half::2].mean(0) * (likelihood - 1) for half in (0, 1)]
    squares = ((first * second).sum(1) + of_halves[0] * of_halves[1]) / norm
    for index, (at_rank, p) in enumerate(cases):
        rows = slice(index * draws, (index + 1) * draws)
        means = miss[:, rows].mean(1)
        square = squares[rows].mean()
        noise = squares[rows].std() / np.sqrt(draws)
        gradient = float(np.sqrt(max(square, 0.0)))
        yield Error(
            mix=name,
            correction=correction.value,
            deviation=deviation,
            rank=at_rank,
            likelihood=p,
            positive=float(means.mean()),
            positive_se=float(means.std() / np.sqrt(batches)),
            gradient=gradient,
            gradient_se=float(noise / max(2 * gradient, np.sqrt(noise), 1e-12)),
        )


def summary(errors: list[Error]) -> str:
    """The worst of each mix, correction and deviation, as a Markdown table."""
    lines = [
        "| negatives | correction | " + " | ".join(f"SD {d}" for d in DEVIATIONS) + " |",
        "|---|---|" + "---|" * len(DEVIATIONS),
    ]
    for mix in MIXES:
        for correction in Correction:
            cells = []
            for deviation in DEVIATIONS:
                found = [
                    e
                    for e in errors
                    if (e.mix, e.correction, e.deviation) == (mix, correction.value, deviation)
                ]
                worst = max(found, key=lambda e: abs(e.positive))
                cells.append(f"{worst.positive:+.3f}, {max(e.gradient for e in found):.3f}")
            lines.append(f"| {mix} | `{correction.value}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def details(errors: list[Error], mix: str = "in-batch") -> str:
    """Each positive and likelihood of one mix, as a Markdown table."""
    cases = [(rank, p) for rank in (HEAD, TAIL) for p in LIKELIHOODS]
    lines = [
        "| correction | SD | "
        + " | ".join(f"{'head' if r == HEAD else 'tail'}, p = {p}" for r, p in cases)
        + " |",
        "|---|---|" + "---|" * len(cases),
    ]
    for correction in Correction:
        for deviation in DEVIATIONS:
            by_case = {
                (e.rank, e.likelihood): e
                for e in errors
                if (e.mix, e.correction, e.deviation) == (mix, correction.value, deviation)
            }
            cells = [f"{by_case[case].positive:+.4f}" for case in cases]
            lines.append(f"| `{correction.value}` | {deviation} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str]) -> dict[str, Any]:
    """Measures every mix, correction and deviation."""
    del argv
    runs = [(m, c, d) for m in MIXES for c in Correction for d in DEVIATIONS]
    out = console()
    errors = [
        error
        for mix, correction, deviation in track(runs, console=out)
        for error in measure(mix, correction, deviation=deviation, batches=_BATCHES.value)
    ]
    tables = {"bias": summary(errors), "bias in-batch": details(errors)}
    for table in tables.values():
        out.print(table)
    result = {"batches": _BATCHES.value, "errors": [asdict(error) for error in errors]}
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), result)
    if _DOCS.value:
        put(Path(_DOCS.value), tables)
    exact = [e for e in errors if (e.correction, e.deviation) == ("expected_count", 1.0)]
    return {
        "batches": _BATCHES.value,
        "worst of expected_count at SD 1": max(abs(e.positive) for e in exact),
    }


if __name__ == "__main__":
    run_app(main)
