"""`gradkern encode`: features of captures against saved recordings, a file of scores each."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

import gradkern
from gradkern.encoding._control_spaces import control_spaces
from gradkern.encoding._matched_dimension import DimensionMatching, matched
from gradkern.encoding._score import score
from gradkern.encoding._spaces import Space, join_captures, unit_gradients
from gradkern.encoding._store import is_up_to_date, save_scores
from gradkern.encoding._unique_scores import UniqueVarianceSettings, unique_scores
from gradkern.features._features import Features
from gradkern.features._store import load_features
from gradkern.kernels._sketch import Sketch
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording
from gradkern.ridge._cross_validation import CrossValidation


def run(options: argparse.Namespace) -> int:
    """Write NAME.nc for every recording NAME.h5, each whole or not at all; those that are done are kept."""
    names = recording_names(options.recordings)
    cv = chosen_cv(options)
    captures = [load_features(folder) for folder in options.features]
    captured = join_captures(captures, options.models)
    chosen = chosen_spaces(captured, options)
    spaces = chosen | chosen_controls(chosen, captured, options)
    unique, matching = chosen_unique(options, cv), chosen_matching(captures, spaces, options)
    recordings = load_recordings(options)
    todo = {}
    for name, recording in zip(names, recordings, strict=True):
        stated = made_from(captures, spaces, options) | beside(captured, options)
        stated |= {"unique": asdict(unique) if unique else {}, "matched": asdict(matching) if matching else {}}
        stated |= {"recording": saved_as(recording), "held_out": asdict(cv)}
        file = options.output / f"{name}.nc"
        if not options.overwrite and is_up_to_date(file, stated):
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
        # first, as it may refuse
        parts = unique_scores(chosen, captured, recording, unique) if unique else None
        scores = score(spaces, recording, cv, matching)
        if parts is not None:
            scores = scores.assign(parts.reindex(feature=scores.feature.values).data_vars).assign_attrs(parts.attrs)
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


def chosen_cv(options: argparse.Namespace) -> CrossValidation:
    """The cross-validation that the command line describes."""
    alphas = {} if options.alphas is None else {"alphas": tuple(options.alphas)}
    return CrossValidation(
        options.by,
        options.folds,
        options.inner_folds,
        options.gap,
        selection=options.selection,
        seed=options.seed,
        **alphas,
    )


def chosen_spaces(spaces: Mapping[Space, Any], options: argparse.Namespace) -> dict[Space, Any]:
    """The feature spaces that were asked for, of all that were captured."""
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


def chosen_controls(
    spaces: Mapping[Space, Any], captured: Mapping[Space, Any], options: argparse.Namespace
) -> dict[Space, Any]:
    """The controls that were asked for, of every gradient that was."""
    same = "raw" if options.raw_gradients else "unit-length"
    if same in options.controls:
        raise ValueError(
            f"--controls must differ from what gradients are {'with' if same == 'raw' else 'without'} "
            f"--raw-gradients, got {same!r}"
        )
    return control_spaces(spaces, captured, options.controls, options.seed)


def chosen_unique(options: argparse.Namespace, cv: CrossValidation) -> UniqueVarianceSettings | None:
    """How gradients are held against activations, if that was asked for."""
    if options.unique is None:
        if options.components is not None:
            raise ValueError("--components must come with --unique, got it alone")
        return None
    return UniqueVarianceSettings(
        options.unique, options.components, cv, permutations=options.permutations, seed=options.seed
    )


def chosen_matching(
    captures: Sequence[Features], spaces: Mapping[Space, Any], options: argparse.Namespace
) -> DimensionMatching | None:
    """At which dimension feature spaces are scored too, if that was asked for."""
    if options.match is None:
        if options.seeds is not None:
            raise ValueError("--seeds must come with --match, got them alone")
        return None
    matching = (
        DimensionMatching(options.match)
        if options.seeds is None
        else DimensionMatching(options.match, tuple(options.seeds))
    )
    for captured in captures:
        if isinstance(captured.sketch, Sketch) and captured.sketch.seed in matching.seeds:
            raise ValueError(
                f"--seeds must differ from the seed of the captured sketches, whose map would be applied twice, got "
                f"{captured.sketch.seed} among {list(matching.seeds)}"
            )
    matched({str(space): values for space, values in spaces.items()}, matching)  # refuses, and reads nothing
    return matching


def beside(captured: Mapping[Space, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What more decides scores: controls, and activations that are held against, also of layers that are not scored."""
    activations = [str(space) for space in captured if space.kind == "activation"]
    needed = options.unique or any(each.startswith("residualised") for each in options.controls)
    controls = {"kinds": options.controls, "seed": options.seed} if options.controls else {"kinds": []}
    return {"controls": controls, "activations": activations if needed else []}


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
    """The best layer of every model, objective and kind, by r over all targets, and what is unique there."""
    table = scores.r.mean(("fold", "target")).to_dataframe().reset_index()
    if "unique_r2" in scores:
        table = table.assign(unique=scores.unique_r2.mean("target").values, p=scores.beyond_p_pooled.values)
    for (model, objective, kind), rows in table.groupby(["model", "objective", "kind"], sort=False):
        best = rows.loc[rows["r"].idxmax()] if rows["r"].notna().any() else rows.iloc[0]
        what = f"{model}, {kind} of {objective}" if kind != "activation" else f"{model}, {kind}"
        print(f"  {what:<60} r {best['r']:6.3f} at {best['layer']}, the best of {len(rows)} layers")
        if pd.notna(best.get("p")):
            print(f"  {'':<60} unique R2 {best['unique']:.4f} there; beyond activations: p {best['p']:.4f}")
    print(f"  r: held-out, mean over {scores.sizes['target']} targets")
