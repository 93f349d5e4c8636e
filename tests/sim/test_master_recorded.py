"""Our master meets what real agents and drivers sent to a real one, and its answers are compared.

Every message to every peer is compared, in order, with all its fields, ids included; offers and
pings, which happen at other times, in what they say. ``DIFFERENCES`` lists what is not the same,
with the reason for each: a difference that is not listed fails, and so does a listed one that is no
longer there. How recordings are played is in ``recorded_master``.

Not replayed: ``h-crammd5`` (authentication), and what only HTTP clients were answered.
"""

import asyncio
import difflib
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pytest

from actorproc import PID
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.recorded_master import Recording, Reign, Replay, decode, is_message, spoken

FAST_PINGS = {"agent_ping_timeout_s": 1.0, "max_agent_ping_timeouts": 2}

QUICK_PINGS = {"agent_ping_timeout_s": 1.0, "max_agent_ping_timeouts": 3}


async def agent_was_here(replay):
    """The agent had registered, its two frameworks had subscribed, and its link broke."""
    (record,) = [
        record
        for record in replay.records
        if is_message(record) and record["name"].endswith("ReregisterSlaveMessage")
    ]
    report = decode(record)
    pids = {
        update.framework_id.value: update.pid
        for _, name, update in spoken(replay.records)
        if name.endswith("UpdateFrameworkMessage")
    }
    for number, info in enumerate(report.frameworks):
        pid = pids[info.id.value]
        is_http = pid.startswith("@")  # a real master has no address for these
        pid = f"http-{number}@127.0.0.2:{5000 + number}" if is_http else pid
        await replay.subscribe(info, pid)
    await replay.tell(record["from"], report)
    await replay.leave(PID.parse(record["from"]))


RECORDINGS = [
    Recording("a-registration", {"agent_ping_timeout_s": 2.0}),
    Recording("b-test-framework"),
    Recording("b-executor-crash"),
    Recording("c-mesos-execute"),
    Recording("c-mesos-execute-http-executor"),
    Recording("c-mesos-execute-task-group"),
    Recording("d-agent-restart"),
    Recording(
        "e-master-restart",
        QUICK_PINGS,
        reigns=(
            Reign("6fb0c578-cdde-4512-a483-ce4ad746de29", until_s=3.341),
            Reign("the-master-that-was-restarted", from_s=4.4),
        ),
    ),
    Recording(
        "e-master-failover-zk",
        QUICK_PINGS,
        reigns=(
            Reign("7a82bc6f-9511-4f6b-829e-1fd4e9917f15", from_s=2.015, until_s=4.86),
            Reign("b96fb166-8af2-4421-a63d-bcb3e8b0da73", "127.0.0.1:5060", from_s=10.005),
        ),
    ),
    Recording("f-scheduler-failover"),
    Recording("g-driver-calls"),
    Recording("i-ping-timeout", FAST_PINGS),
    Recording("j-operator"),
    Recording("k-agent-recovery-full", before=agent_was_here),
    Recording("l-handmade-v0"),
]


# (recording or *, message, field; or what became of the message) -> why it is not the same.
DIFFERENCES = {
    ("*", "FrameworkRegisteredMessage", "master_info.version"): "our own version",
    ("*", "FrameworkReregisteredMessage", "master_info.version"): "our own version",
    ("*", "StatusUpdateMessage", "update.timestamp"): "made by the master: the time of the replay",
    ("*", "StatusUpdateMessage", "update.status.timestamp"): "the same",
    (
        "i-ping-timeout",
        "StatusUpdateMessage",
        "update.status.unreachable_time.nanoseconds",
    ): "the time of the replay",
    (
        "b-executor-crash",
        "StatusUpdateMessage",
        "update.status.message",
    ): "a task larger than its offer: our own words, which name the field",
    (
        "l-handmade-v0",
        "StatusUpdateMessage",
        "update.status.message",
    ): "a task group larger than its offer: our own words, which name the field",
    (
        "g-driver-calls",
        "StatusUpdateMessage",
        "in another place",
    ): "a question about all tasks: ours in the order of launch, theirs in that of a hash map",
    **{
        (name, message, "pid"): "the scheduler spoke HTTP, and has an address in the replay"
        for name, message in (
            ("c-mesos-execute", "RunTaskMessage"),
            ("c-mesos-execute-http-executor", "RunTaskMessage"),
            ("k-agent-recovery-full", "UpdateFrameworkMessage"),
        )
    },
    (
        "k-agent-recovery-full",
        "ResourceOffersMessage",
        "to whom and how",
    ): "the frameworks had refused or suppressed offers before the recording begins",
    (
        "i-ping-timeout",
        "RescindResourceOfferMessage",
        "who loses offers",
    ): "recovered resources start a run, so an offer is out when the agent is given up",
}


@dataclass
class Played:
    """What ours and the real master said, as ``(pid, name, message)``, and operators' answers."""

    ours: list
    theirs: list
    answers: list

    @cached_property
    def differences(self):
        """Message and what differs."""
        found = {*differences(by_peer(self.ours), by_peer(self.theirs))}
        for message_type, (what, look) in LOOKS.items():
            ours, theirs = (
                {look(pid, m) for pid, _, m in said if isinstance(m, message_type)}
                for said in (self.ours, self.theirs)
            )
            if {*flat(ours)} != {*flat(theirs)}:
                found.add((message_type.DESCRIPTOR.name, what))
        for call, ours, theirs in self.answers:
            if ours != theirs:
                found.add((f"operator {call}", f"{ours} instead of {theirs}"))
        return found


def offer_looks(pid, message):
    """To which framework, of which agent, in which role, described how, with which warning."""
    parts = ("framework_id", "slave_id", "hostname", "url", "attributes", "allocation_info")
    return tuple(
        (pid, offer_pid, str(offer.unavailability), *(str(getattr(offer, p)) for p in parts))
        for offer, offer_pid in zip(message.offers, message.pids, strict=True)
    )


# These happen at other times, so that only what can be compared is.
LOOKS: dict[Any, Any] = {
    internal.ResourceOffersMessage: ("to whom and how", offer_looks),
    internal.RescindResourceOfferMessage: ("who loses offers", lambda pid, message: (pid,)),
}
PINGS = (
    "PingSlaveMessage"  # theirs answer to real clocks; what a missing pong does is recorded, too
)


def flat(looks):
    return (look for each in looks for look in each)


@cache
def played(name):
    (recording,) = [each for each in RECORDINGS if each.name == name]
    replay = Replay(recording)
    heard = asyncio.run(replay.play())
    ours = [(pid, n, replay.operations.rename_ours(pid, message)) for pid, n, message in heard]
    return Played(
        [each for each in ours if not is_http(each[0])],
        list(spoken(replay.records)),
        replay.answers,
    )


def is_http(pid):
    """The recorded scheduler was answered by HTTP: nothing to compare."""
    return pid.startswith("http-")


def by_peer(said):
    told = {}
    for pid, name, message in said:
        short = name.rpartition(".")[2]
        if short != PINGS and type(message) not in LOOKS:
            told.setdefault(pid, []).append((short, fields(message)))
    return told


def fields(message):
    """Field path -> value."""
    found = {}
    for descriptor, value in message.ListFields():
        for place, each in enumerate(value if descriptor.is_repeated else [value]):
            key = f"{descriptor.name}[{place}]" if descriptor.is_repeated else descriptor.name
            if descriptor.message_type is None:
                found[key] = each
            else:
                found[key] = ...  # there, though it may be empty
                found.update({f"{key}.{path}": leaf for path, leaf in fields(each).items()})
    return found


def differences(ours, theirs):
    """How often a message differs in a field, is missing, or is somewhere else."""
    found = Counter()
    for pid in sorted({*ours, *theirs}):
        mine, real = ours.get(pid, []), theirs.get(pid, [])
        matcher = difflib.SequenceMatcher(
            None, list(map(identity, mine)), list(map(identity, real)), autojunk=False
        )
        left_over = [], []
        for tag, a0, a1, b0, b1 in matcher.get_opcodes():
            if tag == "equal":
                for pair in zip(mine[a0:a1], real[b0:b1], strict=True):
                    found.update(different_fields(*pair))
            else:
                left_over[0].extend(mine[a0:a1])
                left_over[1].extend(real[b0:b1])
        found.update(_left_over(*left_over))
    return found


def _left_over(mine, real):
    """Those that stand in another place are compared as well."""
    for message in mine:
        name = message[0]
        twin = next((each for each in real if identity(each) == identity(message)), None)
        if twin is None:
            yield name, "only ours"
        else:
            real.remove(twin)
            yield name, "in another place"
            yield from different_fields(message, twin)
    yield from ((name, "only theirs") for name, _ in real)


def different_fields(ours, theirs):
    for path in sorted({*ours[1], *theirs[1]}):
        if ours[1].get(path) != theirs[1].get(path):
            yield ours[0], path


def identity(message):
    """What makes two messages the same one: the name, and whom or what it is about."""
    name, content = message
    about = ("framework_id.value", "update.status.task_id.value", "update.status.state", "uuid")
    return name, *(content.get(path) for path in about)


NAMES = [recording.name for recording in RECORDINGS]


@pytest.mark.parametrize("name", NAMES)
def test_our_master_says_what_the_real_one_said(name):
    listed = {key[1:] for key in DIFFERENCES if key[0] == name}
    anywhere = {key[1:] for key in DIFFERENCES if key[0] == "*"}
    assert played(name).differences - anywhere == listed


def test_no_listed_difference_has_vanished():
    found = {each for name in NAMES for each in played(name).differences}
    assert [key for key in DIFFERENCES if key[0] == "*" and key[1:] not in found] == []
    assert [key for key in DIFFERENCES if key[0] not in ("*", *NAMES)] == []


@pytest.mark.parametrize("name", NAMES)
def test_something_was_compared(name):
    assert len(played(name).theirs) > 1
    assert played(name).ours
