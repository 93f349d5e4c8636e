"""Small named values that outlive a process: fetched whole, stored whole, never torn."""

from cluster.state.sqlite import SqliteStorage
from cluster.state.storage import InMemoryStorage, Storage, StorageFailed, Variable

__all__ = ["InMemoryStorage", "SqliteStorage", "Storage", "StorageFailed", "Variable"]
