"""What every state store promises, and what the one in a file adds: it outlives the program."""

import asyncio
import sqlite3

import pytest

from cluster.state import InMemoryStorage, SqliteStorage, StorageFailed

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["memory", "file"])
def storage(request, tmp_path):
    store = InMemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "s")
    yield store
    store.close()


async def test_a_stored_value_is_fetched_again(storage):
    fresh = await storage.fetch("v")
    assert (fresh.version, fresh.value) == (b"", b"")
    stored = await storage.store(fresh, b"one")
    assert stored is not None
    assert await storage.fetch("v") == stored
    assert stored.value == b"one"
    assert len(stored.version) == 16
    assert (await storage.fetch("w")).value == b""


async def test_only_what_was_fetched_is_replaced(storage):
    fresh = await storage.fetch("v")
    mine = await storage.store(fresh, b"mine")
    assert await storage.store(fresh, b"theirs") is None
    assert await storage.fetch("v") == mine
    again = await storage.store(mine, b"mine again")
    assert again is not None
    assert again.version != mine.version
    assert await storage.store(mine, b"late") is None


async def test_a_file_keeps_values_and_tells_writers_apart(tmp_path):
    path = tmp_path / "s"
    first, second = SqliteStorage(path), SqliteStorage(path)
    seen = await second.fetch("v")
    stored = await first.store(await first.fetch("v"), b"one" * 100_000)
    assert await second.store(seen, b"two") is None
    first.close()
    assert await second.fetch("v") == stored
    second.close()
    third = SqliteStorage(path)
    assert await third.fetch("v") == stored
    third.close()


async def test_a_value_survives_a_file_that_was_never_closed(tmp_path):
    path = tmp_path / "s"
    abandoned = SqliteStorage(path)
    stored = await abandoned.store(await abandoned.fetch("v"), b"one")
    # What a crash leaves behind: the file and its log, copied while it is open.
    copies = tmp_path / "copies"
    copies.mkdir()
    for file in tmp_path.glob("s*"):
        (copies / file.name).write_bytes(file.read_bytes())
    survivor = SqliteStorage(copies / "s")
    assert await survivor.fetch("v") == stored
    survivor.close()
    abandoned.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"\x00" * 4096])
async def test_a_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "s"
    path.write_bytes(content)
    store = SqliteStorage(path)
    with pytest.raises(StorageFailed, match="file is not a database") as caught:
        await store.fetch("v")
    assert str(path) in str(caught.value)
    store.close()


async def test_a_file_of_another_layout_is_left_alone(tmp_path):
    path = tmp_path / "s"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    store = SqliteStorage(path)
    with pytest.raises(StorageFailed, match="has layout 7, this program knows only 1"):
        await store.fetch("v")
    store.close()


async def test_a_missing_directory_is_one_line(tmp_path):
    store = SqliteStorage(tmp_path / "none" / "s")
    with pytest.raises(StorageFailed, match="unable to open database file"):
        await store.fetch("v")
    store.close()


async def test_the_loop_goes_on_while_the_file_is_locked(tmp_path):
    path = tmp_path / "s"
    store = SqliteStorage(path)
    fresh = await store.fetch("v")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    storing = asyncio.ensure_future(store.store(fresh, b"one"))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not storing.done()
    store.close()  # a call is under way: closing is left to the end of the program
    blocker.execute("COMMIT")
    blocker.close()
    assert await storing is not None
    store.close()
