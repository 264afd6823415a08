"""Geometry of shapes: pure functions of arrays."""
