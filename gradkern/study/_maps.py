"""`gradkern maps`: statistics of saved scores as files that other programs show on the brain."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from gradkern.encoding._maps import STATISTICS, ScoreMaps, score_maps
from gradkern.encoding._store import load_scores
from gradkern.encoding._unique_scores import UNIQUE_VARIABLES
from gradkern.errors import Refused, naming
from gradkern.recordings._maps.known import known_geometry, read_geometry
from gradkern.recordings._maps.save import planned_maps
from gradkern.recordings._maps.save import write_maps as write_planned
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording


class MapRequest(NamedTuple):
    """Which maps are written: statistics, kinds and layers of the features (None: all), and what replaces files."""

    stats: Sequence[str]
    kinds: Sequence[str] | None = None
    layers: Sequence[str] | None = None
    claim: str = ""
    fill: float = float("nan")
    overwrite: bool = False


_KNOWN = tuple(dict.fromkeys([*STATISTICS, "r2_normalised", "r_matched", "r2_matched", *UNIQUE_VARIABLES]))


def check_statistics(stats: Sequence[str], flag: str) -> None:
    """Raise a ValueError unless `score` or `unique_scores` can give the statistics, before anything is computed."""
    for stat in stats:
        if stat not in _KNOWN:
            raise ValueError(f"{flag} must be some of {', '.join(_KNOWN)}, got {stat!r}")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write the maps of every recording of the scores.

    Returns what was done, for JSON.
    """
    request = MapRequest(
        options.stat, options.kinds, options.layers, options.claim or "", options.fill, options.overwrite
    )
    scores = _scores(options.scores, options.like)
    recordings = {Path(file).stem: load_recording(file) for file in options.like}
    if options.geometry:
        source = options.geometry[0] if len(options.geometry) == 1 else tuple(options.geometry)
        recordings = {
            name: replace(recording, geometry=read_geometry(source, mesh=recording.space))
            for name, recording in recordings.items()
        }
    for name in scores:
        known_geometry(recordings[name])
    written: list[dict[str, Any]] = []
    for name, of_recording in scores.items():
        files = write_maps(of_recording, recordings[name], options.out, request, source=options.scores)
        print_maps(name, files)
        written.append({"recording": name, "files": [str(file) for file in files]})
    return {"output": str(options.out), "recordings": written}


def kept(options: argparse.Namespace) -> str:
    """What a call that was stopped has left, in words."""
    if not options.out.exists():
        return "nothing was written"
    return f"all maps in {options.out} are whole; there is none yet of the recording that was being written"


def _scores(path: str, like: Sequence[str]) -> dict[str, xr.Dataset]:
    """The scores of each recording, by the name of its file."""
    tree = load_scores(path)
    names = [Path(file).stem for file in like]
    if Path(path).expanduser().is_file() and not tree.children:
        if len(names) != 1:
            raise ValueError(f"--like must be one recording for one file of scores, got {len(names)}")
        return {names[0]: tree.to_dataset()}
    missing = [name for name in names if name not in tree.children]
    if missing:
        raise ValueError(f"--like must be recordings of the scores, {', '.join(tree.children)}, got {missing[0]!r}")
    return {name: tree[name].to_dataset() for name in names}


@naming("save_maps")
def write_maps(
    scores: xr.Dataset, recording: Recording, folder: Any, request: MapRequest, *, source: Any = ""
) -> list[Path]:
    """Write all maps of a request for one recording, of whose targets the scores may be some; all files or none.

    Raises
    ------
    Refused : the recording has no geometry, or no statistic can be told
    """
    like = _targets_of(scores, recording)
    chosen = _statistics(scores, request)
    inputs = {"scores": str(source), **_attributes(scores)}
    plans = [
        planned_maps(
            maps.values,
            like,
            folder,
            stat=maps.stat,
            about={"desc": maps.desc, **maps.about, "claim": request.claim, "scores": inputs},
            fill=request.fill,
            overwrite=request.overwrite,
        )
        for maps in chosen
    ]
    return write_planned(plans)


def _statistics(scores: xr.Dataset, request: MapRequest) -> list[ScoreMaps]:
    """All maps of the request, before any is written; what the scores do not have is said, unless they have nothing."""
    chosen: list[ScoreMaps] = []
    refused: list[Refused] = []
    every = list(dict.fromkeys(map(str, scores["kind"].to_numpy()))) if "kind" in scores.coords else []
    kinds: Sequence[list[str] | None] = [[kind] for kind in request.kinds or every] or [None]
    for stat in request.stats:
        for kind in kinds[:1] if stat == "ceiling" else kinds:
            try:
                chosen += score_maps(scores, stat, kinds=kind, layers=request.layers)
            except Refused as reason:
                refused.append(reason)
    if not chosen:
        raise refused[0]
    for line in dict.fromkeys(map(str, refused)):
        print(f"  no map: {line}")
    return chosen


def _targets_of(scores: xr.Dataset, recording: Recording) -> Recording:
    """The recording's targets that have scores, in their order: encode may have been of some regions."""
    labels = list(map(str, scores["target"].to_numpy())) if "target" in scores.coords else list(recording.labels)
    places = {label: place for place, label in enumerate(recording.labels)}
    unknown = [label for label in labels if label not in places]
    if unknown:
        raise ValueError(
            f"scores must be of targets of {recording.subject}, got {len(unknown)} others, first {unknown[0]!r}"
        )
    if labels == list(recording.labels):
        return recording
    return recording.select_targets([places[label] for label in labels], "with scores")


def _attributes(scores: xr.Dataset) -> Mapping[str, Any]:
    """How the scores were made, in the words of their file."""
    kept = ("gradkern", "subject", "units", "score", "ceiling", "held_out")
    return {name: scores.attrs[name] for name in kept if name in scores.attrs}


def print_maps(name: str, files: Sequence[Path]) -> None:
    """Say what was written."""
    print(f"{name}: {len(files)} files of maps in {files[0].parent}")
    for file in files:
        print(f"  {file.name}")
