"""Which agents the next run must look at, and who must be asked there.

What nobody wanted in one run nobody will want in the next, unless something happened. So the facts
are kept apart by what they can change:

- *changed*: something about the agent; everybody must be asked there.
- *fresh*: somebody new wants offers (or wants others than before); only he must be asked, on every
  agent.
- *awake*: a refusal ended; only who refused must be asked, on that agent.
- *returned*: like changed, from the next interval on (without ``allocate_on_recovery``).
- *withheld*: something of the agent was kept back for quotas; everybody must be asked there once a
  quota leaves more room than at the last run.
"""

from cluster.core.allocator.clients import Client
from cluster.model.ids import AgentId

Room = dict[tuple[str, str], int]
"""What quotas leave, by what they are and resource name; absent is without limit."""


class Candidates:
    """What happened since the last run."""

    def __init__(self) -> None:
        self.changed: dict[AgentId, None] = {}
        self.fresh: dict[Client, None] = {}
        self.awake: dict[AgentId, dict[Client, None]] = {}
        self.returned: dict[AgentId, None] = {}
        self.withheld: dict[AgentId, None] = {}
        self._room_before: Room = {}

    def __bool__(self) -> bool:
        return bool(self.changed or self.fresh or self.awake)

    def wake(self, agent_id: AgentId, client: Client) -> None:
        """A refusal of the client on the agent ended."""
        if agent_id not in self.changed:
            self.awake.setdefault(agent_id, {})[client] = None

    def end_interval(self) -> None:
        self.changed.update(self.returned)
        self.returned.clear()

    def release_withheld(self) -> None:
        """Look at everything again that was kept back."""
        self.changed.update(self.withheld)
        self.withheld.clear()
        self._room_before.clear()

    def release_if_grown(self, room: Room) -> None:
        """Look again at what was kept back if any room is larger than when it was."""
        for key, before in self._room_before.items():
            if key not in room or room[key] > before:
                self.release_withheld()
                return

    def begin_run(self, room: Room) -> None:
        """When all agents are visited for somebody fresh, nothing has to wait for the interval."""
        if self.fresh:
            self.end_interval()
            if self.withheld:
                self.release_if_grown(room)

    def finish_run(self, room: Room) -> None:
        """Remember what room the run left; what happens from now on is for the next.

        What is still withheld from earlier runs may have seen less room than there is now.
        """
        for key, before in self._room_before.items():
            room[key] = min(before, room.get(key, before))
        self._room_before = room
        self.changed = {}
        self.fresh = {}
        self.awake = {}

    def forget_agent(self, agent_id: AgentId) -> None:
        self.changed.pop(agent_id, None)
        self.awake.pop(agent_id, None)
        self.returned.pop(agent_id, None)
        self.withheld.pop(agent_id, None)

    def forget_client(self, client: Client) -> None:
        self.fresh.pop(client, None)


__all__ = ["Candidates", "Room"]
