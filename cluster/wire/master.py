"""What the master sends, value by value, as protocol messages.

Which fields are set, and which are left out, follows the recorded exchanges of a real master.
Incoming messages are in ``cluster.wire.master_intake``.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from cluster.model.agents import AgentSpec
from cluster.model.domains import FaultDomain
from cluster.model.draining import DrainConfig
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.maintenance import Unavailability
from cluster.model.offers import InverseOffer, Offer
from cluster.model.tasks import ExecutorSpec, StatusReport, TaskSpec
from cluster.wire.framework_info import framework_info
from cluster.wire.master_intake import allocate_resources
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import resources_to_pb

NO_PEER = "@0.0.0.0:0"
"""How an absent pid prints (messages.md §1)."""

_CAPABILITIES = (
    mesos.MasterInfo.Capability.AGENT_UPDATE,
    mesos.MasterInfo.Capability.AGENT_DRAINING,
    mesos.MasterInfo.Capability.QUOTA_V2,
)
_NANOSECONDS = 1_000_000_000

MasterMessage = (
    internal.FrameworkRegisteredMessage
    | internal.FrameworkReregisteredMessage
    | internal.FrameworkErrorMessage
    | internal.ResourceOffersMessage
    | internal.RescindResourceOfferMessage
    | internal.InverseOffersMessage
    | internal.RescindInverseOfferMessage
    | internal.StatusUpdateMessage
    | internal.LostSlaveMessage
    | internal.SlaveRegisteredMessage
    | internal.SlaveReregisteredMessage
    | internal.ShutdownMessage
    | internal.RunTaskMessage
    | internal.RunTaskGroupMessage
    | internal.ApplyOperationMessage
    | internal.CheckpointResourcesMessage
    | internal.AcknowledgeOperationStatusMessage
    | internal.ReconcileOperationsMessage
    | internal.KillTaskMessage
    | internal.StatusUpdateAcknowledgementMessage
    | internal.ShutdownFrameworkMessage
    | internal.ShutdownExecutorMessage
    | internal.UpdateFrameworkMessage
    | internal.FrameworkToExecutorMessage
    | internal.DrainSlaveMessage
)
"""Everything that a master sends of its own (it also passes on what others sent)."""


def master_info(
    master_id: str,
    ip: str,
    port: int,
    *,
    pid: str,
    hostname: str,
    version: str,
    domain: FaultDomain | None = None,
) -> mesos.MasterInfo:
    """The master's description of itself; ``ip`` is IPv4 in dotted form."""
    info = mesos.MasterInfo(
        id=master_id,
        ip=int.from_bytes(ipaddress.IPv4Address(ip).packed, "little"),  # messages.md §7
        port=port,
        pid=pid,
        hostname=hostname,
        version=version,
    )
    info.address.hostname = hostname
    info.address.ip = ip
    info.address.port = port
    for capability in _CAPABILITIES:
        info.capabilities.add(type=capability)
    if domain is not None:
        info.domain.fault_domain.region.name = domain.region
        info.domain.fault_domain.zone.name = domain.zone
    return info


# To schedulers ------------------------------------------------------------------------------------


def registered(
    framework_id: FrameworkId, master: mesos.MasterInfo, *, again: bool
) -> internal.FrameworkRegisteredMessage | internal.FrameworkReregisteredMessage:
    message = (
        internal.FrameworkReregisteredMessage if again else internal.FrameworkRegisteredMessage
    )
    return message(framework_id=mesos.FrameworkID(value=framework_id), master_info=master)


def framework_error(text: str) -> internal.FrameworkErrorMessage:
    return internal.FrameworkErrorMessage(message=text)


def offer(
    value: Offer,
    framework: FrameworkSpec,
    agent: AgentSpec,
    agent_pid: str,
    executor_ids: Iterable[ExecutorId],
    planned: Unavailability | None = None,
) -> mesos.Offer:
    """One offer, in the form its framework understands (master.md §5)."""
    info = agent.payload
    assert isinstance(info, mesos.SlaveInfo)
    refined = framework.has_reservation_refinement
    resources = value.resources
    if not refined:
        # Such a framework could not say what it wants of a refined reservation.
        resources = resources.where(lambda identity: len(identity.reservations) < 2)
    if framework.is_multi_role:
        resources = resources.allocated_to(value.role)
    message = mesos.Offer(
        id=mesos.OfferID(value=value.offer_id),
        framework_id=mesos.FrameworkID(value=value.framework_id),
        slave_id=mesos.SlaveID(value=value.agent_id),
        hostname=agent.hostname,
        resources=resources_to_pb(resources, refined=refined),
        attributes=info.attributes,
        executor_ids=[mesos.ExecutorID(value=executor_id) for executor_id in executor_ids],
        url=_agent_url(agent, agent_pid),
    )
    if framework.is_multi_role:
        message.allocation_info.role = value.role
    if info.HasField("domain"):
        message.domain.CopyFrom(info.domain)
    if planned is not None:
        message.unavailability.CopyFrom(unavailability(planned))
    return message


def _agent_url(agent: AgentSpec, agent_pid: str) -> mesos.URL:
    process_id, _, address = agent_pid.rpartition("@")
    ip, _, port = address.rpartition(":")
    return mesos.URL(
        scheme="http",
        address=mesos.Address(hostname=agent.hostname, ip=ip, port=int(port)),
        path=f"/{process_id}",
    )


def offers(
    messages: Sequence[mesos.Offer], agent_pids: Sequence[str]
) -> internal.ResourceOffersMessage:
    """``agent_pids[i]`` is the pid of the agent of ``messages[i]``."""
    return internal.ResourceOffersMessage(offers=messages, pids=agent_pids)


def rescind(offer_id: OfferId) -> internal.RescindResourceOfferMessage:
    return internal.RescindResourceOfferMessage(offer_id=mesos.OfferID(value=offer_id))


def inverse_offers(
    drafts: Iterable[tuple[InverseOffer, AgentSpec, str]],
) -> internal.InverseOffersMessage:
    """Each draft has the pid of its agent; without resources an offer means the whole agent."""
    message = internal.InverseOffersMessage()
    for offer, agent, agent_pid in drafts:
        message.inverse_offers.add(
            id=mesos.OfferID(value=offer.offer_id),
            url=_agent_url(agent, agent_pid),
            framework_id=mesos.FrameworkID(value=offer.framework_id),
            slave_id=mesos.SlaveID(value=offer.agent_id),
            unavailability=unavailability(offer.unavailability),
        )
        message.pids.append(agent_pid)
    return message


def rescind_inverse_offer(offer_id: OfferId) -> internal.RescindInverseOfferMessage:
    return internal.RescindInverseOfferMessage(inverse_offer_id=mesos.OfferID(value=offer_id))


def unavailability(value: Unavailability) -> mesos.Unavailability:
    message = mesos.Unavailability()
    message.start.nanoseconds = round(value.start_s * _NANOSECONDS)
    if value.duration_s is not None:
        message.duration.nanoseconds = round(value.duration_s * _NANOSECONDS)
    return message


def status_report(report: StatusReport, at_s: float) -> internal.StatusUpdateMessage:
    """News made by the master: no uuid, and no peer to acknowledge to."""
    message = internal.StatusUpdateMessage()
    update = message.update
    update.framework_id.value = report.framework_id
    if report.executor_id is not None:
        update.executor_id.value = report.executor_id
    if report.agent_id is not None:
        update.slave_id.value = report.agent_id
    update.status.CopyFrom(_status(report, at_s))
    update.timestamp = at_s
    if not report.is_answer:
        message.pid = NO_PEER
    return message


def _status(report: StatusReport, at_s: float) -> mesos.TaskStatus:
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value=report.task_id),
        state=mesos.TaskState.ValueType(report.state),
        message=report.message,
        timestamp=at_s,
        source=mesos.TaskStatus.SOURCE_MASTER,
        reason=mesos.TaskStatus.Reason.ValueType(report.reason),
    )
    if report.agent_id is not None:
        status.slave_id.value = report.agent_id
    if report.unreachable_time_s is not None:
        status.unreachable_time.nanoseconds = round(report.unreachable_time_s * _NANOSECONDS)
    if report.detail is not None:
        _copy_details(report.detail.payload, status)
    return status


def _copy_details(last: object, status: mesos.TaskStatus) -> None:
    """Repeat what the last status told of health, checks and the container."""
    assert isinstance(last, mesos.TaskStatus)
    if last.HasField("healthy"):
        status.healthy = last.healthy
    if last.HasField("check_status"):
        status.check_status.CopyFrom(last.check_status)
    if last.HasField("container_status"):
        status.container_status.CopyFrom(last.container_status)


def agent_lost(agent_id: AgentId) -> internal.LostSlaveMessage:
    return internal.LostSlaveMessage(slave_id=mesos.SlaveID(value=agent_id))


# To agents ----------------------------------------------------------------------------------------


def agent_registered(
    agent_id: AgentId, total_ping_timeout_s: float
) -> internal.SlaveRegisteredMessage:
    message = internal.SlaveRegisteredMessage(slave_id=mesos.SlaveID(value=agent_id))
    message.connection.total_ping_timeout_seconds = total_ping_timeout_s
    return message


def agent_reregistered(
    agent_id: AgentId,
    total_ping_timeout_s: float,
    missing: Iterable[tuple[FrameworkId, FrameworkSpec, Iterable[StatusReport]]],
    at_s: float,
) -> internal.SlaveReregisteredMessage:
    """``missing``: per framework, what the agent should have and did not report."""
    message = internal.SlaveReregisteredMessage(slave_id=mesos.SlaveID(value=agent_id))
    message.connection.total_ping_timeout_seconds = total_ping_timeout_s
    for framework_id, framework, reports in missing:
        message.reconciliations.add(
            framework_id=mesos.FrameworkID(value=framework_id),
            statuses=[_status(report, at_s) for report in reports],
            framework=framework_info(framework),
        )
    return message


def agent_shutdown(text: str) -> internal.ShutdownMessage:
    return internal.ShutdownMessage(message=text)


def run_task(
    framework_id: FrameworkId,
    framework: FrameworkSpec,
    framework_pid: str | None,
    task: TaskSpec,
    role: str,
    resource_version: bytes | None,
    *,
    launch_executor: bool,
) -> internal.RunTaskMessage:
    """A launch; resources are in the post-refinement form and allocated to ``role``."""
    assert isinstance(task.info, mesos.TaskInfo)
    message = internal.RunTaskMessage(
        framework=framework_info(framework), task=task.info, launch_executor=launch_executor
    )
    message.pid = framework_pid or NO_PEER
    allocate_resources(message.task.resources, role)
    if message.task.HasField("executor"):
        message.task.executor.framework_id.value = framework_id
        allocate_resources(message.task.executor.resources, role)
    if resource_version is not None:
        message.resource_version_uuids.add(uuid=mesos.UUID(value=resource_version))
    return message


def drain(config: DrainConfig) -> internal.DrainSlaveMessage:
    message = internal.DrainSlaveMessage()
    message.config.mark_gone = config.mark_gone
    if config.max_grace_ns is not None:
        message.config.max_grace_period.nanoseconds = config.max_grace_ns
    return message


def run_task_group(
    framework_id: FrameworkId,
    framework: FrameworkSpec,
    executor: ExecutorSpec,
    tasks: Iterable[TaskSpec],
    role: str,
    resource_version: bytes | None,
    *,
    launch_executor: bool,
) -> internal.RunTaskGroupMessage:
    """A launch of a group; the executor is repeated in each of its tasks."""
    assert isinstance(executor.payload, mesos.ExecutorInfo)
    message = internal.RunTaskGroupMessage(
        framework=framework_info(framework),
        executor=executor.payload,
        launch_executor=launch_executor,
    )
    message.executor.framework_id.value = framework_id
    allocate_resources(message.executor.resources, role)
    for task in tasks:
        assert isinstance(task.info, mesos.TaskInfo)
        info = message.task_group.tasks.add()
        info.CopyFrom(task.info)
        allocate_resources(info.resources, role)
        info.executor.CopyFrom(message.executor)
    if resource_version is not None:
        message.resource_version_uuids.add(uuid=mesos.UUID(value=resource_version))
    return message


def kill_task(
    framework_id: FrameworkId, task_id: TaskId, policy: object | None
) -> internal.KillTaskMessage:
    message = internal.KillTaskMessage(
        framework_id=mesos.FrameworkID(value=framework_id), task_id=mesos.TaskID(value=task_id)
    )
    if isinstance(policy, mesos.KillPolicy):
        message.kill_policy.CopyFrom(policy)
    return message


def shutdown_framework(framework_id: FrameworkId) -> internal.ShutdownFrameworkMessage:
    return internal.ShutdownFrameworkMessage(framework_id=mesos.FrameworkID(value=framework_id))


def shutdown_executor(
    framework_id: FrameworkId, executor_id: ExecutorId
) -> internal.ShutdownExecutorMessage:
    return internal.ShutdownExecutorMessage(
        executor_id=mesos.ExecutorID(value=executor_id),
        framework_id=mesos.FrameworkID(value=framework_id),
    )


def update_framework(
    framework_id: FrameworkId, framework: FrameworkSpec, framework_pid: str | None
) -> internal.UpdateFrameworkMessage:
    return internal.UpdateFrameworkMessage(
        framework_id=mesos.FrameworkID(value=framework_id),
        pid=framework_pid or NO_PEER,
        framework_info=framework_info(framework),
    )


__all__ = [
    "NO_PEER",
    "MasterMessage",
    "agent_lost",
    "agent_registered",
    "agent_reregistered",
    "agent_shutdown",
    "framework_error",
    "inverse_offers",
    "kill_task",
    "master_info",
    "offer",
    "offers",
    "registered",
    "rescind",
    "rescind_inverse_offer",
    "run_task",
    "run_task_group",
    "shutdown_executor",
    "shutdown_framework",
    "status_report",
    "unavailability",
    "update_framework",
]
