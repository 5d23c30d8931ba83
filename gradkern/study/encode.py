"""`gradkern encode`: features of captures against saved recordings, a file of scores each."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

import gradkern
from gradkern.analysis.held_out import HoldOut, held_out_scores
from gradkern.analysis.score_files import is_done, save_scores
from gradkern.analysis.spaces import Space, join_captures, unit_gradients
from gradkern.recordings.recording import Recording
from gradkern.recordings.saved import load_recording
from gradkern.vision.features import Features
from gradkern.vision.files import load_features


def run(options: argparse.Namespace) -> int:
    """Write NAME.nc for every recording NAME.h5, each whole or not at all; those that are done are kept."""
    names = recording_names(options.recordings)
    how = HoldOut(by=options.by, folds=options.folds, gap=options.gap, seed=options.seed)
    captures = [load_features(folder) for folder in options.features]
    spaces = chosen_spaces(captures, options)
    recordings = load_recordings(options)
    todo = {}
    for name, recording in zip(names, recordings, strict=True):
        stated = made_from(captures, spaces, options) | {"recording": saved_as(recording), "held_out": asdict(how)}
        file = options.output / f"{name}.nc"
        if not options.overwrite and is_done(file, stated):
            print(f"{name}: kept {file}, which was made from the same")
        else:
            todo[name] = recording, file, stated
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent} is not a folder")
    options.output.mkdir(exist_ok=True)
    for name, (recording, file, stated) in todo.items():
        print(f"{name}: {len(spaces)} feature spaces, {len(recording.targets)} targets", flush=True)
        if (recording.repeats == 1).all() and "session" in recording.presentations:
            print("single presentations: standardise and average_repeats before saving make this faster")
        scores = held_out_scores(spaces, recording, how)
        save_scores(scores, file, stated)
        _print_best(scores)
        print(f"{name}: all in {file}")
    return 0


def recording_names(files: Sequence[str]) -> list[str]:
    """What files of scores are called: as the files of the recordings, which must differ."""
    names = [Path(file).stem for file in files]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"--recordings must have different names, which those of scores are, got {twice} twice")
    return names


def load_recordings(options: argparse.Namespace) -> list[Recording]:
    """Nothing but their tables is read."""
    recordings = [load_recording(file) for file in options.recordings]
    return [each.roi(*options.roi) if options.roi else each for each in recordings]


def chosen_spaces(captures: Sequence[Features], options: argparse.Namespace) -> dict[Space, Any]:
    """The feature spaces that were asked for."""
    spaces = join_captures(captures, options.models)
    for name, asked in (("kind", options.kinds), ("layer", options.layers)):
        known = list(dict.fromkeys(getattr(space, name) for space in spaces))
        for each in asked or ():
            if each not in known:
                raise ValueError(f"--{name}s must be some of {', '.join(known)}, got {each!r}")
    kinds, layers = options.kinds, options.layers
    chosen = {
        space: values
        for space, values in spaces.items()
        if (not kinds or space.kind in kinds) and (not layers or space.layer in layers)
    }
    if not chosen:
        raise ValueError(f"no features are of kinds {kinds} and layers {layers} at once")
    return chosen if options.raw_gradients else unit_gradients(chosen)


def made_from(captures: Sequence[Features], spaces: Mapping[Space, Any], options: argparse.Namespace) -> dict[str, Any]:
    """All that decides scores but the recordings and how they are scored."""
    about = [{name: value for name, value in captured.provenance().items() if name != "depth"} for captured in captures]
    return {
        "gradkern": gradkern.__version__,
        "captures": json.loads(json.dumps(about, default=str)),
        "features": [str(space) for space in spaces],
        "gradients": "raw" if options.raw_gradients else "of unit length",
        "roi": options.roi,
    }


def saved_as(recording: Recording) -> str:
    """The hash of the file of a saved recording."""
    (digest,) = recording.provenance["saved"].values()
    return str(digest)


def _print_best(scores: xr.Dataset) -> None:
    """The best layer of every model, objective and kind, by r over all targets."""
    table = scores.r.mean(("fold", "target")).to_dataframe().reset_index()
    for (model, objective, kind), rows in table.groupby(["model", "objective", "kind"], sort=False):
        best = rows.loc[rows["r"].idxmax()] if rows["r"].notna().any() else rows.iloc[0]
        what = f"{model}, {kind} of {objective}" if kind != "activation" else f"{model}, {kind}"
        print(f"  {what:<60} r {best['r']:6.3f} at {best['layer']}, the best of {len(rows)} layers")
    print(f"  r: held-out, mean over {scores.sizes['target']} targets")
