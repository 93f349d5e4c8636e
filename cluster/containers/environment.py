"""The environment of an executor.

Three layers, the later wins: what is inherited (the agent's own environment without its
``MESOS_*`` and ``LIBPROCESS_*`` variables, or instead of it ``--executor_environment_variables``),
what the framework wants (``CommandInfo.environment``), what the agent says. The last is not for
the framework to change: containers are recognised by ``MESOS_DIRECTORY``.

Source: agent.md §4; the recorded environment of an executor (``api/executor-json.json``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.model.durations import format_duration
from cluster.model.ids import AgentId, ExecutorId, FrameworkId

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The agent's own settings. An executor that took them for its own would listen on the agent's port.
_OWN_PREFIXES = ("MESOS_", "LIBPROCESS_")


@dataclass(frozen=True, slots=True)
class ExecutorFacts:
    """What an executor must be told to find its agent and its place.

    Attributes:
        agent_pid: ``slave(1)@ip:port``.
        agent_endpoint: ``ip:port``.
        recovery_timeout_s: how long to wait for a restarted agent; told only with `checkpoint`.
        subscription_backoff_s_max: upper end of the waits between attempts to come back; likewise.
        listen_ip: where its driver shall listen, None to let it choose.
        allocation_role: role of the task's resources, told to executors that the agent generates.
    """

    framework_id: FrameworkId
    executor_id: ExecutorId
    agent_id: AgentId
    agent_pid: str
    agent_endpoint: str
    directory: Path
    checkpoint: bool
    shutdown_grace_s: float
    recovery_timeout_s: float
    subscription_backoff_s_max: float
    listen_ip: str | None
    allocation_role: str | None


def executor_environment(
    facts: ExecutorFacts,
    *,
    inherited: Mapping[str, str],
    replacement: Mapping[str, str] | None,
    wanted: Mapping[str, str],
) -> dict[str, str]:
    """Put the complete environment of an executor together.

    Args:
        facts: what the agent says.
        inherited: the agent's own environment.
        replacement: ``--executor_environment_variables``, taken instead of `inherited` if not None.
        wanted: what the framework wants.
    """
    environment = dict(_inheritable(inherited) if replacement is None else replacement)
    environment.update(wanted)
    environment.setdefault("PATH", DEFAULT_PATH)
    environment.update(_spoken(facts))
    return environment


def _inheritable(inherited: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in inherited.items() if not name.startswith(_OWN_PREFIXES)}


def _spoken(facts: ExecutorFacts) -> dict[str, str]:
    """Write down what the agent says."""
    spoken = {
        "MESOS_FRAMEWORK_ID": facts.framework_id,
        "MESOS_EXECUTOR_ID": facts.executor_id,
        "MESOS_SLAVE_ID": facts.agent_id,
        "MESOS_SLAVE_PID": facts.agent_pid,
        "MESOS_AGENT_ENDPOINT": facts.agent_endpoint,
        "MESOS_DIRECTORY": str(facts.directory),
        "MESOS_SANDBOX": str(facts.directory),
        "MESOS_CHECKPOINT": "1" if facts.checkpoint else "0",
        "MESOS_HTTP_COMMAND_EXECUTOR": "0",
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": format_duration(facts.shutdown_grace_s),
        "LIBPROCESS_PORT": "0",
    }
    if facts.checkpoint:
        spoken["MESOS_RECOVERY_TIMEOUT"] = format_duration(facts.recovery_timeout_s)
        backoff = format_duration(facts.subscription_backoff_s_max)
        spoken["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = backoff
    if facts.listen_ip is not None:
        spoken["LIBPROCESS_IP"] = facts.listen_ip
    if facts.allocation_role is not None:
        spoken["MESOS_ALLOCATION_ROLE"] = facts.allocation_role
    return spoken


__all__ = ["DEFAULT_PATH", "ExecutorFacts", "executor_environment"]
