"""The published file formats as pure functions between bytes and checked arrays: OFF, PLY, NPZ and TIFF.

Every reader takes the bytes of one file and returns a value that holds what the library promises, or raises
`msl_store.errors.FormatError`, whatever the bytes are. Counts that a file claims are checked against its length
before anything of their size is allocated.
"""

from ingest.formats.npz import read_npz, write_npz
from ingest.formats.off import off_counts, read_off, write_off
from ingest.formats.ply import read_ply, write_ply
from ingest.formats.tiff import read_tiff, write_tiff

__all__ = [
    "off_counts",
    "read_npz",
    "read_off",
    "read_ply",
    "read_tiff",
    "write_npz",
    "write_off",
    "write_ply",
    "write_tiff",
]
