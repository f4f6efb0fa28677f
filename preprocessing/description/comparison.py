"""Two datasets side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.schema import Describe
from preprocessing.description.dataset import Description, read_vocabularies, warning
from preprocessing.description.drift import Drift, drift
from preprocessing.description.positives import scan
from preprocessing.features import differences


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyChange:
    """One vocabulary in both datasets.

    Attributes:
        feature: its name; `item_id` is the catalog.
        before: values in the other dataset.
        after: values in this one.
        shared: values in both.
    """

    feature: str
    before: int
    after: int
    shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed from another dataset to this one.

    Attributes:
        other: the other dataset.
        drifts: of train rows, by described name, for columns that both have.
        only_here: described names that the other lacks.
        only_there: described names that this one lacks.
        counters: name, count there, count here.
        vocabularies: of features that both have.
        rules: where the features or data rules differ, one line each.
    """

    other: Description
    drifts: Mapping[str, Drift]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    counters: tuple[tuple[str, int, int], ...]
    vocabularies: tuple[VocabularyChange, ...]
    rules: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each feature that differs by more than its bound."""
        return tuple(
            warning(name, found, "the other's train", "this one's")
            for name, found in self.drifts.items()
            if found.is_large
        )


def compare(this: Description, other: Description, config: Describe) -> Comparison:
    """Compares the train rows, counters and vocabularies of two datasets."""
    here = {f.described.name: f for f in this.features}
    there = {f.described.name: f for f in other.features}
    shared = [
        n for n in here if n in there and here[n].described.column == there[n].described.column
    ]
    counters = [flat_counters(each.manifest.counters) for each in (other, this)]
    return Comparison(
        other=other,
        drifts={name: drift(there[name].train, here[name].train, config) for name in shared},
        only_here=tuple(n for n in here if n not in shared),
        only_there=tuple(n for n in there if n not in shared),
        counters=tuple(
            (name, counters[0].get(name, 0), counters[1].get(name, 0))
            for name in dict.fromkeys([*counters[1], *counters[0]])
        ),
        vocabularies=_vocabulary_changes(this, other),
        rules=tuple(differences(this.manifest.spec, other.manifest.spec)),
    )


def flat_counters(counters: Mapping[str, Any]) -> dict[str, int]:
    """A manifest's counters by one name each, those by file left out."""
    flat: dict[str, int] = {}

    def add(counted: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, value in counted.items():
            words = name.replace("_", " ")
            if isinstance(value, Mapping):
                add(value, (*path, words))
            else:
                flat[": ".join((*path, words))] = int(value)

    for name, value in counters.items():
        if name == "total":
            add(value, ("events",))
        elif name != "files":
            add({name: value}, ())
    return flat


def _vocabulary_changes(this: Description, other: Description) -> tuple[VocabularyChange, ...]:
    here, there = (read_vocabularies(each.root, each.manifest) for each in (this, other))
    items = [scan(each.root, each.manifest, "catalog").select("video_id") for each in (this, other)]
    shared = items[0].join(items[1], on="video_id", how="semi").collect(engine="streaming")
    return (
        VocabularyChange(
            feature="item_id",
            before=other.manifest.rows("catalog"),
            after=this.manifest.rows("catalog"),
            shared=len(shared),
        ),
        *(
            VocabularyChange(
                feature=name,
                before=len(there[name]),
                after=len(values),
                shared=len({*values} & {*there[name]}),
            )
            for name, values in here.items()
            if name in there
        ),
    )
