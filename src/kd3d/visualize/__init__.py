"""Pictures: frames from above and in 3D, learning curves, results, costs."""

from kd3d.visualize.bev import BoxLayer, draw_bev
from kd3d.visualize.costs import save_costs
from kd3d.visualize.histograms import save_histograms
from kd3d.visualize.panels import save_bev
from kd3d.visualize.plots import save_bars, save_curves
from kd3d.visualize.precision_recall import save_precision_recall
from kd3d.visualize.rerun_file import save_scene
from kd3d.visualize.scenes import Scene
from kd3d.visualize.wandb_scene import wandb_scene

__all__ = [
    "BoxLayer",
    "Scene",
    "draw_bev",
    "save_bars",
    "save_bev",
    "save_costs",
    "save_curves",
    "save_histograms",
    "save_precision_recall",
    "save_scene",
    "wandb_scene",
]
