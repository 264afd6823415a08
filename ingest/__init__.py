"""Repack a source of instances into a Zarr v3 library."""
