"""Microscopes, point-spread functions and images: pure functions of arrays."""
