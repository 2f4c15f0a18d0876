"""Every arm of a run on the same rows, from what the stages left on disk."""

from pathlib import Path

import numpy as np
