"""All measurements of `python -m wmlib bench`."""

from concurrent.futures import Executor

from wmlib.tools.bench.environment import environments
from wmlib.tools.bench.explorer import explorers
from wmlib.tools.bench.measure import Measurement
from wmlib.tools.bench.network import networks
from wmlib.tools.bench.rollout import rollouts, through_dask


def everything(
    executor: Executor | None, cluster: Executor | None, workers: int, steps: int = 80
) -> list[Measurement]:
    """All measurements.

    Rollouts, of episodes of `steps` environment steps, run on the executor's `workers`, and one of
    them also on the cluster's, if there is a cluster.
    """
    acting = [*rollouts(executor, workers, steps), *through_dask(cluster, workers, steps)]
    return [*environments(), *networks(), *acting, *explorers()]
