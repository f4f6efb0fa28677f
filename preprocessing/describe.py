"""Looks at a dataset: prints what it holds, and writes one HTML page about it.

python -m preprocessing.describe DATASET [--against=OTHER] [--output=FILE.html]
    [--config.describe.max_number_drift=0.2]
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from configs.cli import Arguments, console, define_config, run_app
from configs.errors import UserError
from configs.schema import Describe
from preprocessing import manifest as manifests
from preprocessing.description import page, tables
from preprocessing.description.comparison import Comparison, compare
from preprocessing.description.dataset import Description, describe_dataset, rows_to_read
from preprocessing.manifest import Manifest

_DATASET = "DATASET"  # what the usage calls the argument


def describe(
    dataset: Path,
    *,
    against: Path | None = None,
    output: Path,
    config: Describe,
    display: Console,
) -> dict[str, Any]:
    """Describes a dataset.

    Args:
        dataset: its directory.
        against: directory of another to compare it with.
        output: the page; its directory must be there.
        config: sizes, and bounds of drift.
        display: where progress and tables are drawn.

    Returns:
        What the command prints last.

    Raises:
        UserError: a directory holds no dataset, a file of one is broken, or the page cannot be
            written.
    """
    found = [(dataset, manifests.read(dataset, where=_DATASET))]
    if against:
        found.append((against, manifests.read(against, where="--against")))
    if not output.parent.is_dir():
        raise UserError(f"--output: found no directory {output.parent}, expected one for the page")
    described = _read(found, config, display)
    comparison = compare(described[0], described[1], config) if against else None
    page.write(page.render(described[0], comparison, config), output)
    tables.show(described[0], comparison, display)
    return _result(described[0], comparison, output)


def _read(
    found: Sequence[tuple[Path, Manifest]], config: Describe, display: Console
) -> list[Description]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=display) as progress:
        tasks = [
            progress.add_task(f"reading {root.name}", total=rows_to_read(manifest))
            for root, manifest in found
        ]
        return [
            describe_dataset(root, manifest, config, advance=partial(progress.advance, task))
            for (root, manifest), task in zip(found, tasks, strict=True)
        ]


def _result(
    description: Description, comparison: Comparison | None, output: Path
) -> dict[str, Any]:
    test = description.positives.splits[-1]
    result: dict[str, Any] = {
        "page": str(output),
        "dataset": str(description.root),
        "rows": {split.split: split.rows for split in description.positives.splits},
        "cold_items_in_test": test.cold_items,
        "cold_users_in_test": test.cold_users,
        "missing": {f.described.name: f.train.missing_share for f in description.features},
        "drift": {
            f.described.name: f.drift.value for f in description.features if f.drift is not None
        },
        "warnings": list(description.warnings),
    }
    if comparison is not None:
        result["against"] = str(comparison.other.root)
        result["drift_against"] = {n: d.value for n, d in comparison.drifts.items()}
        result["warnings_against"] = list(comparison.warnings)
    return result


if __name__ == "__main__":
    _CONFIG = define_config()
    _AGAINST = flags.DEFINE_string("against", None, "Directory of a dataset to compare with.")
    _OUTPUT = flags.DEFINE_string("output", None, "The page; by default DATASET/describe.html.")

    def _main(argv: list[str]) -> dict[str, Any]:
        if len(argv) != 2:
            raise UserError(f"{_DATASET}: found {argv[1:]}, expected one directory")
        return describe(
            Path(argv[1]),
            against=Path(_AGAINST.value) if _AGAINST.value else None,
            output=Path(_OUTPUT.value or Path(argv[1]) / "describe.html"),
            config=_CONFIG().describe,
            display=console(),
        )

    run_app(_main, arguments=Arguments.ANY)
