"""What each setting of the trainer is worth: studies as tables with plots.

    python -m benchmarks.ablation --data=MOVIELENS_1M --workdir=/tmp/ablation
    python -m benchmarks.ablation --data=MOVIELENS_1M --workdir=/tmp/ablation --study=tower,loss
    python -m benchmarks.ablation --workdir=/tmp/ablation --row=short_video --study=temperature

A study (`studies.py`) changes one thing of a row's preset (`benchmarks.quality`), and trains each
value on the same dataset with the same seeds for as many epochs. It tells HR@10, NDCG@10 and
Recall@100 on the validation split, the uniformity of item embeddings, loss spikes and time, and
says what follows. Three studies hold a ratio on the test split to a bound: in_batch_correction,
sampled_pooled and sampled_causal.

`--users=1500` trains on the events of so many users of a real data set; `--epochs` and `--seeds`
are every run's, `--batch_size` that of runs whose setting names none. Runs are kept below the
workdir, by what they were configured to, so that studies share them and the same command goes on
where it was cut off. Tables, pages and JSON are in `WORKDIR/results`. `--docs=docs/ablation.md`
puts the tables between that file's markers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.text import Text

from benchmarks.ablation.report import budget, claims, markdown, write_outcome
from benchmarks.ablation.results import Outcome, follows, table
from benchmarks.ablation.runs import for_studies, sample_users, train_once
from benchmarks.ablation.studies import STUDIES, Study
from benchmarks.docs import put
from benchmarks.quality import Row, Run, prepare, preset
from benchmarks.tables import shown
from configs.cli import console, run_app
from configs.errors import UserError
from preprocessing import manifest as manifests


def run_study(
    study: Study,
    run: Run,
    *,
    row: Row,
    epochs: int | None,
    batch_size: int | None,
    seeds: int,
    out: Console,
) -> Outcome:
    """Trains every setting with every seed, those that are not there yet, and tells of it."""
    config = for_studies(run.config, epochs=epochs, batch_size=batch_size)
    runs: dict[str, list[Any]] = {name: [] for name in study.settings}
    for seed in range(seeds):
        for place, (name, setting) in enumerate(study.settings.items(), 1):
            out.print(
                Text.assemble(
                    (study.name, "bold"),
                    f" {row.value}: {name} ({place} of {len(study.settings)}), "
                    f"seed {seed + 1} of {seeds}",
                )
            )
            runs[name].append(train_once(run, config, setting=setting, seed=seed, out=out))
    manifest = manifests.read(run.dataset)
    (protocol,) = config.eval.protocols
    return Outcome(
        study=study,
        row=row.value,
        epochs=config.train.epochs,
        train_rows=manifest.rows("train"),
        batch_size=config.train.batch_size,
        queries=manifest.rows(f"queries/validation/{protocol.value}"),
        seeds=[config.train.seed + number for number in range(seeds)],
        runs=runs,
    )


def prepare_row(row: Row, *, workdir: Path, data: Path | None, users: int, out: Console) -> Run:
    """A row's logs and dataset; of some users only, if so many are given."""
    simulated = row in (Row.SHORT_VIDEO, Row.STREAMREC)
    config = preset(row, data=None if simulated else data and str(data)).validate()
    if simulated:
        return prepare(config, root=workdir / row.value, data=None, out=out)
    assert data is not None
    if users:
        data = sample_users(data, users=users, output=workdir / f"users-{users}")
        return prepare(config, root=workdir / f"{row.value}-{users}", data=data, out=out)
    return prepare(config, root=workdir / row.value, data=data, out=out)


def show(outcome: Outcome, out: Console) -> None:
    """The table and what follows, on the console."""
    out.print(shown(f"{outcome.study.name}: {outcome.study.question}", table(outcome)))
    for line in (budget(outcome), *claims(outcome), *follows(outcome)):
        out.print(line)


def main(
    names: Sequence[str],
    *,
    workdir: Path,
    data: Path | None,
    row: Row | None,
    seeds: int,
    epochs: int | None,
    batch_size: int | None,
    users: int,
    docs: Path | None,
) -> dict[str, Any]:
    """Runs studies, one after the other, and writes each one's files as it ends."""
    unknown = sorted(set(names) - set(STUDIES))
    if unknown:
        raise UserError(f"--study: found {unknown[0]!r}, expected some of {', '.join(STUDIES)}")
    out = console()
    told: dict[str, Any] = {}
    for name in names or STUDIES:
        study = STUDIES[name]
        for each in (row,) if row else study.rows:
            run = prepare_row(each, workdir=workdir, data=data, users=users, out=out)
            outcome = run_study(
                study, run, row=each, epochs=epochs, batch_size=batch_size, seeds=seeds, out=out
            )
            path = write_outcome(workdir / "results", outcome)
            show(outcome, out)
            out.print(f"written: {path}")
            if docs is not None:
                put(docs, {f"{name} {each.value}": markdown(outcome)})
            found = outcome.to_json()
            told[f"{name} {each.value}"] = {
                key: found[key] for key in ("claim", "follows") if key in found
            }
    return {"results": str(workdir / "results"), "studies": told}


if __name__ == "__main__":
    _STUDY = flags.DEFINE_list("study", [], f"Of {', '.join(STUDIES)}; all of them without.")
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where all is written.", required=True)
    _DATA = flags.DEFINE_string("data", None, "Directory of MovieLens-1M's raw tables.")
    _ROW = flags.DEFINE_enum_class("row", None, Row, "In place of the study's own rows.")
    _SEEDS = flags.DEFINE_integer("seeds", 1, "Runs of each setting.", lower_bound=1)
    _EPOCHS = flags.DEFINE_integer(
        "epochs", None, "Of every run; else the preset's.", lower_bound=1
    )
    _BATCH_SIZE = flags.DEFINE_integer(
        "batch_size", None, "Of runs whose setting names none; else the preset's.", lower_bound=1
    )
    _USERS = flags.DEFINE_integer(
        "users", 0, "Train on so many users of a real data set; 0: all.", lower_bound=0
    )
    _DOCS = flags.DEFINE_string("docs", None, "Markdown file whose tables are replaced.")
    run_app(
        lambda argv: main(
            _STUDY.value,
            workdir=Path(_WORKDIR.value),
            data=Path(_DATA.value) if _DATA.value else None,
            row=_ROW.value,
            seeds=_SEEDS.value,
            epochs=_EPOCHS.value,
            batch_size=_BATCH_SIZE.value,
            users=_USERS.value,
            docs=Path(_DOCS.value) if _DOCS.value else None,
        )
    )
