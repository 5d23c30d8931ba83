"""How much later gradients are than activations, both under noise of one size.

Noise draws latencies to the middle of the window, those of weak curves most. Gradients carry less signal than
activations do: in a brain of activations alone their curves are the activations' own, but smaller, and were found later
by 15 to 163 ms in simulated studies whose window ended at 1 s. Therefore activations are scaled to the size of the
gradients' curves, the one of the two with less noise is given as much as the other has, and the lag is what is left.

Shapes: b resamplings, k draws of noise, l layers, t times, s subjects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradkern.errors import naming
from gradkern.hierarchy._latency import Latency, TooFewLatencies
from gradkern.hierarchy._temporal_order import DirectionTest, TimeCourses, check_courses, direction_test, quiet_means
from gradkern.stats._bootstrap import Floats
from gradkern.stats._intervals import cross

_DRAWS = 32  # of noise


@naming("lag_test")
def lag_test(courses: Sequence[TimeCourses], latency: Latency | None = None, *, seed: int = 0) -> DirectionTest:
    """Test whether gradients are later than activations, by the mean over layers of the difference of latencies in s.

    Latencies are those of the mean curves of all subjects, for layers whose two curves rise above noise. Under
    backpropagation the difference is above 0.

    Parameters
    ----------
    courses, latency : as in `temporal_order_test`
    seed : of the resampling of subjects

    Raises
    ------
    TooFewLatencies : no layer has both latencies
    Refused : a window with fewer than 3 samples
    ValueError : subjects with different layers, depths, times or resamplings, or one twice
    """
    check_courses(courses)
    latency = latency or Latency()
    curves = [course.curves() for course in courses]
    mean = np.mean(curves, axis=0)
    loud = ~quiet_means(courses, mean, latency).any(0)
    matched = match(mean[0], mean[1:], courses[0].times, latency)

    def lag(chosen: Any, resampling: int) -> float:
        by_layer = matched.lag(np.mean([curves[i][resampling] for i in chosen], axis=0), resampling > 0)
        known = by_layer[loud & ~np.isnan(by_layer)]
        return float(known.mean()) if len(known) else float("nan")

    value = lag(range(len(courses)), 0)
    if np.isnan(value):
        raise TooFewLatencies("a layer must have both latencies: no two curves rise above their noise")
    drawn = cross(lag, len(courses), len(mean) - 1, seed)
    return direction_test(value, drawn, "greater", np.inf, (courses[0].activations.images, len(courses)))


@dataclass(frozen=True, eq=False)
class Match:
    """How activations [l, t] are brought to the gradients' size and noise, or gradients to the activations' noise.

    Attributes
    ----------
    scale : [l], of the activations; NaN where the gradients' curve holds nothing but noise
    added : [k, 2, l, t], noise for scaled activations and for gradients; 0 for the one that has more already
    times : [t], s
    latency : estimator and window
    """

    scale: Floats
    added: Floats
    times: Floats
    latency: Latency

    def lag(self, curves: Floats, again: bool) -> Floats:
        """Compute the latency of the gradients minus that of the activations, s, [l], from curves [2, l, t].

        It is NaN where one of them has none. `again` says that the curves are a resampling, which has noise twice.
        """
        unknown = np.isnan(self.scale)
        sized = curves * np.stack([np.where(unknown, 0.0, self.scale), np.ones_like(self.scale)])[..., None]
        latencies = self.latency.of(sized + self.added * (2**0.5 if again else 1.0), self.times)
        known = ~np.isnan(latencies)
        mean = np.where(known, latencies, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        # a layer that has a latency under most draws of noise has one
        lag: Floats = np.where((known.mean(0) > 0.5).all(0) & ~unknown, mean[1] - mean[0], np.nan)
        return lag


def match(curves: Floats, resampled: Floats, times: Floats, latency: Latency) -> Match:
    """Learn the match from curves [2, l, t] of activations and gradients, and their resamplings [b, 2, l, t]."""
    (inside, at), deviations = latency.cut(curves, times), latency.cut(resampled - curves, times)[0]
    noise = deviations.var(0).sum(-1)  # [2, l]
    energy = np.maximum((inside**2).sum(-1) - noise, 0.0)
    ratio = np.divide(energy[1], energy[0], out=np.full(energy.shape[1:], np.nan), where=energy.min(0) > 0)
    lacking = np.stack([noise[1] - ratio * noise[0], ratio * noise[0] - noise[1]])
    # activations lack noise that is like the gradients', and the other way round
    like = noise[::-1]
    share = np.sqrt(np.divide(np.maximum(lacking, 0.0), like, out=np.zeros_like(like), where=like > 0))
    draws = deviations[:_DRAWS, ::-1]
    return Match(np.sqrt(ratio), np.nan_to_num(share)[..., None] * draws, at, latency)
