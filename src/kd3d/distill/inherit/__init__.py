"""Teacher-guided initialisation: a student starts from the channels of its teacher that it has."""

from kd3d.distill.inherit.report import InheritanceReport, InheritedTensor
from kd3d.distill.inherit.weights import Strategy, inherit_weights

__all__ = ["InheritanceReport", "InheritedTensor", "Strategy", "inherit_weights"]
