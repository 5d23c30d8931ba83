"""Do gradients predict responses beyond what else a brain may read: activations, outputs, labels, images?"""

from collections.abc import Sequence

import numpy as np

from gradkern.encoding._conditional_result import ConditionalTest, pooled
from gradkern.errors import Refused
from gradkern.stats._bootstrap import Floats
from gradkern.stats._intervals import over_subjects
from gradkern.study._excluded import parts_of
from gradkern.study.claims._claim import Row
from gradkern.study.claims._scored import ScoredStudy, Subject


def beyond(scored: ScoredStudy, modality: str, excluded: str) -> Row:
    """Share of variance that gradients add to random readouts of the confounds, at the layer where it is clearest.

    All layers are tested, unless the settings name one. The null distribution is that of the largest of all layers.
    """
    subjects = [_tested(scored, subject, excluded) for subject in scored.subjects[modality]]
    tests: dict[int, list[ConditionalTest]] = {}
    refused: dict[int, str] = {}
    for number, layer in enumerate(_layers(scored)):
        results = [subject[number] for subject in subjects]
        why = next((str(result) for result in results if isinstance(result, Refused)), None)
        if why is not None:
            refused[layer] = why
        else:
            tests[layer] = [result for result in results if isinstance(result, ConditionalTest)]
    if not tests:
        raise Refused(next(iter(refused.values())))
    together = {layer: pooled(subjects) for layer, subjects in tests.items()}
    best = max(together, key=lambda layer: float(_in_units_of_null(together[layer])[0]))
    names = [subject.name for subject in scored.subjects[modality]]
    shares = np.array([test.share for test in tests[best]])
    low = high = np.nan
    if len(shares) > 1:
        interval = over_subjects(shares, bound=1)
        low, high = interval.low, interval.high
    parts = parts_of(excluded, scored.excluded()).parts
    against = f"random readouts, linear and nonlinear, of {', '.join(parts)}"
    reasons = ", ".join(f"layer {number + 1} ({why})" for number, why in refused.items())
    lost = f"; not tested at {reasons}" if refused else ""
    where = f"layer {best + 1}, the clearest of {len(tests)}" if len(tests) > 1 else f"layer {best + 1}"
    return Row(
        together[best].share,
        _largest_p(list(together.values())),
        low,
        high,
        together[best].smallest_p,
        scored.ceiling(modality),
        against + lost,
        by_subject=dict(zip(names, shares.tolist(), strict=True)),
        p_without=_without_each(names, tests) if len(names) > 1 else {},
        by_layer={f"layer {number + 1}": test.share for number, test in together.items()},
        layer=where,
    )


def _in_units_of_null(test: ConditionalTest) -> Floats:
    """The share and the shares of the null [1 + permutations], in standard deviations of the null."""
    values = np.array([test.share, *test.null])
    scaled: Floats = values / max(float(test.null.std()), 1e-12)
    return scaled


def _largest_p(tests: Sequence[ConditionalTest]) -> float:
    """p of the largest of several layers, among the largest of each permutation."""
    largest = np.max([_in_units_of_null(test) for test in tests], axis=0)
    return float((1 + (largest[1:] >= largest[0] - 1e-9 * abs(largest[0])).sum()) / len(largest))


def _without_each(names: Sequence[str], tests: dict[int, list[ConditionalTest]]) -> dict[str, float]:
    """p of the test without each of the subjects."""
    return {
        name: _largest_p([pooled(subjects[:number] + subjects[number + 1 :]) for subjects in tests.values()])
        for number, name in enumerate(names)
    }


def _layers(scored: ScoredStudy) -> list[int]:
    """Layers that are tested: all, unless the settings name one."""
    settings = scored.settings
    return list(range(len(scored.features["gradient"]))) if settings.layer is None else [settings.layer]


def _tested(scored: ScoredStudy, subject: Subject, excluded: str) -> list[ConditionalTest | Refused]:
    """The tests of a subject's responses at all layers.

    They are of one model of the responses, which excludes everything, of all subjects who saw the same images.
    """
    first = scored.first_alike(subject)
    tests = scored.once(("conditional tests", first.modality, first.name), lambda: _tests(scored, subject))
    name = _key(subject)
    return [result if isinstance(result, Refused) else result[name] for result in tests[excluded]]


def _tests(scored: ScoredStudy, subject: Subject) -> dict[str, list[dict[str, ConditionalTest] | Refused]]:
    """For each row, and each layer, the tests of all subjects who saw the images of this one."""
    everything, settings = scored.excluded(), scored.settings
    rows = list(dict.fromkeys(row for _, row in scored.exclusions))
    alike = scored.alike(subject)
    ends = np.cumsum([0, *(other.Y.shape[1] for other in alike)])
    results = scored.model(subject).tests(
        [scored.features["gradient"][layer] for layer in _layers(scored)],
        [tuple(parts_of(row, everything).parts) for row in rows],
        settings.permutations,
        settings.seed,
        {_key(other): np.arange(*ends[place : place + 2]) for place, other in enumerate(alike)},
    )
    return dict(zip(rows, results, strict=True))


def _key(subject: Subject) -> str:
    return f"{subject.modality} of {subject.name}"
