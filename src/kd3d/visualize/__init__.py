"""Pictures: frames from above, learning curves, results."""

from kd3d.visualize.bev import BoxLayer, draw_bev
from kd3d.visualize.panels import save_bev
from kd3d.visualize.plots import save_bars, save_curves
from kd3d.visualize.precision_recall import save_precision_recall

__all__ = ["BoxLayer", "draw_bev", "save_bars", "save_bev", "save_curves", "save_precision_recall"]
