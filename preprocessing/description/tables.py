"""The description in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from preprocessing.description.comparison import Comparison, flat_counters
from preprocessing.description.dataset import Description
from preprocessing.description.facts import origin_of, sentence, utc

_HEAD = 5


def show(description: Description, comparison: Comparison | None, display: Console) -> None:
    """Prints counters, splits, features, vocabularies, and what is warned of."""
    for line in origin_of(description.manifest):
        display.print(plain(line))
    display.print(_counters(description, comparison))
    display.print(_splits(description))
    display.print(_features(description, comparison))
    display.print(_vocabularies(description, comparison))
    for line in (*description.warnings, *(comparison.warnings if comparison else ())):
        display.print(plain(f"warning: {line}", style="yellow"))


def plain(text: str, *, style: str = "") -> Text:
    """Untrusted text for a terminal: no markup is read, and no control character gets through."""
    return Text("".join(c if c.isprintable() else "\ufffd" for c in text), style=style)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right", overflow="fold")
    return table


def _counters(description: Description, comparison: Comparison | None) -> Table:
    if comparison is not None:
        table = _table("Counters", "counter", "other", "here")
        for name, there, here in comparison.counters:
            table.add_row(plain(name), f"{there:,}", f"{here:,}")
        return table
    table = _table("Counters", "counter", "count")
    for name, value in flat_counters(description.manifest.counters).items():
        table.add_row(plain(name), f"{value:,}")
    return table


def _splits(description: Description) -> Table:
    names = ("labels of", "first, UTC", "last, UTC", "rows", "users", "items")
    table = _table("Splits", *names, "on new items", "of new users", left=3)
    for split in description.positives.splits:
        is_later = split.split != "train" and split.rows > 0
        table.add_row(
            split.split,
            utc(split.first) if split.rows else "–",
            utc(split.last) if split.rows else "–",
            *(f"{count:,}" for count in (split.rows, split.users, split.items)),
            *(f"{s:.1%}" if is_later else "–" for s in (split.cold_items, split.cold_users)),
        )
    return table


def _features(description: Description, comparison: Comparison | None) -> Table:
    names = ["feature", "kind", "most frequent, most and fewest, or 1 % / median / 99 %"]
    table = _table("Features", *names, "missing", "in test", "drift", left=3)
    if comparison is not None:
        table.add_column("from other", justify="right")
    for feature in description.features:
        name = feature.described.name
        drifts = [feature.drift]
        if comparison is not None:
            drifts.append(comparison.drifts.get(name))
        head = ", ".join(f"{value} {_share(share)}" for value, share in feature.train.head(3))
        table.add_row(
            plain(name),
            feature.described.kind,
            plain(sentence(feature.described, feature.train) or head),
            f"{feature.train.missing_share:.1%}",
            "–" if feature.test is None else f"{feature.test.missing_share:.1%}",
            *(
                Text(
                    "–" if drift is None else f"{drift.value:.3f}",
                    style="yellow" if drift is not None and drift.is_large else "",
                )
                for drift in drifts
            ),
        )
    return table


def _share(value: float) -> str:
    return "< 1%" if 0.0 < value < 0.005 else f"{value:.0%}"


def _vocabularies(description: Description, comparison: Comparison | None) -> Table:
    table = _table("Vocabularies", "feature", "head", "values", left=2)
    changes = {}
    if comparison is not None:
        table.add_column("new", justify="right")
        table.add_column("gone", justify="right")
        changes = {change.feature: change for change in comparison.vocabularies}
    head = description.positives.head["video_id"].to_list()
    catalog = ("item_id", head, description.positives.catalog_items)
    others = ((v.feature, list(v.head), v.size) for v in description.vocabularies)
    for feature, values, size in (catalog, *others):
        cells: list[str | Text] = [plain(feature), plain(", ".join(values[:_HEAD])), f"{size:,}"]
        if feature in changes:
            change = changes[feature]
            cells += [f"{change.after - change.shared:,}", f"{change.before - change.shared:,}"]
        table.add_row(*cells)
    return table
