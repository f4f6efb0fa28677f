"""A finished run and its export, evaluated again; baselines tuned."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from configs.baselines import BaselineKind, Baselines
from configs.errors import UserError
from configs.schema import Config, Protocol
from tests.quiet import QUIET
from trainer.baselines.popularity import RecentPopularity
from trainer.checkpoints import CHECKPOINTS, steps_in
from trainer.dataset import load_interactions, load_queries
from trainer.evaluation import MODEL, ask, measure
from trainer.recommenders import Export, Towers
from trainer.reevaluation import evaluate_again
from trainer.restore import restore_run
from trainer.retrieval import DotProductScorer, top_k
from trainer.tuning import tune_baselines
from trainer.workdir import METRICS_FILE, REPORT_FILE


def evaluated(output: Path, **changed) -> dict:
    arguments = {
        "workdir": None,
        "step": None,
        "model": None,
        "dataset_dir": None,
        "output": output,
        "split": "test",
        "protocols": (),
        "baselines": (),
        "tune": False,
        "compare_lists": None,
        "console": QUIET,
    }
    return evaluate_again(**(arguments | changed))


def test_training_leaves_metrics_and_report(workdir: Path) -> None:
    metrics = json.loads((workdir / METRICS_FILE).read_text())
    assert set(metrics["protocols"]) == {"window", "next"}
    for found in metrics["protocols"].values():
        # A user's own items are none where seen ones are left out.
        names = [MODEL, *(k.value for k in BaselineKind if k is not BaselineKind.OWN_ITEMS)]
        assert list(found["models"]) == list(found["slices"]) == names
        assert list(found["differences"]) == names[1:]
        for model, values in found["models"].items():
            assert found["intervals"][model].keys() == {n for n in values if "Coverage" not in n}
            for name, interval in found["intervals"][model].items():
                assert interval["low"] <= interval["value"] <= interval["high"]
                assert interval["value"] == pytest.approx(values[name])
        for other, by_metric in found["differences"].items():
            for name, difference in by_metric.items():
                expected = found["models"][MODEL][name] - found["models"][other][name]
                assert difference["value"] == pytest.approx(expected)
    report = (workdir / REPORT_FILE).read_text()
    assert all(name in report for name in names)
    assert "gradient norm" in report, "the curves of the run that has just ended"


def test_lists_from_elsewhere_are_compared_without_baselines_too(
    workdir: Path, tmp_path: Path
) -> None:
    _, dataset, _, _ = restore_run(workdir)
    users = {str(user) for user in load_queries(dataset, "queries/test/window").queries.user_id}
    lists = pl.DataFrame({"user_id": sorted(users)}).with_columns(
        rank=1, video_id=pl.lit(dataset.catalog.video_id[-1])
    )
    lists.write_parquet(tmp_path / "one.parquet")
    found = evaluated(tmp_path, workdir=workdir, compare_lists=tmp_path / "one.parquet")
    window, following = (found["protocols"][name] for name in ("window", "next"))
    assert list(window["models"]) == list(window["intervals"]) == [MODEL, "one"]
    difference = window["differences"]["one"]["HR@20"]
    assert 0 < difference["low"] < difference["value"]
    expected = window["models"][MODEL]["HR@20"] - window["models"]["one"]["HR@20"]
    assert difference["value"] == pytest.approx(expected)
    assert list(following["models"]) == [MODEL] and "differences" not in following


def test_slices_are_parts_of_the_whole(workdir: Path) -> None:
    found = json.loads((workdir / METRICS_FILE).read_text())["protocols"]["window"]
    by_length = found["slices"]["EASE"]["history length"]
    assert sum(group["queries"] for group in by_length.values()) == found["queries"]
    whole = sum(group["queries"] * group["NDCG@10"] for group in by_length.values())
    assert whole / found["queries"] == pytest.approx(found["models"]["EASE"]["NDCG@10"])


def test_a_run_again_gives_the_same_figures(workdir: Path, tmp_path: Path) -> None:
    again = evaluated(tmp_path / "new", workdir=workdir)
    first = json.loads((workdir / METRICS_FILE).read_text())
    for name, found in again["protocols"].items():
        assert list(found["models"]) == [MODEL]
        for metric, value in found["models"][MODEL].items():
            assert value == pytest.approx(first["protocols"][name]["models"][MODEL][metric])
    assert json.loads((tmp_path / "new" / METRICS_FILE).read_text()) == again
    assert (tmp_path / "new" / REPORT_FILE).exists()


def test_another_split_and_one_protocol(workdir: Path, tmp_path: Path) -> None:
    found = evaluated(tmp_path, workdir=workdir, split="validation", protocols=(Protocol.NEXT,))
    assert found["split"] == "validation" and list(found["protocols"]) == ["next"]
    assert found["protocols"]["next"]["queries"] > 100


def test_the_baselines_asked_for(workdir: Path, tmp_path: Path) -> None:
    asked = {"workdir": workdir, "protocols": (Protocol.WINDOW,)}
    wanted = (BaselineKind.POPULARITY, BaselineKind.ITEM_KNN)
    found = evaluated(tmp_path, baselines=wanted, **asked)["protocols"]["window"]
    first = json.loads((workdir / METRICS_FILE).read_text())["protocols"]["window"]
    assert list(found["models"]) == [MODEL, "popularity", "item-kNN"]
    assert found["models"] == {name: first["models"][name] for name in found["models"]}
    with pytest.raises(UserError, match="--baseline=own_items: found eval.exclude_seen=true"):
        evaluated(tmp_path, baselines=(BaselineKind.OWN_ITEMS,), **asked)


def test_neighbours_are_of_the_most_popular_items(workdir: Path) -> None:
    _, dataset, model, _ = restore_run(workdir)
    told = json.loads((workdir / METRICS_FILE).read_text())["neighbours"]
    most = dataset.catalog.video_id[np.argmax(dataset.catalog.train_count)]
    assert told[0]["video_id"] == most and told[0]["title"]
    vectors = Towers(model, dataset, split="test").item_vectors
    index = {video_id: i for i, video_id in enumerate(dataset.catalog.video_id)}
    for item in told:
        assert item["video_id"] not in [near["video_id"] for near in item["neighbours"]]
        cosines = vectors[1:] @ vectors[index[item["video_id"]]]
        best = np.sort(cosines)[::-1][1 : 1 + len(item["neighbours"])]
        found = [near["cosine"] for near in item["neighbours"]]
        np.testing.assert_allclose(found, best, atol=1e-5)


def test_a_model_is_traced_once_however_often_it_is_evaluated(workdir: Path) -> None:
    _, dataset, model, _ = restore_run(workdir)
    asked = load_queries(dataset, "queries/test/window")
    for count in range(1, 6):
        rows = np.arange(count)
        towers = Towers(model, dataset, split="test")
        towers.scorer(asked.take(rows, asked.queries.take(rows)))
    # For the first shape, and then for any.
    assert model.embed_raw_users.experimental_get_tracing_count() == 2


def test_an_earlier_checkpoint_can_be_asked_for(workdir: Path, tmp_path: Path) -> None:
    first, *_, last = steps_in(workdir / CHECKPOINTS)
    arguments = {"workdir": workdir, "protocols": (Protocol.WINDOW,)}
    earlier = evaluated(tmp_path / "earlier", step=first, **arguments)
    assert earlier["source"].endswith(f", step {first} of {last}") and first < last
    newest = json.loads((workdir / METRICS_FILE).read_text())
    ours = [m["protocols"]["window"]["models"][MODEL]["NDCG@100"] for m in (earlier, newest)]
    assert ours[0] != ours[1]
    with pytest.raises(UserError, match=f"--step=7: found checkpoints of steps {first}, .*{last} "):
        evaluated(tmp_path / "new", step=7, **arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocols": (Protocol.LOO_FILE,)}, "found test queries of window, next, expected loo"),
        ({"split": "train"}, "found train queries of no protocol, expected some"),
    ],
)
def test_refuses_what_there_are_no_queries_of(
    changed: dict, message: str, workdir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        evaluated(tmp_path / "new", workdir=workdir, **changed)
    assert not (tmp_path / "new").exists()


class TestExport:
    def test_answers_as_the_towers_rank(
        self, workdir: Path, model_base_path: Path, config: Config
    ) -> None:
        """The exact index, on the last day's vectors, without the history that it was told of.

        Of users whose history is long: of others an export may know better than their towers do.
        """
        _, dataset, model, _ = restore_run(workdir)
        asked = load_queries(dataset, "queries/test/window")
        long = np.flatnonzero(asked.queries.history.lengths >= 20)
        assert len(long) > 30
        asked = asked.take(long, asked.queries.take(long))
        export = Export(model_base_path / "1", dataset, exclude_seen=False)
        assert export.list_width == config.export.k
        arguments = {
            "k": config.export.k,
            "available": np.zeros(dataset.catalog.size, np.int64),
            "exclude_seen": True,
        }
        told = asked.queries.history.last(dataset.spec.sequence[1].max_length)
        queries = replace(asked.queries, seen=told)
        found, _ = top_k(export.scorer(asked), queries, **arguments)
        users = Towers(model, dataset, split="test").scorer(asked)
        assert isinstance(users, DotProductScorer)
        day = dataset.manifest.splits.last_day
        items = model.embed_catalog(dataset.catalog.size, day=day)
        expected, _ = top_k(replace(users, item_embedding=items), queries, **arguments)
        # Rounding, and what is left of popularity, may swap two neighbours.
        assert (found == expected).mean() > 0.99
        assert (found > 0).all()

    def test_is_evaluated_up_to_its_width(
        self, dataset_dir: Path, model_base_path: Path, tmp_path: Path
    ) -> None:
        metrics = evaluated(tmp_path, model=model_base_path / "1", dataset_dir=dataset_dir)
        ours = metrics["protocols"]["window"]["models"][MODEL]
        assert {name.split("@")[1] for name in ours} == {"10", "20"}
        assert ours["Recall@20"] > 20 / 600
        assert (tmp_path / REPORT_FILE).exists() and "neighbours" not in metrics

    def test_refuses_another_dataset(
        self, dataset_dir: Path, model_base_path: Path, tmp_path: Path
    ) -> None:
        version = tmp_path / "1"
        shutil.copytree(model_base_path / "1", version)
        path = version / "assets.extra" / "export.json"
        report = json.loads(path.read_text())
        path.write_text(json.dumps(report | {"assets_fingerprint": "0" * 64}))
        with pytest.raises(UserError, match="found assets_fingerprint 000000000000, expected"):
            evaluated(tmp_path / "new", model=version, dataset_dir=dataset_dir)

    def test_refuses_a_directory_that_is_no_version(
        self, dataset_dir: Path, model_base_path: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=r"--model=.*cannot read assets\.extra/export\.json"):
            evaluated(tmp_path / "new", model=model_base_path, dataset_dir=dataset_dir)


@pytest.fixture(scope="module")
def opened(workdir: Path):
    config, dataset, _, _ = restore_run(workdir)
    config = copy.deepcopy(config)
    config.eval.baselines = Baselines(
        kinds=(BaselineKind.POPULARITY, BaselineKind.RECENT_POPULARITY)
    )
    return config, dataset


class TestTuning:
    def test_takes_the_best_on_validation(self, opened) -> None:
        config, dataset = opened
        tuned, told = tune_baselines(config, dataset, console=QUIET)
        assert told["by"] == config.eval.tune_by and told["protocol"] == "window"
        assert tuned.kinds == config.eval.baselines.kinds
        recent = told["baselines"]["recent popularity"]
        assert len(recent["tried"]) > 2
        best = max(recent["tried"], key=lambda tried: tried["value"])
        assert recent["chosen"] == best["changed"] == {"days": tuned.recent_popularity.days}
        assert len({tried["value"] for tried in recent["tried"]}) > 1

        asked, _ = ask(config, dataset, "validation", Protocol.WINDOW)
        train = load_interactions(dataset, ["train"])
        metrics = measure(
            RecentPopularity(tuned.recent_popularity).fit(train), asked.queries, config, dataset
        )
        assert metrics.means[config.eval.tune_by] == best["value"]

    def test_leaves_the_config_alone(self, opened) -> None:
        config, dataset = opened
        before = copy.deepcopy(config.eval.baselines)
        tune_baselines(config, dataset, console=QUIET)
        assert config.eval.baselines == before

    def test_the_test_split_is_measured_with_it(
        self, opened, workdir: Path, tmp_path: Path, monkeypatch
    ) -> None:
        config, dataset = opened
        chosen = copy.deepcopy(config.eval.baselines)
        chosen.recent_popularity.days = 0.25
        monkeypatch.setattr(
            "trainer.reevaluation.tune_baselines",
            lambda *_, **__: (chosen, {"by": "HR@10", "protocol": "window", "baselines": {}}),
        )
        arguments = {"workdir": workdir, "baselines": None, "protocols": (Protocol.WINDOW,)}
        tuned = evaluated(tmp_path, tune=True, **arguments)
        assert tuned["tuning"]["by"] == "HR@10"
        asked, _ = ask(config, dataset, "test", Protocol.WINDOW)
        before = load_interactions(dataset, ["train", "validation"])
        expected = measure(
            RecentPopularity(chosen.recent_popularity).fit(before), asked.queries, config, dataset
        )
        found = tuned["protocols"]["window"]["models"]
        assert set(found) == {MODEL, "popularity", "recent popularity"}
        assert found["recent popularity"]["HR@10"] == expected.means["HR@10"]
