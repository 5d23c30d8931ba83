"""Latencies of curves over time, and the temporal score: the correlation of the layers' latencies with their depth.

Shapes: b resamplings, l layers, t times, m units left out by a jackknife. A curve without a positive maximum has no
latency: NaN, which results count.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused, naming
from gradkern.hierarchy._layers import checked_depth
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._correlation import METHODS
from gradkern.stats._correlation import correlation as correlate
from gradkern.stats._intervals import Interval, interval
from gradkern.stats._summary import Summary

_PLATEAU = 0.95  # of the maximum, of the published temporal score
_FLAT = 0.5  # share of the samples on the plateau, from which its middle is the window's, whatever the layer does
# Noise of held-out r varies sqrt(2) times more than resamplings of fixed predictions say, because of two images each is
# once in the training set of the other. The highest of 25 samples of noise alone reaches 4 in one curve of 1,000.
_LEAST_STANDARD_ERRORS = 4.0
_LEAST_TIMES = 3


@naming("peak_latency")
def peak_latency(curves: Any, times: Any) -> Floats:
    """Find the time of the maximum, [...], of curves [..., t]; the first of equal ones."""
    values, at = _checked(curves, times)
    return _where_positive(values, at[values.argmax(-1)])


@naming("plateau_latency")
def plateau_latency(curves: Any, times: Any, share: float = _PLATEAU) -> Floats:
    """Average the times at which a curve is at this share of its maximum or above, [...] (Raugel et al. 2025)."""
    values, at = _checked(curves, times)
    inside = values >= share * values.max(-1, keepdims=True)
    return _where_positive(values, (inside * at).sum(-1) / np.maximum(inside.sum(-1), 1))


@naming("center_latency")
def center_latency(curves: Any, times: Any) -> Floats:
    """Compute the center of mass over time of the part above 0, [...]; samples are weighted by trapezoids."""
    values, at = _checked(curves, times)
    steps = np.diff(at)
    mass = np.maximum(values, 0.0) * (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
    total = mass.sum(-1)
    return _where_positive(values, (mass * (at - at[0])).sum(-1) / np.where(total > 0, total, 1) + at[0])


@naming("area_latency")
def area_latency(curves: Any, times: Any, fraction: float = 0.5) -> Floats:
    """Find the time by which a curve has accumulated this fraction of its area above 0, [...].

    Samples below 0 count as 0. Between samples the curve is a straight line, whose area is inverted exactly.
    """
    values, at = _checked(curves, times)
    above, steps = np.maximum(values, 0.0), np.diff(at)
    pieces = (above[..., 1:] + above[..., :-1]) / 2 * steps
    area = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(pieces, -1)], axis=-1)
    wanted = fraction * area[..., -1:]
    first = np.maximum((area < wanted).sum(-1, keepdims=True) - 1, 0)
    start, end = (np.take_along_axis(above, first + i, -1)[..., 0] for i in (0, 1))
    step, begun = steps[first[..., 0]], np.take_along_axis(area, first, -1)[..., 0]
    rest = 2 * (wanted[..., 0] - begun) / step
    # the root of start u + (end - start) u^2 / 2 = rest / 2 that no cancellation spoils
    root = start + np.sqrt(np.maximum(start**2 + (end - start) * rest, 0.0))
    return _where_positive(values, at[first[..., 0]] + step * rest / np.where(root > 0, root, 1))


@naming("onset_latency")
def onset_latency(curves: Any, times: Any, fraction: float = 0.5) -> Floats:
    """Find the time at which a curve last rises through this fraction of its maximum before the maximum, [...].

    The time is interpolated between samples. It is NaN for a curve that is at the fraction from the first sample on,
    because its onset is not in the data.
    """
    values, at = _checked(curves, times)
    peak = values.argmax(-1)[..., None]
    wanted = fraction * np.take_along_axis(values, peak, -1)
    below = (values < wanted) & (np.arange(len(at)) < peak)
    last = np.where(below, np.arange(len(at)), -1).max(-1, keepdims=True)
    before = np.maximum(last, 0)
    low, high = (np.take_along_axis(values, np.minimum(before + i, len(at) - 1), -1) for i in (0, 1))
    rise = np.where(high > low, high - low, 1)
    after = at[np.minimum(before + 1, len(at) - 1)]
    onset = at[before] + (after - at[before]) * (wanted - low) / rise
    return _where_positive(values, np.where(last < 0, np.nan, onset)[..., 0])


ESTIMATORS: dict[str, Callable[[Any, Any], Floats]] = {
    "peak": peak_latency,
    "plateau mean": plateau_latency,
    "centre of mass": center_latency,
    "fractional area": area_latency,
    "50 % onset": onset_latency,
}


def flat_curves(curves: Any) -> NDArray[np.bool_]:
    """Find the curves [..., t] that are at 95 % of their maximum or above in at least half of their samples, [...].

    Their latency is a property of the window, not of the curve.
    """
    values = np.asarray(curves, dtype=np.float64)
    top = values.max(-1, keepdims=True)
    flat: NDArray[np.bool_] = (top[..., 0] > 0) & ((values >= _PLATEAU * top).mean(-1) >= _FLAT)
    return flat


def quiet_curves(r: Any, resampled: Any, noise_ratio: Any = 2**0.5) -> NDArray[np.bool_]:
    """Find the curves [..., t] that do not rise above noise: their maximum is below 4 standard errors.

    Those of held-out r are sqrt(2) times those of resampled images (`stats.Scores.noise_ratio`). (Curves of pure noise,
    of 750 images and 6 layers, had 1.24 to 1.58 times the standard deviation of their resamplings.)

    The latency of noise alone is the middle of the window on average. Where a window cuts off the early layers, or
    where these score lower than the late ones, that looks like an order: simulated forward sweeps, seen from after
    their peak, gave slopes below 0 whose intervals over images excluded 0.

    Parameters
    ----------
    r : [..., t], curves over all images
    resampled : [b, ..., t], from which the standard errors are computed
    noise_ratio : [...], standard error of noise in standard deviations of the resamplings
    """
    error = np.std(np.asarray(resampled, dtype=np.float64), axis=0, ddof=1)
    return lower_than_noise(r, np.asarray(noise_ratio)[..., None] * error)


def lower_than_noise(r: Any, error: Any) -> NDArray[np.bool_]:
    """Whether curves [..., t] are below 4 standard errors [..., t] at their maximum."""
    values = np.asarray(r, dtype=np.float64)
    peak = values.argmax(-1)[..., None]
    top, noise = (np.take_along_axis(array, peak, -1)[..., 0] for array in (values, error))
    quiet: NDArray[np.bool_] = ~(top > _LEAST_STANDARD_ERRORS * noise)
    return quiet


class TooFewLatencies(Refused):
    """Fewer than 3 layers have a latency, so that they have no order."""


@dataclass(frozen=True)
class Latency:
    """How a curve becomes a latency.

    Parameters
    ----------
    estimator : "peak", "plateau mean" (95 %), "centre of mass", "fractional area" (50 %) or "50 % onset"
    window : first and last time in s, both included; None: all

    Raises
    ------
    ValueError : an unknown estimator
    """

    estimator: str = "fractional area"
    window: tuple[float, float] | None = None

    @naming("Latency")
    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {tuple(ESTIMATORS)}, got {self.estimator!r}")

    @property
    def variant(self) -> str:
        """The estimator and the window in words."""
        window = "all times" if self.window is None else f"{self.window[0]:g} to {self.window[1]:g} s"
        return f"{self.estimator}, {window}"

    def of(self, curves: Any, times: Any) -> Floats:
        """Compute latencies [...] of curves [..., t], in the units of the times."""
        return ESTIMATORS[self.estimator](*self.cut(curves, times))

    @naming("Latency")
    def cut(self, curves: Any, times: Any) -> tuple[Floats, Floats]:
        """Cut curves [..., t] and times [t] to the window.

        Raises
        ------
        Refused : fewer than 3 samples in the window
        """
        values, at = np.asarray(curves, dtype=np.float64), np.asarray(times, dtype=np.float64)
        if self.window is None:
            return values, at
        slack = 1e-9  # sampled times are rounded
        inside = (at >= self.window[0] - slack) & (at <= self.window[1] + slack)
        if int(inside.sum()) < _LEAST_TIMES:
            raise Refused(
                f"the window must hold at least {_LEAST_TIMES} samples, got {int(inside.sum())} from "
                f"{self.window[0]:g} to {self.window[1]:g} s of times {at.min():g} to {at.max():g} s"
            )
        return values[..., inside], at[inside]


@naming("time_courses")
def time_courses(scores: Scores, sensors: Any, times: Any, average: str = "mean") -> tuple[Scores, Floats]:
    """Turn scores of sensors x times into one curve per layer, with its times.

    Parameters
    ----------
    scores : r [l, v] of v targets, every sensor at every time
    sensors, times : [v], of each target
    average : over sensors, "mean" or "rms", the root mean square; the latter is above 0 even for noise alone

    Returns
    -------
    Scores : r [l, t] and resampled [b, l, t]
    times : [t], sorted

    Raises
    ------
    Refused : a sensor that lacks a time or has it twice, a target without a score
    ValueError : sensors and times that do not fit the scores, an unknown average
    """
    names, at = np.asarray(sensors), np.asarray(times, dtype=np.float64)
    v = scores.r.shape[1]
    if names.shape != (v,) or at.shape != (v,):
        raise ValueError(f"sensors and times must be [{v}], got {list(names.shape)}, {list(at.shape)}")
    if average not in ("mean", "rms"):
        raise ValueError(f"average must be 'mean' or 'rms', got {average!r}")
    if np.isnan(scores.r).any():
        raise Refused(f"every target must have a score, got {int(np.isnan(scores.r[0]).sum())} without")
    order, moments, count = np.lexsort((names, at)), np.unique(at), len(np.unique(names))
    grid = (len(moments), count)
    complete = v == len(moments) * count and (at[order].reshape(grid) == moments[:, None]).all()
    if not complete or (names[order].reshape(grid) != np.unique(names)).any():
        raise Refused(f"every sensor must have every time once, got {v} targets for {grid[::-1]}")

    def over_sensors(values: Floats) -> Floats:
        cube = values[..., order].reshape(*values.shape[:-1], *grid)
        averaged: Floats = cube.mean(-1) if average == "mean" else np.sqrt((cube**2).mean(-1))
        return averaged

    curves = replace(scores, r=over_sensors(scores.r), resampled=over_sensors(scores.resampled), noise=None)
    return curves, moments  # noise that sensors share is in the resamplings alone


@dataclass(frozen=True, eq=False, repr=False)
class TemporalScore(Summary):
    """The correlation of the layers' latencies with their depth.

    It is positive for activations of a feedforward sweep, and negative for gradients that arrive by backpropagation.

    Attributes
    ----------
    value : the correlation
    interval : over images
    latency : [l]; NaN where a curve has none, or does not rise above noise (`quiet_curves`)
    flat : [l], whether the curve is a plateau, see `flat_curves`
    layers : number of layers with a latency
    """

    value: float
    interval: Interval
    latency: Floats
    flat: NDArray[np.bool_]
    layers: int
    images: int
    variant: str
    excluded: tuple[Excluded, ...]


@naming("temporal_score")
def temporal_score(
    curves: Scores, times: Any, depth: Any, latency: Latency | None = None, correlation: str = "pearson"
) -> TemporalScore:
    """Correlate the layers' latencies with their depth, with an interval over images.

    Parameters
    ----------
    curves : r [l, t] over the times [t], and resampled; by `time_courses`, or of one sensor
    times : [t]
    depth : [l], of the layers
    latency : estimator and window
    correlation : "pearson" or "spearman"

    Raises
    ------
    TooFewLatencies : fewer than 3 layers with a latency, or the same latency for all of them
    Refused : a window with fewer than 3 samples; depths that are all the same
    ValueError : curves of a jackknife; depths that do not fit; an unknown correlation

    Examples
    --------
    >>> import numpy as np
    >>> times = np.linspace(0, 1, 20)
    >>> r = np.exp(-(((times - [[0.3], [0.5], [0.6]]) / 0.1) ** 2))
    >>> temporal_score(Scores(r, np.stack([r, r]), 60), times, [0, 0.5, 1]).latency.shape
    (3,)
    """
    if correlation not in METHODS:
        raise ValueError(f"correlation must be one of {METHODS}, got {correlation!r}")
    latency, depths = latency or Latency(), checked_depth(depth, len(curves.r))
    if curves.kind != "bootstrap":
        raise ValueError(f"curves must be resampled by a bootstrap, got a {curves.kind}")
    r, resampled = (latency.cut(values, times)[0] for values in (curves.r, curves.resampled))
    quiet, measured = quiet_curves(r, resampled, curves.noise_ratio), latency.of(curves.r, times)
    latencies = np.where(quiet, np.nan, measured)
    value, defined = correlate(latencies, depths, correlation), int((~np.isnan(latencies)).sum())
    if np.isnan(value):
        raise TooFewLatencies(f"at least 3 layers must have latencies, and not all the same, got {latencies.tolist()}")
    again = [
        correlate(np.where(quiet, np.nan, drawn), depths, correlation) for drawn in latency.of(curves.resampled, times)
    ]
    return TemporalScore(
        value=value,
        interval=interval(value, again, f"{curves.images} images", bound=1),
        latency=latencies,
        flat=flat_curves(r),
        layers=defined,
        images=curves.images,
        variant=f"{correlation}; {latency.variant}",
        excluded=without_latency(latencies, quiet),
    )


def without_latency(latencies: Floats, quiet: NDArray[np.bool_]) -> tuple[Excluded, ...]:
    """Count the layers without a latency by the reason for that."""
    counts = {
        "a maximum of less than 4 standard errors in the window": int(quiet.sum()),
        "no onset in the window": int((np.isnan(latencies) & ~quiet).sum()),
    }
    return tuple(Excluded("layers", count, reason) for reason, count in counts.items() if count)


@dataclass(frozen=True, eq=False, repr=False)
class Jackknife(Summary):
    """A statistic of the mean over m units (subjects, images), with its standard error.

    Attributes
    ----------
    value : [...], the statistic of the mean
    left_out : [m, ...], of the mean without each unit
    error : [...], standard error; NaN where leaving out some unit leaves no value
    units : number of units, m
    """

    value: Floats
    left_out: Floats
    error: Floats
    units: int


@naming("jackknife")
def jackknife(units: Any, statistic: Callable[[Floats], Any]) -> Jackknife:
    """Compute a statistic of a mean curve over subjects, with the error from leaving out each of them.

    Single subjects' curves are too noisy to have latencies; means without one subject are not (Miller et al. 1998).
    These means vary m - 1 times less than single subjects' values would, for which `jackknife_error` corrects.

    Parameters
    ----------
    units : [m, ...], curves of each unit
    statistic : of a mean [...], for example the latency of curves, or a slope of latencies

    Raises
    ------
    Refused : fewer than 3 units
    ValueError : values that are not finite

    Examples
    --------
    >>> import numpy as np
    >>> jackknife(np.random.default_rng(0).random((5, 3, 20)), lambda mean: mean.max(-1)).left_out.shape
    (5, 3)
    """
    values = np.asarray(units, dtype=np.float64)
    m = len(values) if values.ndim else 0
    if not np.isfinite(values).all():
        raise ValueError(f"units must be finite, got {int((~np.isfinite(values)).sum())} values that are not")
    if m < 3:
        raise Refused(f"units must be at least 3, got {m}")
    total = values.sum(0)
    left_out = np.array([statistic((total - unit) / (m - 1)) for unit in values], dtype=np.float64)
    return Jackknife(np.asarray(statistic(total / m), dtype=np.float64), left_out, jackknife_error(left_out), m)


def jackknife_error(left_out: Any) -> Floats:
    """Compute the standard error [...] from a statistic without each of m units [m, ...].

    It is sqrt((m - 1) / m sum (left_out - mean)^2).
    """
    values = np.asarray(left_out, dtype=np.float64)
    m = len(values)
    error: Floats = np.sqrt((m - 1) / m * ((values - values.mean(0)) ** 2).sum(0))
    return error


@naming("corrected_f")
def corrected_f(f: float, units: int) -> float:
    """Correct the F of an analysis of variance over values that each leave out one of m units: F / (m - 1)^2.

    A t is corrected by the square root of that, t / (m - 1) (Ulrich and Miller 2001, Psychophysiology 38).

    Raises
    ------
    ValueError : fewer than 3 units
    """
    if units < 3:
        raise ValueError(f"units must be at least 3, got {units}")
    return f / (units - 1) ** 2


def _checked(curves: Any, times: Any) -> tuple[Floats, Floats]:
    values, at = np.asarray(curves, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if at.ndim != 1 or values.ndim < 1 or values.shape[-1] != len(at):
        raise ValueError(f"curves must be [..., t] and times [t], got {list(values.shape)} and {list(at.shape)}")
    if len(at) < _LEAST_TIMES:
        raise Refused(f"times must be at least {_LEAST_TIMES}, got {at.tolist()}")
    if not (np.diff(at) > 0).all():
        raise ValueError(f"times must rise, got {at.tolist()[:8]}")
    if not np.isfinite(values).all():
        raise ValueError(f"curves must be finite, got {int((~np.isfinite(values)).sum())} values that are not")
    return values, at


def _where_positive(values: Floats, latency: Any) -> Floats:
    """Latencies of curves with a positive maximum, NaN for others."""
    return np.where(values.max(-1) > 0, latency, np.nan)
