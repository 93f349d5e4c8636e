"""Executor of the launch benchmark: every task runs for no time at all."""

from cluster.executor import Executor, MesosExecutorDriver
from cluster.wire.pb import mesos_pb2 as mesos


class InstantExecutor(Executor):
    def launch_task(self, driver: MesosExecutorDriver, task: mesos.TaskInfo) -> None:
        for state in (mesos.TASK_RUNNING, mesos.TASK_FINISHED):
            driver.send_status_update(mesos.TaskStatus(task_id=task.task_id, state=state))


if __name__ == "__main__":
    MesosExecutorDriver(InstantExecutor()).run()
