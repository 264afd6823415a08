"""Volumes made up for the tests of this folder are imported by their module's name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
