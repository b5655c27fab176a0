"""`python -m wmlib bench`: the speed of everything, measured side by side in one run.

A machine's speed changes from minute to minute, above all a shared one's. So numbers of different
days do not compare. Every repetition measures everything once, in turns, and what counts is the
ratio of the medians. What only the first call pays for (imports, workers that start, environments
that are made, a kernel's first run) is outside the timed part.
"""

from wmlib.tools.bench.environment import ENVPOOL, FAST, GYMNASIUM, NEW_TRACK, PHYSICS, environments
from wmlib.tools.bench.explorer import DRIVING_A_DREAM, explorers
from wmlib.tools.bench.measure import (
    ENVIRONMENTS,
    EXPLORERS,
    NETWORKS,
    RESETS,
    ROLLOUTS,
    STORAGE,
    UNITS,
    Measurement,
    run,
    table,
)
from wmlib.tools.bench.network import ENCODES, M_TRAINS, V_TRAINS, networks
from wmlib.tools.bench.rollout import (
    ALONE,
    COLLECTING,
    DASK,
    DREAMS,
    ON_DISK,
    ROWS,
    WHOLE,
    local_cluster,
    rollouts,
    through_dask,
)
from wmlib.tools.bench.suite import everything

__all__ = [
    "ALONE",
    "COLLECTING",
    "DASK",
    "DREAMS",
    "DRIVING_A_DREAM",
    "ENCODES",
    "ENVIRONMENTS",
    "ENVPOOL",
    "EXPLORERS",
    "FAST",
    "GYMNASIUM",
    "M_TRAINS",
    "NETWORKS",
    "NEW_TRACK",
    "ON_DISK",
    "PHYSICS",
    "RESETS",
    "ROLLOUTS",
    "ROWS",
    "STORAGE",
    "UNITS",
    "V_TRAINS",
    "WHOLE",
    "Measurement",
    "environments",
    "everything",
    "explorers",
    "local_cluster",
    "networks",
    "rollouts",
    "run",
    "table",
    "through_dask",
]
