"""The page of every config field."""

from dataclasses import fields
from pathlib import Path

import pytest

from configs.kinds import KINDS, Bucketized, Count, Feature, Sequence
from configs.reference import PAGE, attributes_of, page
from configs.schema import Config, Split, Train
from tests.commands import ROOT


def test_the_page_is_as_the_configs_are_now() -> None:
    """`python -m configs.reference` writes it."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("kind", [*KINDS, Count, Split, Train])
def test_every_field_is_told(kind: type) -> None:
    base = {each.name for each in fields(Feature)}
    own = {each.name for each in fields(kind)} - base
    assert own <= attributes_of(kind).keys()
    assert all(text.endswith(".") for text in attributes_of(kind).values())


def test_defaults_choices_and_what_needs_a_new_dataset() -> None:
    lines = page().splitlines()
    row = {line.split("|")[1].strip(): line for line in lines if line.startswith("| `")}
    assert f"| `{Train().batch_size}` |" in row["`train.batch_size`"]
    assert "`float32`, `mixed_bfloat16`" in row["`train.precision`"]
    assert "`data.split.test_fraction` †" in row and "`max_length` †" in row
    assert "`windows`" in row and "`train.epochs`" in row  # free, and outside of the dataset
    assert attributes_of(Bucketized)["column"] == attributes_of(Sequence)["column"]
    assert all(f"## `{part.name}`" in lines for part in fields(Config)[2:])
    assert Path(PAGE).parts[0] == "docs"
