"""The set-hash of a dataset, and whether another says the same.

python -m preprocessing.compare --dataset=A [--against=B]
"""

from typing import Any

from absl import flags
from rich.table import Table

from configs.cli import console, run_app
from configs.errors import UserError
from preprocessing.sethash import SetHash, dataset_hash, differing, set_hashes

_DATASET = flags.DEFINE_string("dataset", None, "What preprocessing.run wrote.", required=True)
_AGAINST = flags.DEFINE_string("against", None, "Another dataset, which must say the same.")


def main(argv: list[str]) -> dict[str, Any]:
    """Hashes a dataset; with another given, fails unless both hold the same rows."""
    del argv
    found = set_hashes(_DATASET.value)
    if _AGAINST.value is not None:
        other = set_hashes(_AGAINST.value, where="--against")
        if parts := differing(found, other):
            told = "; ".join(
                f"{part}: found {_told(other.get(part))}, expected {_told(found.get(part))}"
                for part in parts
            )
            raise UserError(f"--against={_AGAINST.value}: {told}, as in {_DATASET.value}")
    table = Table(title="Set-hashes", title_justify="left")
    table.add_column("part")
    table.add_column("rows", justify="right")
    table.add_column("digest")
    for part, of in found.items():
        table.add_row(part, f"{of.rows:,}", of.digest)
    console().print(table)
    return {
        "dataset": _DATASET.value,
        "set_hash": dataset_hash(found),
        "parts": {part: of.digest for part, of in found.items()},
    }


def _told(part: SetHash | None) -> str:
    return "nothing" if part is None else f"{part.rows} rows of {part.digest}"


if __name__ == "__main__":
    run_app(main)
