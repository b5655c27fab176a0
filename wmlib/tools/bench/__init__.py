"""`python -m wmlib bench`: speeds of environments, rollouts, networks and explorers in one run.

A machine's speed varies from minute to minute, so that speeds of different days cannot be compared.
Each repetition therefore measures everything once, and the results to compare are ratios of
medians. One-time costs (imports, the start of workers, making environments, the first run of a
kernel) are not timed.
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
