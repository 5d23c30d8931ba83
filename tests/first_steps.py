"""What each extra is for, in a few small calls: run as `python first_steps.py EXTRA` where only that is installed."""

import importlib
import pkgutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import gradkern

IMAGES = 30
COMMANDS = ("demo", "data check", "data save", "capture", "encode", "similarity", "verdict", "maps", "run", "status",
            "estimate", "report", "store ls", "doctor", "models", "layers")  # fmt: skip
NEEDS = {  # a call that needs an extra
    "models": lambda: gradkern.load_model("resnet50", weights="random"),
    "meg": lambda: gradkern.recordings.sensor_names(),
    "fmri": lambda: gradkern.recordings.load_betas(["empty"], [[0]], mask="empty", subject="1"),
    "simulate": lambda: gradkern.recordings.load_cortex(),
    "analysis": lambda: gradkern.plotting.score_map,
}


def core() -> None:
    """Captures and a recording, scores of one against the other, in files that the commands read."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Conv2d(4, 4, 3), torch.nn.Flatten(1)
    )
    images = torch.randn(IMAGES, 3, 8, 8)
    objective, sketch = gradkern.objectives.FeatureNorm(), gradkern.Sketch(64)
    gradkern.capture(model, images, objective, layers=["0", "1", "2"], sketch=sketch, out="features", progress=False)
    recording = gradkern.Recording(
        responses=np.random.default_rng(0).standard_normal((IMAGES, 6)).astype(np.float32),
        presentations=pd.DataFrame({"image": np.arange(IMAGES)}),
        targets=pd.DataFrame({"label": list("abcdef"), "roi": ["V1", "V1", "V2", "V2", "V4", "V4"]}),
        subject="subject 1",
        units="z",
    )
    gradkern.save_recording(recording, "subject-1.h5")
    features = gradkern.load_features("features")
    spaces = {f"{kind} {layer}": values for (kind, layer), values in features.items()}
    print(*gradkern.encoding.score(spaces, gradkern.load_recording("subject-1.h5")).r.shape)
    Path("study.toml").write_text(
        'layers = ["0", "1", "2"]\ndepth = [0, 0.5, 1]\naxis = {order = ["V1", "V2", "V4"]}\nfeatures.x = "features"\n'
        'fmri.x = ["subject-1.h5"]\n[judging]\npermutations = 19\n'
    )


def analysis() -> None:
    core()
    print(gradkern.plotting.specification_curve.__name__, gradkern.study.report.write_report.__name__)


def models() -> None:
    model = gradkern.load_model("resnet50", weights="random")
    print(*model(torch.randn(1, 3, 64, 64)).features.shape)


def meg() -> None:
    import mne

    epochs = mne.EpochsArray(np.zeros((6, 3, 5)), mne.create_info(["a", "b", "c"], 100.0, "mag"), verbose=False)
    epochs.metadata = pd.DataFrame({"picture": np.repeat([0, 1, 2], 2)})
    print(*gradkern.recordings.from_epochs(epochs, image="picture", subject="subject 1", units="T").responses.shape)


def fmri() -> None:
    import nibabel

    for name, volumes in (("mask", 1), ("betas", 6)):
        values = np.random.default_rng(0).uniform(1, 2, (2, 2, 2, volumes)).astype(np.float32).squeeze()
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(f"{name}.nii")
    images = [[0, 1, 2, 0, 1, 2]]
    print(*gradkern.recordings.load_betas(["betas.nii"], images, mask="mask.nii", subject="subject 1").responses.shape)


def simulate() -> None:
    layers = {
        kind: [np.random.default_rng(i).standard_normal((IMAGES, 5)) for i in range(3)]
        for kind in ("activation", "gradient")
    }
    brain = gradkern.recordings.Brain("forward-then-backward", subjects=1, vertices=20, times=(0.0, 0.1, 0.2))
    fmri, meg = gradkern.simulate_brain(layers, brain)
    print(len(fmri), len(meg))


def public_names() -> None:
    """Print every public name that does not load, with the error."""
    packages = [gradkern]
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.ispkg and "._" not in module.name:
                packages.append(importlib.import_module(module.name))
        for name in package.__all__:
            try:
                getattr(package, name)
            except ImportError as error:
                print(f"{package.__name__}.{name}\t{error}")


def missing() -> None:
    """Print what calls say that need an extra."""
    Path("empty").touch()
    for extra, call in NEEDS.items():
        try:
            call()
        except ImportError as error:
            print(f"{extra}\t{error}")


def commands() -> None:
    """Print the help of every command."""
    for command in COMMANDS:
        with suppress(SystemExit):
            gradkern.cli.main([*command.split(), "--help"])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
