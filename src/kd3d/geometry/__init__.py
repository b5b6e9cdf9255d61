"""Boxes, overlaps and grids in bird's-eye view and 3D."""

from kd3d.geometry.grid import BEVGrid

__all__ = ["BEVGrid"]
