"""The executor of the example ``minimal``: squares numbers, several at a time.

Started by the agent; it gets its tasks from the scheduler in ``examples/minimal.py``.
"""

import sys
import threading

from cluster.executor import Executor, MesosExecutorDriver, Status
from cluster.wire.pb import mesos_pb2 as mesos


class SquaringExecutor(Executor):
    """Each task carries a number as its data; the square goes back as a message."""

    def launchTask(self, driver: MesosExecutorDriver, task: mesos.TaskInfo) -> None:
        # A callback must not take long: the next one waits for it. Work belongs in a thread.
        threading.Thread(target=self._square, args=(driver, task)).start()

    def _square(self, driver: MesosExecutorDriver, task: mesos.TaskInfo) -> None:
        self._report(driver, task, mesos.TASK_RUNNING)
        number = int(task.data)
        print(f"squaring {number}")
        driver.sendFrameworkMessage(f"{number} {number * number}".encode())
        self._report(driver, task, mesos.TASK_FINISHED)

    def _report(
        self, driver: MesosExecutorDriver, task: mesos.TaskInfo, state: mesos.TaskState.ValueType
    ) -> None:
        driver.sendStatusUpdate(mesos.TaskStatus(task_id=task.task_id, state=state))


if __name__ == "__main__":
    ended = MesosExecutorDriver(SquaringExecutor()).run()
    sys.exit(0 if ended is Status.DRIVER_STOPPED else 1)
