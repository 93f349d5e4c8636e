"""``cluster dev``: a master and agents on this machine, until Ctrl-C.

All daemons are children of this command, with temporary directories; they end with it, however it
ends. The default address is the one that ``cluster run`` and the drivers use when nobody names
another.
"""

import os
import select
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from cluster import flag_kinds as kinds
from cluster.model.resources import Resources
from cluster.options import OneLineParser, valued
from cluster.testing import DaemonFailed, DaemonProcess, LocalCluster

DEFAULT_IP = "127.0.0.1"
DEFAULT_PORT = 5050
AGENTS_MAX = 100
FIRST_TASK_PORT, LAST_TASK_PORT = 31000, 32000
# What one agent offers of memory and disk: enough to try things out, without asking the machine.
MEM_PER_MACHINE_MB, DISK_PER_MACHINE_MB = 8192, 16384


def main(arguments: Sequence[str]) -> int:
    """Run the cluster until a signal; returns the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    started_s = time.monotonic()
    try:
        with _cluster(options) as cluster:
            print(_welcome(cluster, options, time.monotonic() - started_s), flush=True)
            try:
                return _watch(cluster)
            except KeyboardInterrupt:
                # From here on nothing may interrupt the end: it has its own deadlines.
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)
                print("cluster dev: stopping", flush=True)
                return 0
    except DaemonFailed as error:
        print(f"cluster dev: {error}", file=sys.stderr)
        return 1


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="cluster dev",
        description="Start a master and agents on this machine, with temporary directories. "
        "Ctrl-C stops and removes everything.",
    )
    parser.add_argument(
        "--agents",
        type=valued(kinds.integer(at_least=1, at_most=AGENTS_MAX)),
        default=2,
        metavar="N",
        help="how many agents (default: 2)",
    )
    parser.add_argument(
        "--resources",
        type=valued(kinds.checked_text("RESOURCES", Resources.parse)),
        metavar="TEXT",
        help="resources of each agent, e.g. 'cpus:4;mem:4096' (default: a fair part of this "
        "machine's processors, some memory and disk, and ports)",
    )
    parser.add_argument(
        "--ip",
        type=valued(kinds.ip_address()),
        default=DEFAULT_IP,
        metavar="ADDRESS",
        help=f"address to listen on (default: {DEFAULT_IP})",
    )
    parser.add_argument(
        "--port",
        type=valued(kinds.port()),
        default=DEFAULT_PORT,
        metavar="PORT",
        help=f"port of the master, 0 for a free one (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--work_dir",
        type=Path,
        metavar="PATH",
        help="directory for logs and sandboxes, kept at the end (default: a temporary one)",
    )
    return parser


def _cluster(options: Namespace) -> LocalCluster:
    return LocalCluster(
        agents=[
            {
                "ip": options.ip,
                "resources": options.resources or _fair_part(index, options.agents),
            }
            for index in range(options.agents)
        ],
        master_flags={"ip": options.ip, "port": str(options.port)},
        work_dir=options.work_dir,
    )


def _fair_part(index: int, count: int) -> str:
    """Resources of agent ``index`` of ``count``: agents on one machine must not share ports."""
    cpus = max(len(os.sched_getaffinity(0)) // count, 1)
    width = (LAST_TASK_PORT - FIRST_TASK_PORT + 1) // count
    first_port = FIRST_TASK_PORT + index * width
    return (
        f"cpus:{cpus};mem:{MEM_PER_MACHINE_MB // count};disk:{DISK_PER_MACHINE_MB // count};"
        f"ports:[{first_port}-{first_port + width - 1}]"
    )


def _welcome(cluster: LocalCluster, options: Namespace, elapsed_s: float) -> str:
    is_default = (options.ip, options.port) == (DEFAULT_IP, DEFAULT_PORT)
    before = "" if is_default else f"MESOS_MASTER={cluster.master} "
    lines = [
        f"cluster dev: ready after {elapsed_s:.1f} s",
        f"  master   {cluster.master_process.url}",
        *(f"  {agent.name}  {agent.url}  {agent.flags['resources']}" for agent in cluster.agents),
        f"  logs     {cluster.work_dir}/*.log",
        "",
        f"In another terminal:  {before}cluster run -- sh -c 'echo hi'",
        "Ctrl-C stops everything.",
    ]
    return "\n".join(lines)


def _watch(cluster: LocalCluster) -> int:
    """Wait until the master ends, which is a failure; agents may come and go."""
    alive: list[DaemonProcess] = [cluster.master_process, *cluster.agents]
    while cluster.master_process in alive:
        ended, _, _ = select.select(alive, [], [])
        for daemon in ended:
            alive.remove(daemon)
            print(f"cluster dev: {daemon.story_of_end('ended')}", file=sys.stderr)
    return 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


__all__ = ["main"]
