"""Splits by the names of images: LAION-fMRI's published ones, and any in a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradkern.errors import Refused
from gradkern.recordings import Recording, assign_split, named, published

NAMES = (
    *(f"shared_12rep_LAION_cluster_{i}_i0.jpg" for i in range(6)),
    *(f"shared_4rep_OOD_{kind}_{i}.png" for kind in ("shape", "gabor", "illusion-classic") for i in range(2)),
    *(f"unique_LAION_{i}.jpg" for i in range(3)),
)


def recording(names: tuple[str, ...] | None = NAMES, ids: Any = None) -> Recording:
    ids = np.tile(np.arange(len(NAMES)), 2) if ids is None else np.asarray(ids)
    label = pd.DataFrame({"label": ["v"]})
    return Recording(np.ones((len(ids), 1)), pd.DataFrame({"image": ids}), label, "s", "u", image_names=names)


def laion(name: str, train: list[str], test: list[str]) -> dict[str, Any]:
    """The schema of the split files of the laion_fmri package."""
    return {
        "name": name, "pool": "shared", "splitter": "x", "params": {}, "n_train": len(train), "n_test": len(test),
        "variants": [{"variant_id": 0, "train_ids": train, "test_ids": test}],
    }  # fmt: skip


@given(order=st.permutations(range(len(NAMES))), cut=st.integers(1, len(NAMES) - 2), gone=st.integers(0, 2))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_form_gives_the_same_rows(tmp_path: Path, order: list[int], cut: int, gone: int) -> None:
    images = [NAMES[i] for i in order[gone:]]
    cut = min(cut, len(images) - 1)
    train, test = images[:cut], images[cut:]
    whole = recording()
    expected = [np.flatnonzero(np.isin(np.array(NAMES)[whole.image_ids], part)).tolist() for part in (train, test)]
    table = pd.DataFrame({"image": [*train, *test], "tau": ["train"] * len(train) + ["test"] * len(test)})
    forms: list[tuple[Any, str | None]] = [({"train": train, "test": test}, None)]
    (tmp_path / "tau.json").write_text(json.dumps(laion("tau", train, test)))
    forms += [(tmp_path / "tau.json", None), (tmp_path / "tau.json", "tau"), (tmp_path, "tau")]
    (tmp_path / "all.json").write_text(json.dumps({"tau": {"train": train, "test": test}, "other": {}}))
    forms.append((tmp_path / "all.json", "tau"))
    table.to_csv(tmp_path / "s.csv", index=False)
    table.rename(columns={"tau": "split"}).to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    forms += [(tmp_path / "s.csv", "tau"), (tmp_path / "s.tsv", None)]
    for source, name in forms:
        assert [part.tolist() for part in named(whole, source, name)] == expected, (source, name)


def test_categories_out_of_distribution(tmp_path: Path) -> None:
    (tmp_path / "ood.json").write_text(json.dumps(laion("ood", list(NAMES[:6]), list(NAMES[6:12]))))
    for name, categories, count in (
        ("ood", None, 6),
        ("ood_shape", None, 2),
        ("ood", ["gabor", "illusion-classic"], 4),
    ):
        train, test = named(recording(), tmp_path, name, categories=categories)
        assert (len(train), len(test)) == (12, 2 * count)
    with pytest.raises(ValueError, match=r"categories must be some of \['gabor', 'illusion-classic', 'shape'\]"):
        named(recording(), tmp_path, "ood_faces")


def test_the_recording_keeps_the_split_and_says_so() -> None:
    parts = {"train": ["folder/a.png"], "test": ["b.png"]}
    images = recording(("a.png", "x/b.png", "c.png"), [0, 1, 2, 0])
    split = assign_split(images, parts)
    assert split.presentations["split"].tolist() == ["train", "test", "", "train"]
    assert [part.tolist() for part in published(split)] == [[0, 3], [1]]
    assert "2 to train, 1 to test" in split.history[-1]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    whole, names = recording(), list(NAMES)
    with pytest.raises(ValueError, match=r"got 1 of 3 others, first 'x' \(partial=True"):
        named(whole, {"train": [names[0], "x"], "test": [names[1]]})
    assert len(named(whole, {"train": [names[0], "x"], "test": [names[1]]}, partial=True)[0]) == 2
    with pytest.raises(ValueError, match="twice in train and in test"):
        named(whole, {"train": names[:2], "test": names[1:3]})
    with pytest.raises(Refused, match="must be left to test, got none"):
        named(whole, {"train": names, "test": []})
    with pytest.raises(Refused, match="must have image_names, got none"):
        named(recording(None), {"train": ["a"], "test": ["b"]})
    (tmp_path / "tau.json").write_text(json.dumps(laion("tau", names[:3], names[3:]) | {"n_train": 4}))
    with pytest.raises(ValueError, match="must name the 4 images of its n_train, got 3"):
        named(whole, tmp_path, "tau")
    (tmp_path / "x.json").write_text(json.dumps(laion("tau", names[:3], names[3:])))
    with pytest.raises(ValueError, match="must hold the split 'ood', got 'tau'"):
        named(whole, tmp_path / "x.json", "ood")
    for text in ("", "[]", '{"train": "a", "test": "b"}', '{"train": [1], "test": ["b"]}', '{"variants": []}', "{}"):
        (tmp_path / "y.json").write_text(text)
        with pytest.raises(ValueError, match=r"y\.json"):
            named(whole, tmp_path / "y.json")
    with pytest.raises(FileNotFoundError, match=r"random_0\.json"):
        named(whole, tmp_path, "random_0")
