"""Help for tests of frameworks: a cluster of real processes on this machine.

from cluster.testing import LocalCluster

with LocalCluster(agents=[{"resources": "cpus:4;mem:4096"}]) as cluster:
    run_my_framework(master=cluster.master)
"""

from cluster.testing.daemon_process import DaemonFailed, DaemonProcess
from cluster.testing.local_cluster import LocalCluster, ProcessesLeft

__all__ = ["DaemonFailed", "DaemonProcess", "LocalCluster", "ProcessesLeft"]
