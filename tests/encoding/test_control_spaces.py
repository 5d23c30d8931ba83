"""Controls as feature spaces: what they are, that folds keep to themselves, and that a file says which were made."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import PredefinedSplit

from gradkern import Recording, Sketch
from gradkern.cli import main
from gradkern.encoding import (
    CONTROLS,
    FeatureSpace,
    Residualized,
    control_spaces,
    image_permuted,
    inner_groups,
    join_captures,
    layer_permuted,
    load_scores,
    outer_folds,
    residualize,
    score,
    unit_gradients,
    unit_length,
)
from gradkern.features import Features, load_features
from gradkern.recordings import save_recording
from gradkern.ridge import CrossValidation, cross_val_score
from tests.fake_datasets.captures_and_recordings import arguments, recording, write

N, V, LAYERS = 60, 3, ("a", "b", "c")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("study"))


def captured() -> dict[FeatureSpace, Any]:
    """Gradients are partly a linear function of the activations of their layer and of another one."""
    random = np.random.default_rng(0)
    A = {layer: random.standard_normal((N, 6)) * size for layer, size in zip(LAYERS, (1, 50, 0.1), strict=True)}
    arrays: dict[tuple[str, str], Any] = {("activation", layer): values for layer, values in A.items()}
    for layer, other in zip(LAYERS, np.roll(LAYERS, 1), strict=True):
        mixed = A[layer] @ random.standard_normal((6, 5)) + A[str(other)] @ random.standard_normal((6, 5))
        arrays["gradient", layer] = mixed + 0.5 * random.standard_normal((N, 5))
    tensors = {key: torch.from_numpy(values.astype(np.float32)) for key, values in arrays.items()}
    facts = {"model": "net", "depth": {"a": 0.0, "b": 0.5, "c": 1.0}}
    return join_captures([Features(tensors, torch.zeros(N), "loss", Sketch(64), "float32", facts=facts)])


def brain(repeats: int = 2) -> Recording:
    """Two presentations an image but the last 5 images, which were not shown; responses are of the gradients."""
    random = np.random.default_rng(1)
    ids = np.tile(np.arange(N - 5), repeats)
    signal = np.asarray(captured()[space("gradient", "b")]) @ random.standard_normal((5, V))
    return Recording(
        responses=(signal[ids] + 20 * random.standard_normal((len(ids), V))).astype(np.float32),
        presentations=pd.DataFrame({"image": ids, "concept": [f"c{i % 11}" for i in ids]}),
        targets=pd.DataFrame({"label": list("xyz")}),
        subject="s",
        units="z",
    )


def space(kind: str, layer: str) -> FeatureSpace:
    return FeatureSpace("net", "none" if kind == "activation" else "loss", kind, layer)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_inner_folds_of_residualized_features_can_be_the_other_outer_folds() -> None:
    how = CrossValidation(folds=3, selection="kfold", inner_folds="outer", alphas=(0.01, 0.3, 10.0))
    spaces, one = captured(), brain()
    found = score(control_spaces(unit_gradients(spaces), spaces, ["residualized-same-layer"]), one, how)
    shown, groups = np.arange(N - 5), inner_groups(how, one)
    A, G = (np.asarray(spaces[space(kind, LAYERS[1])], dtype=np.float64)[shown] for kind in ("activation", "gradient"))
    G = unit_length(G)
    splits = outer_folds(how, one)
    held_in = np.empty(len(one.image_ids), int)
    for fold, (_, test) in enumerate(splits):
        held_in[test] = fold
    for fold, (train, test) in enumerate(splits):
        trained = np.unique(one.image_ids[train])
        X = residualize(G, A, trained, groups=groups[shown])
        X = X / np.sqrt(((X[trained] - X[trained].mean(0)) ** 2).sum(1).mean())
        expected = cross_val_score(
            X[one.image_ids], np.asarray(one.responses, dtype=np.float64), how.alphas, cv=[(train, test)],
            inner_cv=PredefinedSplit(held_in[train]), groups=groups,
        )  # fmt: skip
        np.testing.assert_allclose(found.r[1, fold], expected[0], atol=2e-4)


@pytest.mark.parametrize("by", ["image", "concept"])
@pytest.mark.parametrize("which", ["same-layer", "all-layers"])
def test_residualized_scores_are_those_of_a_loop_over_folds(by: str, which: str) -> None:
    spaces, one, how = captured(), brain(), CrossValidation(by=by, folds=3, alphas=(0.01, 0.3, 10.0))
    unit = unit_gradients(spaces)
    control = control_spaces(unit, spaces, [f"residualized-{which}"])
    found = score(control, one, how)
    assert found.feature.values.tolist() == [f"net/loss/gradient/residualized-{which}/{layer}" for layer in LAYERS]
    assert found.depth.values.tolist() == [0, 0.5, 1]
    shown = np.arange(N - 5)  # each once: an image's features are no more certain for being shown twice
    A = {layer: np.asarray(spaces[space("activation", layer)], dtype=np.float64)[shown] for layer in LAYERS}
    for layer in LAYERS:
        G = unit_length(np.asarray(spaces[space("gradient", layer)], dtype=np.float64))[shown]
        for fold, (train, test) in enumerate(outer_folds(how, one)):
            given = A[layer] if which == "same-layer" else list(A.values())
            trained = np.unique(one.image_ids[train])
            X = residualize(G, given, trained, groups=inner_groups(how, one)[shown])
            X = X / np.sqrt(((X[trained] - X[trained].mean(0)) ** 2).sum(1).mean())
            Y = np.asarray(one.responses, dtype=np.float64)
            expected = cross_val_score(
                X[one.image_ids], Y, how.alphas, cv=[(train, test)], groups=inner_groups(how, one), scoring=("r", "r2")
            )
            for scored, name in zip(expected, ("r", "r2"), strict=True):
                got = found[name].sel(feature=f"net/loss/gradient/residualized-{which}/{layer}", fold=fold)
                np.testing.assert_allclose(got, scored[0], atol=2e-4)


def test_what_is_held_out_has_no_part_in_the_fit() -> None:
    """Training images keep their residuals, whatever the features of the others are."""
    one, cv, spaces = brain(), CrossValidation(folds=3), captured()
    splits, residuals = outer_folds(cv, one), {}
    for changed in (False, True):
        for number, (train, test) in enumerate(splits):
            moved = {key: np.array(np.asarray(values)) for key, values in spaces.items()}
            for values in moved.values():
                values[one.image_ids[test]] *= 7 if changed else 1
            seen: list[np.ndarray] = []

            def watch(values: np.ndarray, seen: list[np.ndarray] = seen) -> np.ndarray:
                seen.append(values)
                return values

            control = control_spaces(moved, moved, ["residualized-all-layers"])
            score({name: replace(X, transform=watch) for name, X in control.items()}, one, cv)
            assert len(seen) == len(LAYERS) * len(splits)
            in_fold = seen[number * len(LAYERS) : (number + 1) * len(LAYERS)]
            residuals[changed, number] = [values[np.unique(one.image_ids[train])] for values in in_fold]
    for number in range(len(splits)):
        for first, second in zip(residuals[False, number], residuals[True, number], strict=True):
            np.testing.assert_array_equal(first, second)


def test_what_the_activations_tell_of_the_gradients_is_gone() -> None:
    """Responses are made of what gradients owe to the activations, or of the rest."""
    spaces, random = captured(), np.random.default_rng(0)
    A = [np.asarray(spaces[space("activation", layer)], dtype=np.float64) for layer in LAYERS]
    linear, own = A[0] @ random.standard_normal((6, 5)), 2 * random.standard_normal((N, 5))
    spaces = spaces | {space("gradient", "a"): (linear + own).astype(np.float32)}
    both = spaces | control_spaces(spaces, spaces, ["residualized-same-layer"])
    r = {}
    for name, part in (("linear", linear), ("own", own)):
        Y = part @ random.standard_normal((5, 30)) + 0.5 * random.standard_normal((N, 30))
        shown, targets = pd.DataFrame({"image": range(N)}), pd.DataFrame({"label": [str(v) for v in range(30)]})
        scores = score(both, Recording(Y.astype(np.float32), shown, targets, "s", "z")).r
        for kind in ("gradient", "gradient/residualized-same-layer"):
            r[name, kind] = float(scores.sel(feature=f"net/loss/{kind}/a").mean())
    # not nothing: a ridge shrinks, and leaves some of what it takes out
    assert r["linear", "gradient"] > 0.6 > 0.3 > r["linear", "gradient/residualized-same-layer"]
    assert r["own", "gradient/residualized-same-layer"] > 0.85 > r["own", "gradient"]


def test_scores_do_not_depend_on_what_fits_into_memory() -> None:
    spaces = captured()
    control = control_spaces(spaces, spaces, CONTROLS[2:])
    whole = score(control, brain())
    np.testing.assert_allclose(score(control, brain(), memory=1).r, whole.r, atol=2e-3)  # residuals of float32


def test_other_controls_are_what_they_are_called() -> None:
    spaces = captured()
    unit = unit_gradients(spaces)
    made = control_spaces(unit, spaces, ["raw", "image-permuted", "layer-permuted"], seed=3)
    gradients = {layer: np.asarray(unit[space("gradient", layer)]) for layer in LAYERS}
    moved = layer_permuted(gradients, seed=3)
    for layer in LAYERS:
        assert made[space("gradient/raw", layer)] is spaces[space("gradient", layer)]
        np.testing.assert_array_equal(made[space("gradient/layer-permuted", layer)], moved[layer])
        np.testing.assert_array_equal(
            made[space("gradient/image-permuted", layer)], image_permuted(gradients[layer], seed=3)
        )
    (length,) = (
        values for name, values in control_spaces(spaces, spaces, ["unit-length"]).items() if name.layer == "a"
    )
    np.testing.assert_array_equal(np.asarray(length), gradients["a"])


def test_a_feature_space_under_two_names_is_scored_once() -> None:
    read: list[FeatureSpace] = []
    spaces: dict[FeatureSpace, Any] = {name: CountedReads(values, name, read) for name, values in captured().items()}
    found = score(spaces | control_spaces(spaces, spaces, ["layer-permuted"]), brain(1))
    assert read == list(spaces)
    assert len(read) == 6
    plain = found.r.sel(feature=[f"net/loss/gradient/{layer}" for layer in LAYERS]).values
    permuted = found.r.sel(feature=[f"net/loss/gradient/layer-permuted/{layer}" for layer in LAYERS]).values
    assert sorted(plain.tolist()) == sorted(permuted.tolist())
    assert (plain != permuted).any(axis=(1, 2)).all()


@dataclass(frozen=True)
class CountedReads:
    """A feature space that notes whenever it is read."""

    values: Any
    name: FeatureSpace
    read: list[FeatureSpace]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.read.append(self.name)
        return np.asarray(self.values, dtype=dtype)


def test_the_spelling_of_earlier_versions_is_taken() -> None:
    spaces = captured()
    control = control_spaces(spaces, spaces, ["residualised-same-layer"])
    assert {name.kind for name in control} == {"gradient/residualized-same-layer"}


ALONE = {name: values for name, values in captured().items() if name.layer == "a"}
REFUSED = (
    (lambda: control_spaces(ALONE, ALONE, ["none"]), r"controls must be some of raw, .*, got 'none'"),
    (lambda: control_spaces(ALONE, ALONE, ["raw", "raw"]), r"must be named once each, got \['raw', 'raw'\]"),
    (lambda: control_spaces({}, ALONE, ["raw"]), r"spaces must hold gradients, got only \[\]"),
    (lambda: control_spaces(ALONE, ALONE, ["layer-permuted"]), r"must be of at least 2 layers, got \['a'\]"),
    (
        lambda: control_spaces(captured(), ALONE, ["residualized-same-layer"]),
        r"must hold the activations of same layer for net/loss/gradient/b, got those of layers \['a'\]",
    ),
    (
        lambda: control_spaces(ALONE, {}, ["residualized-all-layers"]),
        r"the activations of all layers for net/loss/gradient/a, got those of layers \[\]",
    ),
)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


class TestEncode:
    def test_controls_are_kinds_of_the_file(self, folders: Path, tmp_path: Path) -> None:
        save_recording(recording(), tmp_path / "s.h5")
        few = ["--kinds", "gradient", "--layers", "1", "--folds", "3", "--seed", "2"]
        kinds = ["residualized-all-layers", "residualized-same-layer", "image-permuted", "raw"]
        call = arguments(folders, tmp_path / "o", *few, "--controls", *kinds)
        assert main(call) == 0
        scores = load_scores(tmp_path / "o")["s1"].to_dataset().set_index(feature=["objective", "kind", "layer"])
        assert set(scores.kind.values) == {"gradient", *(f"gradient/{kind}" for kind in kinds)}
        # of all captured layers, also of those that are not scored
        cube = {key: np.asarray(values) for key, values in load_features(folders / "cube").items()}
        G, given = unit_length(cube["gradient", "1"]), [cube["activation", layer] for layer in "01"]
        spaces = {
            "residualized-all-layers": Residualized(G, given),
            "residualized-same-layer": Residualized(G, given[1]),
            "image-permuted": image_permuted(G, seed=2),
            "raw": cube["gradient", "1"],
        }
        expected = score(spaces, recording(), CrossValidation(folds=3, seed=2))
        for kind in kinds:
            found = scores.r.sel(feature=("_cube", f"gradient/{kind}", "1"))
            np.testing.assert_allclose(found, expected.r.sel(feature=kind), atol=1e-5)

    def test_other_controls_make_another_file(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call = arguments(folders, tmp_path / "o", "--folds", "2", "--kinds", "gradient", "--layers", "1")
        assert main([*call, "--controls", "residualized-same-layer"]) == 0
        made_from = json.loads(load_scores(tmp_path / "o")["s1"].attrs["made_from"])
        assert made_from["controls"] == {"kinds": ["residualized-same-layer"], "seed": 0}
        assert made_from["activations"] == ["Sequential/none/activation/0", "Sequential/none/activation/1"]
        capsys.readouterr()
        assert main([*call, "--controls", "residualized-same-layer"]) == 0
        assert capsys.readouterr().out.count("kept") == 2
        assert main(call) == 2
        assert 'controls.kinds: ["residualized-same-layer"], now []' in capsys.readouterr().err
