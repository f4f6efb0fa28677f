"""What `serving.query` notices of the dataset that it is given, without a server."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import UserError
from serving.requests import compare_datasets
from tests.commands import run_command, said_by

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


SHOWS = """
import numpy as np
from absl import flags
from configs import smoke
from preprocessing.features import spec_of
from serving import query
from serving.requests import UserStates
flags.FLAGS(["query", "--dataset=d"])
columns = {"history_item_id": [["v1"]], "history_timestamp": [[0]]}
states = UserStates(user_id=["[u]"], as_of=np.array([0]), columns=columns)
titles = {"v1": ("calm [/b] song 3", "[red]"), "v2": (":smile:", "[bold]x")}
spec = spec_of(smoke.get_config())
query.console().print(query.table_of(spec, states, ["v2"], [1.0], titles, 1.0))
"""


def test_brackets_in_titles_are_shown_as_they_are() -> None:
    shown = "\n".join(said_by(SHOWS))
    for text in ("user [u]:", "calm [/b] song 3", "[red]", ":smile:", "[bold]x"):
        assert text in shown


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("timeout_s=-1", "expected a time in seconds, above 0"),
        ("timeout_s=nan", "expected a time in seconds, above 0"),
        ("timestamp=99999999999999999999", "is not an integer in the range [0, "),
        ("timestamp=-1", "is not an integer in the range [0, "),
    ],
)
def test_numbers_that_make_no_sense_are_one_line(flag: str, expected: str) -> None:
    done = run_command("serving.query", "--dataset=none", f"--{flag}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert flag.partition("=")[0] in line and expected in line
