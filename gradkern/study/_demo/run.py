"""`gradkern demo`: real photographs, a pretrained network, real fMRI responses, a report to look at."""

import platform
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gradkern import objectives
from gradkern._progress import advanced, progress_wanted, tracked
from gradkern.encoding._transforms import unit_length
from gradkern.errors import naming
from gradkern.features._capture import capture
from gradkern.features._features import Features
from gradkern.kernels import ops
from gradkern.kernels._sketch import Sketch
from gradkern.models._load import LoadedModel, load_model
from gradkern.plotting._images import extreme_images, predicted_against_measured
from gradkern.plotting._layers import score_map, scores_by_layer
from gradkern.recordings._readers.kay2017 import load_kay2017
from gradkern.recordings._recording import Recording
from gradkern.study._demo.layers import layerwise_scores
from gradkern.study._demo.scoring import DemoScoring, predict
from gradkern.study._demo.simulated import SimulatedVerdicts, missing, simulated_verdicts
from gradkern.study._output.folders import check_free, made_by, written_whole
from gradkern.study.report._html import best_layers, write_report
from gradkern.study.report._picture import Picture

MODEL = "efficientnet-lite0"
SKETCH = Sketch(2048)
OBJECTIVES = (
    objectives.FeatureNorm(),
    objectives.CrossEntropy(),
    objectives.Entropy(),
    objectives.KLToUniform(),
)
_FEWEST_IMAGES = 20
_SHORT = {"feature-norm": "f.norm", "cross-entropy": "c.ent.", "entropy": "entr.", "kl-uniform": "KL"}
_CAPTION = "grad., w.gr.: gradient and weight gradient of each objective, at unit length"


@naming("demo")
def run_demo(
    output: Path, *, images: int | None = None, overwrite: bool = False, console: Console | None = None
) -> Path:
    """Run the demo and write scores.nc, PNG figures and report.html.

    Parameters
    ----------
    output : folder to make; it appears when everything is in it
    images : number of images, spread over the data set (at least 20); None: all 115
    overwrite : whether to replace an earlier result

    Returns
    -------
    the report's path

    Raises
    ------
    FileExistsError, NotADirectoryError : the folder cannot be made, which is found before any work
    ValueError : `images` outside 20..115
    """
    console = console or Console()
    check_free(output, overwrite)
    recording = _some_images(load_kay2017(), images)
    started = time.perf_counter()
    model = load_model(MODEL)
    captures = _capture(model, recording, console)
    captured = time.perf_counter()
    scoring = DemoScoring()
    scores = layerwise_scores(
        captures, grey_pixels(recording.images), recording, scoring, lambda f: _tracked(f, console)
    )
    encoded = time.perf_counter()
    simulated = _simulated(console)
    finished = time.perf_counter()
    facts = _facts(model, recording, captures[0], scoring)
    facts |= {"seconds_capture": round(captured - started, 1), "seconds_encoding": round(encoded - captured, 1)}
    facts |= {"seconds_simulated": round(finished - encoded, 1)}
    scores.attrs = {key: str(value) for key, value in facts.items()}
    with written_whole(output, overwrite) as folder:
        scores.to_netcdf(folder / "scores.nc", engine="h5netcdf")
        pictures = _pictures(scores, captures, recording, scoring)
        for picture in pictures:
            picture.write(folder)
        if simulated is not None:
            simulated.table.to_csv(folder / "simulated_verdict.csv", index=False)
            for picture in (picture for both in simulated.pictures.values() for picture in both):
                picture.write(folder)
        (folder / "report.html").write_text(write_report(scores, pictures, facts, simulated), encoding="utf-8")
    _print_scores(scores, console)
    if simulated is not None:
        _print_verdicts(simulated, console)
    console.print(f"\nComputed in {finished - started:.0f} s. In [bold]{output}[/bold]:")
    console.print("  report.html   everything in words and pictures: open it in a browser")
    console.print("  scores.nc     every score with its interval: xarray.open_dataset")
    if simulated is not None:
        console.print("  simulated_verdict.csv   the verdicts on the two simulated brains")
    console.print(f"  {', '.join(p.name for p in pictures)}: .png and .svg")
    return output / "report.html"


def _simulated(console: Console) -> SimulatedVerdicts | None:
    """Verdicts on simulated brains; None, which is said, where a package is missing."""
    if missing():
        console.print(
            f"[bold]verdict[/bold] on simulated brains: left out, it needs {', '.join(missing())}: "
            r"pip install 'gradkern\[simulate]'"
        )
        return None
    console.print("[bold]verdict[/bold] on two simulated brains, one without gradients and one with")
    return simulated_verdicts()


def _some_images(recording: Recording, count: int | None) -> Recording:
    total = len(recording.responses)
    if count is None:
        return recording
    if not _FEWEST_IMAGES <= count <= total:
        raise ValueError(f"images must be in {_FEWEST_IMAGES}..{total}, got {count}")
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    fewer = recording.select_presentations(chosen, "spread evenly over the images")
    renumbered = fewer.presentations.assign(image=np.arange(count))
    return replace(fewer, presentations=renumbered, images=np.asarray(recording.images)[chosen])


def _capture(model: LoadedModel, recording: Recording, console: Console) -> list[Features]:
    inputs = model.spec.preprocess(list(np.asarray(recording.images)), whole=True)
    captures: list[Features] = []
    for objective in OBJECTIVES:
        kinds = ("gradient", "weight_gradient") if captures else ("activation", "gradient", "weight_gradient")
        console.print(f"[bold]capture[/bold] {', '.join(kinds)} of {objective.name} at {len(model.spec.layers)} blocks")
        with warnings.catch_warnings():
            # of 1e-5, which nobody who runs the demo can do anything about; the report says it
            warnings.filterwarnings("ignore", message=r".*own rounding depends on the batch")
            captures.append(capture(model, inputs, objective, kinds=kinds, sketch=SKETCH, progress=progress_wanted()))
    return captures


def grey_pixels(images: Any, size: int = 16) -> np.ndarray:
    """Grey images shrunk to size x size (antialiased), [images, size * size]."""
    planes = torch.from_numpy(np.asarray(images)).float()[:, None]
    small = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    return small.flatten(1).numpy()


def _tracked(features: Iterable[tuple[str, Any]], console: Console) -> Iterable[tuple[str, Any]]:
    listed = list(features)
    console.print(f"[bold]encode[/bold] {len(listed)} feature spaces")
    with tracked("encode", len(listed), "feature spaces"):
        for entry in listed:
            yield entry
            advanced(1, "feature spaces")


def _facts(model: LoadedModel, recording: Recording, features: Features, scoring: DemoScoring) -> dict[str, Any]:
    spec = model.spec
    return {
        **made_by(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {ops.current_isa()}",
        "model": spec.name,
        "weights": spec.weights,
        "weights_sha256": spec.weights_sha256,
        "model_licence": spec.licence,
        "preprocessing": spec.preprocessing(whole=True),
        "dataset": recording.provenance["dataset"],
        "citation": recording.provenance["citation"],
        "data_licence": recording.provenance["licence"],
        "noise_variance": recording.provenance["noise"],
        "images_used": len(recording.responses),
        "units": recording.units,
        **{key: value for key, value in features.provenance().items() if key not in ("objective", "exact", "depth")},
        "sketch_error": SKETCH.k**-0.5,
        **scoring.provenance(),
    }


def _pictures(
    scores: xr.Dataset, captures: list[Features], recording: Recording, scoring: DemoScoring
) -> list[Picture]:
    target, units = "FFA", recording.units
    column = recording.labels.index(target)
    measured = np.asarray(recording.responses)[:, column]
    tops = {
        best.kind: best
        for best in best_layers(scores)
        if best.target == target and best.objective in ("–", "feature-norm")
    }
    shown = {
        f"{kind}, {best.layer}, r = {best.r:.2f}": predict(
            _feature(captures[0], kind.replace(" ", "_"), best.layer), recording, scoring
        ).predictions.mean(0)[:, column]
        for kind, best in tops.items()
    }
    return [
        Picture.of(
            "scores_by_layer",
            "Held-out r at every block. Bands: 95 % over images. The dashed line is the noise ceiling, the dotted line "
            "what 16x16 grey pixels reach.",
            scores_by_layer(scores),
        ),
        *(
            Picture.of(f"score_map_{name}", f"The same for {name}, as numbers.", score_map(scores, str(name)))
            for name in reversed(scores.target.values)
        ),
        Picture.of(
            "predicted_against_measured",
            f"Each point is an image: its response in {target} and its held-out prediction (mean over repeats), "
            "from the best block of each kind; gradients are of the feature norm.",
            predicted_against_measured(measured, shown, target, units),
        ),
        Picture.of(
            "extreme_images",
            f"What {target} responds to most and least.",
            extreme_images(np.asarray(recording.images), measured, target, units),
        ),
    ]


def _feature(features: Features, kind: str, layer: str) -> np.ndarray:
    values = features[kind, layer].numpy()
    return values if kind == "activation" else unit_length(values)


def _print_scores(scores: xr.Dataset, console: Console) -> None:
    for target in reversed(scores.target.values):
        of_target = scores.sel(target=target)
        title = f"{target}: held-out r (noise ceiling {float(of_target.noise_ceiling):.2f}, "
        title += f"16x16 grey pixels {float(of_target.pixels):.2f})"
        table = Table(pad_edge=False, title=title, box=SIMPLE_HEAD, padding=(0, 0, 0, 1), caption=_CAPTION)
        table.add_column("block", no_wrap=True)
        table.add_column("activ.", justify="right", no_wrap=True)
        for kind in ("grad.", "w.gr."):
            for objective in scores.objective.values:
                table.add_column(f"{kind}\n{_SHORT[str(objective)]}", justify="right", no_wrap=True)
        for i, layer in enumerate(scores.layer.values):
            cells = [float(of_target.activation[i])]
            for kind in ("gradient", "weight_gradient"):
                cells += of_target[kind].sel(scaling="unit length").isel(layer=i).values.tolist()
            table.add_row(str(layer).removeprefix("blocks."), *(f"{cell:.2f}" for cell in cells))
        console.print(table)


def _print_verdicts(simulated: SimulatedVerdicts, console: Console) -> None:
    title = f"Verdicts on simulated brains of stated truth: {simulated.simulated}"
    table = Table(pad_edge=False, title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("claim")
    for organisation in simulated.pictures:
        table.add_column(organisation, no_wrap=True)
    for entry in simulated.by_claim():
        table.add_row(entry["claim"], *(f"{row['conclusion']}\n(is {row['truth']})" for row in entry["rows"]))
    console.print(table)
    console.print("by inheritance: true only because gradients are functions of the activations")
    for words in simulated.mistakes():
        console.print(f"A wrong answer: {words}", markup=False, highlight=False)
