"""The smallest framework with an executor of its own, in the classic form with callbacks.

``python -m examples.minimal [--master HOST:PORT]``. Without a master it starts a cluster of its own
(one master, one agent). The scheduler takes offers and hands out numbers; the executor
(``examples/minimal_executor.py``) sends their squares back. The last line is the verdict.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from cluster.scheduler import MesosSchedulerDriver, Scheduler, Status
from cluster.testing.local_cluster import LocalCluster
from cluster.wire.pb import mesos_pb2 as mesos

NUMBERS = range(1, 9)
CPUS_PER_TASK = 0.5
MEM_MB_PER_TASK = 32.0
EXECUTOR_CPUS = 0.1
EXECUTOR_MEM_MB = 64.0
REPOSITORY = Path(__file__).resolve().parent.parent
FAILED_STATES = (mesos.TASK_FAILED, mesos.TASK_LOST, mesos.TASK_ERROR, mesos.TASK_KILLED)


class MinimalScheduler(Scheduler):
    """Launches one task per number, on whatever is offered."""

    def __init__(self) -> None:
        self.squares: dict[int, int] = {}
        self.finished: set[str] = set()
        self._waiting = list(NUMBERS)

    def registered(
        self,
        driver: MesosSchedulerDriver,
        frameworkId: mesos.FrameworkID,
        masterInfo: mesos.MasterInfo,
    ) -> None:
        print(f"registered as {frameworkId.value}")

    def resourceOffers(self, driver: MesosSchedulerDriver, offers: list[mesos.Offer]) -> None:
        for offer in offers:
            tasks = self._tasks_for(offer)
            if tasks:
                print(f"{offer.hostname}: {len(tasks)} tasks")
                driver.launchTasks(offer.id, tasks)
            else:
                driver.declineOffer(offer.id)

    def _tasks_for(self, offer: mesos.Offer) -> list[mesos.TaskInfo]:
        """As many of the waiting numbers as fit into the offer, beside one executor."""
        cpus = _amount(offer, "cpus") - EXECUTOR_CPUS
        mem_mb = _amount(offer, "mem") - EXECUTOR_MEM_MB
        count = int(min(cpus / CPUS_PER_TASK, mem_mb / MEM_MB_PER_TASK))
        chosen, self._waiting = self._waiting[: max(0, count)], self._waiting[max(0, count) :]
        return [_task(number, offer.slave_id) for number in chosen]

    def statusUpdate(self, driver: MesosSchedulerDriver, status: mesos.TaskStatus) -> None:
        if status.state in FAILED_STATES:
            print(f"task {status.task_id.value} is lost: {status.message}", file=sys.stderr)
            driver.stop()
        if status.state == mesos.TASK_FINISHED:
            self.finished.add(status.task_id.value)
            self._stop_when_done(driver)

    def frameworkMessage(
        self,
        driver: MesosSchedulerDriver,
        executorId: mesos.ExecutorID,
        slaveId: mesos.SlaveID,
        message: bytes,
    ) -> None:
        number, square = map(int, message.split())
        print(f"{number} squared is {square}")
        self.squares[number] = square
        self._stop_when_done(driver)

    def _stop_when_done(self, driver: MesosSchedulerDriver) -> None:
        if len(self.squares) == len(self.finished) == len(NUMBERS):
            driver.stop()

    def error(self, driver: MesosSchedulerDriver, message: str) -> None:
        print(message, file=sys.stderr)


def _amount(offer: mesos.Offer, name: str) -> float:
    return sum(each.scalar.value for each in offer.resources if each.name == name)


def _scalar(name: str, value: float) -> mesos.Resource:
    return mesos.Resource(
        name=name, type=mesos.Value.SCALAR, scalar=mesos.Value.Scalar(value=value)
    )


def _task(number: int, agent_id: mesos.SlaveID) -> mesos.TaskInfo:
    return mesos.TaskInfo(
        name=f"square of {number}",
        task_id=mesos.TaskID(value=f"square-{number}"),
        slave_id=agent_id,
        executor=_executor(),
        data=str(number).encode(),
        resources=[_scalar("cpus", CPUS_PER_TASK), _scalar("mem", MEM_MB_PER_TASK)],
    )


def _executor() -> mesos.ExecutorInfo:
    # Tasks with an equal ExecutorInfo on one agent share one executor.
    command = mesos.CommandInfo(value=f"{shlex.quote(sys.executable)} -m examples.minimal_executor")
    command.environment.variables.add(name="PYTHONPATH", value=str(REPOSITORY))
    return mesos.ExecutorInfo(
        executor_id=mesos.ExecutorID(value="squaring"),
        name="squaring executor",
        command=command,
        resources=[_scalar("cpus", EXECUTOR_CPUS), _scalar("mem", EXECUTOR_MEM_MB)],
    )


def run(master: str) -> bool:
    """Run the framework at ``master``; returns whether every square came back right."""
    scheduler = MinimalScheduler()
    driver = MesosSchedulerDriver(scheduler, {"name": "minimal"}, master)
    status = driver.run()
    right = {number: number * number for number in NUMBERS}
    verdict = status is Status.DRIVER_STOPPED and scheduler.squares == right
    print(f"minimal: {len(scheduler.finished)} of {len(NUMBERS)} tasks finished")
    return verdict


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.minimal", description=__doc__)
    parser.add_argument("--master", metavar="HOST:PORT", help="a running master; default: our own")
    master = parser.parse_args(arguments).master
    if master:
        return 0 if run(master) else 1
    with LocalCluster() as cluster:
        return 0 if run(cluster.master) else 1


if __name__ == "__main__":
    sys.exit(main())
