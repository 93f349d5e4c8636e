"""From an executor's description to what a containerizer is asked for.

What cannot be provided yet is refused here rather than left out in silence: a task that asks for
an image or volumes must not run without them.

Source: agent.md §3 (first task), §9.
"""

from cluster.containers.base import Command, LaunchFailed, Uri
from cluster.wire.pb import mesos_pb2 as mesos


def command_of(info: mesos.ExecutorInfo) -> Command:
    """Read the command of an executor."""
    command = info.command
    return Command(
        command.value,
        tuple(command.arguments),
        command.shell,
        tuple(
            Uri(uri.value, uri.executable, uri.extract, uri.cache, uri.output_file)
            for uri in command.uris
        ),
    )


def wanted_environment(info: mesos.ExecutorInfo) -> dict[str, str]:
    """Read the variables that a framework wants set for its executor.

    Raises:
        LaunchFailed: a secret is asked for, or a name that no environment can hold.
    """
    wanted: dict[str, str] = {}
    for variable in info.command.environment.variables:
        field = f"command.environment.variables ({variable.name})"
        if variable.type == mesos.Environment.Variable.SECRET:
            raise LaunchFailed(f"{field}: this agent resolves no secrets")
        if not variable.name or "=" in variable.name or "\0" in variable.name + variable.value:
            raise LaunchFailed(f"{field}: must have a name without '=' and no NUL")
        wanted[variable.name] = variable.value
    return wanted


def check_container(info: mesos.ExecutorInfo) -> None:
    """Refuse what only other containerizers can do.

    Raises:
        LaunchFailed: names the field.
    """
    if not info.HasField("container"):
        return
    container = info.container
    if container.type == mesos.ContainerInfo.DOCKER:
        raise LaunchFailed("container.type: none of the containerizers here runs DOCKER containers")
    if container.mesos.HasField("image"):
        raise LaunchFailed("container.mesos.image: images are not supported by this agent")
    if container.volumes:
        raise LaunchFailed("container.volumes: volumes are not supported by this agent")


__all__ = ["check_container", "command_of", "wanted_environment"]
