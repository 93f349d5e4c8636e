"""Who leads: how agents and drivers find the master."""

from cluster.election.detector import MasterDetector, StaticDetector, detector_for

__all__ = ["MasterDetector", "StaticDetector", "detector_for"]
