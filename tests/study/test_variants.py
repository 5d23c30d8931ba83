"""Choices of a study: means over regions and subjects are means, and what has none is refused; tables in words."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.ridge import CrossValidation
from gradkern.study import FeatureSet, Study, StudyVariants, VerdictSettings, choices, region_means, subject_mean
from gradkern.study.power import simulated_rates
from gradkern.study.report import in_words, power_table

RANDOM = np.random.default_rng(0)
TARGETS = pd.DataFrame(
    {
        "label": list("abcdef"),
        "hemisphere": ["left", "left", "right", "left", "left", "left"],
        "roi": ["V1", "V1", "V1", "", "V4", "V4"],
        "x": [0.0, 2, 5, 9, 1, 1],
        "distance": [0.0, 1, 3, 3, np.nan, 7],
    }
)


def recording(subject: str = "s", images: Any = (2, 0, 1), **changes: Any) -> Recording:
    given = {
        "responses": RANDOM.standard_normal((3, 6)).astype(np.float32),
        "presentations": pd.DataFrame({"image": list(images), "repeats": [1, 2, 3]}),
        "targets": TARGETS,
        "subject": subject,
        "units": "z",
        "ncsnr": np.ones(6),
    }
    return Recording(**(given | changes))


def test_regions_are_means_of_their_targets_by_hemisphere() -> None:
    one = recording()
    found, Y = region_means(one, "distance"), np.asarray(one.responses)
    assert found.labels == ("left V1", "right V1", "left V4")
    np.testing.assert_allclose(found.responses, np.stack([Y[:, :2].mean(1), Y[:, 2], Y[:, 5]], axis=1), rtol=1e-6)
    assert found.targets[["x", "distance", "targets"]].values.tolist() == [[1, 0.5, 2], [5, 3, 1], [1, 7, 1]]
    assert found.ncsnr is None
    assert found.excluded[-1].count == 2
    np.testing.assert_array_equal(found.image_ids, one.image_ids)


def test_targets_without_a_hemisphere_belong_to_no_region() -> None:
    one = recording(targets=TARGETS.assign(hemisphere=["left", None, "right", "left", "left", "left"]))
    found, Y = region_means(one, "distance"), np.asarray(one.responses)
    assert found.labels == ("left V1", "right V1", "left V4")
    np.testing.assert_allclose(found.responses[:, 0], Y[:, 0], rtol=1e-6)
    assert found.excluded[-1].count == 3


def test_targets_with_nan_are_left_out_of_the_mean_of_their_region() -> None:
    Y = np.asarray(recording().responses).copy()
    Y[1, 0], Y[0, 2] = np.nan, np.nan
    found = region_means(recording(responses=Y), "distance")
    np.testing.assert_allclose(np.asarray(found.responses)[:, [0, 2]], Y[:, [1, 5]], rtol=1e-6)
    assert np.isnan(found.responses[:, 1]).all()  # its only target
    assert found.targets["targets"].tolist() == [1, 0, 1]
    assert (found.excluded[-1].count, found.excluded[-1].reason) == (2, "NaN in a response")


def test_a_region_without_an_axis_is_left_out_by_name_and_one_without_hemisphere_is_not() -> None:
    unplaced = TARGETS.assign(distance=[0.0, 1, np.nan, 3, np.nan, 7])
    found = region_means(recording(targets=unplaced), "distance")
    assert found.labels == ("left V1", "left V4")
    (gone,) = [each for each in found.excluded if each.what == "regions"]
    assert (gone.count, gone.reason) == (1, "no target has a distance: 'right V1'")
    lost = TARGETS.assign(hemisphere=["left", "left", "right", "left", None, None])
    message = r"regions of s must keep .* none left of 'V4' \(1 without a hemisphere, 1 without a distance\)"
    with pytest.raises(ValueError, match=message):
        region_means(recording(targets=lost), "distance")


def test_a_named_layer_is_that_of_the_nearest_depth_in_other_features() -> None:
    three, five = ([RANDOM.standard_normal((3, 4)) for _ in range(n)] for n in (3, 5))
    first, other = (
        FeatureSet({"activation": layers, "gradient": layers}, np.linspace(0, 1, len(layers)))
        for layers in (three, five)
    )
    made = StudyVariants({"a": first, "b": other}, {"betas": [recording("1")]}, {})
    change = choices(made, VerdictSettings())["features"]["b"]
    assert change(made.study(), VerdictSettings(layer=2))[1].layer == 4
    assert change(made.study(), VerdictSettings(layer=1))[1].layer == 2
    assert change(made.study(), VerdictSettings())[1].layer is None


def test_subjects_are_averaged_image_by_image() -> None:
    one, other = recording("1"), recording("2", images=(0, 1, 2))
    found = subject_mean([one, other], "distance")
    Y = [np.asarray(each.responses) for each in (one, other)]
    np.testing.assert_allclose(found.responses, (Y[0][[1, 2, 0]] + Y[1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(found.image_ids, [0, 1, 2])
    np.testing.assert_array_equal(found.repeats, [2 + 1, 3 + 2, 1 + 3])
    assert found.ncsnr is None
    assert found.subject == "mean of 2 subjects"


REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
    (lambda: region_means(recording(targets=TARGETS[["label"]]), "x"), r"must have 'roi', got \['label'\]"),
    (lambda: region_means(recording(targets=TARGETS.assign(roi="")), "x"), "must lie in regions, got none"),
    (lambda: subject_mean([recording()], "x"), "subjects must be at least 2, got 1"),
    (lambda: subject_mean([recording("1"), recording("2", (3, 1, 0))], "x"), "same images, got 3 and 3, 2 of them"),
    (
        lambda: subject_mean([recording("1"), recording("2", targets=TARGETS.assign(distance=1.0))], "distance"),
        r"same targets, got different \['distance'\] of 1 and 2",
    ),
    (lambda: subject_mean([recording("1"), recording("2", units="%")], "x"), "units must be the same, got 'z' and '%'"),
    (lambda: StudyVariants({}, {}, {}), "features must have at least one name"),
)  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_has_no_mean_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_choices_change_what_they_say_and_nothing_else() -> None:
    layers = [RANDOM.standard_normal((3, 4)) for _ in range(3)]
    features = FeatureSet({"activation": layers, "gradient": layers}, [0, 0.5, 1])
    made = StudyVariants({"a": features}, {"betas": [recording("1"), recording("2")]}, {})
    study, settings = made.study(), VerdictSettings(cv=CrossValidation(selection="loo", alphas=(0.1, 3.16, 100.0)))
    options = choices(made, settings)
    assert set(options) == {"targets", "fmri subjects", "penalty", "preference"}
    assert list(options["penalty"]) == ["by leave-one-out", "by GCV", "by k-fold", "3.16 for all"]
    for each in options.values():
        first, *others = each.values()
        assert first(study, settings) == (study, settings)
        assert all(other(study, settings) != (study, settings) for other in others)
    one: Study = options["fmri subjects"]["responses averaged"](study, settings)[0]
    assert [each.subject for each in one.fmri] == ["mean of 2 subjects"]
    assert options["penalty"]["by k-fold"](study, settings) == (
        study,
        replace(settings, cv=replace(settings.cv, selection="kfold")),
    )
    (alpha,) = options["penalty"]["3.16 for all"](study, settings)[1].cv.alphas
    assert alpha in settings.cv.alphas


ROW = {"conclusion": "not found", "why": "", "against": "x", "smallest p": 0.01, "power": np.nan}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"conclusion": "not tested", "why": "no MEG"}, "Not tested: no MEG."),
        ({"conclusion": "supported"}, "Supported, tested against x."),
        ({}, "Not found. The test's power for a study of this size is unknown."),
        ({"power": 0.9, "simulated": "9 of 10 such"}, "would probably have been detected: .* in 9 of 10 such"),
        ({"power": 0.3, "simulated": "3 of 10 such"}, "This null result says little: .* in 3 of 10 such"),
    ],
)
def test_a_null_result_is_told_with_what_it_is_worth(changes: dict[str, Any], words: str) -> None:
    assert re.search(words, in_words(ROW | changes))


def test_the_table_of_power_holds_the_rates() -> None:
    rates, test = simulated_rates(), "gradient-predicts-fmri-beyond:linear-activations"
    table = power_table(rates, [test, "gradient-predicts-fmri", test])
    assert [row["id"] for row in table["rows"]] == [test, "gradient-predicts-fmri"]
    assert table["size"] == "500 images, 5 subjects, a noise ceiling of 0.5"
    here = rates[(rates["images"] == 500) & (rates["subjects"] == 5) & (rates["ceiling"] == 0.5)]
    first = here[here["id"] == test].set_index("organisation").loc[table["organisations"]]
    assert table["brains"] == first["runs"].sum()
    for cell, (_, row) in zip(table["rows"][0]["cells"], first.iterrows(), strict=True):
        assert cell == {"text": f"{row['found']} of {row['runs']}", "odd": row["as expected"] is False}
    seldom = power_table(rates, ["gradient-later-than-activation"])["rows"][0]["cells"]
    assert seldom[table["organisations"].index("forward")]["text"] == "2 of 70, 50 not tested"
    inherited = table["rows"][1]["cells"][table["organisations"].index("forward")]
    assert inherited["text"].startswith("(")
    with pytest.raises(ValueError, match=r"power_table: ids must be in the rates, got \['luck'\]"):
        power_table(rates, ["luck"])
