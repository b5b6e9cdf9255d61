"""Boxes, overlaps and grids in bird's-eye view and 3D."""

from kd3d.geometry.boxes import (
    corners_3d,
    corners_bev,
    count_points_in_boxes,
    points_in_boxes,
    wrap_angle,
)
from kd3d.geometry.fusion import fuse_boxes
from kd3d.geometry.giou import giou_3d, giou_3d_aligned, giou_bev, giou_bev_aligned
from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.heat import draw_gaussians, draw_objects, gaussian_radius
from kd3d.geometry.iou import iou_3d, iou_3d_aligned, iou_bev, iou_bev_aligned
from kd3d.geometry.nms import nms_circle, nms_per_class, nms_rotated
from kd3d.geometry.roi_grid import pool_rois, roi_points
from kd3d.geometry.similarity import move_boxes

__all__ = [
    "BEVGrid",
    "corners_3d",
    "corners_bev",
    "count_points_in_boxes",
    "draw_gaussians",
    "draw_objects",
    "fuse_boxes",
    "gaussian_radius",
    "giou_3d",
    "giou_3d_aligned",
    "giou_bev",
    "giou_bev_aligned",
    "iou_3d",
    "iou_3d_aligned",
    "iou_bev",
    "iou_bev_aligned",
    "move_boxes",
    "nms_circle",
    "nms_per_class",
    "nms_rotated",
    "points_in_boxes",
    "pool_rois",
    "roi_points",
    "wrap_angle",
]
