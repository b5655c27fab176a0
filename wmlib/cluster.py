"""Workers on other machines: a Dask cluster as one more `concurrent.futures.Executor`."""

import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import Any

import torch


class Cluster(Executor):
    """The workers of a Dask client. What was in the hands of one that died, another does again."""

    def __init__(self, client):
        self._client, self._executor = client, client.get_executor(pure=False, retries=3)
        self._shared: dict[int, tuple[Any, Any]] = {}

    @property
    def _max_workers(self) -> int:
        # The name that Python's own executors have for it. Workers come and go: ask every time.
        return max(1, len(self._client.nthreads()))

    def share(self, thing: Any) -> Any:
        """Send something to the cluster, once; to be given to `submit` in its place.

        It is a task like all others, which any worker can do again: so it outlives those who hold
        it. Forgotten when eight others were used since.
        """
        if id(thing) not in self._shared:
            with warnings.catch_warnings():  # of its size
                warnings.simplefilter("ignore")
                self._shared[id(thing)] = thing, self._client.submit(_itself, thing, pure=False)
        self._shared[id(thing)] = self._shared.pop(id(thing))  # the last one used
        while len(self._shared) > 8:
            self._shared.pop(next(iter(self._shared)))
        return self._shared[id(thing)][1]

    def submit(self, fn, /, *args, **kwargs) -> Future:
        """As any executor."""
        return self._executor.submit(fn, *args, **kwargs)


def _itself(thing: Any) -> Any:
    return thing


@contextmanager
def dask_cluster(address: str) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address` ("tcp://host:8786").

    Every worker computes with one thread of torch: give each one core (`dask worker --nthreads 1`).
    For collecting, all of them must see the run's folder under the same path.
    Raises ValueError if Dask is not installed, nobody answers, there are no workers, or the
    scheduler is lost.
    """
    try:
        from dask.distributed import Client, KilledWorker, WorkerPlugin
        from distributed.client import ClosedClientError
    except ImportError as error:
        raise ValueError("for a cluster, install Dask: pip install -e '.[cluster]'") from error

    class OneThread(WorkerPlugin):
        def setup(self, worker):
            torch.set_num_threads(1)

    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(
            f"no Dask scheduler answers at {address!r}; one is started with `dask scheduler`, and "
            f"its workers with `dask worker --nthreads 1 ADDRESS`"
        ) from error
    with client:
        if not client.nthreads():
            raise ValueError(f"the Dask scheduler at {address} has no workers yet")
        client.register_plugin(OneThread())
        try:
            yield Cluster(client)
        except (CancelledError, ClosedClientError, KilledWorker, OSError) as error:
            if getattr(error, "errno", None):  # that is some disk's
                raise
            raise ValueError(
                f"the cluster at {address} was lost ({type(error).__name__}): what is finished is "
                f"kept, and the run can go on when it is back"
            ) from error
