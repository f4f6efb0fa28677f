"""The default's features: which kinds it has, and which columns it asks of the log."""

import pytest

from configs import default
from configs.errors import UserError
from configs.kinds import KINDS, Dense, Text, TextEncoder
from preprocessing.contract import Kind, tables_of
from preprocessing.features import spec_of


def test_it_has_every_kind_whose_columns_the_simulated_log_has() -> None:
    config = default.get_config().validate()
    assert {type(feature) for feature in config.features.values()} == set(KINDS) - {Dense}
    videos = tables_of(spec_of(config))["videos"].fields
    assert videos["tags"].kind is Kind.TEXTS and videos["title"].kind is Kind.TEXT
    assert videos["title"].features == ("title",)


def test_its_variant_is_the_encoder_of_titles() -> None:
    titles = default.get_config("minilm").features["title"]
    assert isinstance(titles, Text) and titles.encoder is TextEncoder.MINILM
    with pytest.raises(UserError, match="found variant 'bert', expected hashing or minilm"):
        default.get_config("bert")
