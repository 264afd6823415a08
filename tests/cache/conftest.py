"""The tests of the cache share what they put there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `made_pieces` is imported by its name
