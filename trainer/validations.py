"""How good a run was on validation, epoch by epoch, and which of its steps counts."""

import json
from collections.abc import Mapping
from pathlib import Path

from configs.errors import UserError
from configs.files import write_json
from configs.schema import Config

VALIDATIONS_FILE = "validations.json"

Measured = Mapping[str, Mapping[str, float]]
"""The model's metrics by protocol, then by name."""


class Validations:
    """What was measured after which steps of a run.

    The step that counts is the first with the best `eval.tune_by` by the first of
    `eval.protocols` that validation has queries of: early stopping's choice (Prechelt 1998, "Early
    Stopping - But When?"), made among whole epochs.

    Attributes:
        total_steps: after which the run is finished; None: not known.
    """

    def __init__(self, work: Path, config: Config, *, total_steps: int | None) -> None:
        """Reads what was written of the run in `work` so far.

        Args:
            work: directory of the run.
            config: of the run.
            total_steps: see the class.

        Raises:
            UserError: the file is damaged.
        """
        self._path = work / VALIDATIONS_FILE
        self._config = config
        self.total_steps = total_steps
        self._measured = _read(self._path)

    def start_from(self, step: int, *, write: bool) -> None:
        """Forgets what was measured after a step that training goes on from.

        Args:
            step: of the checkpoint.
            write: whether this process is the one that writes.
        """
        kept = {at: found for at, found in self._measured.items() if at <= step}
        if write and len(kept) < len(self._measured):
            self._write(kept)
        self._measured = kept

    def add(self, step: int, measured: Measured, *, write: bool) -> None:
        """Notes what was measured after a step whose checkpoint is there, and writes it.

        Args:
            step: of the checkpoint; later than those before.
            measured: metrics by protocol; empty where validation has no queries.
            write: whether this process is the one that writes.
        """
        if not measured:
            return
        self._measured[step] = measured
        if write:
            self._write(self._measured)

    def _write(self, measured: Mapping[int, Measured]) -> None:
        write_json(self._path, {str(step): found for step, found in measured.items()})

    def __contains__(self, step: int) -> bool:
        """Whether something was measured after a step."""
        return step in self._measured

    @property
    def best(self) -> int | None:
        """The step that counts so far; None where nothing was measured that could tell."""
        values = self.values
        return max(values, key=values.__getitem__) if values else None

    @property
    def exhausted(self) -> bool:
        """Whether `train.patience` validations since the best one were no better."""
        patience, best = self._config.train.patience, self.best
        if not patience or best is None:
            return False
        return sum(step > best for step in self.values) >= patience

    @property
    def chosen(self) -> int | None:
        """The step that counts of a run that is over; None of one that is not."""
        over = self.exhausted or self.total_steps in self._measured
        return self.best if over else None

    @property
    def by(self) -> str:
        """The metric and the protocol that the choice is made by."""
        return f"{self._config.eval.tune_by} by {self._protocol}"

    @property
    def values(self) -> dict[int, float]:
        """That metric by step, ascending; empty where `train.keep_best` is false."""
        if not self._config.train.keep_best:
            return {}
        protocol, metric = self._protocol, self._config.eval.tune_by
        found = {step: each.get(protocol or "", {}) for step, each in self._measured.items()}
        return {step: each[metric] for step, each in found.items() if metric in each}

    @property
    def _protocol(self) -> str | None:
        """The first of the config's that was measured."""
        wanted = [protocol.value for protocol in self._config.eval.protocols]
        there = {name for each in self._measured.values() for name in each}
        return next((name for name in wanted if name in there), None)


def _read(path: Path) -> dict[int, Measured]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(sorted((int(step), measured) for step, measured in found.items()))
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: found what trainer.task does not write ({error}), expected it as the run "
            "left it"
        ) from None
