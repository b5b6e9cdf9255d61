"""What people watch while a student learns: shares of the gradient, agreement with the teacher."""

from kd3d.distill.watch.agreement import pivot_overlap, score_correlation
from kd3d.distill.watch.shares import gradient_shares, pulled_tensors
from kd3d.distill.watch.step_watch import StepWatch

__all__ = ["StepWatch", "gradient_shares", "pivot_overlap", "pulled_tensors", "score_correlation"]
