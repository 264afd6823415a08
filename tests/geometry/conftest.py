"""Solids with known measures, which the geometry tests import by the name `solids`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
