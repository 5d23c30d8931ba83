"""When a layer's score rises: latencies of curves over time, and the temporal score, their correlation with depth.

Shapes: b resamplings, l layers, t times, m units left out by a jackknife. A curve without a positive maximum has no
latency: NaN, which results count.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.hierarchy._layers import checked_depth
from gradkern.hierarchy._spatial_score import CORRELATIONS, correlate
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import Interval, interval

_PLATEAU = 0.95  # of the maximum, of the published temporal score
_FLAT = 0.5  # of the samples at a plateau or above: its middle is then the window's, whatever the layer does
_HEARD = 4.0  # standard errors; the highest of 25 samples of noise alone reaches 4 in one curve of 1,000
_LEAST_TIMES = 3


def peak_latency(curves: Any, times: Any) -> Floats:
    """Time of the maximum, [...], of curves [..., t]; the first of equal ones."""
    values, at = _checked("peak_latency", curves, times)
    return _where_positive(values, at[values.argmax(-1)])


def plateau_latency(curves: Any, times: Any, share: float = _PLATEAU) -> Floats:
    """Mean of the times at which a curve reaches this share of its maximum, [...] (Raugel et al. 2025)."""
    values, at = _checked("plateau_latency", curves, times)
    inside = values >= share * values.max(-1, keepdims=True)
    return _where_positive(values, (inside * at).sum(-1) / np.maximum(inside.sum(-1), 1))


def centre_latency(curves: Any, times: Any) -> Floats:
    """Centre of mass over time of what lies above 0, [...]; samples weigh by their share of the time (trapezoids)."""
    values, at = _checked("centre_latency", curves, times)
    steps = np.diff(at)
    mass = np.maximum(values, 0.0) * (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
    total = mass.sum(-1)
    return _where_positive(values, (mass * (at - at[0])).sum(-1) / np.where(total > 0, total, 1) + at[0])


def area_latency(curves: Any, times: Any, fraction: float = 0.5) -> Floats:
    """Time by which a curve has this fraction of its area above 0, [...].

    Between samples, of which those below 0 count as 0, the curve is a straight line; its area is inverted exactly.
    """
    values, at = _checked("area_latency", curves, times)
    above, steps = np.maximum(values, 0.0), np.diff(at)
    pieces = (above[..., 1:] + above[..., :-1]) / 2 * steps
    area = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(pieces, -1)], axis=-1)
    wanted = fraction * area[..., -1:]
    first = np.maximum((area < wanted).sum(-1, keepdims=True) - 1, 0)
    start, end = (np.take_along_axis(above, first + i, -1)[..., 0] for i in (0, 1))
    step, begun = steps[first[..., 0]], np.take_along_axis(area, first, -1)[..., 0]
    rest = 2 * (wanted[..., 0] - begun) / step
    # of start u + (end - start) u^2 / 2 = rest / 2, the root that no cancellation spoils
    root = start + np.sqrt(np.maximum(start**2 + (end - start) * rest, 0.0))
    return _where_positive(values, at[first[..., 0]] + step * rest / np.where(root > 0, root, 1))


def onset_latency(curves: Any, times: Any, fraction: float = 0.5) -> Floats:
    """Time at which a curve last rises through this fraction of its maximum before the maximum, [...].

    Interpolated between samples. NaN for a curve that is at the fraction from the first sample on: its onset is not
    in the data.
    """
    values, at = _checked("onset_latency", curves, times)
    peak = values.argmax(-1)[..., None]
    wanted = fraction * np.take_along_axis(values, peak, -1)
    below = (values < wanted) & (np.arange(len(at)) < peak)
    last = np.where(below, np.arange(len(at)), -1).max(-1, keepdims=True)
    before = np.maximum(last, 0)
    low, high = (np.take_along_axis(values, np.minimum(before + i, len(at) - 1), -1) for i in (0, 1))
    rise = np.where(high > low, high - low, 1)
    after = at[np.minimum(before + 1, len(at) - 1)]
    found = at[before] + (after - at[before]) * (wanted - low) / rise
    return _where_positive(values, np.where(last < 0, np.nan, found)[..., 0])


ESTIMATORS: dict[str, Callable[[Any, Any], Floats]] = {
    "peak": peak_latency,
    "plateau mean": plateau_latency,
    "centre of mass": centre_latency,
    "fractional area": area_latency,
    "50 % onset": onset_latency,
}


def flat_curves(curves: Any) -> NDArray[np.bool_]:
    """Which curves [..., t] are at 95 % of their maximum in half of their samples or more, [...].

    Their latency is a property of the window, not of the curve.
    """
    values = np.asarray(curves, dtype=np.float64)
    top = values.max(-1, keepdims=True)
    flat: NDArray[np.bool_] = (top[..., 0] > 0) & ((values >= _PLATEAU * top).mean(-1) >= _FLAT)
    return flat


def quiet_curves(r: Any, resampled: Any) -> NDArray[np.bool_]:
    """Which curves [..., t] do not rise above noise: a maximum of less than 4 standard errors, by their resamplings.

    Of noise alone a latency is the middle of the window in the mean. Where a window cuts off the early layers, or these
    score lower than the late ones, that looks like an order: simulated forward sweeps, seen from after their peak, gave
    slopes below 0 whose intervals over images excluded 0.
    """
    values = np.asarray(r, dtype=np.float64)
    error = np.std(np.asarray(resampled, dtype=np.float64), axis=0, ddof=1)
    peak = values.argmax(-1)[..., None]
    top, noise = (np.take_along_axis(each, peak, -1)[..., 0] for each in (values, error))
    quiet: NDArray[np.bool_] = ~(top > _HEARD * noise)
    return quiet


class TooFewLatencies(ValueError):
    """Fewer than 3 layers have a latency: there is no order to speak of."""


@dataclass(frozen=True)
class Latency:
    """How a curve becomes a latency.

    Parameters
    ----------
    estimator : "peak", "plateau mean" (95 %), "centre of mass", "fractional area" (50 %) or "50 % onset"
    window : first and last time in s, both included; None: all
    """

    estimator: str = "fractional area"
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"Latency: estimator must be one of {tuple(ESTIMATORS)}, got {self.estimator!r}")

    @property
    def variant(self) -> str:
        where = "all times" if self.window is None else f"{self.window[0]:g} to {self.window[1]:g} s"
        return f"{self.estimator}, {where}"

    def of(self, curves: Any, times: Any) -> Floats:
        """Latencies [...] in the units of the times, of curves [..., t]."""
        return ESTIMATORS[self.estimator](*self.cut(curves, times))

    def cut(self, curves: Any, times: Any) -> tuple[Floats, Floats]:
        """The window's part of curves and times.

        Raises
        ------
        ValueError : fewer than 3 samples in the window
        """
        values, at = np.asarray(curves, dtype=np.float64), np.asarray(times, dtype=np.float64)
        if self.window is None:
            return values, at
        slack = 1e-9  # sampled times are rounded
        inside = (at >= self.window[0] - slack) & (at <= self.window[1] + slack)
        if int(inside.sum()) < _LEAST_TIMES:
            raise ValueError(
                f"Latency: the window must hold at least {_LEAST_TIMES} samples, got {int(inside.sum())} from "
                f"{self.window[0]:g} to {self.window[1]:g} s of times {at.min():g} to {at.max():g} s"
            )
        return values[..., inside], at[inside]


def time_courses(scores: Scores, sensors: Any, times: Any, how: str = "mean") -> tuple[Scores, Floats]:
    """Scores of sensors x times as one curve a layer, and its times.

    Parameters
    ----------
    scores : r [l, v], v every sensor at every time
    sensors, times : [v], of each target
    how : over sensors, "mean" or "rms", the root of the mean square: it is above 0 of noise alone

    Raises
    ------
    ValueError : a sensor that lacks a time or has it twice, a target without a score
    """
    names, at = np.asarray(sensors), np.asarray(times, dtype=np.float64)
    v = scores.r.shape[1]
    if names.shape != (v,) or at.shape != (v,):
        raise ValueError(f"time_courses: sensors and times must be [{v}], got {list(names.shape)}, {list(at.shape)}")
    if how not in ("mean", "rms"):
        raise ValueError(f"time_courses: how must be 'mean' or 'rms', got {how!r}")
    if np.isnan(scores.r).any():
        raise ValueError(
            f"time_courses: every target must have a score, got {int(np.isnan(scores.r[0]).sum())} without"
        )
    order, moments, count = np.lexsort((names, at)), np.unique(at), len(np.unique(names))
    grid = (len(moments), count)
    complete = v == len(moments) * count and (at[order].reshape(grid) == moments[:, None]).all()
    if not complete or (names[order].reshape(grid) != np.unique(names)).any():
        raise ValueError(f"time_courses: every sensor must have every time once, got {v} targets for {grid[::-1]}")

    def over_sensors(values: Floats) -> Floats:
        cube = values[..., order].reshape(*values.shape[:-1], *grid)
        averaged: Floats = cube.mean(-1) if how == "mean" else np.sqrt((cube**2).mean(-1))
        return averaged

    return replace(scores, r=over_sensors(scores.r), resampled=over_sensors(scores.resampled)), moments


@dataclass(frozen=True, eq=False)
class TemporalScore:
    """Correlation of latency and depth of the layers.

    Activations of a feedforward sweep give a positive one, gradients that arrive by backpropagation a negative one.

    Attributes
    ----------
    latency : [l]; NaN where a curve has none, or does not rise above noise (`quiet_curves`)
    flat : [l], the curve is a plateau, see `flat_curves`
    interval : over images
    """

    value: float
    interval: Interval
    latency: Floats
    flat: NDArray[np.bool_]
    layers: int
    images: int
    variant: str
    excluded: tuple[Excluded, ...]


def temporal_score(
    curves: Scores, times: Any, depth: Any, latency: Latency | None = None, correlation: str = "Pearson"
) -> TemporalScore:
    """Correlation over layers of depth and latency, with its interval over images.

    Parameters
    ----------
    curves : r [l, t] over the times [t], and resampled; of `time_courses`, or of one sensor
    depth : [l]

    Raises
    ------
    TooFewLatencies : fewer than 3 layers with a latency, or the same latency at all
    ValueError : a window with fewer than 3 samples; curves of a jackknife
    """
    if correlation not in CORRELATIONS:
        raise ValueError(f"temporal_score: correlation must be one of {CORRELATIONS}, got {correlation!r}")
    latency, at = latency or Latency(), checked_depth("temporal_score", depth, len(curves.r))
    if curves.kind != "bootstrap":
        raise ValueError(f"temporal_score: curves must be resampled by a bootstrap, got a {curves.kind}")
    r, resampled = (latency.cut(each, times)[0] for each in (curves.r, curves.resampled))
    quiet, measured = quiet_curves(r, resampled), latency.of(curves.r, times)
    found = np.where(quiet, np.nan, measured)
    value, defined = correlate(found, at, correlation), int((~np.isnan(found)).sum())
    if np.isnan(value):
        raise TooFewLatencies(
            f"temporal_score: at least 3 layers must have latencies, and not all the same, got {found.tolist()}"
        )
    again = [correlate(np.where(quiet, np.nan, each), at, correlation) for each in latency.of(curves.resampled, times)]
    return TemporalScore(
        value=value,
        interval=interval(value, again, f"{curves.images} images", bound=1),
        latency=found,
        flat=flat_curves(r),
        layers=defined,
        images=curves.images,
        variant=f"{correlation}; {latency.variant}",
        excluded=without_latency(found, quiet),
    )


def without_latency(latencies: Floats, quiet: NDArray[np.bool_]) -> tuple[Excluded, ...]:
    """How many layers have no latency, and why."""
    counts = {
        "a maximum of less than 4 standard errors in the window": int(quiet.sum()),
        "no onset in the window": int((np.isnan(latencies) & ~quiet).sum()),
    }
    return tuple(Excluded("layers", count, why) for why, count in counts.items() if count)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """A statistic of the mean over m units (subjects, images): `value` [...], of the mean without each `left_out`
    [m, ...], and its standard `error` [...], NaN where leaving out a unit leaves no value."""

    value: Floats
    left_out: Floats
    error: Floats
    units: int


def jackknife(units: Any, statistic: Callable[[Floats], Any]) -> Jackknife:
    """Latencies of a mean over subjects, with the error that leaving each out gives (Miller et al. 1998).

    Single subjects' curves are too noisy to have latencies; means without one subject are not. The values differ m - 1
    times less than single subjects' would, which `jackknife_error` undoes.

    Parameters
    ----------
    units : [m, ...], curves of each
    statistic : of a mean [...], what it says; "latency of curves", or a slope of latencies

    Raises
    ------
    ValueError : fewer than 3 units, values that are not finite
    """
    values = np.asarray(units, dtype=np.float64)
    m = len(values) if values.ndim else 0
    if m < 3 or not np.isfinite(values).all():
        raise ValueError(f"jackknife: units must be at least 3 and finite, got {m}")
    total = values.sum(0)
    left_out = np.array([statistic((total - one) / (m - 1)) for one in values], dtype=np.float64)
    return Jackknife(np.asarray(statistic(total / m), dtype=np.float64), left_out, jackknife_error(left_out), m)


def jackknife_error(left_out: Any) -> Floats:
    """Standard error [...] from a statistic without each of m units [m, ...]:
    sqrt((m - 1) / m sum (left_out - mean)^2)."""
    values = np.asarray(left_out, dtype=np.float64)
    m = len(values)
    error: Floats = np.sqrt((m - 1) / m * ((values - values.mean(0)) ** 2).sum(0))
    return error


def corrected_f(f: float, units: int) -> float:
    """F of an analysis of variance over values that each leave out one of m units: F / (m - 1)^2 (Ulrich & Miller
    2001, Psychophysiology 38); of a t, its square root: t / (m - 1)."""
    if units < 3:
        raise ValueError(f"corrected_f: units must be at least 3, got {units}")
    return f / (units - 1) ** 2


def _checked(op: str, curves: Any, times: Any) -> tuple[Floats, Floats]:
    values, at = np.asarray(curves, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if at.ndim != 1 or values.ndim < 1 or values.shape[-1] != len(at):
        raise ValueError(f"{op}: curves must be [..., t] and times [t], got {list(values.shape)} and {list(at.shape)}")
    if len(at) < _LEAST_TIMES or not (np.diff(at) > 0).all():
        raise ValueError(f"{op}: times must be at least {_LEAST_TIMES} and rise, got {at.tolist()[:8]}")
    if not np.isfinite(values).all():
        raise ValueError(f"{op}: curves must be finite, got {int((~np.isfinite(values)).sum())} values that are not")
    return values, at


def _where_positive(values: Floats, latency: Any) -> Floats:
    """Latencies of curves with a positive maximum, NaN of others."""
    return np.where(values.max(-1) > 0, latency, np.nan)
