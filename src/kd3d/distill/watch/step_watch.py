"""Measuring some of the training steps, beside their losses."""

from collections.abc import Callable, Mapping

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kd3d.distill.views import Outputs
from kd3d.distill.watch.agreement import pivot_overlap, score_correlation
from kd3d.distill.watch.shares import gradient_shares, pulled_tensors

__all__ = ["StepWatch"]

_SHARES = "shares of the gradient"
_AGREEMENT = "agreement with the teacher"


class StepWatch:
    """Measures the first step and every n-th one; it never stops the training.

    What cannot be measured on this student is said once and left out from then on. Nothing here
    waits for a CUDA device, and every process of a distributed run does the same.

    Args:
        every_n_steps: how often; 0 for never.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._given_up: set[str] = set()

    def is_due(self, step: int) -> bool:
        """Tell whether a training step, counted from 1, is measured."""
        every = self.every_n_steps
        return every > 0 and (step == 1 or step % every == 0)

    def can_agree(self) -> bool:
        """Tell whether agreement was measured, or not tried yet."""
        return _AGREEMENT not in self._given_up

    def shares(
        self, detection: Tensor, terms: Mapping[str, Tensor], student: Outputs
    ) -> dict[str, Tensor]:
        """Measure each term's share of the gradient at the student's captured tensors.

        These are everything that the student's taps captured: its head maps, and the features that
        objectives asked for.

        Args:
            detection: the loss that the student's own training step returned.
            terms: the objectives' weighted terms by name.
            student: what the student gave.

        Returns:
            the shares by name, the student's own loss as "detection"; empty if autograd cannot
            tell.
        """
        terms = {"detection": detection, **terms}
        captured = pulled_tensors(student.taps)
        return self._try(
            _SHARES,
            lambda: gradient_shares(terms, captured, must_reach=["detection"]),
        )

    def agreement(
        self, read: Callable[[], Outputs], teacher: Outputs, *, asked: bool = True
    ) -> dict[str, Tensor]:
        """Measure how far the student agrees with its teacher.

        Args:
            read: gives what the student gave.
            teacher: what the teacher gave.
            asked: whether an objective reads the student's maps; if none does, it is no fault, and
                not said, that they cannot be read.

        Returns:
            ``agreement_pivots`` and ``agreement_scores``, see `pivot_overlap` and
            `score_correlation`; empty if their maps do not compare.
        """

        def measure() -> dict[str, Tensor]:
            student = read()
            return {
                "agreement_pivots": pivot_overlap(student.maps, teacher.maps),
                "agreement_scores": score_correlation(student.maps, teacher.maps),
            }

        return self._try(_AGREEMENT, measure, warn=asked)

    def _try(
        self, what: str, measure: Callable[[], dict[str, Tensor]], *, warn: bool = True
    ) -> dict[str, Tensor]:
        if what in self._given_up:
            return {}
        try:
            return measure()
        except Exception as error:
            self._given_up.add(what)
            if warn:
                rank_zero_warn(
                    f"kd3d: the {what} cannot be watched here. {type(error).__name__}: {error}"
                )
            return {}
