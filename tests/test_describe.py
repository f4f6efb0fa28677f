"""The page about a dataset says what the dataset holds, and shows untrusted text as text."""

import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from configs.errors import UserError
from configs.kinds import Entity, OneHot
from configs.schema import Config, Describe
from preprocessing import manifest as manifests
from preprocessing.describe import describe
from preprocessing.description import page as pages
from preprocessing.description import tables
from preprocessing.description.columns import Described, Shown, Stored, described_columns
from preprocessing.description.comparison import compare
from preprocessing.description.dataset import Description, describe_dataset
from preprocessing.description.facts import facts_of, sentence
from preprocessing.description.statistics import Summary
from preprocessing.features import columns_of, spec_of
from preprocessing.job import preprocess
from tests.commands import result_of, run_command
from tests.damage import flip_a_bit
from tests.decoded import Decoded, run
from tests.html_page import Page
from tests.quiet import QUIET
from tests.raw_logs import DAY_S, START, config_of, features, raw_log, small_data, write_tables

ATTACK = "<script>alert('x')</script>"
BREAKOUT = '"><img src=x onerror=alert(1)> [bold red] $\\frac{ \x1b[31m'
MINUTES_A_DAY = {
    "watched_2d": 2 * 60_000,
    "completion: completion_numerator": 60_000,
    "completion: completion_denominator": 60_000,
}
"""Of sums of milliseconds: how many are one of what is shown."""
SETTINGS = Describe(max_category_drift=0.1, max_number_drift=0.1)


def config() -> Config:
    return config_of(small_data(), **features())


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    """A log in which users, titles, categories and devices are markup."""
    folder = tmp_path_factory.mktemp("described")
    hostile = {"u1": ATTACK + "u1", "v2": BREAKOUT + "v2", "tv": "<b onmouseover=alert(2)>tv"}
    named = [
        [{k: hostile.get(str(v), v) for k, v in row.items()} for row in rows] for rows in raw_log(1)
    ]
    events, videos, users = named
    new = {"event": "like", "user_id": "u_new", "video_id": "v_new"}
    events.append(new | {"timestamp": START + 5 * DAY_S + 50_100})
    for row in videos:
        row["title"] = f"{ATTACK} {BREAKOUT} of {row['video_id']}"
        if row.get("category") == "a":
            row["category"] = ATTACK + BREAKOUT
    raw = write_tables(folder / "raw", events, videos, users)
    return run(config(), raw, folder / "<i>dataset")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another log's dataset, with a feature more and one less."""
    folder = tmp_path_factory.mktemp("other")
    kept = features() | {"network": OneHot(column="network", entity=Entity.CONTEXT)}
    del kept["followers"]
    log = raw_log(2)
    events = [row | {"network": "wifi"} for row in log.events]
    raw = log._replace(events=events).write(folder / "raw")
    changed = config_of(small_data(label_window_sec=41), **kept)
    preprocess(changed, tables=raw, output=folder / "dataset", display=QUIET)
    return folder / "dataset"


def description_of(root: Path, settings: Describe = SETTINGS) -> Description:
    return describe_dataset(root, manifests.read(root), settings, advance=lambda rows: None)


@pytest.fixture(scope="module")
def description(decoded: Decoded) -> Description:
    return description_of(decoded.root)


@pytest.fixture(scope="module")
def html(decoded: Decoded, other: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("page") / "page.html"
    describe(decoded.root, against=other, output=output, config=SETTINGS, display=QUIET)
    return output.read_text(encoding="utf-8")


def test_every_stored_column_of_every_feature_is_described() -> None:
    declared = config()
    described = described_columns(spec_of(declared))
    found = {each.column.name for each in described}
    for name, feature in declared.features.items():
        for column in columns_of(name, feature):
            # Rows hold a history's catalog ids in place of its video ids.
            assert found & {column.name, column.name.removesuffix("_id")}, (name, column)
    assert len({each.name for each in described}) == len(described)


def row_values(decoded: Decoded, part: str) -> dict[str, list[tuple[int, Any]]]:
    """By described name: each row's timestamp and value, from records parsed by TensorFlow."""
    rows = decoded.rows(part)
    items = {row["video_id"]: row for row in decoded.catalog}
    statistics = decoded.table("item_statistics")

    def value(row: dict[str, Any], name: str, stored: Stored) -> Any:
        if stored is Stored.CATALOG:
            return items[item_of(row)][name]
        if stored is not Stored.STATISTICS:
            return row[name]
        item, day = items[item_of(row)]["item"], row["timestamp"] // DAY_S
        known = [s for s in statistics if s["item"] == item and s["day"] <= day]
        return max(known, key=lambda s: s["day"])[name] if known else 0

    return {
        each.name: [(row["timestamp"], value(row, each.column.name, each.stored)) for row in rows]
        for each in described_columns(decoded.spec)
        if part == "train" or each.stored is not Stored.LABEL
    }


def lacks(each: Described, value: Any) -> bool:
    """Whether a value stands for none."""
    if each.column.is_ragged:
        return not value
    if each.column.length is not None:
        return not any(value)
    if each.missing is None:
        return False
    return value == (each.missing.decode() if isinstance(each.missing, bytes) else each.missing)


def shown(each: Described, value: Any, now: int) -> Any:
    """A value of a row at that time, as a person is to see it."""
    match each.shown:
        case Shown.ELAPSED:
            return (now - value) / DAY_S
        case Shown.DELAY:
            return (value - now) / DAY_S
        case Shown.HOUR:
            time = datetime.fromtimestamp(value, UTC)
            return time.hour + time.minute / 60 + time.second / 3_600
        case Shown.WEEKDAY:
            time = datetime.fromtimestamp(value, UTC)
            return time.weekday() + time.hour / 24 + time.minute / 1_440 + time.second / DAY_S
        case Shown.LENGTH:
            return len(value)
    return value / MINUTES_A_DAY.get(each.name, 1) if each.shown is Shown.NUMBER else value


def item_of(row: dict[str, Any]) -> str:
    return row["item"] if "item" in row else row["relevant_item"][0]


@pytest.mark.parametrize("part", ["train", "queries/test/next"])
def test_missing_shares_and_values_are_those_of_the_rows(
    decoded: Decoded, description: Description, part: str
) -> None:
    expected = row_values(decoded, part)
    checked = 0
    for feature in description.features:
        each = feature.described
        summary = feature.train if part == "train" else feature.test
        if each.name not in expected:
            assert summary is None
            continue
        assert summary is not None
        present = []
        for now, value in expected[each.name]:
            if not lacks(each, value):
                is_many = isinstance(value, list) and each.shown is not Shown.LENGTH
                present += [shown(each, one, now) for one in (value if is_many else [value])]
        missing = sum(lacks(each, value) for _, value in expected[each.name])
        assert summary.missing_share == pytest.approx(missing / len(expected[each.name])), each.name
        if each.is_category:
            assert summary.categories is not None
            counts = {value: present.count(value) for value in set(present)}
            assert dict(summary.categories.rows()) == counts, each.name
        else:
            np.testing.assert_allclose(summary.numbers, sorted(present), rtol=1e-6)
        checked += 0 < missing < len(expected[each.name])
    assert checked >= 5  # else there would be little to tell missing from not


def test_new_items_and_users_and_days_are_those_of_the_labels(
    decoded: Decoded, description: Description
) -> None:
    labels = decoded.table("positives")
    train = [row for row in labels if row["split"] == "train"]
    test = [row for row in labels if row["split"] == "test"]
    facts = {split.split: split for split in description.positives.splits}
    assert facts["train"].rows == len(train) and facts["test"].rows == len(test)
    for column, found in (("item", facts["test"].cold_items), ("user", facts["test"].cold_users)):
        known = {row[column] for row in train}
        assert found == sum(row[column] not in known for row in test) / len(test)
    assert 0 < facts["test"].cold_items < 1 and 0 < facts["test"].cold_users < 1
    assert facts["test"].first == min(row["timestamp"] for row in test)
    assert description.positives.popularity.sum() == len(train)
    by_day = description.positives.by_day
    assert by_day["rows"].sum() == len(labels)
    assert by_day["day"].n_unique() == len({row["timestamp"] // 86_400 for row in labels})


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_untrusted_text_is_shown_and_is_no_markup(page: Page) -> None:
    for shown in (
        f"{ATTACK} {BREAKOUT} of v",  # a title
        ATTACK + BREAKOUT,  # a category
        ATTACK + "u1",  # a user
        BREAKOUT + "v2",  # a video
        "<b onmouseover=alert(2)>tv",  # a device
        "<i>dataset",
    ):
        assert shown in page.text, shown
    assert not {*page.tags} & {
        "script",
        "img",
        "b",
        "i",
        "iframe",
        "object",
        "link",
        "base",
        "form",
    }
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_the_page_needs_nothing_else(page: Page, html: str) -> None:
    assert page.open == [] and page.fetched == []
    assert "svg" in page.tags
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", html))
    assert any("default-src 'none'" in value for _, value in page.attributes)


def test_the_page_says_what_the_dataset_was_made_of(description: Description, html: str) -> None:
    assert "--window_days" not in html and "--previous" not in html
    manifest = replace(description.manifest, window_days=30, previous="0123456789abcdef")
    shown = pages.render(replace(description, manifest=manifest), None, SETTINGS)
    assert "Of the last 30 days of the log (--window_days)." in shown
    assert "Continues the ids of assets 0123456789ab (--previous)." in shown


def test_plots_take_the_colour_of_the_page(html: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(plots) > 10
    for plot in plots:
        assert "currentColor" in plot
        assert "#000000" not in plot and "#ffffff" not in plot
    assert "prefers-color-scheme: dark" in html


def test_sections_for_features_vocabularies_and_the_other(page: Page) -> None:
    text = " ".join(page.text.split())
    for name in features():
        assert name in text
    assert "Only here: followers." in text
    assert "Only in dataset: network." in text
    assert "data.label_window_sec: found 40, expected 41" in text


def described_as(name: str, description: Description) -> tuple[Described, Summary]:
    (feature,) = [f for f in description.features if f.described.name == name]
    return feature.described, feature.train


def test_what_is_said_is_meaningful(description: Description, decoded: Decoded, html: str) -> None:
    """Units of sums, lengths of lists of ids, and hours where a middle would mean nothing."""
    minutes, watched = described_as("watched_2d", description)
    assert minutes.unit.name == "minutes a day"
    assert sentence(minutes, watched).endswith(" minutes a day")
    assert "shown as minutes a day" in html

    ids, history = described_as("history: history_item", description)
    lengths = [len(row["history_item"]) for row in decoded.rows("train")]
    assert history.numbers is not None and history.numbers.max() == max(lengths) == 4
    assert sentence(ids, history).endswith("4 items in the list")

    hour, request = described_as("hour", description)
    day = description_facts(hour, request)
    rows = decoded.rows("train")
    # Events are at midnight, and at 50,000 seconds past it.
    late = sum(row["timestamp"] % DAY_S > 3_600 for row in rows) / len(rows)
    assert day["most"] == f"0–1 h: {1 - late:.1%}"
    assert day["fewest"] == "1–2 h: 0.0%"
    assert "median" not in day
    weekday, request = described_as("weekday", description)
    counted = Counter(datetime.fromtimestamp(row["timestamp"], UTC).weekday() for row in rows)
    most = max(range(7), key=lambda number: counted[number])
    name = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[most]
    assert description_facts(weekday, request)["most"] == f"{name}: {counted[most] / len(rows):.1%}"
    assert "hour of the day, UTC" in html and "day of the week, UTC" in html


def description_facts(described: Described, summary: Summary) -> dict[str, str]:
    return dict(facts_of(described, summary))


def test_the_time_of_rows_does_not_drift(description: Description) -> None:
    """Splits are cut by time: a test of three days has other weekdays than train, by design."""
    drifts = {f.described.name: f.drift for f in description.features}
    assert drifts["hour"] is None and drifts["weekday"] is None
    assert drifts["upload_hour"] is not None


def test_warnings_follow_the_bounds_of_the_config(decoded: Decoded) -> None:
    drifting = description_of(decoded.root, Describe(max_category_drift=0.0, max_number_drift=1.0))
    assert drifting.warnings
    measures = {d.described.name: d.described.is_category for d in drifting.features}
    assert all(measures[line.split(": L∞")[0]] for line in drifting.warnings)
    calm = description_of(decoded.root, Describe(max_category_drift=1.0, max_number_drift=1.0))
    assert calm.warnings == ()


def test_a_dataset_does_not_drift_from_itself(description: Description) -> None:
    itself = compare(description, description, SETTINGS)
    assert set(itself.drifts) == {f.described.name for f in description.features}
    assert max(found.value for found in itself.drifts.values()) == pytest.approx(0, abs=1e-12)
    assert not itself.rules and not itself.only_here and not itself.only_there
    assert all(change.shared == change.before == change.after for change in itself.vocabularies)


def test_another_dataset_is_compared(description: Description, other: Path) -> None:
    found = compare(description, description_of(other), SETTINGS)
    assert "followers" not in found.drifts and "network" not in found.drifts
    assert any(value.value > 0.01 for value in found.drifts.values())
    item_ids = found.vocabularies[0]
    assert item_ids.feature == "item_id"
    assert item_ids.shared < item_ids.after  # one video is named otherwise there
    read = {name: (there, here) for name, there, here in found.counters}["events: read"]
    assert read == (
        manifests.read(other).counters["total"]["read"],
        description.manifest.counters["total"]["read"],
    )


def test_a_dataset_from_before_a_setting_was_renamed(
    decoded: Decoded, description: Description
) -> None:
    evaluation = {**decoded.manifest.config["eval"], "since_renamed": 1}
    older = replace(decoded.manifest, config={**decoded.manifest.config, "eval": evaluation})
    found = describe_dataset(decoded.root, older, SETTINGS, advance=lambda rows: None)
    assert found.spec == description.spec


def test_a_smaller_sample_keeps_counts_exact(decoded: Decoded, description: Description) -> None:
    small = description_of(decoded.root, Describe(sample_rows=20))
    assert small.sampled[0] == ("train", description.sampled[0][1], 20)
    for few, all_ in zip(small.features, description.features, strict=True):
        assert few.train.missing_share == all_.train.missing_share


def test_the_terminal_gets_no_control_characters(description: Description) -> None:
    with open(os.devnull, "w") as nowhere:
        display = Console(record=True, width=200, file=nowhere)
        tables.show(description, None, display)
    said = display.export_text()
    assert "\x1b" not in said
    assert "[bold red]" in said  # text, not a style
    assert "<script>" in said


def test_a_broken_file_is_named_and_no_page_is_written(decoded: Decoded, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(decoded.root, copy)
    broken = copy / decoded.manifest.part("train")[0].name
    flip_a_bit(broken)
    with pytest.raises(UserError, match=f"{broken}: found a broken record"):
        describe(copy, output=tmp_path / "page.html", config=SETTINGS, display=QUIET)
    assert not (tmp_path / "page.html").exists()


def test_the_command_writes_the_page_and_shows_counts(decoded: Decoded, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    result, said = result_of(
        "preprocessing.describe",
        str(decoded.root),
        f"--output={output}",
        "--config.describe.max_number_drift=0",
    )
    assert result["page"] == str(output) and output.exists()
    assert any("Jensen-Shannon" in line for line in result["warnings"])
    assert result["rows"]["train"] == decoded.manifest.rows("train")
    read = decoded.manifest.rows("train") + decoded.manifest.rows("queries/test/next")
    assert f"{read}/{read} rows" in " ".join(said.split())


def test_the_command_names_what_is_wrong() -> None:
    ran = run_command("preprocessing.describe")
    assert ran.returncode == 1
    assert ran.stderr == "error: DATASET: found [], expected one directory\n"


def test_a_page_that_cannot_be_written(decoded: Decoded, tmp_path: Path) -> None:
    output = tmp_path / "no" / "page.html"
    with pytest.raises(UserError, match=f"--output: found no directory {output.parent}, expected"):
        describe(decoded.root, output=output, config=SETTINGS, display=QUIET)
