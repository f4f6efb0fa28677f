"""How users respond to what they are shown: probabilities, and draws from them."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import special

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation.arrays import Bools, Doubles, Ints

# Scrolling past, looking without a click, and what surrounds a watch, in seconds.
_PASS_S = 1.0
_LOOK_S = 2.0
_AROUND_WATCH_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Probabilities of the responses to a video that is looked at; arrays of one shape.

    Attributes:
        click: P(click | looked at).
        completion: mean of the logit of the watched part, given a click.
        like: P(like | click).
        share: P(share | click).
        dislike: P(dislike | click).
        report: P(report | click).
    """

    click: Doubles
    completion: Doubles
    like: Doubles
    share: Doubles
    dislike: Doubles
    report: Doubles


def chances(
    config: ShortVideoSimulation,
    *,
    taste: npt.NDArray[np.floating],
    quality: Doubles,
    log_duration: Doubles,
) -> Chances:
    """Probabilities of responses.

    Args:
        config: the simulation.
        taste: the user's taste for the video.
        quality: of the video, a z-score.
        log_duration: log(duration / the median duration) of the video.
    """
    aversion = config.aversion_taste * taste
    bonus = config.quality_weight * quality
    return Chances(
        click=special.expit(config.click_bias + config.click_taste * taste + bonus),
        completion=config.completion_bias
        + config.completion_taste * taste
        + bonus
        - config.completion_duration * log_duration,
        like=special.expit(config.like_bias + config.like_taste * taste),
        share=special.expit(config.share_bias + config.share_taste * taste),
        dislike=special.expit(config.dislike_bias + aversion),
        report=special.expit(config.report_bias + aversion),
    )


def look_probability(config: ShortVideoSimulation, position: Ints) -> Doubles:
    """P(the slot at `position`, from 0, is looked at)."""
    return np.power(position + 1.0, -config.position_bias, dtype=np.float64)


def positive_probability(config: ShortVideoSimulation, given: Chances) -> Doubles:
    """P(positive | looked at): more than half watched, liked or shared, and not taken back."""
    half_watched = special.ndtr(given.completion / config.completion_sigma)
    nothing = (1 - half_watched) * (1 - given.like) * (1 - given.share)
    return given.click * (1 - nothing) * (1 - given.dislike) * (1 - given.report)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """What happened in each slot; arrays [num_slots].

    Attributes:
        click: bool; each click is followed by a watch.
        watch_s: float64 seconds watched, to the millisecond; 0 without a click.
        like: bool.
        share: bool.
        dislike: bool.
        report: bool.
        dwell_s: float64, seconds until the next slot comes.
    """

    click: Bools
    watch_s: Doubles
    like: Bools
    share: Bools
    dislike: Bools
    report: Bools
    dwell_s: Doubles

    def positive(self, duration_s: Doubles) -> Bools:
        """Whether each slot is a positive: what `positive_probability` is the probability of."""
        liked = (self.watch_s > 0.5 * duration_s) | self.like | self.share
        return liked & ~self.dislike & ~self.report


def respond(
    config: ShortVideoSimulation,
    given: Chances,
    *,
    position: Ints,
    duration_s: Doubles,
    rng: np.random.Generator,
) -> Responses:
    """Draws what happens in each slot; all arguments are arrays [num_slots]."""
    count = len(position)
    looked = rng.random(count) < look_probability(config, position)
    click = looked & (rng.random(count) < given.click)
    part = special.expit(given.completion + config.completion_sigma * rng.standard_normal(count))
    watch_s = np.where(click, (part * duration_s).round(3), 0.0)
    dwell_s = np.where(looked, _LOOK_S, _PASS_S) + np.where(click, watch_s + _AROUND_WATCH_S, 0.0)
    return Responses(
        click=click,
        watch_s=watch_s,
        like=click & (rng.random(count) < given.like),
        share=click & (rng.random(count) < given.share),
        dislike=click & (rng.random(count) < given.dislike),
        report=click & (rng.random(count) < given.report),
        dwell_s=dwell_s,
    )
