"""Rules for containers. Source: master.md §6.3 rule 9."""

from cluster.wire.pb import mesos_pb2 as mesos

_SOURCE = mesos.Volume.Source
_SOURCE_FIELDS = {
    _SOURCE.DOCKER_VOLUME: "docker_volume",
    _SOURCE.HOST_PATH: "host_path",
    _SOURCE.SANDBOX_PATH: "sandbox_path",
    _SOURCE.SECRET: "secret",
    _SOURCE.CSI_VOLUME: "csi_volume",
}


def container_error(container: mesos.ContainerInfo) -> str | None:
    """The first rule that a container breaks, or None."""
    if container.type == mesos.ContainerInfo.DOCKER and not container.HasField("docker"):
        return "container.docker: must be set for a DOCKER container"
    for volume in container.volumes:
        if (error := _volume_error(volume)) is not None:
            return error
    for network in container.network_infos:
        if (error := _network_error(network)) is not None:
            return error
    for parameter in container.docker.parameters:
        if parameter.key == "name":
            return "container.docker.parameters: 'name' is chosen by the agent"
    if container.mesos.HasField("image"):
        return _image_error(container.mesos.image)
    return None


def _volume_error(volume: mesos.Volume) -> str | None:
    where = f"container.volumes ({volume.container_path})"
    sources = [volume.HasField("host_path"), volume.HasField("image"), volume.HasField("source")]
    if sum(sources) != 1:
        return f"{where}: must have exactly one of host_path, image and source"
    if volume.HasField("image"):
        return _image_error(volume.image)
    if volume.HasField("source"):
        wanted = _SOURCE_FIELDS.get(volume.source.type)
        if wanted is None:
            return f"{where}: source.type must be set"
        if not volume.source.HasField(wanted):  # type: ignore[arg-type] # one of the literals
            return f"{where}: source.{wanted} must be set"
    return None


def _network_error(network: mesos.NetworkInfo) -> str | None:
    for mapping in network.port_mappings:
        for port in (mapping.host_port, mapping.container_port):
            if port > 65535:
                return f"container.network_infos.port_mappings: {port} is no port"
    return None


def _image_error(image: mesos.Image) -> str | None:
    wanted = "appc" if image.type == mesos.Image.APPC else "docker"
    other = "docker" if wanted == "appc" else "appc"
    has = {"appc": image.HasField("appc"), "docker": image.HasField("docker")}
    if not has[wanted] or has[other]:
        return f"container image: must have {wanted} and nothing else"
    return None


__all__ = ["container_error"]
