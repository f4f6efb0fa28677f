import copy
import re
from pathlib import Path

import pytest
import tensorflow as tf
from jinja2 import UndefinedError

from configs.evaluation import METRICS
from tests.html_page import Page
from trainer.report.curves import read_curves
from trainer.report.page import render, write_report

KS = (5, 10, 100, 200)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
CURVES = {
    "train/loss": [(10, 3.0), (20, 2.0)],
    "train/item_cosine": [(10, 0.1), (20, 0.2)],
    "train/temperature": [(10, 0.05), (20, 0.06)],
    "validation/window/HR@10": [(20, 0.3)],
    "validation/window/MAP@50": [(20, 0.3)],
}


def values_of(base: float) -> dict[str, float]:
    found = {f"{metric}@{k}": base + k / 1_000 for metric in METRICS for k in KS}
    return found | {f"Coverage@{k}": base for k in KS}


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def metrics_of(models: dict[str, dict[str, float]]) -> dict:
    ours = next(iter(models))
    groups = {"0": {"queries": 3.0, "Recall@10": 0.1, "Recall@100": 0.25}}
    return {
        "source": "run",
        "split": "test",
        "protocols": {
            "window": {
                "queries": 1_234,
                "users": 1_200,
                "dropped_queries": 5,
                "lost_share": 0.031,
                "models": models,
                "slices": {m: {"history length": copy.deepcopy(groups)} for m in models},
                "intervals": {
                    model: {n: interval(v) for n, v in values.items() if "Cov" not in n}
                    for model, values in models.items()
                },
                "differences": {
                    model: {
                        n: interval(models[ours][n] - v) | {"p_value": 0.002}
                        for n, v in values.items()
                        if n in models[ours] and "Cov" not in n
                    }
                    for model, values in models.items()
                    if model != ours
                },
            }
        },
        "neighbours": [
            {
                "video_id": "v_1",
                "title": "a first title",
                "neighbours": [{"video_id": "v_2", "title": "", "cosine": 0.87}],
            }
        ],
    }


@pytest.fixture(scope="module")
def page() -> Page:
    models = {"streamrec": values_of(0.3), "EASE": values_of(0.2)}
    return Page(render(metrics_of(models), CURVES, max_item_cosine=0.9))


def test_is_whole_and_asks_for_nothing(page: Page) -> None:
    assert page.open == []
    assert page.fetched == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


def test_shows_what_was_measured(page: Page) -> None:
    for shown in ("streamrec", "EASE", "0.4000", "1,234 queries of 1,200 users", "3.1 %"):
        assert shown in page.text, shown
    # Ours less the other's, with interval and p-value.
    assert re.search(r"\+0\.1000\s+\+0\.0900 to \+0\.1100\s*p 0\.002", page.text)
    assert "Recall@100 by history length" in page.text and "0.2500" in page.text
    assert "a first title" in page.text and "v_2" in page.text and "0.87" in page.text


def test_draws_metrics_slices_training_and_monitors(page: Page) -> None:
    # Metrics at k, one slice, loss and validation HR@10, cosine and temperature.
    assert page.tags.count("svg") == 6
    for title in ("NDCG@k", "loss", "validation window HR@10", "mean cosine of random items"):
        assert title in page.text, title
    assert "MAP@50" not in page.text


def test_text_of_logs_stays_text() -> None:
    metrics = metrics_of({"streamrec": values_of(0.3), HOSTILE: values_of(0.2)})
    metrics["source"] = HOSTILE
    metrics["neighbours"][0]["title"] = HOSTILE
    page = Page(render(metrics, CURVES, max_item_cosine=0.9))
    assert page.open == [] and not {"script", "img"} & set(page.tags)
    assert page.text.count(HOSTILE) >= 4


def test_lists_that_end_early_have_no_figures_beyond() -> None:
    short = {name: value for name, value in values_of(0.1).items() if "200" not in name}
    text = Page(
        render(metrics_of({"streamrec": short, "EASE": values_of(0.2)}), {}, max_item_cosine=0.9)
    ).text
    assert "Recall@200" in text and "–" in text
    assert "Training" not in text


def test_without_baselines_or_neighbours() -> None:
    metrics = metrics_of({"streamrec": values_of(0.3)})
    del metrics["neighbours"]
    for part in ("intervals", "differences"):
        del metrics["protocols"]["window"][part]
    page = Page(render(metrics, {}, max_item_cosine=0.9))
    assert page.open == [] and "Paired differences" not in page.text


def test_tuning_is_told() -> None:
    metrics = metrics_of({"streamrec": values_of(0.3)})
    tried = [{"changed": {"days": d}, "value": d / 100, "seconds": 0.5} for d in (1.0, 7.0)]
    metrics["tuning"] = {
        "by": "Recall@100",
        "protocol": "window",
        "baselines": {"recent popularity": {"chosen": {"days": 7.0}, "tried": tried}},
    }
    page = Page(render(metrics, {}, max_item_cosine=0.9))
    assert "days=7.0" in page.text and "2 combinations" in page.text and "0.0700" in page.text


def test_a_broken_page_is_not_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the last one")
    with pytest.raises(UndefinedError):
        write_report(path, {"protocols": {}}, {}, max_item_cosine=0.9)
    assert path.read_text() == "the last one" and list(tmp_path.iterdir()) == [path]


class TestCurves:
    def write(self, logs: Path, points: dict[int, float]) -> Path:
        before = set(logs.glob("*"))
        writer = tf.summary.create_file_writer(str(logs))
        with writer.as_default():
            for step, value in points.items():
                tf.summary.scalar("train/loss", value, step)
        writer.close()
        return (set(logs.glob("*")) - before).pop()

    def test_a_resumed_run_goes_on_where_it_was(self, tmp_path: Path) -> None:
        first = self.write(tmp_path, {1: 5.0, 2: 4.0, 3: 9.0})
        first.rename(first.with_name("events.out.tfevents.1.first"))
        second = self.write(tmp_path, {3: 3.0, 4: 2.0})
        second.rename(second.with_name("events.out.tfevents.2.second"))
        assert read_curves(tmp_path) == {"train/loss": [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)]}

    def test_what_a_killed_run_left_unfinished_is_passed_over(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, {1: 5.0, 2: 4.0})
        path.write_bytes(path.read_bytes()[:-9])
        assert read_curves(tmp_path) == {"train/loss": [(1, 5.0)]}

    def test_there_may_be_none(self, tmp_path: Path) -> None:
        assert read_curves(tmp_path / "nowhere") == {}
