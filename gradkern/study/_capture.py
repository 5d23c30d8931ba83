"""`gradkern capture`: a model's activations and gradients for a folder or file of images, into a folder."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from gradkern._device import usable_device
from gradkern.features._capture import capture
from gradkern.features._features import Features
from gradkern.features._store import images_done
from gradkern.kernels._sketch import Sketch
from gradkern.models._catalogue import CATALOGUE
from gradkern.models._load import LoadedModel, load_model
from gradkern.models._recognised import recognise_model
from gradkern.objectives._base import Objective
from gradkern.objectives._by_name import named_objective, objective_classes
from gradkern.study._image_labels import read_labels
from gradkern.study._image_sources import NamedImages, images_at, shown_in

NO_OBJECTIVE = "none"  # activations alone


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Capture into a folder, going on where an earlier call of the same stopped; what was done, for JSON."""
    device = usable_device(options.device)
    kinds = chosen_kinds(options)
    images = images_at(options.images)
    if options.shown_in:
        images = shown_in(images, options.shown_in)
    objective, notes = chosen_objective(options, images)
    model = chosen_model(options)
    notes = [*images.notes, *notes]
    for note in notes:
        print(note)
    before = images_done(options.output)
    if before is not None and 0 < before[0] < before[1]:
        print(f"{options.output} holds {before[0]} of {before[1]} images: going on from there", flush=True)
    features = capture(
        model.to(device),
        model.spec.prepared(images.images, images.captured_names, whole=options.whole),
        objective,
        layers=options.layers,
        kinds=kinds,
        tokens=options.tokens[0] if len(options.tokens) == 1 else options.tokens,
        sketch=chosen_sketch(options),
        batch_size=options.batch_size,
        dtype=None if options.dtype is None else getattr(torch, options.dtype),
        out=options.output,
        uncovered="warn" if options.leave_out_uncovered else "error",
        progress=not options.json,
        control_seed=options.seed,
        allow_tf32=options.allow_tf32,
    )
    layers = list(dict.fromkeys(layer for _, layer in features))
    under = "" if objective is None else f" under {features.objective}"
    print(f"{len(images)} images, {len(layers)} layers, {', '.join(kinds)}{under}: all in {options.output}")
    return _summary(options, features, kinds, layers, notes)


def kept(options: argparse.Namespace) -> str:
    """What a capture that was stopped has left, in words."""
    done = images_done(options.output)
    if done is None or not done[0]:
        return "nothing was captured yet"
    return f"{options.output} holds {done[0]} of {done[1]} images; the same command goes on from there"


def chosen_kinds(options: argparse.Namespace) -> list[str]:
    """The kinds of features, and the controls, that the command line names."""
    is_alone = options.objective[0] == NO_OBJECTIVE
    kinds = options.kinds or (["activation"] if is_alone else ["activation", "gradient"])
    kinds = [*kinds, *(f"gradient/{control}" for control in options.controls)]
    gradients = [kind for kind in kinds if kind != "activation"]
    if is_alone and gradients:
        raise ValueError(f"--objective must be given for {gradients[0]}, got {NO_OBJECTIVE}")
    return kinds


def chosen_sketch(options: argparse.Namespace) -> Any:
    """The map to K numbers, or "raw"."""
    if options.sketch == "raw":
        return "raw"
    if not options.sketch.isdecimal():
        raise ValueError(f"--sketch must be a number of features or raw, got {options.sketch!r}")
    return Sketch(int(options.sketch), options.seed)


def chosen_model(options: argparse.Namespace) -> LoadedModel:
    """The model by its name, or that a folder of transformers is of, with published, given or random weights."""
    name, weights = options.model, options.weights
    if name not in CATALOGUE and Path(name).expanduser().exists():
        path = Path(name).expanduser()
        if not path.is_dir():
            raise ValueError(
                f"MODEL must be a name from `gradkern models`, or a folder of transformers, got the file {name}; a "
                f"file of weights goes with the model's name: gradkern capture NAME --weights {name}"
            )
        if weights is not None:
            raise ValueError(f"--weights must be left out with a folder as MODEL, got {weights!r} and {name!r}")
        name, weights = recognise_model(path), str(path)
    if options.untrained is not None:
        if weights is not None:
            raise ValueError("--untrained must come without weights of a file, which it does not use")
        return load_model(name, "random", seed=options.untrained, config=_configuration(options.config))
    return load_model(name, weights or "pretrained", config=_configuration(options.config))


def chosen_objective(options: argparse.Namespace, images: NamedImages) -> tuple[Objective | None, list[str]]:
    """The objective that the command line names, with its settings and labels, and what was read for it."""
    name, *words = options.objective
    name = {kind.__name__: key for key, kind in objective_classes().items()}.get(name, name)  # as in Python
    known = (NO_OBJECTIVE, *sorted(objective_classes()))
    if name not in known:
        raise ValueError(f"--objective must be one of {', '.join(known)}, got {name!r}")
    settings = _settings(words)
    if name == NO_OBJECTIVE:
        if settings or options.labels:
            raise ValueError(f"--objective {NO_OBJECTIVE} must come without settings and --labels, which it ignores")
        return None, []
    takes_labels = "labels" in [field.name for field in fields(objective_classes()[name])]  # type: ignore[arg-type]
    if options.labels is None:
        if options.label_column or options.image_column:
            raise ValueError("--label-column and --image-column must come with --labels, got them alone")
        if takes_labels and "labels" not in settings and name != "cross-entropy":
            raise ValueError(f"--labels must be given for {name}: a table of the text that each image has")
        return named_objective(name, settings), []
    if not takes_labels:
        raise ValueError(f"--labels must be left out for {name}, which compares the image with none")
    labels, note = read_labels(
        options.labels, images.names, images.numbers, options.label_column or (), options.image_column
    )
    return named_objective(name, {**settings, "labels": labels}), [note]


def _settings(words: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE words as a mapping."""
    pairs = [word.partition("=") for word in words]
    for (key, equals, _), word in zip(pairs, words, strict=True):
        if not key or not equals:
            raise ValueError(f"--objective must be a name, and settings as KEY=VALUE, got {word!r}")
    return {key: value for key, _, value in pairs}


def _configuration(path: Path | None) -> Mapping[str, Any] | None:
    """Fields of the model's configuration, of a JSON file."""
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(f"--config must be a JSON file, got {str(path)!r}, which is none")
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--config must be a JSON file, got {str(path)!r} ({error})") from error
    if not isinstance(stated, dict):
        raise ValueError(f"--config must hold an object of fields and values, got {type(stated).__name__}")
    return stated


def _summary(
    options: argparse.Namespace, features: Features, kinds: Sequence[str], layers: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    return {
        "output": str(options.output),
        "images": len(features.losses),
        "kinds": list(kinds),
        "layers": list(layers),
        "notes": list(notes),
        **{name: value for name, value in features.provenance().items() if name not in ("images", "layers", "kinds")},
    }
