"""The master's ``/explain``: why a framework is offered what it is offered.

``/explain`` alone shows a row for every framework and role, ``/explain?framework_id=F`` the rows of
one framework, and ``/explain?framework_id=F&role=R`` looks at every agent. Nothing like it exists
in Mesos, so keys are ours: snake case, scalars as numbers, shares both exact and as a number.
"""

from collections.abc import Mapping

from cluster.core.allocator import Allocator, Miss, RoleExplanation, Standing, Summary
from cluster.errors import InvalidInput
from cluster.model.ids import FrameworkId
from cluster.model.values import Quantities, milli_to_float

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

_FRAMEWORK_ID = "framework_id"
_ROLE = "role"


def explain_json(allocator: Allocator, query: Mapping[str, str], now_s: float) -> Json:
    """Answer a request for explanations.

    Args:
        query: ``framework_id`` and ``role``; a role needs a framework.
        now_s: by the clock of the allocator's events.

    Raises:
        InvalidInput: a parameter is unknown, missing, or names nobody.
    """
    for name in query:
        if name not in (_FRAMEWORK_ID, _ROLE):
            raise InvalidInput(name, f"must be one of {_FRAMEWORK_ID}, {_ROLE}")
    framework_id, role = query.get(_FRAMEWORK_ID), query.get(_ROLE)
    if framework_id is None:
        if role is not None:
            raise InvalidInput(_FRAMEWORK_ID, "must be given together with role")
        return {"frameworks": [_summary_json(row, now_s) for row in allocator.overview(now_s)]}
    rows = [row for row in allocator.overview(now_s) if row.framework_id == framework_id]
    if role is None:
        if not rows:
            raise InvalidInput(_FRAMEWORK_ID, f"no framework with a role is called {framework_id}")
        return {"frameworks": [_summary_json(row, now_s) for row in rows]}
    explanation = allocator.explain(FrameworkId(framework_id), role, now_s)
    if explanation is not None:
        return _explanation_json(explanation, now_s)
    if not rows:
        raise InvalidInput(_FRAMEWORK_ID, f"no framework with a role is called {framework_id}")
    roles = ", ".join(row.role for row in rows)
    raise InvalidInput(_ROLE, f"must be a role of the framework ({roles}), not {role}")


def _explanation_json(explanation: RoleExplanation, now_s: float) -> Json:
    row = _summary_json(explanation.summary, now_s)
    ends = explanation.filters_end_in_s
    nearest = explanation.nearest
    return row | {
        "agents": sum(explanation.counts.values()),
        "reasons": [
            {"reason": obstacle.name, "text": obstacle.value, "agents": count}
            for obstacle, count in explanation.counts.items()
        ],
        "filters_end_in_seconds": None if ends is None else {"first": ends[0], "last": ends[1]},
        "nearest_miss": None if nearest is None else _miss_json(nearest),
    }


def _summary_json(row: Summary, now_s: float) -> dict[str, Json]:
    last_s = row.last_offer_s
    return {
        "framework_id": row.framework_id,
        "role": row.role,
        "share_of_framework": _standing_json(row.in_role),
        "share_of_role": _standing_json(row.in_cluster),
        "offers": row.offers_made,
        "offers_saved": row.offers_saved,
        "seconds_since_last_offer": None if last_s is None else now_s - last_s,
        "blocked_by": [
            {"reason": obstacle.name, "text": obstacle.value} for obstacle in row.general
        ],
    }


def _standing_json(standing: Standing) -> Json:
    return {
        "dominant_resource": standing.dominant,
        "dominant_share": float(standing.share),
        "exact_share": str(standing.share),
        "weight": standing.weight,
        "weighted_share": float(standing.weighted_share),
        "position": standing.position,
        "served": standing.of,
    }


def _miss_json(miss: Miss) -> Json:
    taker = miss.taker
    return {
        "agent_id": miss.agent_id,
        "reason": miss.obstacle.name,
        "text": str(miss),
        "missing": _quantities_json(miss.missing),
        "filter_ends_in_seconds": miss.ends_in_s,
        "taken_by": None if taker is None else {"framework_id": taker[0], "role": taker[1]},
    }


def _quantities_json(quantities: Quantities) -> Json:
    return {name: milli_to_float(milli) for name, milli in quantities.items()}


__all__ = ["explain_json"]
