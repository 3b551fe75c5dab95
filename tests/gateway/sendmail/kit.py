"""What the tests of the sendmail command share."""

from __future__ import annotations

import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "gatepost-sendmail")
