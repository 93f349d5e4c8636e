"""Identifiers as distinct types, so that a task id cannot be passed where an agent id belongs.

All are plain strings at run time. Shapes (source: master.md §1): framework ids are
``<master id>-%04d``, offers ``<master id>-O<n>``, agents ``<master id>-S<n>``; task and executor
ids are chosen by frameworks, container ids are random UUIDs.
"""

from typing import NewType

MasterId = NewType("MasterId", str)
FrameworkId = NewType("FrameworkId", str)
AgentId = NewType("AgentId", str)
OfferId = NewType("OfferId", str)
TaskId = NewType("TaskId", str)
ExecutorId = NewType("ExecutorId", str)
ContainerId = NewType("ContainerId", str)

__all__ = [
    "AgentId",
    "ContainerId",
    "ExecutorId",
    "FrameworkId",
    "MasterId",
    "OfferId",
    "TaskId",
]
