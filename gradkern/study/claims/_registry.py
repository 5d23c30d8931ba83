"""All claims of a study, in the order of the verdict.

The text of a claim is for people only. Tables, power, multiverse and report refer to its id.
"""

from collections.abc import Iterator, Sequence

from gradkern.features._engine.gradient_controls import CONTROLS
from gradkern.models._untrained import UNTRAINED
from gradkern.recordings._simulation.alternatives import ALTERNATIVES
from gradkern.study._excluded import rows_of
from gradkern.study._settings import COVARIATES, IMAGE_PERMUTED, Study
from gradkern.study.claims import _prediction as prediction
from gradkern.study.claims import _spatial as spatial
from gradkern.study.claims import _temporal as temporal
from gradkern.study.claims._beyond import beyond
from gradkern.study.claims._claim import FMRI, MEG, Claim, Expectation

CHOICES = {  # of the multiverse, that every claim of a modality hangs on
    FMRI: ("features", "fmri", "targets", "fmri subjects", "penalty"),
    MEG: ("features", "meg", "meg subjects", "penalty"),
}
PREFERENCE, LATENCY = "preference", "latency"  # choices that claims about depth and about latencies hang on too
SIMULATED_CONTROLS = (*CONTROLS, UNTRAINED)

_FORWARD, _BACKWARD, _MISPLACED = "forward", "forward-then-backward", "gradient-misplaced"
_DIFFICULTY = "difficulty"  # whose fMRI is that of a forward sweep
_SIGNAL, _GRADIENTS = (_FORWARD, _BACKWARD, _MISPLACED), (_BACKWARD, _MISPLACED)
_READS_OTHERWISE = tuple(ALTERNATIVES)  # brains without gradients that read activations, outputs, labels or images
_RAW = Expectation(0.05, _GRADIENTS, (_FORWARD, *_READS_OTHERWISE))
_LINEAR = Expectation(0.05, _GRADIENTS, _READS_OTHERWISE)
_BEYOND = Expectation(0.05, _GRADIENTS)
_UNORDERED = (_FORWARD, _MISPLACED)  # gradients have the order of the activations there


def claims_of(study: Study) -> tuple[Claim, ...]:
    """All claims that a study tests, in the order of its verdict.

    A modality without recordings keeps its main claims, which are then not tested.

    Examples
    --------
    >>> from gradkern.study.claims import claims_of_controls
    >>> claims_of_controls(())[1]
    Claim('gradient-predicts-fmri': gradients predict fMRI; fMRI, r)
    """
    present = {FMRI: bool(study.fmri), MEG: bool(study.meg)}
    claims = claims_of_controls(study.controls, rows_of(study))
    if study.test_images is not None:
        claims += tuple(map(_other_images, (FMRI, MEG)))
    return tuple(claim for claim in claims if present[claim.modality] or claim.id in _ALWAYS)


def claims_of_controls(controls: Sequence[str], rows: Sequence[str] = tuple(COVARIATES)) -> tuple[Claim, ...]:
    """Every claim that a study can test which has these controls, and what these rows about prediction exclude.

    Raises
    ------
    ValueError : two claims have one id
    """
    claims = tuple(_all_claims((IMAGE_PERMUTED, *controls), rows))
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"controls must have different names, got {list(controls)}")
    return claims


def simulated_claims() -> dict[str, Claim]:
    """Claims of the simulated studies, by id."""
    rows = [row for row in COVARIATES if row != "image-statistics"]  # the toy network's images are not pictures
    return {claim.id: claim for claim in claims_of_controls(SIMULATED_CONTROLS, rows)}


_MEASURED = "gradient-predicts-fmri-beyond:everything"  # by `benchmarks.alternatives`: the test that excludes most
_ALWAYS = (
    "activation-maps-hierarchy",
    "gradient-predicts-fmri",
    "gradient-predicts-fmri-beyond:activations",
    "gradient-predicts-meg",
    "gradient-predicts-meg-beyond:activations",
    "gradient-predicts-higher-areas-more",
    "gradient-later-than-activation",
    "gradient-has-spatial-order",
    "gradient-has-temporal-order",
)


def _all_claims(controls: Sequence[str], rows: Sequence[str]) -> Iterator[Claim]:
    fmri, depth = CHOICES[FMRI], (*CHOICES[FMRI], PREFERENCE)
    yield Claim(
        "activation-maps-hierarchy",
        "activations map the hierarchy",
        FMRI, "r", spatial.spatial_order, ("activation",), depth, Expectation(0.05, (*_SIGNAL, _DIFFICULTY)),
    )  # fmt: skip
    for modality in (FMRI, MEG):
        yield from _prediction_claims(modality, controls, rows)
    yield Claim(
        "gradient-predicts-higher-areas-more",
        "gradients predict higher areas more",
        FMRI, "r", spatial.higher_areas, (), fmri, Expectation(0.05, (_MISPLACED,), (_FORWARD, _BACKWARD)),
    )  # fmt: skip
    yield Claim(
        "gradient-later-than-activation",
        "gradients predict later than activations",
        MEG, "s", temporal.lag, (), (*CHOICES[MEG], LATENCY), Expectation(0.025, _GRADIENTS),
    )  # fmt: skip
    yield from _order_claims()


def _prediction_claims(modality: str, controls: Sequence[str], rows: Sequence[str]) -> Iterator[Claim]:
    stem, text, hangs_on = f"gradient-predicts-{modality.lower()}", f"gradients predict {modality}", CHOICES[modality]
    yield Claim(stem, text, modality, "r", prediction.prediction, (modality,), hangs_on, _RAW)
    for excluded, words in COVARIATES.items():
        if excluded == "linear-activations":
            yield Claim(
                f"{stem}-beyond:{excluded}",
                f"{text} beyond {words} (a diagnostic)",
                modality, "r", prediction.linear_diagnostic, (modality,), hangs_on, _LINEAR,
            )  # fmt: skip
        elif excluded in rows:
            id_, arguments = f"{stem}-beyond:{excluded}", (modality, excluded)
            own = _without_penalty(hangs_on)
            yield Claim(
                id_,
                f"{text} beyond {words}",
                modality, "share", beyond, arguments, own, _BEYOND,
                level_of="" if id_ == _MEASURED else _MEASURED,
            )  # fmt: skip
    for control in controls:
        id_, arguments = f"{stem}-more-than:{_slug(control)}", (modality, control)
        more = f"{text} more than {control}"
        yield Claim(id_, more, modality, "r", prediction.better_prediction, arguments, hangs_on, _RAW)


def _other_images(modality: str) -> Claim:
    """The claim of studies with test images, which simulated studies do not have."""
    return Claim(
        f"gradient-predicts-{modality.lower()}-in-other-images",
        f"gradients predict {modality} in the test images, by a fit to the others",
        modality, "r", prediction.prediction_of_other_images, (modality,), CHOICES[modality], _RAW,
    )  # fmt: skip


def _order_claims() -> Iterator[Claim]:
    depth, latency = (*_without_penalty(CHOICES[FMRI]), PREFERENCE), (*_without_penalty(CHOICES[MEG]), LATENCY)
    space = "gradients have the spatial order of backpropagation"
    time = "gradients have the temporal order of backpropagation"
    permuted = "more than with layers in another order"
    # neighbouring layers are alike, so that permuted layers are often in order by chance
    among_layers = Expectation(0.05, (_BACKWARD,), _UNORDERED)
    yield Claim(
        "gradient-has-spatial-order",
        space,
        FMRI, "r", spatial.spatial_order, ("gradient",), depth, Expectation(0.05, (_BACKWARD,), _UNORDERED),
    )  # fmt: skip
    yield Claim(
        "gradient-has-spatial-order-more-than:layer-permutation",
        f"{space} {permuted}",
        FMRI, "r", spatial.spatial_order_of_layers, (), depth, among_layers,
    )  # fmt: skip
    yield Claim(
        "gradient-has-temporal-order",
        time,
        MEG, "s", temporal.temporal_order, (), latency, Expectation(0.025, (_BACKWARD,)),
    )  # fmt: skip
    yield Claim(
        "gradient-has-temporal-order-more-than:layer-permutation",
        f"{time} {permuted}",
        MEG, "s", temporal.temporal_order_of_layers, (), latency, among_layers,
    )  # fmt: skip


def _without_penalty(choices: tuple[str, ...]) -> tuple[str, ...]:
    """What a claim hangs on whose test is of shares that gradients add: there is no ridge in it."""
    return tuple(choice for choice in choices if choice != "penalty")


def _slug(control: str) -> str:
    """A control in an id: "gradient/x" is x. Names that a set of covariates has, and other kinds, are written whole."""
    short = control.removeprefix("gradient/")
    return short if short != control and short not in COVARIATES else f"kind={control}"
