"""The agent's decisions: registration, executors and tasks, status-update streams.

Three cores that know nothing of each other, of I/O or of clocks; `cluster.agent` composes them.
"""
