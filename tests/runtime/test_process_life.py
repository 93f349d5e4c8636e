"""Life of processes: spawn, initialize, serve, terminate, wait. Source: actor-runtime.md §3."""

import asyncio
import logging
import sys

import pytest
import pytest_asyncio

from actorproc import (
    PID,
    ClosedRuntime,
    IdTaken,
    MailboxLimit,
    Process,
    ProcessTerminated,
    ProtocolMisuse,
    Reason,
    Runtime,
    VirtualClock,
)
from tests.runtime.support import Collector, call, eventually, in_process, within

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def runtime():
    async with in_process() as runtime:
        yield runtime


# Spawn and the end.


async def test_001_spawn_terminate_wait(runtime):
    process = Collector()
    assert process.pid == PID.EMPTY
    pid = runtime.spawn(process)
    assert pid == process.pid == PID("collector", "10.0.0.1", 5050)
    assert process.runtime is runtime
    await runtime.settle()
    assert process.story == ["initialize"]
    assert await runtime.wait(pid, 0) is False
    runtime.terminate(pid)
    assert await within(runtime.wait(pid)) is True
    assert process.story == ["initialize", "finalize"]


async def test_initialize_runs_before_what_was_sent_at_once(runtime):
    process = Collector()
    pid = runtime.spawn(process)
    runtime.post(pid, "m", b"1")
    await runtime.settle()
    assert process.bodies == [b"1"]


async def test_initialize_runs_before_an_end_injected_at_once(runtime):
    # finalize may use what initialize made.
    process = Collector()
    pid = runtime.spawn(process)
    runtime.post(pid, "m", b"dropped")
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert process.story == ["initialize", "finalize"]
    assert process.messages == []


async def test_005_handlers_may_be_installed_by_the_constructor(runtime):
    class Early(Collector):
        def __init__(self):
            super().__init__()
            self.install("early", lambda sender, body: self.messages.append(sender))

    process = Early()
    runtime.post(runtime.spawn(process), "early")
    await runtime.settle()
    assert process.messages == [PID.EMPTY]


async def test_027_a_taken_id_is_refused_and_the_first_stays(runtime):
    first = Collector()
    pid = runtime.spawn(first)
    with pytest.raises(IdTaken, match="'collector'"):
        runtime.spawn(Collector())
    runtime.post(pid, "m", b"still here")
    await runtime.settle()
    assert first.bodies == [b"still here"]


async def test_an_id_is_free_again_after_the_end_and_an_object_lives_once(runtime):
    first = Collector()
    pid = runtime.spawn(first)
    with pytest.raises(ProtocolMisuse, match="lives once"):
        runtime.spawn(first)
    runtime.terminate(pid)
    await within(runtime.wait(pid))
    with pytest.raises(ProtocolMisuse, match="lives once"):
        runtime.spawn(first)
    second = Collector()
    assert runtime.spawn(second) == pid
    runtime.post(pid, "m", b"2")
    await runtime.settle()
    assert (first.bodies, second.bodies) == ([], [b"2"])


async def test_spawn_outside_the_life_of_a_runtime():
    runtime = in_process()
    with pytest.raises(ProtocolMisuse, match="start the runtime"):
        runtime.spawn(Collector())
    async with runtime:
        pass
    with pytest.raises(ClosedRuntime):
        runtime.spawn(Collector())


async def test_before_spawn_a_process_has_no_runtime():
    with pytest.raises(ProtocolMisuse, match="has not been spawned"):
        _ = Collector().runtime


async def test_generated_ids_count_per_prefix_and_skip_chosen_ones(runtime):
    runtime.spawn(Collector("slave(2)"))
    pids = [runtime.spawn(Process(prefix=prefix)) for prefix in ("slave", "", "slave", "x", "")]
    assert [pid.id for pid in pids] == ["slave(1)", "(1)", "slave(3)", "x(1)", "(2)"]


async def test_each_runtime_counts_for_itself():
    async with in_process() as one, in_process() as other:
        assert one.spawn(Process(prefix="p")).id == other.spawn(Process(prefix="p")).id == "p(1)"


async def test_wait_for_nobody(runtime):
    assert await runtime.wait(PID("nobody", "10.0.0.1", 5050)) is False
    assert await runtime.wait(PID("collector", "10.9.9.9", 1)) is False


async def test_wait_on_the_real_clock(runtime):
    pid = runtime.spawn(Collector())
    assert await within(runtime.wait(pid, 0.01)) is False
    runtime.terminate(pid)
    assert await within(runtime.wait(pid, 10.0)) is True


async def test_wait_on_a_virtual_clock():
    clock = VirtualClock()
    async with in_process(clock=clock) as runtime:
        pid = runtime.spawn(Collector())
        waiting = asyncio.ensure_future(runtime.wait(pid, 3600.0))
        await clock.advance(3599.0)
        assert not waiting.done()
        await clock.advance(1.0)
        assert await within(waiting) is False
        waiting = asyncio.ensure_future(runtime.wait(pid, 3600.0))
        await clock.advance(1.0)
        runtime.terminate(pid)
        await clock.settle()
        assert waiting.result() is True


async def test_waits_that_gave_up_leave_nothing_behind(runtime):
    pid = runtime.spawn(Collector())
    for _ in range(20):
        await runtime.wait(pid, 0.0001)
    cancelled = asyncio.ensure_future(runtime.wait(pid))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert runtime._waiters.get(pid.id, []) == []


async def test_026_an_injected_end_drops_what_is_queued(runtime):
    process = Collector()
    pid = runtime.spawn(process)
    await runtime.settle()
    runtime.post(pid, "m", b"dropped")
    call = runtime.dispatch(pid, lambda: "never")
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert process.messages == []
    with pytest.raises(ProcessTerminated, match=r"collector@10\.0\.0\.1:5050"):
        await call


async def test_026_an_end_in_order_serves_what_is_queued(runtime):
    process = Collector()
    pid = runtime.spawn(process)
    runtime.post(pid, "m", b"1")
    runtime.terminate(pid, inject=False)
    runtime.post(pid, "m", b"2")
    late = runtime.dispatch(pid, lambda: "never")
    assert await within(runtime.wait(pid))
    assert process.bodies == [b"1"]
    with pytest.raises(ProcessTerminated):
        await late


async def test_028_calls_and_messages_to_the_gone(runtime):
    pid = runtime.spawn(Collector())
    runtime.terminate(pid)
    await within(runtime.wait(pid))
    runtime.post(pid, "m", b"nobody")
    with pytest.raises(ProcessTerminated, match="was not run"):
        await runtime.dispatch(pid, print)
    assert runtime.dead_letters.counts[Reason.NO_PROCESS] == 1


async def test_terminating_the_unknown_is_nothing(runtime):
    runtime.terminate(PID("nobody", "10.0.0.1", 5050))
    runtime.terminate(PID("far", "10.0.0.9", 5050))
    await runtime.settle()


async def test_a_process_ends_itself_after_the_event_in_hand(runtime):
    class Suicidal(Collector):
        def collect(self, name, sender, body):
            self.terminate()
            super().collect(name, sender, body)

    process = Suicidal()
    pid = runtime.spawn(process)
    runtime.post(pid, "m", b"1")
    runtime.post(pid, "m", b"2")
    assert await within(runtime.wait(pid))
    assert process.bodies == [b"1"]
    assert process.story == ["initialize", "finalize"]


async def test_an_async_handler_that_ends_its_process_finishes_first(runtime):
    class Suicidal(Collector):
        def initialize(self):
            self.install("m", self.on_m)

        async def on_m(self, sender, body):
            self.terminate()
            await asyncio.sleep(0)
            self.messages.append("finished")

    process = Suicidal()
    pid = runtime.spawn(process)
    runtime.post(pid, "m")
    assert await within(runtime.wait(pid))
    assert process.messages == ["finished"]


async def test_011_a_handler_waits_for_a_child(runtime):
    class Parent(Collector):
        async def run(self):
            child = self.runtime.spawn(Collector("child"))
            self.dispatch(child, lambda: self.runtime.terminate(child))
            return await self.runtime.wait(child)

    parent = Parent("parent")
    runtime.spawn(parent)
    assert await call(runtime, parent, parent.run) is True


async def test_a_spawned_child_may_be_spawned_by_initialize(runtime):
    class Parent(Process):
        def initialize(self):
            self.child = self.runtime.spawn(Collector("child"))

    parent = Parent("parent")
    runtime.spawn(parent)
    await runtime.settle()
    assert parent.child.id == "child"


# Stop of the runtime.


async def test_stop_ends_every_process_and_finalize_may_still_send():
    class Parting(Collector):
        def finalize(self):
            super().finalize()
            self.send(PID("collector", "10.0.0.1", 5050), "m", b"farewell")

    runtime = in_process()
    processes = [Parting(f"p{number}") for number in range(3)]
    async with runtime:
        for process in processes:
            runtime.spawn(process)
    assert all(process.story == ["initialize", "finalize"] for process in processes)
    await runtime.stop()  # once more is nothing


async def test_a_process_that_spawns_while_the_runtime_stops_is_refused(caplog):
    class Spawning(Process):
        def finalize(self):
            self.runtime.spawn(Collector())

    async with in_process() as runtime:
        runtime.spawn(Spawning("s"))
        await runtime.settle()
    assert "finalize of s@10.0.0.1:5050 failed" in caplog.text
    assert "shutting down" in caplog.text


# Exceptions.


class Failing(Collector):
    """Fails in the way that its message says."""

    def initialize(self):
        super().initialize()
        self.install("sync", self.fail)
        self.install("async", self.fail_later)
        self.install("task", lambda sender, body: self.start_task(self.fail_later(sender, body)))
        self.install("timer", lambda sender, body: self.delay(0.0, self.fail, sender, body))
        self.install("cancelled", self.fail_as_cancelled)

    def fail(self, sender, body):
        raise ValueError("as asked")

    async def fail_later(self, sender, body):
        await asyncio.sleep(0)
        raise ValueError("as asked")

    def fail_as_cancelled(self, sender, body):
        raise asyncio.CancelledError("as asked")


@pytest.mark.parametrize("how", ["sync", "async", "task", "timer", "cancelled"])
async def test_an_exception_ends_the_process_is_logged_once_and_reaches_linkers(
    runtime, caplog, how
):
    process, linker = Failing("failing"), Collector("linker")
    pid = runtime.spawn(process)
    runtime.spawn(linker)
    await call(runtime, linker, linker.link, pid)
    runtime.post(pid, how)
    runtime.post(linker.pid, "m", b"unharmed")
    await eventually(lambda: linker.exits)
    assert linker.exits == [pid]
    assert linker.bodies == [b"unharmed"]
    assert process.story == ["initialize", "finalize"]
    assert caplog.text.count("failing@10.0.0.1:5050 ended by an exception") == 1
    assert "as asked" in caplog.text


async def test_an_exception_in_initialize_ends_the_process(runtime, caplog):
    class Stillborn(Collector):
        def initialize(self):
            raise ValueError("no work dir")

    pid = runtime.spawn(Stillborn())
    assert await within(runtime.wait(pid))
    assert "no work dir" in caplog.text


async def test_an_exception_in_exited_ends_the_process(runtime, caplog):
    class Mourner(Collector):
        def exited(self, pid):
            raise ValueError("too much")

    mourner = Mourner("mourner")
    runtime.spawn(mourner)
    other = runtime.spawn(Collector())
    await call(runtime, mourner, mourner.link, other)
    runtime.terminate(other)
    assert await within(runtime.wait(mourner.pid))


async def test_an_exception_in_finalize_is_logged_and_the_process_is_gone(runtime, caplog):
    class Stubborn(Process):
        def finalize(self):
            raise ValueError("not me")

    pid = runtime.spawn(Stubborn("stubborn"))
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert "finalize of stubborn@10.0.0.1:5050 failed" in caplog.text


async def test_a_handler_that_exits_the_program_does_not_stall_the_others():
    # The loop lets SystemExit through; who catches it must still be able to stop the runtime.
    process = Failing("other")

    async def main():
        runtime = in_process()
        await runtime.start()
        runtime.spawn(process)
        exiting = runtime.spawn(Collector("exiting"))
        await runtime.settle()
        return runtime, exiting

    def run():
        loop = asyncio.new_event_loop()
        runtime, exiting = loop.run_until_complete(main())
        try:
            loop.call_soon(runtime.dispatch, exiting, sys.exit, 3)
            with pytest.raises(SystemExit):
                loop.run_forever()
            loop.run_until_complete(runtime.stop())
        finally:
            loop.close()

    await asyncio.to_thread(run)
    assert process.story == ["initialize", "finalize"]


# Owned tasks and timers.


async def test_owned_tasks_and_timers_end_with_their_process(runtime):
    ends = []

    class Owner(Collector):
        def initialize(self):
            self.start_task(self.forever())
            self.delay(3600.0, ends.append, "fired")

        async def forever(self):
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("cancelled")

        def finalize(self):
            ends.append("finalize")

    owner = Owner()
    pid = runtime.spawn(owner)
    await runtime.settle()
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert ends == ["cancelled", "finalize"]
    assert not owner._tasks
    assert not owner._timers


async def test_a_finished_task_and_a_fired_timer_are_forgotten(runtime):
    process = Collector()
    runtime.spawn(process)
    done = []

    async def work():
        done.append("task")

    await call(runtime, process, process.start_task, work())
    await call(runtime, process, process.delay, 0.0, done.append, "timer")
    await eventually(lambda: len(done) == 2)
    assert not process._tasks
    assert not process._timers


async def test_what_finalize_starts_is_cancelled(runtime):
    class Restless(Collector):
        def finalize(self):
            self.timer = self.delay(3600.0, print)
            self.task = self.start_task(asyncio.sleep(3600))

    process = Restless()
    pid = runtime.spawn(process)
    await runtime.settle()
    runtime.terminate(pid)
    await within(runtime.wait(pid))
    await within(asyncio.wait([process.task]))
    assert process.task.cancelled()
    assert not process.timer.cancel()
    with pytest.raises(ProcessTerminated, match="starts nothing more"):
        process.start_task(asyncio.sleep(0))


async def test_a_task_that_refuses_to_end_delays_the_end_only_so_long(runtime, monkeypatch, caplog):
    monkeypatch.setattr("actorproc.runtime.TASK_CANCEL_S", 0.05)
    release = asyncio.Event()

    class Owner(Collector):
        def initialize(self):
            self.start_task(self.stubborn())

        async def stubborn(self):
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

    pid = runtime.spawn(Owner())
    await runtime.settle()
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert "left 1 tasks that refuse to end" in caplog.text
    release.set()


async def test_an_exception_while_ending_is_not_swallowed(runtime, caplog):
    class Owner(Collector):
        def initialize(self):
            self.start_task(self.fails_in_cleanup())

        async def fails_in_cleanup(self):
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("cleanup failed")

    pid = runtime.spawn(Owner())
    await runtime.settle()
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert "cleanup failed" in caplog.text


async def test_a_cancelled_timer_never_fires(runtime):
    process = Collector()
    runtime.spawn(process)
    fired = []
    timer = await call(runtime, process, process.delay, 0.01, fired.append, "late")
    assert timer.cancel() is True
    assert timer.cancel() is False
    assert not process._timers
    other = await call(runtime, process, process.delay, 0.02, fired.append, "other")
    await eventually(lambda: fired)
    assert fired == ["other"]
    assert other.cancel() is False


# Dispatch.


class Calculator(Collector):
    def add(self, one, other):
        return one + other

    async def add_later(self, one, other):
        await asyncio.sleep(0)
        return one + other

    def fail(self):
        raise KeyError("nothing")

    async def fail_later(self):
        await asyncio.sleep(0)
        raise KeyError("nothing")

    def stop_iteration(self):
        raise StopIteration(3)

    def promise(self):
        self.promised = asyncio.get_running_loop().create_future()
        return self.promised


@pytest_asyncio.fixture
async def calculator(runtime):
    calculator = Calculator("calculator")
    runtime.spawn(calculator)
    return calculator


@pytest.mark.parametrize("method", ["add", "add_later"])
async def test_002_results_arrive_as_plain_values(runtime, calculator, method):
    assert await call(runtime, calculator, getattr(calculator, method), 2, 3) == 5


async def test_002_a_returned_future_is_awaited_and_lets_the_next_event_in(runtime, calculator):
    answer = runtime.dispatch(calculator.pid, calculator.promise)
    assert await call(runtime, calculator, calculator.add, 1, 1) == 2
    assert not answer.done()
    calculator.promised.set_result("late")
    assert await within(answer) == "late"


async def test_a_failed_or_discarded_returned_future(runtime, calculator):
    answer = runtime.dispatch(calculator.pid, calculator.promise)
    await runtime.settle()
    calculator.promised.set_exception(KeyError("nothing"))
    with pytest.raises(KeyError):
        await within(answer)
    answer = runtime.dispatch(calculator.pid, calculator.promise)
    await runtime.settle()
    answer.cancel()  # a discard request reaches the callee's future
    await eventually(lambda: calculator.promised.cancelled())


@pytest.mark.parametrize("method", ["fail", "fail_later"])
async def test_an_exception_is_the_callers_and_the_process_lives_on(runtime, calculator, method):
    with pytest.raises(KeyError, match="nothing"):
        await call(runtime, calculator, getattr(calculator, method))
    assert await call(runtime, calculator, calculator.add, 1, 1) == 2


async def test_stop_iteration_does_not_hang_the_caller(runtime, calculator):
    with pytest.raises(RuntimeError, match="StopIteration"):
        await call(runtime, calculator, calculator.stop_iteration)
    assert await call(runtime, calculator, calculator.add, 1, 1) == 2


async def test_a_call_that_raises_cancelled_error_is_cancelled(runtime, calculator):
    def cancelled():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await call(runtime, calculator, cancelled)
    assert await call(runtime, calculator, calculator.add, 1, 1) == 2


async def test_nobody_needs_to_look_at_a_failed_call(runtime, calculator, caplog):
    runtime.dispatch(calculator.pid, calculator.fail)
    await runtime.settle()
    assert "never retrieved" not in caplog.text


async def test_a_cancelled_call_is_not_run(runtime, calculator):
    ran = []
    runtime.dispatch(calculator.pid, ran.append, 1).cancel()
    runtime.dispatch(calculator.pid, ran.append, 2)
    await runtime.settle()
    assert ran == [2]


async def test_calls_run_in_order_with_messages(runtime, calculator):
    order = []
    calculator.install("m", lambda sender, body: order.append(body))
    runtime.post(calculator.pid, "m", b"0")
    await runtime.settle()
    calculator.install("m", lambda sender, body: order.append(body))
    runtime.dispatch(calculator.pid, order.append, 1)
    runtime.post(calculator.pid, "m", b"2")
    runtime.dispatch(calculator.pid, order.append, 3)
    await runtime.settle()
    assert order[-3:] == [1, b"2", 3]


async def test_a_call_in_progress_is_abandoned_when_its_process_ends(runtime, calculator):
    async def forever():
        await asyncio.Event().wait()

    answer = runtime.dispatch(calculator.pid, forever)
    await runtime.settle()
    runtime.terminate(calculator.pid)
    with pytest.raises(ProcessTerminated, match="while it served a call"):
        await within(answer)


async def test_a_call_that_has_not_taken_its_first_step_is_abandoned_too(runtime, calculator):
    # Both run in one turn of the loop: the task of the first call is cancelled before it starts.
    other = Collector()
    runtime.spawn(other)
    await runtime.settle()
    answer = runtime.dispatch(calculator.pid, calculator.add_later, 1, 1)
    runtime.dispatch(other.pid, runtime.terminate, calculator.pid)
    with pytest.raises(ProcessTerminated):
        await within(answer)


# Async handlers.


async def test_an_async_handler_has_the_process_for_itself(runtime):
    release = asyncio.Event()

    class Waiting(Collector):
        def initialize(self):
            self.install("slow", self.on_slow)
            self.install("m", lambda sender, body: self.messages.append(body))

        async def on_slow(self, sender, body):
            self.messages.append("begin")
            await release.wait()
            self.messages.append("end")

    process = Waiting()
    pid = runtime.spawn(process)
    runtime.post(pid, "slow")
    runtime.post(pid, "m", b"next")
    call = runtime.dispatch(pid, lambda: list(process.messages))
    await runtime.settle()
    assert process.messages == ["begin"]
    release.set()
    assert await within(call) == ["begin", "end", b"next"]


async def test_an_async_initialize_finishes_before_the_first_event(runtime):
    class Slow(Collector):
        async def initialize(self):  # type: ignore[override] # served as any async handler
            await asyncio.sleep(0.01)
            super().initialize()

    process = Slow()
    runtime.post(runtime.spawn(process), "m", b"1")
    await eventually(lambda: process.messages)
    assert process.bodies == [b"1"]


async def test_a_waiting_handler_is_cancelled_by_an_end_from_outside(runtime):
    class Waiting(Collector):
        async def wait(self):
            try:
                await asyncio.Event().wait()
            finally:
                self.messages.append("cancelled")

    process = Waiting()
    pid = runtime.spawn(process)
    process.install("m", lambda sender, body: process.wait())
    await runtime.settle()
    process.install("m", lambda sender, body: process.wait())
    runtime.post(pid, "m")
    await runtime.settle()
    runtime.terminate(pid)
    assert await within(runtime.wait(pid))
    assert process.messages == ["cancelled"]


async def test_a_busy_process_does_not_starve_the_others(runtime):
    class Chatty(Process):
        turns = 0

        def initialize(self):
            self.install("again", self.again)
            self.send(self.pid, "again")

        def again(self, sender, body):
            self.turns += 1
            self.send(self.pid, "again")

    chatty = Chatty("chatty")
    runtime.spawn(chatty)
    other = Collector()
    runtime.spawn(other)
    runtime.post(other.pid, "m", b"1")
    await eventually(lambda: other.messages)
    assert chatty.turns > 0


# Messages: what is dropped is counted.


async def test_messages_without_a_handler_or_process_are_counted(runtime):
    process = Collector()
    pid = runtime.spawn(process)
    runtime.post(pid, "unknown", b"x")
    runtime.post(PID("nobody", "10.0.0.1", 5050), "m")
    runtime.post(PID.EMPTY, "m")
    await runtime.settle()
    counts = runtime.dead_letters.counts
    assert (counts[Reason.NO_HANDLER], counts[Reason.NO_PROCESS]) == (1, 1)
    assert process.messages == []


async def test_a_later_install_replaces_the_handler(runtime):
    process = Collector()
    pid = runtime.spawn(process)
    await runtime.settle()
    process.install("m", lambda sender, body: process.messages.append("replaced"))
    runtime.post(pid, "m")
    await runtime.settle()
    assert process.messages == ["replaced"]


async def test_bodies_that_do_not_parse_are_counted_and_logged_with_name_and_sender(
    runtime, caplog
):
    from actorproc import JSON, MSGPACK
    from cluster.wire.pb import mesos_pb2 as mesos

    class Decoding(Collector):
        def initialize(self):
            for message in (mesos.MasterInfo, mesos.FrameworkID):
                self.install(message, lambda sender, body: self.messages.append(body))
            for codec in (JSON, MSGPACK):
                self.install(
                    codec.name, lambda sender, body: self.messages.append(body), codec=codec
                )

    process = Decoding()
    pid = runtime.spawn(process)
    sender = PID("s", "10.0.0.3", 1)
    runtime.post(pid, "mesos.FrameworkID", b"\x0a\x05ab", sender=sender)
    runtime.post(pid, "mesos.MasterInfo", b"", sender=sender)
    runtime.post(pid, "json", b"{", sender=sender)
    runtime.post(pid, "msgpack", b"\xc1", sender=sender)
    runtime.post(pid, mesos.FrameworkID(value="fw"))
    runtime.post(pid, "json", {"a": 1}, codec=JSON)
    runtime.post(pid, "msgpack", [1, None], codec=MSGPACK)
    await runtime.settle()
    assert process.messages == [mesos.FrameworkID(value="fw"), {"a": 1}, [1, None]]
    assert runtime.dead_letters.counts[Reason.UNPARSEABLE] == 4
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 4
    assert all("s@10.0.0.3:1" in line for line in said)
    for line, (name, why) in zip(
        said,
        [
            ("mesos.FrameworkID", "mesos.FrameworkID"),
            ("mesos.MasterInfo", "missing required fields: id"),
            ("json", "Expecting property name"),
            ("msgpack", "FormatError"),
        ],
        strict=True,
    ):
        assert name in line
        assert why in line


async def test_a_full_mailbox_drops_and_counts(runtime):
    process = Collector(mailbox=MailboxLimit(10))
    pid = runtime.spawn(process)
    for number in range(15):
        runtime.post(pid, "m", b"%d" % number)
    await runtime.settle()
    assert process.bodies == [b"%d" % number for number in range(10)]
    assert runtime.dead_letters.counts[Reason.MAILBOX_FULL] == 5
    runtime.post(pid, "m", b"again")
    await runtime.settle()
    assert process.bodies[-1] == b"again"


# Local links.


async def test_012_a_local_link_is_heard_once(runtime):
    linker = Collector("linker")
    runtime.spawn(linker)
    pid = runtime.spawn(Collector())
    for _ in range(3):
        await call(runtime, linker, linker.link, pid)
    runtime.terminate(pid)
    await runtime.settle()
    assert linker.exits == [pid]
    runtime.spawn(Collector())  # the same id: the link was consumed
    runtime.terminate(pid)
    await runtime.settle()
    assert linker.exits == [pid]


async def test_a_link_to_nobody_is_heard_through_the_mailbox(runtime):
    linker = Collector("linker")
    runtime.spawn(linker)
    nobody = PID("nobody", "10.0.0.1", 5050)
    heard_at_once = await call(runtime, linker, lambda: linker.link(nobody) or list(linker.exits))
    assert heard_at_once == []
    await runtime.settle()
    assert linker.exits == [nobody]


async def test_everyone_who_linked_hears_and_a_linker_that_ended_does_not(runtime):
    linkers = [Collector(f"linker{number}") for number in range(3)]
    pid = runtime.spawn(Collector())
    for linker in linkers:
        runtime.spawn(linker)
        await call(runtime, linker, linker.link, pid)
    runtime.terminate(linkers[0].pid)
    await runtime.settle()
    runtime.terminate(pid)
    await runtime.settle()
    assert [linker.exits for linker in linkers] == [[], [pid], [pid]]


@pytest.mark.parametrize("whom", ["itself", "the empty PID", "no address"])
async def test_a_pid_that_a_peer_may_have_made_up_cannot_end_its_linker(runtime, caplog, whom):
    linker = Collector("linker")
    pid = runtime.spawn(linker)
    given = {"itself": pid, "the empty PID": PID.EMPTY, "no address": PID("x", "1.2.3.4", 0)}[whom]
    await call(runtime, linker, linker.link, given)
    await call(runtime, linker, linker.send, given, "unknown", b"")
    await runtime.settle()
    assert linker.exits == ([] if whom == "itself" else [given])
    if whom == "itself":
        assert "cannot link itself" in caplog.text
    runtime.post(pid, "m", b"alive")
    await runtime.settle()
    assert linker.bodies == [b"alive"]


async def test_exited_comes_after_the_process_is_gone(runtime):
    seen = []

    class Watcher(Collector):
        def exited(self, pid):
            seen.append(runtime._find(pid))

    watcher = Watcher("watcher")
    runtime.spawn(watcher)
    pid = runtime.spawn(Collector())
    await call(runtime, watcher, watcher.link, pid)
    runtime.terminate(pid)
    await runtime.settle()
    assert seen == [None]


# Several runtimes.


async def test_runtimes_share_nothing():
    async with in_process() as one, in_process() as other:
        collectors = [Collector(), Collector()]
        one.spawn(collectors[0])
        other.spawn(collectors[1])
        one.post(collectors[0].pid, "m", b"1")
        await one.settle()
        await other.settle()
        assert [collector.bodies for collector in collectors] == [[b"1"], []]


async def test_start_that_fails_leaves_nothing_to_stop():
    from actorproc import BrokenTransport, InProcessNetwork

    network = InProcessNetwork()
    async with Runtime(network.transport("10.0.0.1", 1)) as first:
        second = Runtime(network.transport("10.0.0.1", 1))
        with pytest.raises(BrokenTransport, match=r"10\.0\.0\.1:1: address in use"):
            await second.start()
        await second.stop()
        collector = Collector()
        first.spawn(collector)
        async with Runtime(network.transport("10.0.0.2", 1)) as third:
            third.post(collector.pid, "m", b"still reachable")
            await eventually(lambda: collector.messages)
