"""The offers of a real Mesos allocator, made again by ours.

Each recording lists offers and the clients' answers with their times. The replay tells our
allocator the same facts at the same times and asks after every run: is what it offers what Mesos
offered? Frameworks are served in an order that is fixed; agents are shuffled inside a run. So a run
over several agents is compared under every order of its agents, and one order must give exactly the
recorded offers.

The replay uses the original's rule that recovered resources wait for the interval
(``allocate_on_recovery=False``). Our own rule makes other runs, hence other offers, wherever
frameworks give something back; the last tests say what stays the same.
"""

import copy
import itertools
import json
import math
import random
import re
from collections import Counter
from dataclasses import dataclass, field

import pytest

from cluster.core.allocator import (
    AgentAdded,
    FrameworkAdded,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesRecovered,
    WeightsUpdated,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import EMPTY, Resources
from cluster.model.values import Quantities
from tests.fixtures_dir import fixtures
from tests.unit.allocator.harness import Harness, summary

SAME_RUN_S = 0.05
"""Offers of one run reach the clients within this time."""

TRAVEL_S = 0.002
"""Times are the clients': a run is a little earlier than its offers, an answer arrives a little
later. This matters where a refusal ends in the very millisecond of a run."""

AGENTS = re.compile(r"(agent\d+) = ([^\s,]+)")
OFFER = re.compile(r"OFFER (O\d+) -> (\w+) role (\S+) (agent\d+): (.*)")
SUBSCRIBED = re.compile(
    r"(\w+) subscribed, roles \['([^']+)'\], (?:each task wants (.*)|declines.*)"
)
ACCEPT = re.compile(r"(\w+) ACCEPT (O\d+): launches (\d+) tasks, refuse_seconds (\S+)")
DECLINE = re.compile(r"(\w+) DECLINE (O\d+), refuse_seconds (\S+)")


@dataclass
class Offer:
    offer_id: str
    framework: str
    role: str
    agent: str
    resources: Resources


@dataclass
class Run:
    """Offers made at one time, and the news that caused the run (none: the interval)."""

    at_s: float
    news: list[tuple[str, str]]
    offers: list[Offer] = field(default_factory=list)


@dataclass
class Recording:
    agents: dict[str, Resources]
    weights: dict[str, float]
    quotas: dict[str, Quota]
    demands: dict[str, Resources]
    roles: dict[str, str]
    timeline: list[tuple[float, object]]
    """In order of time: runs, and answers as matches of ACCEPT, DECLINE or plain text."""


def read(name: str) -> Recording:
    lines = (fixtures() / "allocator" / name).read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    agents = {agent: Resources.parse(text) for agent, text in AGENTS.findall(header)}
    weights = re.search(r"UPDATE_WEIGHTS (\{.*\}) ->", header)
    infos = json.loads(weights[1])["weight_infos"] if weights else []
    quotas = re.search(r"UPDATE_QUOTA (\{.*\}) ->", header)
    configs = json.loads(quotas[1])["quota_configs"] if quotas else []
    timed = [(float(line[:7]), line[8:]) for line in lines if not line.startswith("#")]
    subscriptions = [m for _, text in timed if (m := SUBSCRIBED.match(text))]
    return Recording(
        agents=agents,
        weights={info["role"]: info["weight"] for info in infos},
        quotas={
            config["role"]: Quota(
                read_quantities(config.get("guarantees", {})), read_quantities(config["limits"])
            )
            for config in configs
        },
        demands={m[1]: parse_demand(m[3]) for m in subscriptions},
        roles={m[1]: m[2] for m in subscriptions},
        timeline=read_timeline(timed, agents),
    )


def read_quantities(scalars: dict[str, dict[str, float]]) -> Quantities:
    return {name: round(scalar["value"] * 1000) for name, scalar in scalars.items()}


def parse_demand(text: str | None) -> Resources:
    units = json.loads(text) if text else {}
    return Resources.parse(";".join(f"{name}:{amount}" for name, amount in units.items()))


def read_timeline(
    timed: list[tuple[float, str]], agents: dict[str, Resources]
) -> list[tuple[float, object]]:
    """Put agents and frameworks where they first show: their own log lines come a little later."""
    timeline: list[tuple[float, object]] = []
    registers_later = {text.split()[0] for _, text in timed if " registered (" in text}
    known_agents = {agent for agent in agents if agent not in registers_later}
    known_frameworks: set[str] = set()
    run: Run | None = None
    news: list[tuple[str, str]] = [("agent", agent) for agent in sorted(known_agents)]
    for at_s, text in timed:
        if (m := OFFER.match(text)) is not None:
            if m[2] not in known_frameworks:
                known_frameworks.add(m[2])
                news.append(("framework", m[2]))
            if m[4] not in known_agents:
                known_agents.add(m[4])
                news.append(("agent", m[4]))
            if run is not None and at_s == run.at_s and not any(k == "agent" for k, _ in news):
                run.news.extend(news)  # lines of one moment are in no order
                news = []
            # News start a run of their own; after the first offer about an agent that just
            # registered, the others at that time come from the interval.
            is_own_run = run is not None and any(kind == "agent" for kind, _ in run.news)
            if (
                news
                or run is None
                or at_s > run.at_s + SAME_RUN_S
                or (is_own_run and run.at_s > 0.1)
            ):
                run = Run(at_s, news)
                timeline.append((at_s, run))
                news = []
            run.offers.append(Offer(m[1], m[2], m[3], m[4], offered(m[5], agents[m[4]])))
        elif (m := SUBSCRIBED.match(text)) is not None:
            if m[1] not in known_frameworks:
                known_frameworks.add(m[1])
                news.append(("framework", m[1]))
        elif (m := ACCEPT.match(text) or DECLINE.match(text)) is not None:
            timeline.append((at_s, m))
        elif text.endswith(" REVIVE"):
            news.append(("revive", text.split()[0]))
        elif text.endswith(" SUPPRESS"):
            timeline.append((at_s, text))
    return timeline


def offered(text: str, total: Resources) -> Resources:
    """``cpus:4 disk:64 mem:256 ports:yes``, where the ports are all of the agent's."""
    scalars = [word for word in text.split() if not word.startswith("ports:")]
    ports = total.where(lambda identity: identity.name == "ports")
    return Resources.parse(";".join(scalars)) + (ports if "ports:yes" in text else EMPTY)


class OneOrder(random.Random):
    """A generator that "shuffles" agents into the n-th permutation of their order.

    The original shuffles for each of its two stages; the second number is for the second stage.
    """

    def __init__(self, n, second):
        super().__init__()
        self.n = n
        self.second = second

    def __deepcopy__(self, memo):
        return OneOrder(self.n, self.second)

    def shuffle(self, x):
        x[:] = next(itertools.islice(itertools.permutations(sorted(x, key=name)), self.n, None), x)
        self.n = self.second


def name(agent):
    return agent.agent_id


class Replay:
    def __init__(self, recording: Recording, *, allocate_on_recovery: bool = False) -> None:
        self.recording = recording
        self.h = Harness(allocate_on_recovery=allocate_on_recovery)
        self.h.tell(WeightsUpdated(recording.weights), QuotasUpdated(recording.quotas))
        self.open_offers: dict[str, Offer] = {}
        self.used: dict[str, Resources] = dict.fromkeys(recording.roles, EMPTY)

    def play(self) -> None:
        for at_s, entry in self.recording.timeline:
            self.h.now_s = at_s
            match entry:
                case Run():
                    self.compare(entry)
                case str():
                    self.h.tell(OffersSuppressed(FrameworkId(entry.split()[0])))
                case answer:
                    self.h.now_s = at_s + TRAVEL_S
                    self.answer(answer)

    def compare(self, run: Run) -> None:
        """Go on with the first order of agents that gives the recorded offers."""
        for kind, name in run.news:
            self.tell_news(kind, name)
        want = {(o.framework, o.role, o.agent, o.resources) for o in run.offers}
        before, outcomes = self.h, []
        orders = math.factorial(len(self.recording.agents))
        for first, second in itertools.product(range(orders), repeat=2):
            if first != second and not self.recording.quotas:
                continue
            self.h = copy.deepcopy(before)
            self.h.allocator._rng = OneOrder(first, second)
            made = self.h.run() if run.news else self.h.tick(0.0)
            if {
                (a.framework_id, a.role, a.agent_id, a.resources.unallocated()) for a in made
            } == want:
                self.open_offers.update((o.offer_id, o) for o in run.offers)
                return
            outcomes.append(summary(made))
        pytest.fail(f"at {run.at_s}: no order of agents gives {want}, only {outcomes[:3]}")

    def tell_news(self, kind: str, name: str) -> None:
        match kind:
            case "agent":
                self.h.tell(AgentAdded(AgentId(name), self.recording.agents[name]))
            case "framework":
                self.h.tell(FrameworkAdded(FrameworkId(name), (self.recording.roles[name],)))
            case "revive":
                self.h.tell(OffersRevived(FrameworkId(name)))

    def answer(self, answer: re.Match[str]) -> None:
        offer = self.open_offers.pop(answer[2])
        used = EMPTY
        if answer.re is ACCEPT:
            for _ in range(int(answer[3])):
                used = used + self.recording.demands[offer.framework]
        self.used[offer.framework] = self.used[offer.framework] + used
        self.h.tell(
            ResourcesRecovered(
                FrameworkId(offer.framework),
                offer.role,
                AgentId(offer.agent),
                offer.resources - used,
                float(answer[answer.re.groups]),
            )
        )


@pytest.mark.parametrize(
    ("name", "offers", "used"),
    [
        (
            "1-drf.txt",
            43,
            {"A": "cpus:2.75;mem:5632", "B": "cpus:6.75;mem:1152", "C": "cpus:6;mem:3072"},
        ),
        ("1b-drf-one-role.txt", 43, {"A": "cpus:2.75;mem:5632", "B": "cpus:6.75;mem:1152"}),
        ("2-weights.txt", 9, {"H": "cpus:6;mem:1536", "L": "cpus:3;mem:768"}),
        ("3-hierarchical.txt", 8, {"AX": "cpus:2;mem:512", "B": "cpus:4;mem:1024"}),
        ("3b-hierarchical-weight.txt", 8, {"AX": "cpus:2;mem:512", "B": "cpus:5;mem:1280"}),
        (
            "4-quota.txt",
            36,
            {"D": "cpus:3;mem:768", "F": "cpus:3;mem:768", "P": "cpus:6;mem:1536"},
        ),
        ("5-decline.txt", 24, {}),
    ],
)
def test_every_recorded_run_is_made_again(name, offers, used):
    recording = read(name)
    replay = Replay(recording)
    replay.play()
    recorded = [o for _, run in recording.timeline if isinstance(run, Run) for o in run.offers]
    assert len(recorded) == offers
    for framework, text in used.items():
        assert replay.used[framework] == Resources.parse(text)


@pytest.mark.parametrize(
    "name", ["2-weights.txt", "3-hierarchical.txt", "3b-hierarchical-weight.txt"]
)
def test_where_nothing_useful_comes_back_our_rule_makes_the_same_offers(name):
    """Tasks that take whole agents leave disk and ports only, which nobody is offered."""
    Replay(read(name), allocate_on_recovery=True).play()


def serve_at_once(recording: Recording, *, seconds: int) -> tuple[Counter[str], float]:
    """The clients of a recording under our own rule, answering at once; one interval per second.

    Returns the tasks by framework, and when the last one was launched.
    """
    h = Harness(seed=7)
    for framework, role in recording.roles.items():
        h.framework(framework, role)
    for agent, total in recording.agents.items():
        h.tell(AgentAdded(AgentId(agent), total))
    tasks: Counter[str] = Counter()
    last_s = 0.0
    offers = h.run()
    start_s = h.now_s
    for _ in range(100 * seconds):  # far more answers than there are intervals
        if h.now_s - start_s >= seconds:
            return tasks, last_s
        for offer in offers:
            demand = recording.demands[offer.framework_id]
            if demand and offer.resources.unallocated().contains(demand):
                tasks[offer.framework_id] += 1
                last_s = h.now_s - start_s
                h.give_back(offer, refuse_s=0.0, keep=demand)
            else:
                h.give_back(offer, refuse_s=0.0)
        offers = h.run() or h.tick()
    pytest.fail(
        f"the allocator spins: {h.now_s - start_s} s after {100 * seconds} rounds of offers"
    )


def test_our_rule_fills_the_cluster_no_later_and_as_fairly():
    """Mesos needed ten intervals (last task at 10.012 s): what came back waited each time."""
    recording = read("1-drf.txt")
    tasks, last_s = serve_at_once(recording, seconds=12)
    used_cpus = sum(n * recording.demands[f].scalar_milli("cpus") for f, n in tasks.items())
    assert used_cpus >= 15_500  # Mesos: 2.75 + 6.75 + 6
    assert last_s <= 10.0
    shares = {
        f: max(
            n * recording.demands[f].scalar_milli("cpus") / 16_000,
            n * recording.demands[f].scalar_milli("mem") / 16_384_000,
        )
        for f, n in tasks.items()
    }
    assert max(shares.values()) - min(shares.values()) < 0.15, shares


def test_a_refusal_for_no_time_does_not_spin_under_our_rule():
    """B declines everything for 0 s; each agent comes back to it once per interval, not faster."""
    recording = read("5-decline.txt")
    h = Harness()
    h.framework("B", "rb")
    for agent, total in recording.agents.items():
        h.tell(AgentAdded(AgentId(agent), total))
    seen: Counter[str] = Counter()
    offers = h.run()
    for _ in range(40):
        for offer in offers:
            seen[offer.agent_id] += 1
            h.give_back(offer, refuse_s=0.0)
        offers = h.run() or h.tick(0.25)
    assert set(seen) == set(recording.agents)
    assert all(count == 10 or count == 11 for count in seen.values()), seen
