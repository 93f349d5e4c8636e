"""A complete framework: byte-compiles every package of the Python standard library on a cluster.

``python -m examples.hello [--master HOST:PORT]``. Without a master it starts a cluster of one
master and two agents as separate OS processes. Each package is one task; its compiled files are
written to the task's sandbox, fetched back from the agent over HTTP, and their hashes compared with
those of a local run. The last line is the verdict: ``demo: N of N tasks finished``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import pathlib
import sys
import sysconfig
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cluster.scheduler import Error, Offers, Registered, SchedulerDriver, Update
from cluster.testing.local_cluster import LocalCluster
from cluster.wire.pb import mesos_pb2 as mesos

CPUS_PER_TASK = 0.5
MEM_MB_PER_TASK = 128
ATTEMPTS_MAX = 3  # a task that is lost or fails is launched again under a new id
FETCHES_AT_ONCE = 8
SCRIPT = pathlib.Path(__file__).with_name("compile_package.py").read_text(encoding="utf-8")
HASH_SEED = "0"  # sets in compiled code are stored in the order of their hashes

Hashes = dict[str, str]  # path of a compiled file → SHA-256 of its bytes


@dataclass(slots=True)
class Compilation:
    """One package on its way through the cluster."""

    package: str
    attempts: int = 0
    task_id: str = ""
    agent_url: str = ""
    state: str = "waiting"
    hashes: Hashes = field(default_factory=dict)


def stdlib_packages() -> list[str]:
    """Top-level packages of the standard library, by name; its own test suite is left out."""
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    return sorted(
        init.parent.name
        for init in library.glob("*/__init__.py")
        if init.parent.name not in ("site-packages", "dist-packages", "test")
    )


class Hello:
    """The framework: launches a task per package as offers come, and gathers what they made."""

    def __init__(
        self, driver: SchedulerDriver, packages: Iterable[str], progress: Progress
    ) -> None:
        self.framework_id = ""
        self.states: Counter[str] = Counter()  # every status update seen, by state
        self.compilations = [Compilation(package) for package in packages]
        self._driver = driver
        self._waiting = deque(self.compilations)
        self._by_task: dict[str, Compilation] = {}
        self._agent_urls: dict[str, str] = {}  # agent id → http://host:port
        self._progress = progress
        self._bar = progress.add_task("connecting", total=len(self.compilations))
        self._is_settled = asyncio.Event()
        self._fetch_slots = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def run(self) -> None:
        """Return when every package is compiled and its files fetched, or was given up."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(session, tasks))
            await self._is_settled.wait()
            listening.cancel()

    async def _listen(self, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        async for event in self._driver.events():
            match event:
                case Registered(framework_id=framework_id):
                    self.framework_id = framework_id.value
                    self._progress.update(self._bar, description="waiting for offers")
                case Offers(offers=offers):
                    for offer in offers:
                        self._use(offer)
                case Update(status=status):
                    if finished := self._note(status):
                        tasks.create_task(self._fetch(finished, session))
                case Error(message=message):
                    raise RuntimeError(f"the master refused this framework: {message}")
                case _:
                    pass  # lost agents and executors show in the status updates of their tasks

    def _use(self, offer: mesos.Offer) -> None:
        """Launch as many waiting tasks as fit; with nothing to do, ask for no more offers."""
        self._agent_urls[offer.slave_id.value] = (
            f"http://{offer.url.address.ip}:{offer.url.address.port}"
        )
        free = {name: _scalar(offer.resources, name) for name in ("cpus", "mem")}
        tasks = []
        while self._waiting and free["cpus"] >= CPUS_PER_TASK and free["mem"] >= MEM_MB_PER_TASK:
            free["cpus"] -= CPUS_PER_TASK
            free["mem"] -= MEM_MB_PER_TASK
            tasks.append(self._task_for(self._waiting.popleft(), offer.slave_id))
        if tasks:
            self._driver.launch_tasks([offer.id], tasks)
        else:
            self._driver.decline_offer(offer.id)
        if not self._waiting:
            self._driver.suppress_offers()

    def _task_for(self, compilation: Compilation, agent_id: mesos.SlaveID) -> mesos.TaskInfo:
        compilation.attempts += 1
        compilation.task_id = f"{compilation.package}.{compilation.attempts}"
        compilation.agent_url = self._agent_urls[agent_id.value]
        compilation.state = "launched"
        self._by_task[compilation.task_id] = compilation
        task = mesos.TaskInfo(name=f"compile {compilation.package}", slave_id=agent_id)
        task.task_id.value = compilation.task_id
        task.command.shell = False
        task.command.value = sys.executable
        task.command.arguments.extend([sys.executable, "-c", SCRIPT, compilation.package])
        task.command.environment.variables.add(name="PYTHONHASHSEED", value=HASH_SEED)
        for name, amount in (("cpus", CPUS_PER_TASK), ("mem", MEM_MB_PER_TASK)):
            resource = task.resources.add(name=name, type=mesos.Value.SCALAR)
            resource.scalar.value = amount
        return task

    def _note(self, status: mesos.TaskStatus) -> Compilation | None:
        """Take a status update; returns the compilation if its task has just finished."""
        state = mesos.TaskState.Name(status.state)
        self.states[state] += 1
        compilation = self._by_task.get(status.task_id.value)
        if compilation is None or compilation.task_id != status.task_id.value:
            return None  # of an attempt that was replaced
        if compilation.state in ("TASK_FINISHED", "fetched", "given up"):
            return None  # status updates come at least once
        self._progress.update(self._bar, description=f"{compilation.package}: {state}")
        compilation.state = state
        if state == "TASK_FINISHED":
            return compilation
        if state not in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"):
            self._retry(compilation, f"{state} {status.message}")
        return None

    def _retry(self, compilation: Compilation, why: str) -> None:
        self._progress.console.print(f"{compilation.task_id}: {why}", highlight=False)
        if compilation.attempts < ATTEMPTS_MAX:
            compilation.state = "waiting"
            self._waiting.append(compilation)
            self._driver.revive_offers()
        else:
            self._settle(compilation, "given up")

    def _settle(self, compilation: Compilation, state: str) -> None:
        compilation.state = state
        self._progress.advance(self._bar)
        if all(each.state in ("fetched", "given up") for each in self.compilations):
            self._is_settled.set()

    async def _fetch(self, compilation: Compilation, session: aiohttp.ClientSession) -> None:
        """Fetch the compiled files from the task's sandbox and hash them."""
        task = compilation.task_id
        compiled = f"/frameworks/{self.framework_id}/executors/{task}/runs/latest/compiled"
        try:
            async with self._fetch_slots:
                async for path, mode in self._walk(session, compilation.agent_url, compiled):
                    if mode.startswith("-"):
                        body = await self._download(session, compilation.agent_url, path)
                        digest = hashlib.sha256(body).hexdigest()
                        compilation.hashes[path.partition("/compiled/")[2]] = digest
        except aiohttp.ClientError as error:  # the agent is gone, and the files with it
            compilation.hashes.clear()
            self._retry(compilation, f"cannot fetch its files: {error}")
        else:
            self._settle(compilation, "fetched")

    async def _download(self, session: aiohttp.ClientSession, agent_url: str, path: str) -> bytes:
        async with session.get(f"{agent_url}/files/download", params={"path": path}) as response:
            response.raise_for_status()
            return await response.read()

    async def _walk(
        self, session: aiohttp.ClientSession, agent_url: str, path: str
    ) -> AsyncIterator[tuple[str, str]]:
        """Yield (path, mode) of everything below ``path`` on an agent."""
        async with session.get(f"{agent_url}/files/browse", params={"path": path}) as response:
            response.raise_for_status()
            entries = await response.json()
        for entry in entries:
            yield entry["path"], entry["mode"]
            if entry["mode"].startswith("d"):
                async for below in self._walk(session, agent_url, entry["path"]):
                    yield below


def _scalar(resources: Iterable[mesos.Resource], name: str) -> float:
    return sum(resource.scalar.value for resource in resources if resource.name == name)


async def compile_locally(package: str) -> Hashes:
    """Hashes of the same files, made by the same command in a directory of our own."""
    with tempfile.TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SCRIPT,
            package,
            cwd=directory,
            env={"PYTHONHASHSEED": HASH_SEED},
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() != 0:
            raise RuntimeError(f"compiling {package} locally failed")
        return await asyncio.to_thread(_hash_files, pathlib.Path(directory, "compiled"))


def _hash_files(root: pathlib.Path) -> Hashes:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


@asynccontextmanager
async def scheduler_driver(master: str) -> AsyncIterator[SchedulerDriver]:
    framework = mesos.FrameworkInfo(user="", name="hello", checkpoint=False)
    async with SchedulerDriver(framework, master=master) as driver:
        yield driver


async def run(master: str, packages: Iterable[str], console: Console) -> int:
    """Run the framework against ``master`` and print the verdict; 0 when all is well."""
    columns = (
        TextColumn("{task.description:<40.40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    async with AsyncExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=console))
        driver = await stack.enter_async_context(scheduler_driver(master))
        hello = Hello(driver, packages, progress)
        await hello.run()
        finished = [each for each in hello.compilations if each.state == "fetched"]
        checking = progress.add_task("comparing with a local run", total=len(finished))
        different, files = [], 0
        for compilation in finished:
            expected = await compile_locally(compilation.package)
            files += len(expected)
            if compilation.hashes != expected:
                different.append(compilation.package)
            progress.advance(checking)
    agents = Counter(compilation.agent_url for compilation in finished)
    for url, count in sorted(agents.items()):
        console.print(f"{url}: {count} tasks", highlight=False)
    console.print(
        f"{files} compiled files fetched from the sandboxes; different from a local run: "
        f"{', '.join(different) or 'none'}",
        highlight=False,
    )
    total = len(hello.compilations)
    console.print(f"demo: {len(finished)} of {total} tasks finished", highlight=False)
    return 0 if len(finished) == total and not different and files else 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.hello", description=__doc__)
    parser.add_argument("--master", help="HOST:PORT of a running master; starts a cluster without")
    parser.add_argument("packages", nargs="*", help="packages to compile (all of them)")
    arguments = parser.parse_args(argv)
    packages = arguments.packages or stdlib_packages()
    console = Console()
    if arguments.master:
        return asyncio.run(run(arguments.master, packages, console))
    agents = [{"resources": "cpus:2;mem:2048;disk:4096"} for _ in range(2)]
    with LocalCluster(agents=agents) as cluster:
        console.print(f"master at {cluster.master}, agents: {len(agents)}", highlight=False)
        return asyncio.run(run(cluster.master, packages, console))


if __name__ == "__main__":
    sys.exit(main())
