"""The directory of a run: which run it belongs to, and how it ended."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import write_json
from configs.kinds import KINDS
from configs.schema import Config
from configs.serialization import from_dict, to_dict
from preprocessing.features import differences, spec_of
from trainer.dataset import Dataset
from trainer.validations import Validations

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
TENSORBOARD = "tensorboard"
FAILED_FILE = "failed.json"
"""There while the last training diverged; what it says of the model is in `error`."""

_FLAG = "--workdir"
_PARTS = ("features", "model", "loss", "train")
"""Of the config: what a checkpoint is of. The rest may change between resumes."""

_TOTAL_STEPS = "total_steps"
_FINGERPRINTS = ("spec_fingerprint", "assets_fingerprint")


def read_run(work: Path, *, flag: str = _FLAG) -> tuple[Config, dict[str, Any]]:
    """What `claim` wrote.

    Args:
        work: the directory.
        flag: that names it, for messages.

    Returns:
        The run's config, and all that is noted of the run.

    Raises:
        UserError: there is no run, or what is noted of it is damaged or of another release.
    """
    path = work / RUN_FILE
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        config: Config = from_dict(Config, run["config"], kinds=KINDS)
    except FileNotFoundError:
        raise UserError(
            f"{flag}={work}: found no {RUN_FILE} in it, expected a directory that "
            "`python -m trainer.task` trained in"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{flag}={work}: {RUN_FILE}: found what trainer.task does not write ({error}), "
            "expected it as the run left it"
        ) from None
    except UserError as error:
        raise UserError(f"{flag}={work}: {RUN_FILE}: {error}") from None
    return config, run


def require_own(work: Path, config: Config, dataset: Dataset) -> None:
    """Refuses a directory that belongs to another run; writes nothing.

    Raises:
        UserError: its run is of another dataset or another config; names the first field that
            differs.
    """
    if not (work / RUN_FILE).exists():
        return
    theirs, run = read_run(work)
    other = differences(spec_of(theirs).describe(), dataset.spec.describe(), "config")
    if other := [*other, *model_differences(theirs, config, _PARTS)]:
        raise UserError(
            f"--workdir={work}: its run has another config: {other[0]}; expected a new workdir, "
            "or the same config to resume"
        )
    for name in _FINGERPRINTS:
        found, expected = run[name], getattr(dataset.manifest, name)
        if found != expected:
            raise UserError(
                f"--workdir={work}: its run has {name} {found}, the dataset has {expected}; "
                "expected a new workdir for another dataset"
            )


def model_differences(found: Config, expected: Config, parts: Sequence[str]) -> list[str]:
    """Where two configs' models differ, one `path: found x, expected y` each.

    Args:
        found: of a run.
        expected: for it.
        parts: of the config, `features` among them. Their order counts: towers take what encoders
            give in that order, and a checkpoint of another would be read without a word.
    """
    other = []
    for part in parts:
        old, new = (to_dict(getattr(each, part)) for each in (found, expected))
        other += differences(old, new, f"config.{part}")
    pairs = zip(found.features, expected.features, strict=False)
    swapped = ((old, new) for old, new in pairs if old != new)
    if not other and (first := next(swapped, None)):
        old, new = first
        other.append(f"config.features: found {old!r} where {new!r} is expected, in another order")
    return other


def claim(work: Path, config: Config, dataset: Dataset, *, total_steps: int) -> None:
    """Writes `run.json`: from here on the directory is this run's.

    Args:
        work: the directory; made where there is none.
        config: of the run.
        dataset: of the run.
        total_steps: after which it is finished.

    Raises:
        UserError: the directory cannot be written.
    """
    mine = {
        "config": to_dict(config),
        "dataset": str(dataset.root.resolve()),
        **{name: getattr(dataset.manifest, name) for name in _FINGERPRINTS},
        # Not compared: they follow from the rest, or say what the dataset was made of.
        _TOTAL_STEPS: total_steps,
        "window_days": dataset.manifest.window_days,
        "previous": dataset.manifest.previous,
    }
    try:
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / RUN_FILE, mine)
    except OSError as error:
        raise UserError(f"--workdir={work}: cannot be written: {error.strerror}") from None
    (work / FAILED_FILE).unlink(missing_ok=True)


def validations_of(work: Path, config: Config, run: Mapping[str, Any]) -> Validations:
    """What `read_run` found of a run, measured; runs of earlier releases know no last step."""
    return Validations(work, config, total_steps=run.get(_TOTAL_STEPS))


def told_step(work: Path, step: int) -> str:
    """What a checkpoint is: `step 4`, of a run that was to go on from there `step 4 of 12`.

    Where validation chose it, `step 8, the best of 12`.
    """
    validations = validations_of(work, *read_run(work))
    total = validations.total_steps
    if total in (None, step):
        return f"step {step}"
    return f"step {step}{', the best' if step == validations.chosen else ''} of {total}"


def require_finished(work: Path, step: int) -> None:
    """Refuses a run that is not over, as far as a checkpoint of this step can tell.

    Raises:
        UserError: training, or the validation after its last step, stopped before or is still at
            work.
    """
    validations = validations_of(work, *read_run(work))
    total = validations.total_steps
    is_over = validations.chosen is not None if validations.values else step == total
    if total is not None and not is_over:
        raise UserError(
            f"--workdir={work}: found step {step} of {total}, expected a finished run: the command "
            "that trained it goes on from there"
        )


def mark_failed(work: Path, error: Exception) -> None:
    """Notes that training diverged, so that nothing is exported of it."""
    write_json(work / FAILED_FILE, {"error": str(error)})


def require_not_failed(work: Path, *, flag: str) -> None:
    """Refuses a run that diverged; `flag` is what names it, for the message.

    Raises:
        UserError: the last training in this directory stopped by itself; says why.
    """
    path = work / FAILED_FILE
    if path.exists():
        error = json.loads(path.read_text(encoding="utf-8"))["error"]
        raise UserError(f"{flag}={work}: its training failed: {error}")
