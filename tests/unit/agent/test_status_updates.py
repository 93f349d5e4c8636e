"""Status-update streams: a table of stories, then laws over random ones."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.agent import status_updates as core
from cluster.core.agent.status_updates import (
    AcknowledgeExecutor,
    CancelRetry,
    Checkpoint,
    ForwardingPaused,
    ForwardingResumed,
    ForwardUpdate,
    FrameworkStreamsDropped,
    Ignored,
    RetryElapsed,
    StartRetry,
    StatusUpdateStreams,
    Update,
    UpdateAcknowledged,
    UpdateReceived,
    UpdateSettled,
)
from cluster.model.ids import FrameworkId, TaskId
from cluster.model.task_states import TaskState

F, G, T, U = FrameworkId("f"), FrameworkId("g"), TaskId("t"), TaskId("u")


def update(uuid, state=TaskState.RUNNING, *, task=T, framework=F, to="ex", safe=False):
    return Update(framework, task, uuid.encode(), state, to, safe, payload=uuid)


def resumed():
    streams = StatusUpdateStreams()
    streams.handle(ForwardingResumed(), 0.0)
    return streams


def feed(streams, *events):
    effects = []
    for event in events:
        effects = streams.handle(event, 0.0)
        streams.check_invariants()
    return effects


def test_an_update_is_acknowledged_forwarded_and_timed():
    one = update("a")
    assert feed(resumed(), UpdateReceived(one)) == [
        AcknowledgeExecutor(one),
        ForwardUpdate(one, TaskState.RUNNING),
        StartRetry(F, T, 1, 10.0),
    ]


def test_the_agents_own_updates_are_acknowledged_to_nobody():
    one = update("a", to="")
    assert feed(resumed(), UpdateReceived(one))[0] == ForwardUpdate(one, TaskState.RUNNING)


def test_only_the_head_is_under_way_and_tells_the_latest_state():
    streams = resumed()
    first, second = update("a", TaskState.STARTING), update("b", TaskState.RUNNING)
    feed(streams, UpdateReceived(first))
    assert feed(streams, UpdateReceived(second)) == [AcknowledgeExecutor(second)]
    assert streams.pending(F, T) == 2
    assert feed(streams, RetryElapsed(F, T, 1))[0] == ForwardUpdate(first, TaskState.RUNNING)
    assert feed(streams, UpdateAcknowledged(F, T, b"a")) == [
        UpdateSettled(first, is_stream_closed=False),
        ForwardUpdate(second, TaskState.RUNNING),
        StartRetry(F, T, 3, 10.0),
    ]


def test_the_pause_doubles_up_to_ten_minutes_and_starts_over_with_the_next_update():
    streams = resumed()
    feed(streams, UpdateReceived(update("a")))
    pauses = []
    for generation in range(1, 10):
        pauses.append(feed(streams, RetryElapsed(F, T, generation))[1].delay_s)
    assert pauses == [20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0, 600.0]
    feed(streams, UpdateAcknowledged(F, T, b"a"))
    assert feed(streams, UpdateReceived(update("b")))[-1].delay_s == 10.0


def test_a_timer_that_was_replaced_is_not_listened_to():
    streams = resumed()
    feed(streams, UpdateReceived(update("a")), UpdateReceived(update("b")))
    feed(streams, UpdateAcknowledged(F, T, b"a"))
    assert feed(streams, RetryElapsed(F, T, 1)) == []


def test_a_terminal_acknowledgement_closes_the_stream():
    streams = resumed()
    last = update("z", TaskState.FINISHED)
    feed(streams, UpdateReceived(last))
    assert feed(streams, UpdateAcknowledged(F, T, b"z")) == [
        UpdateSettled(last, is_stream_closed=True),
        CancelRetry(F, T),
    ]
    assert isinstance(feed(streams, UpdateAcknowledged(F, T, b"z"))[0], Ignored)


def test_what_follows_the_end_of_a_task_goes_with_it():
    streams = resumed()
    feed(streams, UpdateReceived(update("z", TaskState.FINISHED)), UpdateReceived(update("y")))
    assert feed(streams, UpdateAcknowledged(F, T, b"z"))[-1] == CancelRetry(F, T)
    assert streams.pending(F, T) == 0


def test_the_wrong_uuid_changes_nothing():
    streams = resumed()
    feed(streams, UpdateReceived(update("a")), UpdateReceived(update("b")))
    for uuid in (b"b", b"c"):
        assert isinstance(feed(streams, UpdateAcknowledged(F, T, uuid))[0], Ignored)
    assert streams.pending(F, T) == 2


def test_duplicates_are_acknowledged_and_go_no_further():
    streams = resumed()
    one = update("a")
    feed(streams, UpdateReceived(one))
    assert feed(streams, UpdateReceived(one)) == [AcknowledgeExecutor(one)]
    feed(streams, UpdateAcknowledged(F, T, b"a"))
    assert feed(streams, UpdateReceived(one)) == [AcknowledgeExecutor(one)]
    assert streams.pending(F, T) == 0


def test_nothing_is_forwarded_while_paused_and_all_heads_when_resumed():
    streams = StatusUpdateStreams()
    one, other = update("a"), update("b", task=U)
    assert feed(streams, UpdateReceived(one)) == [AcknowledgeExecutor(one)]
    feed(streams, UpdateReceived(update("c")), UpdateReceived(other))
    effects = feed(streams, ForwardingResumed())
    assert [e.update for e in effects if isinstance(e, ForwardUpdate)] == [one, other]
    assert feed(streams, ForwardingResumed()) == []
    assert feed(streams, ForwardingPaused()) == [CancelRetry(F, T), CancelRetry(F, U)]
    assert feed(streams, ForwardingPaused()) == []
    assert feed(streams, RetryElapsed(F, T, 1)) == []


def test_streams_of_a_framework_that_is_gone_are_dropped():
    streams = resumed()
    feed(streams, UpdateReceived(update("a")), UpdateReceived(update("b", framework=G)))
    assert feed(streams, FrameworkStreamsDropped(F)) == [CancelRetry(F, T)]
    assert (streams.pending(F, T), streams.pending(G, T)) == (0, 1)


def test_a_checkpointing_framework_waits_for_the_disk():
    one = update("a", safe=True)
    streams = resumed()
    (checkpoint,) = feed(streams, UpdateReceived(one))
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.record == core.Record(core.RecordKind.UPDATE, one)
    assert checkpoint.then[0] == AcknowledgeExecutor(one)
    (checkpoint,) = feed(streams, UpdateAcknowledged(F, T, b"a"))
    assert checkpoint.record == core.Record(core.RecordKind.ACKNOWLEDGED, one)


def test_an_executor_cannot_fill_the_memory():
    streams = StatusUpdateStreams()
    for number in range(core.QUEUED_UPDATES_MAX):
        streams.handle(UpdateReceived(update(str(number))), 0.0)
    (refused,) = feed(streams, UpdateReceived(update("one more")))
    assert isinstance(refused, Ignored)
    streams = resumed()
    for number in range(core.ACKNOWLEDGED_UUIDS_MAX + 10):
        uuid = str(number)
        streams.handle(UpdateReceived(update(uuid)), 0.0)
        streams.handle(UpdateAcknowledged(F, T, uuid.encode()), 0.0)
    # The oldest is forgotten, so its repetition counts as news; the newest is known.
    assert len(feed(streams, UpdateReceived(update("0")))) > 1
    assert len(feed(streams, UpdateReceived(update(str(number))))) == 1


EVENTS = st.lists(
    st.one_of(
        st.builds(
            lambda uuid, state, task: UpdateReceived(update(uuid, state, task=task)),
            st.sampled_from("abcdef"),
            st.sampled_from([TaskState.STARTING, TaskState.RUNNING, TaskState.FAILED]),
            st.sampled_from("tu"),
        ),
        st.builds(
            lambda uuid, task: UpdateAcknowledged(F, task, uuid.encode()),
            st.sampled_from("abcdef"),
            st.sampled_from("tu"),
        ),
        st.builds(
            lambda task, generation: RetryElapsed(F, task, generation),
            st.sampled_from("tu"),
            st.integers(0, 12),
        ),
        st.sampled_from([ForwardingPaused(), ForwardingResumed(), FrameworkStreamsDropped(F)]),
    ),
    max_size=40,
)


@given(EVENTS)
def test_whatever_happens_the_books_agree_and_order_holds(events):
    """Per stream, first sendings follow the order of arrival, and paused means silent."""
    streams = StatusUpdateStreams()
    waiting: dict[str, list[bytes]] = {}
    for event in events:
        if isinstance(event, UpdateReceived) and event.update.uuid not in waiting.get(
            event.update.task_id, []
        ):
            before = streams.pending(F, event.update.task_id)
            effects = streams.handle(event, 0.0)
            if streams.pending(F, event.update.task_id) > before:
                waiting.setdefault(event.update.task_id, []).append(event.update.uuid)
        else:
            effects = streams.handle(event, 0.0)
        streams.check_invariants()
        for effect in effects:
            match effect:
                case UpdateSettled(update=settled, is_stream_closed=is_closed):
                    assert waiting[settled.task_id].pop(0) == settled.uuid
                    if is_closed:
                        waiting[settled.task_id].clear()
                case ForwardUpdate(update=sent):
                    assert not streams.is_paused
                    assert waiting[sent.task_id][0] == sent.uuid
                case _:
                    pass
        if isinstance(event, FrameworkStreamsDropped):
            waiting.clear()
