"""What the parts of a config refuse: each field that is wrong, by its name."""

from typing import Any

import pytest

from configs import default, movielens, smoke, streamrec
from configs.errors import UserError
from configs.schema import Config, Distribution


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
        ("train.patience", -1),
        ("export.recall_target", 0.0),
        ("export.recall_target", 1.01),
        ("export.exact_below", -1),
        ("export.partition_from", -1),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_name(path: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^config\.{path}: found {value}, expected"):
        changed(path, value).validate()


def changed(path: str, value: object) -> Config:
    """The default config with another value of one field."""
    config = default.get_config()
    *parts, name = path.split(".")
    part: Any = config
    for each in parts:
        part = part[each] if isinstance(part, dict) else getattr(part, each)
    setattr(part, name, value)
    return config


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("eval.ks", ("a",), "whole numbers"),
        ("eval.ks", (10, 100.5), "whole numbers"),
        ("model.temperature_bounds", (1,), "2 finite numbers"),
        ("model.temperature_bounds", (0.1, float("inf")), "2 finite numbers"),
        ("features.history.windows", ("a",), "whole numbers"),
        ("features.history.windows", (1.5,), "whole numbers"),
        ("features.history.half_lives_days", ("x",), "finite numbers"),
        ("features.history.causal", 5, "a Causal"),
        ("features.age.boundaries", ("x",), "finite numbers"),
        ("train.learning_rate", float("inf"), "a finite number"),
        ("train.learning_rate", float("nan"), "a finite number"),
        ("train.epochs", 1.5, "a whole number"),
        ("train.jit_compile", "false", "true or false"),
        ("train.feature_dropout", {"age": "x"}, "a finite number"),
        ("data.positive.events", "like", "strings"),
        ("data.split.by", "date", "one of fraction, date, loo"),
        ("simulation.seed", True, "a whole number"),
        ("simulation", 5, "a ShortVideoSimulation"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(
    path: str, value: object, expected: str
) -> None:
    if isinstance(value, dict):
        path, found = f"{path}.{next(iter(value))}", next(iter(value.values()))
        config = changed(path.rpartition(".")[0], value)
    else:
        found, config = value, changed(path, value)
    with pytest.raises(UserError) as caught:
        config.validate()
    assert str(caught.value) == f"config.{path}: found {found!r}, expected {expected}"


def test_explicit_negatives_want_room_in_a_row() -> None:
    config = default.get_config()
    config.data.explicit_negatives, config.data.negatives_per_row = True, 0
    with pytest.raises(UserError, match=r"^config\.data\.explicit_negatives: found True"):
        config.validate()


def test_negatives_from_the_history_follow_from_what_a_request_is_answered_with() -> None:
    for exclude_seen, repeats in ((True, False), (False, False), (True, True), (False, True)):
        config = default.get_config()
        config.eval.exclude_seen, config.data.repeats = exclude_seen, repeats
        assert config.loss.mask_history is None
        assert config.validate().loss.mask_history is (exclude_seen and not repeats)
    config = default.get_config()
    config.loss.mask_history = config.data.repeats = True
    with pytest.raises(UserError, match=r"config\.loss\.mask_history: found True, expected false"):
        config.validate()
    config.loss.mask_history = config.data.repeats = False
    assert config.validate().loss.mask_history is False


def test_patience_needs_what_it_looks_at() -> None:
    for part, value in (
        ("keep_best", False),
        ("validate_every_epochs", 0),
        ("distribution", Distribution.MULTI_WORKER),
    ):
        config = default.get_config()
        config.train.patience = 2
        config.validate()
        setattr(config.train, part, value)
        with pytest.raises(UserError, match=r"config\.train\.patience: found 2, expected 0"):
            config.validate()
