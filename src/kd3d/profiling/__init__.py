"""Profiling: parameters, multiply-accumulates, activations, latency and memory of any network."""

from kd3d.profiling.cost import Convention, Cost, Tally
from kd3d.profiling.frames import simulated_frame
from kd3d.profiling.latency import Latency, time_passes
from kd3d.profiling.memory import PeakMemory
from kd3d.profiling.module_cost import ModuleCost
from kd3d.profiling.parts import cost_parts
from kd3d.profiling.profiler import profile
from kd3d.profiling.ratio import cost_performance
from kd3d.profiling.result import Profile
from kd3d.profiling.rules import Rule
from kd3d.profiling.tables import describe, scale_of, summarise

__all__ = [
    "Convention",
    "Cost",
    "Latency",
    "ModuleCost",
    "PeakMemory",
    "Profile",
    "Rule",
    "Tally",
    "cost_parts",
    "cost_performance",
    "describe",
    "profile",
    "scale_of",
    "simulated_frame",
    "summarise",
    "time_passes",
]
