"""A claim as an object, what its test returns, and what the simulated studies expect of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradkern._display import as_html
from gradkern.errors import Refused

if TYPE_CHECKING:
    from gradkern.study.claims._scored import ScoredStudy

FMRI, MEG = "fMRI", "MEG"
LEVEL = 0.05  # a claim is supported if its p reaches this level
TRUE, FALSE, INHERITED = "true", "false", "inherited"


@dataclass(frozen=True)
class Row:
    """The result of a claim's test. A number that the test does not have is NaN.

    Attributes
    ----------
    estimate, low, high : the estimate and its 95 % interval, in the claim's units
    p, smallest_p : the p value, and the smallest one that the test could attain
    ceiling : mean noise ceiling of the targets
    against : what the estimate was tested against, in words
    supported : the test's own decision; None: p decides
    as_simulated : whether the test has the form that it has in the simulated studies: all subjects tested as one, the
        default latency and layer preference
    rows : rows that the test used, fewer than the images where covariates were removed; None: all images
    by_subject : the estimate in each subject alone, by its name; empty: the test has none
    p_without : p of the same test without each subject, by its name, where the test has them at no cost; empty: the
        verdict repeats the test without the subject that matters most
    by_layer : the estimate at each layer, by its name, shallow to deep; empty: the test has none
    layer : the layers that the estimate is of, in words; "": the tested one of claims about prediction, else all
    """

    estimate: float
    p: float
    low: float = np.nan
    high: float = np.nan
    smallest_p: float = np.nan
    ceiling: float = np.nan
    against: str = ""
    supported: bool | None = None
    as_simulated: bool = True
    rows: int | None = None
    by_subject: Mapping[str, float] = field(default_factory=dict)
    p_without: Mapping[str, float] = field(default_factory=dict)
    by_layer: Mapping[str, float] = field(default_factory=dict)
    layer: str = ""

    def is_supported(self) -> bool:
        return self.p <= LEVEL if self.supported is None else self.supported

    def checked(self) -> "Row":
        """The row itself, if its test could have supported the claim.

        Raises
        ------
        Refused : there is no p value or no estimate, or the test could not attain the level whatever the data were
        """
        if np.isnan(self.p):
            raise Refused("the test has no p value: more than 5 % of the resamplings have no estimate")
        if np.isnan(self.estimate):
            without = [name for name, value in self.by_subject.items() if np.isnan(value)]
            raise Refused("the test has no estimate" + (f" in {', '.join(without)}" if without else ""))
        if self.smallest_p > LEVEL:
            raise Refused(f"the smallest attainable p is {self.smallest_p:.3g}, above the level of {LEVEL}")
        return self


@dataclass(frozen=True)
class Expectation:
    """In which simulated organisations a claim is true, and the level of its test.

    Attributes
    ----------
    level : one-sided level of the test
    true : organisations in which the claim holds
    inherited : organisations in which gradients have the property only because they are functions of the activations;
        either outcome is right there
    """

    level: float
    true: tuple[str, ...]
    inherited: tuple[str, ...] = ()

    def of(self, organisation: str) -> str:
        """ "true", "false" or "inherited" in an organisation, whose variants are named after it and a comma."""
        name = organisation.split(",")[0]
        if name in self.true:
            return TRUE
        return INHERITED if name in self.inherited else FALSE


@dataclass(frozen=True, repr=False)
class Claim:
    """One claim of Raugel et al. (2026), its test, and what is known about it.

    Attributes
    ----------
    id : stable name, by which tables, rates and the multiverse refer to the claim
    text : the claim as a sentence, for people; nothing depends on it
    modality : "fMRI" or "MEG"
    units : of the estimate: "r", "s", or "share" (of the variance of responses)
    test : function of a module, called with a `ScoredStudy` and `arguments`; returns a `Row`
    arguments : of `test`
    hangs_on : choices of the multiverse that can change the result
    expected : what the simulated organisations expect
    wrong_if : in which case the claim is wrong although its test supports it, in words that go on after "wrong if";
        for people only; "": the report has words for claims of its kind
    level_of : id of the claim whose false-positive rates hold for this one as well, because its test is the same and
        excludes no less; "": the claim's own
    """

    id: str
    text: str
    modality: str
    units: str
    test: Callable[..., Row]
    arguments: tuple[Any, ...]
    hangs_on: tuple[str, ...]
    expected: Expectation
    wrong_if: str = ""
    level_of: str = ""

    def tested(self, scored: "ScoredStudy") -> Row:
        """The result of the test.

        Raises
        ------
        Refused : the data cannot carry the test
        """
        if not scored.subjects[self.modality]:
            raise Refused("the study has no such recordings")
        return self.test(scored, *self.arguments).checked()

    def _repr_html_(self) -> str:
        rows = {"text": self.text, "modality": self.modality, "units": self.units, "level": f"{self.expected.level:g}"}
        rows |= {"true in": ", ".join(self.expected.true), "inherited in": ", ".join(self.expected.inherited) or "none"}
        return as_html(f"Claim {self.id}", rows | {"hangs on": ", ".join(self.hangs_on)})

    def __repr__(self) -> str:
        return f"Claim({self.id!r}: {self.text}; {self.modality}, {self.units})"
