"""The page: one HTML file that needs nothing else, neither network nor JavaScript.

Titles, categories and ids come from logs, which anybody may have written to: the template escapes
all text, and the page's own policy forbids scripts and whatever is not in the file.
"""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from configs.errors import UserError
from configs.files import write_text
from configs.schema import Describe
from preprocessing.description import plots
from preprocessing.description.comparison import Comparison, flat_counters
from preprocessing.description.dataset import Description, FeatureDescription
from preprocessing.description.facts import facts_of, meaning_of, origin_of, utc
from preprocessing.description.statistics import MAX_VALUES, Summary

_TEMPLATE = "page.html.j2"
_BARS = 8  # the vocabularies are below in full length


def render(description: Description, comparison: Comparison | None, config: Describe) -> str:
    """The page of a dataset, beside another or alone."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "share": _share,
        "time": utc,
    }
    others = {}
    if comparison is not None:
        others = {f.described.name: f.train for f in comparison.other.features}
    curves = [("train", description.positives)]
    if comparison is not None:
        curves.append(("other", comparison.other.positives))
    return environment.get_template(_TEMPLATE).render(
        d=description,
        c=comparison,
        other=_other_name(description, comparison),
        config=config,
        colors=plots.COLORS,
        origin=origin_of(description.manifest),
        counters=list(flat_counters(description.manifest.counters).items()),
        features=_groups([_card(f, others, config) for f in description.features]),
        drifts=_drifts(description, comparison),
        labels_by_day=Markup(plots.labels_by_day(description.positives)),
        popularity=Markup(plots.popularity(curves)),
        max_values=MAX_VALUES,
    )


def write(page: str, path: Path) -> None:
    """Writes the page in one rename.

    Raises:
        UserError: the path cannot be written.
    """
    try:
        write_text(path, page)
    except OSError as error:
        raise UserError(f"--output: {path} cannot be written: {error}") from None


def _other_name(description: Description, comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    root = comparison.other.root
    return str(root) if root.name == description.root.name else root.name


def _card(
    feature: FeatureDescription, others: dict[str, Summary], config: Describe
) -> dict[str, Any]:
    name = feature.described.name
    other = others.get(name)
    if other is not None and (other.numbers is None) != (feature.train.numbers is None):
        other = None
    sets = [("train", feature.train), ("test", feature.test), ("other", other)]
    present = [(which, summary) for which, summary in sets if summary is not None]
    described = feature.described
    bars = _bars(present, config.head) if described.is_category else []
    return {
        "feature": feature,
        "sets": present,
        "meaning": meaning_of(described),
        "facts": [(which, summary, facts_of(described, summary)) for which, summary in present],
        "plot": Markup(
            "" if described.is_category else plots.histogram(present, described, bins=config.bins)
        ),
        "bars": bars,
        "widest": max((share for _, shares in bars for _, share in shares), default=1.0),
    }


def _bars(sets: list[tuple[str, Summary]], head: int) -> list[tuple[str, list[tuple[str, float]]]]:
    """The most frequent categories of train, with their share of values in each set."""
    shares = {}
    for which, summary in sets:
        assert summary.categories is not None
        total = max(1, summary.values)
        shares[which] = {value: count / total for value, count in summary.categories.rows()}
    named = [value for value, _ in sets[0][1].head(min(head, _BARS))]
    return [(value, [(s, shares[s].get(value, 0.0)) for s in shares]) for value in named]


def _groups(cards: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for card in cards:
        groups.setdefault(card["feature"].described.group, []).append(card)
    return groups


def _drifts(description: Description, comparison: Comparison | None) -> list[dict[str, Any]]:
    """All drifts, the largest against its bound first."""
    found = [
        {"name": f.described.name, "from": "train", "to": "test", "drift": f.drift}
        for f in description.features
        if f.drift is not None
    ]
    if comparison is not None:
        found += [
            {"name": name, "from": "the other's train", "to": "this one's", "drift": drift}
            for name, drift in comparison.drifts.items()
        ]
    return sorted(found, key=lambda each: -each["drift"].value)


def _count(value: float) -> str:
    return f"{value:,}"


def _share(value: float) -> str:
    if 0.0 < value < 0.0005:
        return "< 0.1 %"
    return f"{100 * value:.1f} %"
