"""Flags of the agent that concern containers: isolation, images, networks, disks.

Split from ``agent_flags.py`` for length only; ``AgentConfig`` inherits these fields. Nearly all of
them belong to isolators and provisioners of Mesos; see ``NOT_YET_EFFECTIVE`` there.

Source: agent.md §14; the recorded ``/flags`` of a real agent.
"""

import tempfile
from dataclasses import dataclass
from pathlib import PurePath

from cluster import flag_kinds as kinds
from cluster.daemon_flags import DaemonConfig
from cluster.flags import flag

CONTAINERS = "Containers"
CGROUPS = "Cgroups and system"
IMAGES = "Images"
DOCKER = "Docker"
DISK = "Disk"
CONTAINER_NETWORK = "Container network"
_TEMPORARY = PurePath(tempfile.gettempdir())


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig(DaemonConfig):
    """The container part of an agent's configuration; see ``--help`` for each field."""

    containerizers: str = flag(
        "mesos",
        kinds.text("NAMES"),
        "How containers are made, in order of preference",
        group=CONTAINERS,
    )
    isolation: str = flag(
        "posix/cpu,posix/mem",
        kinds.text("NAMES"),
        "Isolators, separated by commas",
        group=CONTAINERS,
    )
    launcher: str | None = flag(
        None,
        kinds.choice("posix", "linux"),
        "How processes are started; without it linux where that is usable, else posix",
        group=CONTAINERS,
    )
    launcher_dir: str | None = flag(
        None, kinds.path(), "Directory of helper programs", group=CONTAINERS
    )
    container_logger: str | None = flag(
        None,
        kinds.text("NAME"),
        "Module that takes what containers print; without it the files "
        "stdout and stderr of the sandbox",
        group=CONTAINERS,
    )
    default_container_info: kinds.JsonValue = flag(
        None, kinds.json_value(), "ContainerInfo of executors that name none", group=CONTAINERS
    )
    default_container_shm_size_bytes: int | None = flag(
        None, kinds.size(), "Size of /dev/shm of containers that name none", group=CONTAINERS
    )
    disallow_sharing_agent_pid_namespace: bool = flag(
        False,
        kinds.switch(),
        "Give every top-level container its own PID namespace",
        group=CONTAINERS,
    )
    disallow_sharing_agent_ipc_namespace: bool = flag(
        False,
        kinds.switch(),
        "Give every top-level container its own IPC namespace",
        group=CONTAINERS,
    )
    effective_capabilities: kinds.JsonValue = flag(
        None,
        kinds.json_value(),
        "Linux capabilities that containers start with",
        group=CONTAINERS,
        aliases=("allowed_capabilities",),
    )
    bounding_capabilities: kinds.JsonValue = flag(
        None,
        kinds.json_value(),
        "Linux capabilities that containers may ever get",
        group=CONTAINERS,
    )
    seccomp_config_dir: str | None = flag(
        None, kinds.path(), "Directory of seccomp profiles", group=CONTAINERS
    )
    seccomp_profile_name: str | None = flag(
        None, kinds.text("NAME"), "Seccomp profile of containers that name none", group=CONTAINERS
    )
    nvidia_gpu_devices: str | None = flag(
        None, kinds.text("NUMBERS"), "GPUs that may be used, separated by commas", group=CONTAINERS
    )
    secret_resolver: str | None = flag(
        None, kinds.text("NAME"), "Module that resolves secrets", group=CONTAINERS
    )

    cgroups_hierarchy: str = flag(
        "/sys/fs/cgroup", kinds.path(), "Where cgroup hierarchies are mounted", group=CGROUPS
    )
    cgroups_root: str = flag(
        "mesos", kinds.text("NAME"), "Cgroup below which containers get theirs", group=CGROUPS
    )
    cgroups_enable_cfs: bool = flag(
        False, kinds.switch(), "Cap CPU time at what was allocated", group=CGROUPS
    )
    cgroups_limit_swap: bool = flag(
        False, kinds.switch(), "Limit memory and swap together", group=CGROUPS
    )
    cgroups_cpu_enable_pids_and_tids_count: bool = flag(
        False, kinds.switch(), "Count processes and threads of containers", group=CGROUPS
    )
    cgroups_destroy_timeout_s: float = flag(
        60.0, kinds.duration(), "How long removing a cgroup may take", group=CGROUPS
    )
    cgroups_net_cls_primary_handle: str | None = flag(
        None, kinds.text("HANDLE"), "Primary handle of network classes, e.g. 0x0012", group=CGROUPS
    )
    cgroups_net_cls_secondary_handles: str | None = flag(
        None, kinds.text("RANGE"), "Secondary handles, e.g. 0x0001,0x1000", group=CGROUPS
    )
    allowed_devices: kinds.JsonValue = flag(
        None, kinds.json_value(), "Devices that containers may use", group=CGROUPS
    )
    agent_subsystems: str | None = flag(
        None,
        kinds.text("NAMES"),
        "Cgroup subsystems the agent itself is put under",
        group=CGROUPS,
        aliases=("slave_subsystems",),
    )
    revocable_cpu_low_priority: bool = flag(
        True, kinds.switch(), "Run containers with revocable CPU at low priority", group=CGROUPS
    )
    perf_events: str | None = flag(
        None, kinds.text("NAMES"), "Perf events to sample, separated by commas", group=CGROUPS
    )
    perf_interval_s: float = flag(
        60.0, kinds.duration(), "Time from the start of one sample to the next", group=CGROUPS
    )
    perf_duration_s: float = flag(10.0, kinds.duration(), "Length of one sample", group=CGROUPS)
    systemd_enable_support: bool = flag(
        True,
        kinds.switch(),
        "Use systemd so that executors outlive the agent's unit",
        group=CGROUPS,
    )
    systemd_runtime_directory: str = flag(
        "/run/systemd/system", kinds.path(), "Directory of systemd's run-time units", group=CGROUPS
    )

    image_providers: str | None = flag(
        None, kinds.text("NAMES"), "Kinds of images: appc, docker", group=IMAGES
    )
    image_provisioner_backend: str | None = flag(
        None,
        kinds.text("NAME"),
        "How root file systems are put together: aufs, bind, copy, overlay",
        group=IMAGES,
    )
    image_gc_config: kinds.JsonValue = flag(
        None, kinds.json_value(), "When unused images are removed", group=IMAGES
    )
    appc_simple_discovery_uri_prefix: str = flag(
        "http://",
        kinds.text("PREFIX"),
        "Start of the addresses where Appc images are looked for",
        group=IMAGES,
    )
    appc_store_dir: str = flag(
        str(_TEMPORARY / "mesos/store/appc"),
        kinds.path(),
        "Directory of Appc images",
        group=IMAGES,
    )
    sandbox_directory: str = flag(
        "/mnt/mesos/sandbox",
        kinds.path(),
        "Where containers with an image see their sandbox",
        group=IMAGES,
    )
    host_path_volume_force_creation: str | None = flag(
        None,
        kinds.text("PATHS"),
        "Directories below which missing host volumes are made, apart by :",
        group=IMAGES,
    )
    volume_gid_range: str | None = flag(
        None,
        kinds.text("RANGES"),
        "Group ids given to shared volumes, e.g. [10000-20000]",
        group=IMAGES,
    )

    docker: str = flag("docker", kinds.text("PROGRAM"), "The docker program", group=DOCKER)
    docker_socket: str = flag(
        "/var/run/docker.sock", kinds.path(), "Socket of the docker daemon", group=DOCKER
    )
    docker_registry: str = flag(
        "https://registry-1.docker.io",
        kinds.text("URL"),
        "Where docker images come from",
        group=DOCKER,
    )
    docker_store_dir: str = flag(
        str(_TEMPORARY / "mesos/store/docker"),
        kinds.path(),
        "Directory of docker images",
        group=DOCKER,
    )
    docker_config: kinds.JsonValue = flag(
        None, kinds.json_value(), "Docker configuration with registry credentials", group=DOCKER
    )
    docker_remove_delay_s: float = flag(
        21600.0, kinds.duration(), "How long ended containers are kept", group=DOCKER
    )
    docker_kill_orphans: bool = flag(
        True, kinds.switch(), "Kill containers of earlier agents that nobody claims", group=DOCKER
    )
    docker_mesos_image: str | None = flag(
        None, kinds.text("IMAGE"), "Image in which the agent itself runs", group=DOCKER
    )
    docker_stop_timeout_s: float = flag(
        0.0,
        kinds.duration(),
        "Time between asking a container to stop and killing it",
        group=DOCKER,
    )
    docker_volume_checkpoint_dir: str = flag(
        "/var/run/mesos/isolators/docker/volume",
        kinds.path(),
        "Directory where docker volumes are noted",
        group=DOCKER,
    )
    docker_volume_chown: bool = flag(
        False, kinds.switch(), "Give docker volumes to the task's user", group=DOCKER
    )
    docker_ignore_runtime: bool = flag(
        False, kinds.switch(), "Ignore what images say about command and environment", group=DOCKER
    )

    container_disk_watch_interval_s: float = flag(
        15.0, kinds.duration(), "How often the disk use of containers is measured", group=DISK
    )
    enforce_container_disk_quota: bool = flag(
        False, kinds.switch(), "End containers that use more disk than they were given", group=DISK
    )
    xfs_project_range: str = flag(
        "[5000-10000]", kinds.text("RANGE"), "XFS project ids that may be used", group=DISK
    )
    xfs_kill_containers: bool = flag(
        False, kinds.switch(), "End containers above their XFS quota", group=DISK
    )
    xfs_quota_headroom_bytes: int = flag(
        10 << 20, kinds.size(), "How far above the soft XFS limit the hard one is", group=DISK
    )
    resource_provider_config_dir: str | None = flag(
        None, kinds.path(), "Directory of resource provider configurations", group=DISK
    )
    csi_plugin_config_dir: str | None = flag(
        None, kinds.path(), "Directory of CSI plug-in configurations", group=DISK
    )
    disk_profile_adaptor: str | None = flag(
        None, kinds.text("NAME"), "Module that knows disk profiles", group=DISK
    )

    default_container_dns: kinds.JsonValue = flag(
        None, kinds.json_value(), "DNS servers of containers, by network", group=CONTAINER_NETWORK
    )
    container_ports_watch_interval_s: float = flag(
        30.0,
        kinds.duration(),
        "How often the ports of containers are looked at",
        group=CONTAINER_NETWORK,
    )
    enforce_container_ports: bool = flag(
        False,
        kinds.switch(),
        "End containers that listen on ports they were not given",
        group=CONTAINER_NETWORK,
    )
    check_agent_port_range_only: bool = flag(
        False, kinds.switch(), "Look only at ports that the agent offers", group=CONTAINER_NETWORK
    )
    container_ports_isolated_range: str | None = flag(
        None, kinds.text("RANGES"), "Look only at these ports", group=CONTAINER_NETWORK
    )
    network_cni_plugins_dir: str | None = flag(
        None,
        kinds.text("PATHS"),
        "Directories of CNI plug-ins, apart by :",
        group=CONTAINER_NETWORK,
    )
    network_cni_config_dir: str | None = flag(
        None, kinds.path(), "Directory of CNI networks", group=CONTAINER_NETWORK
    )
    network_cni_root_dir_persist: bool = flag(
        False, kinds.switch(), "Keep CNI state over a reboot", group=CONTAINER_NETWORK
    )
    network_cni_metrics: bool = flag(
        True, kinds.switch(), "Publish metrics of CNI networks", group=CONTAINER_NETWORK
    )
    ephemeral_ports_per_container: int | None = flag(
        None,
        kinds.integer(at_least=1),
        "Ephemeral ports of one container (port mapping)",
        group=CONTAINER_NETWORK,
    )
    eth0_name: str | None = flag(
        None,
        kinds.text("NAME"),
        "Public network interface (port mapping)",
        group=CONTAINER_NETWORK,
    )
    lo_name: str | None = flag(
        None,
        kinds.text("NAME"),
        "Loopback network interface (port mapping)",
        group=CONTAINER_NETWORK,
    )
    egress_rate_limit_per_container_bytes: int | None = flag(
        None,
        kinds.size(),
        "Outgoing traffic of one container per second (port mapping)",
        group=CONTAINER_NETWORK,
    )
    egress_unique_flow_per_container: bool = flag(
        False,
        kinds.switch(),
        "Give each container its own outgoing flow (port mapping)",
        group=CONTAINER_NETWORK,
    )
    egress_flow_classifier_parent: str | None = flag(
        None,
        kinds.text("HANDLE"),
        "Parent of those flows (port mapping)",
        group=CONTAINER_NETWORK,
    )
    ingress_rate_limit_per_container_bytes: int | None = flag(
        None,
        kinds.size(),
        "Incoming traffic of one container per second (port mapping)",
        group=CONTAINER_NETWORK,
    )
    network_enable_socket_statistics_summary: bool = flag(
        False,
        kinds.switch(),
        "Publish a summary of sockets (port mapping)",
        group=CONTAINER_NETWORK,
    )
    network_enable_socket_statistics_details: bool = flag(
        False,
        kinds.switch(),
        "Publish details of sockets (port mapping)",
        group=CONTAINER_NETWORK,
    )
    network_enable_snmp_statistics: bool = flag(
        False, kinds.switch(), "Publish SNMP statistics (port mapping)", group=CONTAINER_NETWORK
    )


__all__ = ["CONTAINERS", "DISK", "ContainerConfig"]
