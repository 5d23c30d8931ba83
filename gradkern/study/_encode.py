"""`gradkern encode`: features of captures scored against saved recordings, a file of scores for each recording."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import gradkern
from gradkern._files import as_json
from gradkern.encoding._control_spaces import control_spaces
from gradkern.encoding._dimension import DimensionMatching, match_spaces
from gradkern.encoding._matching import aligned
from gradkern.encoding._score import score_into
from gradkern.encoding._spaces import FeatureSpace, join_captures, unit_gradients
from gradkern.encoding._store import is_up_to_date, load_scores, scores_written
from gradkern.encoding._unique_scores import UniqueVarianceSettings, unique_scores
from gradkern.errors import Refused
from gradkern.features._features import Features
from gradkern.features._store import load_features
from gradkern.kernels._sketch import Sketch
from gradkern.recordings._maps.known import known_geometry
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.study._maps import MapRequest, check_statistics, print_maps, write_maps

_EDGE_SHARE = 0.01  # of the chosen alphas, from which on those at an edge of the grid are printed


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write NAME.nc for every recording NAME.h5, each complete or not at all; files that are up to date are kept.

    Returns what was done, for JSON.
    """
    names = recording_names(options.recordings)
    cv = chosen_cv(options)
    captures = [load_features(folder) for folder in options.features]
    captured = join_captures(captures, options.models)
    spaces = _spaces_of(captured, options)
    unique, matching = chosen_unique(options, cv), chosen_matching(captures, spaces, options)
    recordings = load_recordings(options)
    maps = chosen_maps(options, recordings)
    todo: dict[str, Any] = {}
    done: dict[str, dict[str, Any]] = {}
    for name, recording in zip(names, recordings, strict=True):
        request = request_of(captures, spaces, options) | request_of_controls(captured, options)
        request |= {"unique": asdict(unique) if unique else {}, "matched": asdict(matching) if matching else {}}
        request |= {"recording": hash_of(recording), "held_out": asdict(cv)}
        file = options.output / f"{name}.nc"
        if not options.overwrite and is_up_to_date(file, request):
            print(f"{name}: kept {file}, which was made from the same")
            done[name] = {"recording": name, "file": str(file), "kept": True}
        else:
            todo[name] = *aligned(captured, captures[0], recording), file, request
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent} is not a folder")
    options.output.mkdir(exist_ok=True)
    for name, (rows, recording, file, request) in todo.items():
        chosen, spaces = chosen_spaces(rows, options), _spaces_of(rows, options)
        print(f"{name}: {len(spaces)} feature spaces, {len(recording.targets)} targets", flush=True)
        _print_faster(recording, cv)
        # the partition comes first, as it may refuse the data
        partition = unique_scores(chosen, rows, recording, unique) if unique else None
        with scores_written(file, request) as (aside, attributes):
            score_into(aside, spaces, recording, cv, matching, beside=partition, attributes=attributes)
        scores = load_scores(file).to_dataset()
        best = _best(scores)
        _print_best(scores, best)
        _print_alphas_at_edges(scores, cv)
        print(f"{name}: all in {file}", flush=True)
        sizes = {"feature spaces": len(spaces), "targets": scores.sizes["target"]}
        done[name] = {"recording": name, "file": str(file), "kept": False, **sizes, "best": best}
    if maps is not None:
        _write_maps(dict(zip(names, recordings, strict=True)), options.output, maps)
    return {"output": str(options.output), "recordings": [done[name] for name in names]}


def kept(options: argparse.Namespace) -> str:
    """What a call that was stopped has left, in words."""
    files = [options.output / f"{Path(file).stem}.nc" for file in options.recordings]
    there = [str(file) for file in files if file.is_file()]
    if not there:
        return "nothing was written"
    return f"{', '.join(there)}: whole, and kept by the same command, which computes the rest"


def chosen_maps(options: argparse.Namespace, recordings: Sequence[Recording]) -> MapRequest | None:
    """The maps of --maps, which every recording must have a geometry for; None without --maps."""
    if options.maps is None:
        return None
    check_statistics(options.maps, "--maps")
    for recording in recordings:
        known_geometry(recording)
    return MapRequest(options.maps or ("r",), overwrite=True)


def _write_maps(recordings: Mapping[str, Recording], output: Path, maps: MapRequest) -> None:
    """Write the maps of all scores into maps/NAME beside them, in the place of earlier ones.

    All scores are in their files before, and those of other recordings have maps where one has none.

    Raises
    ------
    Refused : no map could be made of the scores of a recording
    """
    folder = output / "maps"
    folder.mkdir(exist_ok=True)
    refused = []
    for name, recording in recordings.items():
        file = output / f"{name}.nc"
        try:
            scores = load_scores(file).to_dataset()
            print_maps(name, write_maps(scores, recording, folder / name, maps, source=file))
        except Refused as reason:
            print(f"{name}: no maps: {reason}")
            refused.append(reason)
    if refused:
        raise refused[0]


def _spaces_of(captured: Mapping[FeatureSpace, Any], options: argparse.Namespace) -> dict[FeatureSpace, Any]:
    """The chosen spaces and their controls; nothing of them is read."""
    chosen = chosen_spaces(captured, options)
    return chosen | chosen_controls(chosen, captured, options)


def _print_faster(recording: Recording, cv: CrossValidation) -> None:
    """Advise means over repeats, unless the cross-validation needs sessions or onsets, which means do not have."""
    repeated = len(np.unique(recording.image_ids)) < len(recording.image_ids)
    if repeated and (recording.repeats == 1).all() and cv.by in ("image", "concept") and cv.gap is None:
        print(
            "single presentations: average_repeats() before save_recording makes this faster, and estimates the noise "
            "ceiling first if it is not known (zscore() within sessions must come before it)"
        )


def recording_names(files: Sequence[str]) -> list[str]:
    """Names of the files of scores: those of the recordings' files, which must differ."""
    names = [Path(file).stem for file in files]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"--recordings must have different names, which those of scores are, got {twice} twice")
    return names


def load_recordings(options: argparse.Namespace) -> list[Recording]:
    """Saved recordings, of which only the tables are read."""
    recordings = [load_recording(file) for file in options.recordings]
    return [recording.roi(*options.roi) if options.roi else recording for recording in recordings]


def chosen_cv(options: argparse.Namespace) -> CrossValidation:
    """The cross-validation that the command line describes."""
    return CrossValidation(
        by=options.by,
        folds=options.folds,
        inner_folds=options.inner_folds,
        gap=options.gap,
        alphas=tuple(options.alphas) if options.alphas else CrossValidation.alphas,
        selection=options.selection,
        seed=options.seed,
    )


def chosen_spaces(spaces: Mapping[FeatureSpace, Any], options: argparse.Namespace) -> dict[FeatureSpace, Any]:
    """The captured feature spaces that the command line chooses."""
    for name, values in (("kind", options.kinds), ("layer", options.layers)):
        captured = list(dict.fromkeys(getattr(space, name) for space in spaces))
        for value in values or ():
            if value not in captured:
                raise ValueError(f"--{name}s must be some of {', '.join(captured)}, got {value!r}")
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
    spaces: Mapping[FeatureSpace, Any], captured: Mapping[FeatureSpace, Any], options: argparse.Namespace
) -> dict[FeatureSpace, Any]:
    """The controls that the command line chooses, of every chosen gradient."""
    same = "raw" if options.raw_gradients else "unit-length"
    if same in options.controls:
        raise ValueError(
            f"--controls must differ from what gradients are {'with' if same == 'raw' else 'without'} "
            f"--raw-gradients, got {same!r}"
        )
    return control_spaces(spaces, captured, options.controls, options.seed)


def chosen_unique(options: argparse.Namespace, cv: CrossValidation) -> UniqueVarianceSettings | None:
    """How gradients are compared with activations, if --unique is given."""
    if options.unique is None:
        if options.components is not None:
            raise ValueError("--components must come with --unique, got it alone")
        return None
    return UniqueVarianceSettings(
        options.unique, options.components, cv, permutations=options.permutations, seed=options.seed
    )


def chosen_matching(
    captures: Sequence[Features], spaces: Mapping[FeatureSpace, Any], options: argparse.Namespace
) -> DimensionMatching | None:
    """The number of columns at which feature spaces are scored too, if --match is given."""
    if options.match is None:
        if options.seeds is not None:
            raise ValueError("--seeds must come with --match, got them alone")
        return None
    seeds = DimensionMatching.seeds if options.seeds is None else tuple(options.seeds)
    matching = DimensionMatching(options.match, seeds)
    for captured in captures:
        if isinstance(captured.sketch, Sketch) and captured.sketch.seed in seeds:
            raise ValueError(
                f"--seeds must differ from the seed of the captured sketches, whose map would be applied twice, got "
                f"{captured.sketch.seed} among {list(seeds)}"
            )
    match_spaces({str(space): values for space, values in spaces.items()}, matching)  # checks, and reads nothing
    return matching


def request_of(
    captures: Sequence[Features], spaces: Mapping[FeatureSpace, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Everything that decides scores but the recordings and how they are scored."""
    facts = [{name: value for name, value in captured.provenance().items() if name != "depth"} for captured in captures]
    return {
        "gradkern": gradkern.__version__,
        "captures": as_json(facts),
        "features": [str(space) for space in spaces],
        "gradients": "raw" if options.raw_gradients else "of unit length",
        "roi": options.roi,
    }


def request_of_controls(captured: Mapping[FeatureSpace, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The controls, and the activations they and --unique need, also of layers that are not scored."""
    kinds = [control.replace("residualised", "residualized") for control in options.controls]
    activations = [str(space) for space in captured if space.kind == "activation"]
    needed = options.unique or any(kind.startswith("residualized") for kind in kinds)
    controls = {"kinds": kinds, "seed": options.seed} if kinds else {"kinds": []}
    return {"controls": controls, "activations": activations if needed else []}


def hash_of(recording: Recording) -> str:
    """The hash of the file of a saved recording."""
    (digest,) = recording.provenance["saved"].values()
    return str(digest)


def _best(scores: xr.Dataset) -> list[dict[str, Any]]:
    """The best layer of every model, objective and kind, by r over all targets, and the unique variance there."""
    table = scores.r[:, 0, 0].drop_vars(("fold", "target")).to_dataframe().reset_index()
    table["r"] = [float(of_space.mean()) for of_space in scores.r]  # one at a time: all may be larger than memory
    if "unique_r2" in scores:
        table = table.assign(unique=scores.unique_r2.mean("target").values, p=scores.beyond_p_pooled.values)
    best = []
    for (model, objective, kind), rows in table.groupby(["model", "objective", "kind"], sort=False):
        row = rows.loc[rows["r"].idxmax()] if rows["r"].notna().any() else rows.iloc[0]
        what = {"model": model, "objective": objective, "kind": kind, "layer": row["layer"], "of layers": len(rows)}
        numbers = {name: _number(row.get(key)) for name, key in (("r", "r"), ("unique r2", "unique"), ("p", "p"))}
        best.append({**what, **numbers})
    return best


def _number(value: Any) -> float | None:
    """A number as JSON has it; None where it is not known."""
    return None if value is None or pd.isna(value) else float(value)


def _print_best(scores: xr.Dataset, best: Sequence[Mapping[str, Any]]) -> None:
    kinds = [f"{row['kind']} of {row['objective']}" if row["kind"] != "activation" else row["kind"] for row in best]
    names = [f"{row['model']}, {kind}" for row, kind in zip(best, kinds, strict=True)]
    width = max(map(len, names), default=0)
    for row, what in zip(best, names, strict=True):
        r = np.nan if row["r"] is None else row["r"]
        print(f"  {what:<{width}} r {r:6.3f} at {row['layer']}, the best of {row['of layers']} layers")
        if row["p"] is not None:
            print(f"  {'':<{width}} unique R2 {row['unique r2']:.4f} there; beyond activations: p {row['p']:.4f}")
    print(f"  r: held-out Pearson r, mean over {scores.sizes['target']} targets; the best layer's is biased upwards")


def _print_alphas_at_edges(scores: xr.Dataset, cv: CrossValidation) -> None:
    """Say how often the lowest or the largest alpha was chosen, where that is more than seldom."""
    choices = scores.r.size
    lowest, largest = (float(scores[f"targets_at_{edge}_alpha"].sum()) / choices for edge in ("lowest", "largest"))
    if max(lowest, largest) >= _EDGE_SHARE:
        print(
            f"  alpha: {lowest:.0%} of the choices are the lowest and {largest:.0%} the largest of {len(cv.alphas)} "
            f"penalties ({min(cv.alphas):g} to {max(cv.alphas):g}); targets that features do not predict choose the "
            "largest, for others --alphas may need a wider grid"
        )
