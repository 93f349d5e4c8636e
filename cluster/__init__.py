"""A cluster manager that speaks the Mesos protocols: master, agent, drivers and a command line.

``VERSION`` is what clients of Mesos see at ``/version`` and in messages; ``__version__`` is the
release of this distribution.
"""

VERSION = "1.11.0"
__version__ = "0.1.0"

__all__ = ["VERSION", "__version__"]
