"""What the parts of a config refuse: each field that is wrong, by its name."""

import pytest

from configs import default, movielens, smoke, streamrec
from configs.errors import UserError


@pytest.mark.parametrize("preset", [default, movielens, smoke, streamrec])
def test_presets_are_valid(preset) -> None:
    preset.get_config().validate()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.positive.min_watch_fraction", -0.1),
        ("data.positive.min_watch_sec", -1.0),
        ("data.max_next_queries", -1),
        ("data.max_watch_sec", 0.0),
        ("data.min_timestamp", -1),
        ("data.max_timestamp", 1),
        ("data.max_bad_fraction", 1.5),
        ("data.max_bad_fraction", float("nan")),
        ("model.residual_blocks", -1),
        ("model.cross_layers", -1),
        ("model.cross_rank", -1),
        ("loss.impressed_negatives", 5),
        ("train.shuffle_records", 0),
        ("train.weight_decay", -1e-4),
        ("train.validate_every_epochs", -1),
        ("export.recall_target", 0.0),
        ("export.recall_target", 1.01),
        ("export.exact_below", -1),
        ("export.partition_from", -1),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_name(path: str, value: float) -> None:
    config = default.get_config()
    *parts, name = path.split(".")
    part: object = config
    for each in parts:
        part = getattr(part, each)
    setattr(part, name, value)
    with pytest.raises(UserError, match=rf"^config\.{path}: found {value}, expected"):
        config.validate()


def test_explicit_negatives_want_room_in_a_row() -> None:
    config = default.get_config()
    config.data.explicit_negatives, config.data.negatives_per_row = True, 0
    with pytest.raises(UserError, match=r"^config\.data\.explicit_negatives: found True"):
        config.validate()
