"""The seed of what tests draw: the same each time, so that a change is judged by what it does, and not by luck.

SYNCD_SEED=0 draws another one, for Hypothesis as well, and a number repeats what a test printed.
"""

import os
import random

_GIVEN = int(os.environ.get("SYNCD_SEED", "21"))
IS_RANDOM = _GIVEN == 0
SEED = _GIVEN or random.randrange(1, 1 << 32)
