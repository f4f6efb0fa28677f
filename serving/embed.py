"""`python -m serving.embed`: all user or item embeddings of a version, to Parquet."""

from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.embedding import Of, write_embeddings

_MODEL = flags.DEFINE_string(
    "model", None, "Base path of a model, or one version of it.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.", required=True)
_OF = flags.DEFINE_enum_class("of", Of.USERS, Of, "Whose embeddings.")
_DATASET = flags.DEFINE_string("dataset", None, "Dataset whose users to embed.")
_ROWS_PER_PART = flags.DEFINE_integer(
    "rows_per_part", 100_000, "Rows of a file; what is redone at most.", lower_bound=1
)


def main(argv: list[str]) -> dict[str, Any]:
    """Writes and says what."""
    del argv
    return write_embeddings(
        Path(_MODEL.value),
        Path(_OUTPUT.value),
        of=_OF.value,
        dataset=Path(_DATASET.value) if _DATASET.value else None,
        rows_per_part=_ROWS_PER_PART.value,
        console=console(),
    )


if __name__ == "__main__":
    run_app(main)
