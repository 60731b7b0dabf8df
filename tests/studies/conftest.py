"""The studies' own modules are importable, as they are for a script in their folder."""

import sys
from pathlib import Path

STUDIES = Path(__file__).parents[2] / "examples" / "studies"
sys.path.insert(0, str(STUDIES))
