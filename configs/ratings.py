"""What the presets of public data sets of ratings share: a rating is a like of a watched film."""

from typing import Any

from configs.kinds import Count, Entity, Feature, Freshness, LogZScore
from configs.schema import Model, PositiveRule


def likes() -> PositiveRule:
    """Every rating, whatever it says."""
    return PositiveRule(min_watch_fraction=1.0, events=("like",))


def positives_by_day(*windows_days: int) -> dict[str, Feature]:
    """An item's likes within windows (0: all of the log), each scaled among its day's items."""
    return {
        f"positives_{days}d" if days else "positives": LogZScore(
            entity=Entity.ITEM,
            freshness=Freshness.DAY,
            count=Count(window_days=days),
            by_day=True,
        )
        for days in windows_days
    }


def small_towers(**more: Any) -> Model:
    """Towers for some thousand items and few features; `more` are further fields."""
    return Model(
        embedding_dim=64,
        residual_width=128,
        residual_blocks=1,
        cross_rank=64,
        temperature=0.07,
        **more,
    )
