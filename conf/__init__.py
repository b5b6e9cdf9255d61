"""Hydra configuration groups of kd3d."""
