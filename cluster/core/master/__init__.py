"""The master's decisions as a pure core.

``core`` takes events and returns effects. It composes *stories* (``subscriptions``, ``admission``,
``offering``, ``launches``, ``news``), which act on the books in ``state`` (``frameworks``,
``agents``, ``tasks``, ``offers``, ``registry``). The lifecycles are tables in ``lifecycles``.
"""
