"""Studies of the trainer's settings, on a run of a second."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.ablation.__main__ import main, run_study
from benchmarks.ablation.report import markdown, write_outcome
from benchmarks.ablation.results import Outcome, follows, table, verdict
from benchmarks.ablation.runs import for_studies, sample_users, with_setting
from benchmarks.ablation.studies import STUDIES, Claim, Study
from benchmarks.docs import put
from benchmarks.quality import Row, Run, preset
from configs.errors import UserError
from configs.schema import Config, Correction, Protocol
from tests.quiet import QUIET
from tests.tiny_run import STEPS_PER_EPOCH, WITHOUT_GRAPHS, tiny_config, tiny_dataset
from trainer.spikes import FACTOR, WINDOW, LossSpikes
from trainer.watch import DivergedError

pytestmark = WITHOUT_GRAPHS

STUDY = Study(
    name="correction",
    question="Which?",
    settings={
        "expected_count": {"loss.correction": Correction.EXPECTED_COUNT},
        "none": {"loss.correction": Correction.NONE},
        "as it is": {},
    },
    claim=Claim(ours="expected_count", than="none", at_least={"Recall@10": 0.01, "HR@10": 99.0}),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("ablation")
    config = tiny_config()
    config.eval.protocols = (Protocol.WINDOW,)
    config.eval.ks = (10, 100)
    tiny_dataset(root, config)
    return Run(config=config.validate(), root=root, logs=root / "logs", seconds={})


@pytest.fixture(scope="module")
def outcome(run: Run) -> Outcome:
    return run_study(STUDY, run, row=Row.ML1M_LOO, epochs=1, batch_size=None, seeds=2, out=QUIET)


def outcome_of(study: Study, runs: dict[str, list[dict[str, Any]]], **values: Any) -> Outcome:
    seeds = list(range(len(next(iter(runs.values())))))
    given = {"row": "r", "epochs": 1, "batch_size": 2, "train_rows": 3, "queries": 400} | values
    return Outcome(study=study, seeds=seeds, runs=runs, **given)


def row_of(recall: float, **values: Any) -> dict[str, Any]:
    metrics = {"HR@10": recall / 2, "NDCG@10": recall / 4, "Recall@100": recall}
    return {
        "steps": 9,
        "cpu_seconds": 10.0,
        "seconds": 5.0,
        "loss_spikes": 0,
        "item_uniformity": -2.0,
        "validation": metrics,
        "test": metrics,
    } | values


def test_every_setting_is_trained_with_every_seed(outcome: Outcome) -> None:
    assert list(outcome.runs) == list(STUDY.settings) and outcome.seeds == [17, 18]
    for runs in outcome.runs.values():
        assert [found["steps"] for found in runs] == [STEPS_PER_EPOCH] * 2
        assert runs[0]["test"] != runs[1]["test"] or runs[0]["loss"] != runs[1]["loss"]
        for found in runs:
            assert found["item_uniformity"] < 0 < found["item_effective_rank"]
            assert found["cpu_seconds"] > 0 and found["loss_spikes"] >= 0
            assert set(found["validation"]) == set(found["test"]) > {"HR@10", "Recall@100"}
    ours, than = (outcome.runs[name][0]["loss"] for name in ("expected_count", "none"))
    assert ours != than


def test_settings_that_come_to_the_same_are_one_run(run: Run, outcome: Outcome) -> None:
    assert outcome.runs["as it is"] == outcome.runs["expected_count"]
    assert len(list((run.root / "studies").iterdir())) == 4
    assert not list((run.root / "studies").glob("*/checkpoints"))


def test_what_is_finished_is_read_and_what_is_cut_off_starts_again(
    run: Run, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(config: Config, dataset: Path, work: Path, **_: Any) -> None:
        trained.append(config.loss.correction)
        raise DivergedError("step 3: found a loss of nan")

    monkeypatch.setattr("benchmarks.ablation.runs.train_and_evaluate", train)
    again = run_study(STUDY, run, row=Row.ML1M_LOO, epochs=1, batch_size=None, seeds=2, out=QUIET)
    assert again.runs == outcome.runs and not trained
    more = run_study(STUDY, run, row=Row.ML1M_LOO, epochs=2, batch_size=None, seeds=1, out=QUIET)
    assert trained == [Correction.EXPECTED_COUNT, Correction.NONE]  # another budget, other runs
    assert more.finished == [] and "nan" in more.runs["none"][0]["diverged"]
    assert "diverged" in markdown(more) and follows(more) == ["Every run diverged."]


def test_files_tell_the_figures(outcome: Outcome, tmp_path: Path) -> None:
    path = write_outcome(tmp_path, outcome)
    page = path.read_text()
    assert ":/" not in page.replace("http://www.w3.org", "") and page.count("<svg") == 6
    told = json.loads(path.with_suffix(".json").read_text())
    ours, than = (
        [found["test"]["Recall@10"] for found in told["runs"][name]]
        for name in ("expected_count", "none")
    )
    ratios = [a / b for a, b in zip(ours, than, strict=True)]
    found = told["claim"]["metrics"]["Recall@10"]
    assert found["ratio"] == pytest.approx(sum(ratios) / 2) and found["met"]
    assert found["low"] < min(ratios) <= max(ratios) < found["high"]
    assert not told["claim"]["metrics"]["HR@10"]["met"]
    text = path.with_suffix(".md").read_text()
    assert "HR@10 on test, at least 99.0" in text and "not met." in text
    for name in STUDY.settings:
        assert f"| {name} |" in text
    docs = tmp_path / "docs.md"
    docs.write_text("a\n<!-- s -->\nold\n<!-- end of s -->\nb\n")
    put(docs, {"s": text})
    assert "old" not in docs.read_text() and docs.read_text().startswith("a\n<!-- s -->\n###")


def test_what_follows_is_the_cheapest_of_the_best() -> None:
    runs = {
        "slow": [row_of(0.60, cpu_seconds=90.0)],
        "fast": [row_of(0.59, cpu_seconds=30.0, item_uniformity=-3.0)],
        "bad": [row_of(0.30, cpu_seconds=1.0, loss_spikes=4)],
    }
    told = " ".join(follows(outcome_of(STUDY, runs)))
    assert "Best: slow, Recall@100 0.6000" in told and "Take fast" in told
    assert "Worst: bad, 0.3000, 50 % below" in told and "most evenly with fast" in told
    assert "Loss spikes: bad 4." in told
    runs["fast"] = [row_of(0.59, cpu_seconds=89.0)]  # a second in ninety is no reason
    assert "Take slow (90 CPU seconds)" in " ".join(follows(outcome_of(STUDY, runs)))
    # Ten times the queries: what was level is told apart.
    assert "Take slow" in " ".join(follows(outcome_of(STUDY, runs, queries=40_000)))


def test_a_setting_that_finds_nothing_is_beaten_by_any() -> None:
    claim = Claim(ours="a", than="b", at_least={"Recall@100": 1.2})
    study = Study(name="s", question="?", settings={"a": {}, "b": {}}, claim=claim)
    told = verdict(outcome_of(study, {"a": [row_of(0.5)], "b": [row_of(0.0)]}), claim)
    assert told["metrics"]["Recall@100"]["ratio"] is None and told["metrics"]["Recall@100"]["met"]
    stopped = outcome_of(study, {"a": [{"diverged": "nan"}], "b": [row_of(0.1)]})
    assert not verdict(stopped, claim)["metrics"]["Recall@100"]["met"]
    assert math.isnan(stopped.mean("a", "Recall@100")) and table(stopped)[1][:2] == [
        "a",
        "diverged",
    ]


def test_every_study_makes_a_config_that_is_valid() -> None:
    for study in STUDIES.values():
        for row in study.rows:
            config = for_studies(
                preset(row, data=None if row is Row.SHORT_VIDEO else "somewhere"), epochs=None
            )
            configs = [with_setting(config, setting) for setting in study.settings.values()]
            distinct = [copied for at, copied in enumerate(configs) if copied not in configs[:at]]
            # The preset's own value may be among the values; no two of those are the same.
            assert len(distinct) == len(configs), study.name
            if study.claim:
                assert {study.claim.ours, study.claim.than} <= set(study.settings)


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"config\.loss\.colour"):
        with_setting(tiny_config(), {"loss.colour": 1})
    config = tiny_config()
    changed = with_setting(config, {"features.history.windows": (3,)})
    assert changed.features["history"].windows == (3,) != config.features["history"].windows
    with pytest.raises(UserError, match="--study: found 'colour', expected some of batch_size"):
        main(
            ["colour"],
            workdir=Path("nowhere"),
            data=None,
            row=None,
            seeds=1,
            epochs=None,
            batch_size=None,
            users=0,
            docs=None,
        )


def test_users_are_sampled_whole_and_in_order(tmp_path: Path) -> None:
    events = pl.DataFrame({"user_id": [f"u{n % 7}" for n in range(70)], "at": range(70)})
    (tmp_path / "logs").mkdir()
    events.write_parquet(tmp_path / "logs" / "events.parquet")
    pl.DataFrame({"video_id": ["v"]}).write_parquet(tmp_path / "logs" / "videos.parquet")
    output = sample_users(tmp_path / "logs", users=3, output=tmp_path / "users-3")
    found = pl.read_parquet(output / "events.parquet")
    assert found["user_id"].n_unique() == 3 and len(found) == 30 and found["at"].is_sorted()
    assert (output / "videos.parquet").exists() and not (output / "users.parquet").exists()


def test_spikes_are_losses_above_the_median_before() -> None:
    spikes = LossSpikes()
    for loss in [9.0, 1.0] * (WINDOW // 2):  # still filling: nothing stands out yet
        spikes.add(loss)
    assert spikes.take() == 0
    spikes = LossSpikes()
    for loss in [2.0] * WINDOW + [2.0 * FACTOR, 2.0 * FACTOR + 0.01, 9.0, 1.0, 2.0]:
        spikes.add(loss)
    assert spikes.take() == 2 and spikes.take() == 0
    for _ in range(WINDOW):  # a new level counts until half of the window is of it
        spikes.add(3.0)
    assert 0 < spikes.take() <= WINDOW // 2 + 1


def test_a_copy_is_changed_and_not_the_config() -> None:
    config = tiny_config()
    before = copy.deepcopy(config)
    for_studies(with_setting(config, {"model.temperature": 0.3}), epochs=7)
    assert config == before
