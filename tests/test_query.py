"""What `serving.query` notices of the dataset that it is given, without a server."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import UserError
from serving.requests import compare_datasets

ROOT = Path("datasets/today")


def manifest(spec: str, assets: str) -> Any:
    return SimpleNamespace(spec_fingerprint=spec * 64, assets_fingerprint=assets * 64)


def made_of(spec: str, assets: str) -> dict[str, str]:
    return {"spec_fingerprint": spec * 64, "assets_fingerprint": assets * 64}


def test_another_dataset_than_the_models_is_noticed() -> None:
    mine = manifest("a", "b")
    assert compare_datasets(ROOT, mine, made_of("a", "b")) is None
    assert compare_datasets(ROOT, mine, made_of("a", "c")) == (
        "--dataset=datasets/today: found assets_fingerprint bbbbbbbbbbbb, the model was made of a"
        " dataset with cccccccccccc: states and titles are not those that it was trained on"
    )
    with pytest.raises(UserError, match="found spec_fingerprint a{12}, .* with d{12}: other feat"):
        compare_datasets(ROOT, mine, made_of("d", "c"))


def test_a_model_that_does_not_say_its_dataset_is_noticed() -> None:
    note = compare_datasets(ROOT, manifest("a", "b"), None)
    assert note is not None and "the model does not say which dataset it was made of" in note
