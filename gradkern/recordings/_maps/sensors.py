"""Sensors of MEG and EEG, and mne's description of them as plain numbers and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.recordings._maps.geometry import Arrays, Geometry, columns, different

_CHANNEL = ("kind", "coil_type", "unit", "unit_mul", "coord_frame")
_TRANSFORMS = ("dev_head_t", "ctf_head_t")
_SETTINGS = ("highpass", "lowpass", "line_freq")
_EVEN = 1e-3  # of a step, by which times may be off an even grid
_TEMPLATES = ("colin27_1005", "standard_1005")  # the name in mne from 1.13 on, and before


@dataclass(frozen=True, eq=False, repr=False)
class Sensors(Geometry):
    """Sensors at times; targets have "sensor" and "time" in s.

    Parameters
    ----------
    names : of all sensors, in order
    times : of all samples in s, evenly spaced; None: those of the targets
    info : what mne's `Info` says of the sensors, see `plain_info`; None if only their names are known
    modality : "meg", "eeg" or "" where `info` is None: such EEG takes the positions of a template of the 10-05
        system if that has all names

    Raises
    ------
    ValueError : no names, or two sensors of one name; times that are not evenly spaced; a description of other sensors

    Examples
    --------
    >>> Sensors(("Oz", "Pz"), (0.0, 0.1, 0.2), modality="eeg").size
    6
    """

    names: Sequence[str]
    times: Sequence[float] | None = None
    info: Mapping[str, Any] | None = None
    modality: str = ""
    kind: ClassVar[str] = "set of sensors"

    @naming("Sensors")
    def __post_init__(self) -> None:
        names = tuple(map(str, self.names))
        if not names or len(set(names)) < len(names):
            raise ValueError(f"names must be different, and at least one, got {len(set(names))} of {len(names)}")
        object.__setattr__(self, "names", names)
        if self.info is not None and [channel["name"] for channel in self.info["channels"]] != list(names):
            raise ValueError(f"info must be of the {len(names)} sensors that names name, got others")
        if self.times is not None:
            times = tuple(float(time) for time in self.times)
            _step(np.array(times))
            object.__setattr__(self, "times", times)

    @classmethod
    def of_info(cls, info: Any, times: Any = None) -> Self:
        """The sensors of mne's `Info`."""
        return cls(tuple(info["ch_names"]), times, plain_info(info))

    @property
    def size(self) -> int:
        return len(self.names) * (1 if self.times is None else len(self.times))

    @property
    def words(self) -> str:
        count = "times unknown" if self.times is None else f"{len(self.times)} times"
        where = "" if self.info is not None else ", positions unknown"
        return f"{len(self.names)} sensors, {count}{where}"

    def window(self, targets: pd.DataFrame) -> NDArray[np.float64]:
        """The times from the first to the last of the targets, [t], evenly spaced."""
        columns(targets, ("time",), self)
        used = np.unique(targets["time"].to_numpy(dtype=np.float64))
        every = used if self.times is None else np.array(self.times)
        _step(every)
        chosen: NDArray[np.float64] = every[_nearest(every, used[0]) : _nearest(every, used[-1]) + 1]
        return chosen

    def places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The place of every target, [v], among sensors x `window` times."""
        columns(targets, ("sensor", "time"), self)
        self.check(targets)
        sensor = pd.Index(self.names).get_indexer(targets["sensor"].astype(str))
        times = self.window(targets)
        wanted = targets["time"].to_numpy(dtype=np.float64)
        at = np.array([_nearest(times, time) for time in np.unique(wanted)])
        order = np.unique(wanted, return_inverse=True)[1]
        step = _step(times)
        off = np.abs(times[at[order]] - wanted) > _EVEN * (step or 1.0)
        if off.any():
            raise ValueError(f"'time' of targets must be among the times of the sensors, got {wanted[off][0]:g} s")
        return different(np.asarray(sensor, dtype=np.int64) * len(times) + at[order], targets)

    def check(self, targets: pd.DataFrame) -> None:
        if "sensor" not in targets:
            return
        unknown = sorted(set(targets["sensor"].astype(str)) - set(self.names))
        if unknown:
            raise ValueError(
                f"'sensor' of targets must be some of the {len(self.names)} sensors, got {len(unknown)} others, "
                f"first {unknown[0]!r}"
            )

    def mne_info(self, step: float) -> tuple[Any, str]:
        """mne's `Info` for samples this many seconds apart, and where the positions of the sensors are from."""
        import mne

        rate = 1.0 / step if step else 1000.0
        if self.info is not None:
            return _info_of(self.info, rate), "as recorded"
        if self.modality != "eeg":
            return mne.create_info(list(self.names), rate, "misc"), "unknown"
        info = mne.create_info(list(self.names), rate, "eeg")
        known = mne.channels.get_builtin_montages()
        template = mne.channels.make_standard_montage(next(name for name in _TEMPLATES if name in known))
        if not set(self.names) <= set(template.ch_names):
            return info, "unknown"
        info.set_montage(template)
        return info, "template of the 10-05 system, by the sensors' names"

    def positions(self) -> dict[str, NDArray[np.float64]]:
        """The place of every sensor, [3] in m in one frame of coordinates; none unless all are known.

        Examples
        --------
        >>> Sensors(("Oz", "Pz"), modality="eeg").positions()["Oz"].shape
        (3,)
        """
        info, source = self.mne_info(0.0)
        if source == "unknown":
            return {}
        places = {channel["ch_name"]: np.asarray(channel["loc"][:3], dtype=np.float64) for channel in info["chs"]}
        frames = {int(channel["coord_frame"]) for channel in info["chs"]}
        known = all(np.isfinite(place).all() and place.any() for place in places.values())
        return places if known and len(frames) == 1 else {}

    def content(self) -> tuple[dict[str, Any], Arrays]:
        plain: dict[str, Any] = {"names": list(self.names), "modality": self.modality}
        if self.info is not None:
            plain["info"] = dict(self.info)
        return plain, {} if self.times is None else {"times": np.array(self.times, dtype=np.float64)}

    @classmethod
    def from_content(cls, plain: dict[str, Any], arrays: Arrays) -> Self:
        times = tuple(arrays["times"].tolist()) if "times" in arrays else None
        return cls(tuple(plain["names"]), times, plain.get("info"), plain["modality"])


def _step(times: NDArray[np.float64]) -> float:
    """Seconds from one time to the next; 0 for one time."""
    if not len(times) or not np.isfinite(times).all():
        raise Refused(f"times must be finite numbers, at least one, got {len(times)}")
    if len(times) == 1:
        return 0.0
    step = float(times[-1] - times[0]) / (len(times) - 1)
    even = times[0] + step * np.arange(len(times))
    if step <= 0 or np.abs(times - even).max() > _EVEN * step:
        raise ValueError(
            f"times must be evenly spaced for a file of mne, got steps of {np.diff(times).min():g} to "
            f"{np.diff(times).max():g} s"
        )
    return step


def spacing(times: NDArray[np.float64]) -> float:
    """Seconds from one time to the next, of evenly spaced times; 0 for one time."""
    return _step(times)


def _nearest(times: NDArray[np.float64], time: float) -> int:
    return int(np.abs(times - time).argmin())


def plain_info(info: Any) -> dict[str, Any]:
    """What mne's `Info` says of sensors, in numbers and words: types, positions, transforms and digitised points."""
    digitised = [
        {name: int(point[name]) for name in ("kind", "ident", "coord_frame")} | {"r": _floats(point["r"])}
        for point in info["dig"] or ()
    ]
    plain: dict[str, Any] = {
        "channels": [
            {"name": str(channel["ch_name"])}
            | {name: int(channel[name]) for name in _CHANNEL}
            | {"loc": _floats(channel["loc"])}
            for channel in info["chs"]
        ],
        "dig": digitised,
        "bads": list(info["bads"]),
    }
    for name in _TRANSFORMS:
        transform = info[name]
        if transform is not None:
            matrix = [_floats(row) for row in np.asarray(transform["trans"])]
            plain[name] = {"from": int(transform["from"]), "to": int(transform["to"]), "trans": matrix}
    for name in _SETTINGS:
        if info.get(name) is not None:
            plain[name] = float(info[name])
    return plain


def _floats(values: Any) -> list[float]:
    return [float(value) for value in np.asarray(values).ravel()]


def _info_of(plain: Mapping[str, Any], rate: float) -> Any:
    """mne's `Info` from `plain_info`, at this sampling rate; samples are stored as they are, without calibration."""
    import mne

    channels = plain["channels"]
    info = mne.create_info([channel["name"] for channel in channels], rate, "misc")
    with info._unlock():
        for stored, channel in zip(info["chs"], channels, strict=True):
            stored.update({name: channel[name] for name in _CHANNEL}, cal=1.0, range=1.0)
            stored["loc"] = np.array(channel["loc"], dtype=np.float64)
        points = [mne._fiff._digitization.DigPoint(point | {"r": np.array(point["r"])}) for point in plain["dig"]]
        info["dig"] = points or None
        for name in _TRANSFORMS:
            if name in plain:
                matrix = np.array(plain[name]["trans"])
                info[name] = mne.transforms.Transform(plain[name]["from"], plain[name]["to"], matrix)
        for name in _SETTINGS:
            if name in plain:
                info[name] = min(plain[name], rate / 2) if name == "lowpass" else plain[name]
    info["bads"] = list(plain["bads"])
    return info
