"""All measurements of one run."""

from concurrent.futures import Executor

from wmlib.tools.bench.environment import environments
from wmlib.tools.bench.explorer import explorers
from wmlib.tools.bench.measure import Measurement
from wmlib.tools.bench.network import networks
from wmlib.tools.bench.rollout import rollouts, through_dask


def everything(
    executor: Executor | None, cluster: Executor | None, workers: int, steps: int = 80
) -> list[Measurement]:
    """All there is to measure.

    Rollouts, of `steps` environment steps an episode, run on the executor's `workers`, and once
    more on the cluster's, if there is one.
    """
    whole = [*rollouts(executor, workers, steps), *through_dask(cluster, workers, steps)]
    return [*environments(), *networks(), *whole, *explorers()]
