"""Where rollouts run: processes of this machine, or the workers of a Dask cluster."""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import torch
from loky import get_reusable_executor

IDLE_SECONDS = (
    10  # then workers without a task leave, and give back the memory of their environments
)
# One may leave in the very moment in which a task comes. loky starts another, and would warn of it.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")


@contextmanager
def processes(workers: int, cluster: str = "") -> Iterator[Executor | None]:
    """A context manager: an executor of `workers` processes with one torch thread each.

    0 workers is no executor at all (None): everything then runs in the calling process. With the
    address of a `cluster`, its workers are the executor (see `dask_cluster`).

    What is submitted is pickled by value where it comes from a notebook's cell, so a policy or a
    `WorldModel` that a reader wrote runs in workers, too. Idle workers stay for `IDLE_SECONDS`: the
    next executor of the same size takes them over. An exception (an interrupt, say) ends them at
    once, whatever they are doing. (One that comes within `submit` may leave a lock of Python's
    queues taken, bpo-29988: then a second interrupt is needed.)
    """
    if cluster:
        with dask_cluster(cluster) as executor:
            yield executor
        return
    if workers == 0:
        yield None
        return
    executor = get_reusable_executor(
        workers,
        context="loky",
        timeout=IDLE_SECONDS,
        initializer=_start_worker,
        job_reducers={torch.Tensor: _reduce_tensor},
        # loky would take the environments that workers keep for a leak, and replace those workers.
        env={"LOKY_MAX_MEMORY_LEAK_SIZE": "1e12"},
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise


def _reduce_tensor(tensor: torch.Tensor) -> tuple:
    # A tensor travels as the array of its whole storage: torch's own way of pickling takes 1.5 to 2
    # times as long for a world model (19 MB). Strides are kept: V's are "channels last". Of a part
    # of a larger tensor only that part travels.
    if tensor.numel() * tensor.element_size() < tensor.untyped_storage().nbytes():
        tensor = tensor.clone()
    array = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage()).numpy()
    return _rebuild_tensor, (array, tensor.shape, tensor.stride(), tensor.storage_offset())


def _rebuild_tensor(array: np.ndarray, *where: Any) -> torch.Tensor:
    return torch.from_numpy(array).as_strided(*where)


def _start_worker() -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes; it is the parent that ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    # A killed parent cannot tell its workers to stop: they have to notice.
    threading.Thread(target=_leave_with, args=[psutil.Process().parent()], daemon=True).start()


def _leave_with(parent: psutil.Process | None) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while parent is not None and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    _end()


def _end() -> None:
    # Games have processes of their own (see `TakeCover`), which would run on.
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


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

        It is a task like all others, which any worker can do again: so it outlives the workers
        that hold it. It is released when eight others have been used since.
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

    On trusted networks only: Dask runs whatever is sent to it, without encryption or passwords.
    Every worker computes with one thread of torch: give each one core (`dask worker --nthreads 1`).
    For collecting, all of them must see the run's folder under the same path.
    Raises ValueError if Dask is not installed, no scheduler answers, there are no workers, or the
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
