"""One number for what a student gives up and what it saves."""

from kd3d.errors import InputError

__all__ = ["cost_performance"]


def cost_performance(
    accuracy: float,
    teacher_accuracy: float,
    activations: float,
    teacher_activations: float,
    exponent: float = 3.0,
    weight: float = 0.5,
) -> float:
    """Give the cost-performance ratio of a student; higher is better, the teacher's is 1 - weight.

    ``weight * (1 - activations / teacher_activations)
    + (1 - weight) * (accuracy / teacher_accuracy) ** exponent``

    SparseKD (Yang et al., NeurIPS 2022) chooses its students by such a ratio of activations and
    L2 mAPH. This formula is a *reconstruction*: exponent and weight were fitted to values that
    other authors published for a variant of it. Do not quote its values as the paper's; the order
    that it gives depends on both.

    Args:
        accuracy: of the student, in any unit, such as L2 mAPH.
        teacher_accuracy: of the teacher, in the same unit.
        activations: cost of the student, in any unit.
        teacher_activations: cost of the teacher, in the same unit.
        exponent: how much more than in proportion lost accuracy counts.
        weight: of the saved cost, from 0 to 1; the rest is that of the accuracy.

    Raises:
        InputError: if a value of the teacher is not positive, one of the student is negative, the
            exponent is not positive, or the weight is not between 0 and 1.
    """
    for where, value, is_right, rule in (
        ("accuracy", accuracy, accuracy >= 0, "0 or more"),
        ("teacher_accuracy", teacher_accuracy, teacher_accuracy > 0, "above 0"),
        ("activations", activations, activations >= 0, "0 or more"),
        ("teacher_activations", teacher_activations, teacher_activations > 0, "above 0"),
        ("exponent", exponent, exponent > 0, "above 0"),
        ("weight", weight, 0 <= weight <= 1, "between 0 and 1"),
    ):
        if not is_right:
            raise InputError(f"{value} is out of range.", where=where, hint=f"It must be {rule}.")
    saved = 1.0 - activations / teacher_activations
    kept = (accuracy / teacher_accuracy) ** exponent
    return float(weight * saved + (1.0 - weight) * kept)
