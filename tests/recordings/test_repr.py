"""What a user's object shows of itself fits a screen and says what it holds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gradkern.recordings import Brain, Excluded, Recording, load_kay2017, noise_ceiling, readers


def many() -> Recording:
    """Hundreds of images, long histories, long names."""
    n, v = 300, 40
    return Recording(
        responses=np.zeros((n, v), np.float32),
        presentations=pd.DataFrame({"image": range(n), "session": 1}),
        targets=pd.DataFrame({"label": range(v), "roi": "V1"}),
        subject="<01>",
        units="percent signal change",
        space="fsaverage",
        images=np.zeros((n, 64, 64, 3), np.uint8),
        image_names=tuple(f"{number}.png" for number in range(n)),
        excluded=(Excluded("targets", 3, "without data in some session"),),
        history=(*(f"step {number}" for number in range(50)), "x" * 1000),
    )


def fits(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) <= 24 and max(map(len, lines)) <= 120


def test_a_recording_says_what_it_holds() -> None:
    text = repr(many())
    assert fits(text)
    for words in (
        "Recording of subject '<01>'",
        "300 presentations x 40 targets, float32",
        "percent signal change",
        "fsaverage",
        "300 shown, 300 in the image source",
        "image, session, repeats",
        "label, roi",
        "3 targets: without data in some session",
        "step 0",
        "and 43 more",
    ):
        assert words in text
    html = many()._repr_html_()
    assert html.startswith("<table>")
    assert "Recording of subject &#x27;&lt;01&gt;&#x27;" in html
    assert "<td>fsaverage</td>" in html


def test_without_images_or_history() -> None:
    bare = replace(many(), images=None, image_names=None, history=(), excluded=(), space="")
    assert "300 shown\n" in repr(bare)
    assert "unknown" in repr(bare)
    assert "history" not in repr(bare)


@pytest.mark.parametrize("averaged", [False, True])
def test_responses_and_ceilings(averaged: bool) -> None:
    kay = load_kay2017()
    kay = kay.average_repeats() if averaged else kay
    assert repr(kay.responses).startswith("Responses [115 presentations, 2 targets] of float32, read when needed")
    ceiling = noise_ceiling(kay)
    assert fits(repr(ceiling))
    assert "median 0.78" in repr(ceiling)
    assert "115, repeats: 1" in repr(ceiling)
    assert "<table>" in ceiling._repr_html_()
    assert "2, unknown at 2" in repr(replace(ceiling, r=np.full(2, np.nan)))


def test_the_table_of_readers() -> None:
    assert fits(repr(readers()))
    assert "nsd  " in repr(readers())
    assert "(load_nsd)" in readers()._repr_html_()


def test_a_simulated_brain() -> None:
    text = repr(Brain(subjects=7))
    assert text.startswith("Brain('forward-then-backward', subjects=7, ")
    assert "29 times" in text
    assert len(text) < 160
