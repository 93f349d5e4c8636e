"""Looking without touching: these verbs only say how things are."""

from fractions import Fraction

from cluster.testing.scenarios.notation import format_resources
from cluster.testing.scenarios.play import Play
from cluster.testing.scenarios.words import Words


def shares(play: Play, given: Words) -> None:
    """Say the dominant shares of roles and of the frameworks in them.

    ``shares [ROLE ...]``
    """
    roles = given.take_all()
    given.end()
    frameworks = list(play.stage.core.state.frameworks)
    known = {role: None for framework in frameworks for role in framework.spec.roles}
    for role in roles or sorted(known):
        parts = [
            f"{play.cast.name_of(each.framework_id)} "
            f"{_fraction(play.stage.allocator.framework_share(each.framework_id, role))}"
            for each in frameworks
            if role in each.spec.roles
        ]
        share = _fraction(play.stage.allocator.role_share(role))
        play.stage.say(f"{role} {share}: {', '.join(parts)}")


def books(play: Play, given: Words) -> None:
    """Say who holds what on each agent.

    ``books [AGENT ...]``
    """
    names = given.take_all() or [
        name for name, agent in play.cast.agents.items() if agent.agent_id is not None
    ]
    given.end()
    for name in names:
        _say_books(play, name)


def _say_books(play: Play, name: str) -> None:
    state = play.stage.core.state
    agent = state.agents.get(play.agent_id(name))
    if agent is None:
        return play.stage.say(f"{name}: not registered")
    play.stage.say(f"{name}: {agent.state.name}, {format_resources(agent.spec.total)}")
    for (framework_id, role), used in state.used_on(agent).items():
        owner = play.cast.name_of(framework_id)
        place = "" if role == "*" else f" for {role}"
        play.stage.say(f"  {owner} uses {format_resources(used)}{place}")
    for offer in state.offers.of_agent(agent.agent_id):
        owner = play.cast.name_of(offer.framework_id)
        play.stage.say(
            f"  {owner} is offered {format_resources(offer.resources)} "
            f"({play.cast.name_of(offer.offer_id)})"
        )
    free = play.stage.allocator.free(agent.agent_id)
    return play.stage.say(f"  free: {format_resources(free)}")


def tasks(play: Play, given: Words) -> None:
    """Say the states of a framework's tasks: live, unreachable, completed.

    ``tasks FRAMEWORK``
    """
    framework_id = play.framework_id(given.take("framework"))
    given.end()
    book = play.stage.core.state.tasks
    lists = (
        ("live", book.of_framework(framework_id)),
        ("unreachable", [lost.task for lost in book.unreachable_of(framework_id)]),
        ("completed", book.completed_of(framework_id)),
    )
    for title, tasks in lists:
        if tasks:
            said = ", ".join(f"{task.task_id} {task.state.name}" for task in tasks)
            play.stage.say(f"{title}: {said}")


def standing(play: Play, given: Words) -> None:
    """Say how the master sees agents and frameworks.

    ``standing NAME ...``
    """
    for name in given.take_all():
        play.stage.say(f"{name}: {_standing(play, name)}")
    given.end()


def _standing(play: Play, name: str) -> str:
    state = play.stage.core.state
    if name in play.cast.frameworks:
        framework_id = play.framework_id(name)
        record = state.frameworks.get(framework_id)
        if record is not None:
            return record.state.name
        return "COMPLETED" if state.frameworks.is_completed(framework_id) else "unknown"
    agent = state.agents.get(play.agent_id(name))
    if agent is not None:
        return agent.state.name
    return state.standing(play.agent_id(name)).name


def _fraction(share: Fraction) -> str:
    return str(share)


__all__ = ["books", "shares", "standing", "tasks"]
