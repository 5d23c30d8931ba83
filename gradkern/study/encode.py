"""`gradkern encode`: features of a capture against a saved recording."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from gradkern.analysis.controls import unit_length
from gradkern.analysis.held_out import HoldOut, held_out_scores
from gradkern.recordings.saved import load_recording
from gradkern.vision.features import Key
from gradkern.vision.files import load_features


def run(options: argparse.Namespace) -> int:
    """Write scores.nc, whole or not at all."""
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists; name another --output, or give --overwrite to replace it")
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent} is not a folder")
    captured = load_features(options.features)
    recording = load_recording(options.recording)
    if options.roi:
        recording = recording.roi(*options.roi)
    if (recording.repeats == 1).all() and "session" in recording.presentations:
        print("single presentations: standardise and average_repeats before saving make this faster")
    chosen = {key: _scaled(key, captured[key].numpy(), options.raw_gradients) for key in _wanted(captured, options)}
    how = HoldOut(by=options.by, folds=options.folds, gap=options.gap, seed=options.seed)
    scores = held_out_scores(chosen, recording, how)
    facts = {f"features_{name}": str(value) for name, value in captured.provenance().items()}
    scores.attrs |= {**facts, "gradients": "raw" if options.raw_gradients else "of unit length"}
    with tempfile.TemporaryDirectory(prefix=".gradkern-", dir=options.output.parent) as aside:
        scores.to_netcdf(Path(aside) / "scores.nc", engine="h5netcdf")
        (Path(aside) / "scores.nc").replace(options.output)
    mean = scores.r.mean(("fold", "target"))
    for name, value in zip(scores.feature.values, mean.values, strict=True):
        print(f"{name:<40} {value:6.3f}")
    print(f"mean held-out r over {scores.sizes['target']} targets; all in {options.output}")
    return 0


def _wanted(captured: Any, options: argparse.Namespace) -> list[Key]:
    for name, asked, place in (("kinds", options.kinds, 0), ("layers", options.layers, 1)):
        known = list(dict.fromkeys(key[place] for key in captured))
        for each in asked or ():
            if each not in known:
                raise ValueError(f"--{name} must be some of {', '.join(known)}, got {each!r}")
    kinds, layers = options.kinds, options.layers
    return [key for key in captured if (not kinds or key[0] in kinds) and (not layers or key[1] in layers)]


def _scaled(key: Key, values: Any, raw: bool) -> Any:
    return values if raw or key[0] == "activation" else unit_length(values)
