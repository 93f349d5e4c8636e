"""Messages that pass through several hands and look the same in each: one place writes them."""

from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal


def acknowledgement(
    agent_id: str, framework_id: str, task_id: str, uuid: bytes
) -> internal.StatusUpdateAcknowledgementMessage:
    """Whoever gets this need not repeat the update: from the master, and from the agent."""
    return internal.StatusUpdateAcknowledgementMessage(
        slave_id=mesos.SlaveID(value=agent_id),
        framework_id=mesos.FrameworkID(value=framework_id),
        task_id=mesos.TaskID(value=task_id),
        uuid=uuid,
    )


def to_executor(
    agent_id: str, framework_id: str, executor_id: str, data: bytes
) -> internal.FrameworkToExecutorMessage:
    """From the scheduler, over master and agent."""
    return internal.FrameworkToExecutorMessage(
        slave_id=mesos.SlaveID(value=agent_id),
        framework_id=mesos.FrameworkID(value=framework_id),
        executor_id=mesos.ExecutorID(value=executor_id),
        data=data,
    )


def to_framework(
    agent_id: str, framework_id: str, executor_id: str, data: bytes
) -> internal.ExecutorToFrameworkMessage:
    """From the executor, over its agent."""
    return internal.ExecutorToFrameworkMessage(
        slave_id=mesos.SlaveID(value=agent_id),
        framework_id=mesos.FrameworkID(value=framework_id),
        executor_id=mesos.ExecutorID(value=executor_id),
        data=data,
    )


__all__ = ["acknowledgement", "to_executor", "to_framework"]
