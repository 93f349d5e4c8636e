"""Who asks, and whether they may. Source: actor-runtime.md §8.3, behaviours 108 and 109."""

import asyncio
import base64

import pytest
import pytest_asyncio
from aiohttp import web

from actorproc import Process, ProtocolMisuse, Runtime, TcpTransport, VirtualClock
from actorproc.http import (
    BasicAuthenticator,
    Challenge,
    CombinedAuthenticator,
    Forbidden,
    JwtAuthenticator,
    Principal,
    Unauthorized,
    encode_jwt,
    principal_of,
)
from tests.runtime.raw import connected, get, read_answer, read_answers, reset_on_close
from tests.runtime.support import eventually

pytestmark = pytest.mark.asyncio

SECRET = b"secret"


class Vault(Process):
    """One route that asks who is there, one that does not."""

    def __init__(self):
        super().__init__("vault")
        self.principals = []
        self.order = []

    def initialize(self):
        self.route("/inside", self.serve, realm="vault")
        self.route("/outside", self.serve)

    async def serve(self, request):
        self.principals.append(principal_of(request))
        self.order.append(request.query.get("n"))
        return web.Response(text="served")


class Scripted:
    """Answers what it is told; waits for a gate when there is one."""

    scheme = "Scripted"

    def __init__(self, outcome=None, gates=None):
        self.outcome = outcome
        self.gates = gates
        self.seen = []

    async def authenticate(self, request):
        self.seen.append(request.query.get("n"))
        if self.gates is not None:
            await self.gates[request.query["n"]].wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def clock():
    return VirtualClock(start_s=1000.0)


@pytest_asyncio.fixture
async def runtime(clock):
    async with Runtime(TcpTransport(), clock=clock) as runtime:
        yield runtime


@pytest_asyncio.fixture
async def vault(runtime):
    vault = Vault()
    runtime.spawn(vault)
    await runtime.settle()
    return vault


async def ask(runtime, path="/vault/inside", authorization=None):
    line = "" if authorization is None else f"Authorization: {authorization}\r\n"
    async with connected(runtime) as (reader, writer):
        writer.write(get(path, headers=f"Host: x\r\n{line}"))
        return await read_answer(reader)


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


async def test_b108_a_realm_without_authenticator_asks_nobody(runtime, vault):
    assert (await ask(runtime)).status == 200
    assert vault.principals == [None]
    runtime.http.realms.set_authenticator("vault", Scripted(Forbidden()))
    assert (await ask(runtime)).status == 403
    assert (await ask(runtime, "/vault/outside")).status == 200
    runtime.http.realms.unset_authenticator("vault")
    assert (await ask(runtime)).status == 200


async def test_b108_a_principal_reaches_the_handler(runtime, vault):
    for principal in (Principal("ann"), Principal(claims={"a": "b"})):
        runtime.http.realms.set_authenticator("vault", Scripted(principal))
        assert (await ask(runtime)).status == 200
        assert vault.principals[-1] == principal


CHALLENGES = (Challenge("Basic", {"realm": "a, b"}), Challenge("Bearer", {"realm": "c"}))


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (Unauthorized(CHALLENGES, "say who you are"), 401, "say who you are"),
        (Unauthorized(()), 500, "must give a principal"),
        (Forbidden("not you"), 403, "not you"),
        (Forbidden(), 403, "403"),
        (Principal(), 500, "must give a principal"),
        (Principal(""), 500, "must give a principal"),
        (None, 500, "must give a principal"),
        ("ann", 500, "must give a principal"),
        (ValueError("the directory is gone"), 500, "the directory is gone"),
    ],
)
async def test_b108_outcomes(runtime, vault, outcome, status, text):
    runtime.http.realms.set_authenticator("vault", Scripted(outcome))
    answer = await ask(runtime)
    assert answer.status == status
    assert text in answer.body.decode()
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert vault.principals == []
    assert (await ask(runtime, "/vault/outside")).status == 200, "the process lives on"


async def test_b108_every_challenge_is_in_the_answer(runtime, vault):
    runtime.http.realms.set_authenticator("vault", Scripted(Unauthorized(CHALLENGES)))
    async with connected(runtime) as (reader, writer):
        writer.write(get("/vault/inside"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    for challenge in CHALLENGES:
        assert f"WWW-Authenticate: {challenge}\r\n" in head


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("ann:s:ecret"), 200),
        (basic("ann:s:ecret").replace("Basic", "bAsIc"), 200),
        (basic("bob:"), 200),
        (basic("ann:wrong"), 401),
        (basic("ann:"), 401),
        (basic("eve:s:ecret"), 401),
        (basic("eve:"), 401),
        (basic("ann"), 401),
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic /w==", 401),
        ("Bearer x", 401),
        (None, 401),
    ],
)
async def test_b108_basic(runtime, vault, authorization, status):
    passwords = {"ann": "s:ecret", "bob": ""}
    runtime.http.realms.set_authenticator("vault", BasicAuthenticator("the vault", passwords))
    answer = await ask(runtime, authorization=authorization)
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Basic realm="the vault"'
    else:
        assert vault.principals[0].value in passwords


@pytest.mark.parametrize(
    ("claims", "secret", "status", "error"),
    [
        ({"sub": "ann", "exp": 1001}, SECRET, 200, None),
        ({"role": "x"}, SECRET, 200, None),
        ({"sub": "ann"}, b"other", 401, "must have a valid signature"),
        ({"sub": "ann", "exp": 1000}, SECRET, 401, "must not have expired"),
        ({}, SECRET, 500, None),
    ],
)
async def test_b108_jwt(runtime, vault, clock, claims, secret, status, error):
    runtime.http.realms.set_authenticator("vault", JwtAuthenticator("v", SECRET, clock=clock))
    answer = await ask(runtime, authorization=f"Bearer {encode_jwt(claims, secret)}")
    assert answer.status == status
    if status == 200:
        assert vault.principals[0].value == claims.get("sub")
        assert set(vault.principals[0].claims) == set(claims)
    if error is not None:
        challenge = Challenge.parse(answer.headers["www-authenticate"])
        assert challenge.parameters["error_description"] == error
    plain = await ask(runtime)
    assert (plain.status, plain.headers["www-authenticate"]) == (401, 'Bearer realm="v"')


UNAUTHORIZED = Unauthorized(CHALLENGES[:1], "one")
ALSO_UNAUTHORIZED = Unauthorized(CHALLENGES[1:], "two")


@pytest.mark.parametrize(
    ("outcomes", "status", "text"),
    [
        ([UNAUTHORIZED, Principal("ann")], 200, "served"),
        ([Principal("ann"), ValueError("x")], 200, "served"),
        ([ValueError("x"), Principal("ann")], 200, "served"),
        ([UNAUTHORIZED, Forbidden("three"), ALSO_UNAUTHORIZED], 401, "one\n\ntwo"),
        ([Forbidden("three"), Forbidden("four")], 403, "three\n\nfour"),
        ([Forbidden("three"), ValueError("x")], 403, "three"),
        ([ValueError("x"), ValueError("y")], 500, "every authenticator failed"),
    ],
)
async def test_b108_combined(runtime, vault, outcomes, status, text):
    combined = CombinedAuthenticator([Scripted(outcome) for outcome in outcomes])
    assert combined.scheme.startswith("Scripted or Scripted")
    runtime.http.realms.set_authenticator("vault", combined)
    answer = await ask(runtime)
    assert (answer.status, text in answer.body.decode()) == (status, True)


async def test_b108_nothing_to_combine():
    with pytest.raises(ProtocolMisuse, match="at least one"):
        CombinedAuthenticator([])


# The order of requests.


async def test_b109_handlers_run_in_the_order_of_the_requests(runtime, vault):
    gates = {number: asyncio.Event() for number in "123"}
    authenticator = Scripted(Principal("ann"), gates)
    runtime.http.realms.set_authenticator("vault", authenticator)
    async with connected(runtime) as (reader, writer):
        for number in "123":
            writer.write(get(f"/vault/inside?n={number}"))
        await eventually(lambda: authenticator.seen == ["1", "2", "3"])
        for number in "32":
            gates[number].set()
            await runtime.settle()
        assert vault.order == []
        gates["1"].set()
        answers = await read_answers(reader, 3)
    assert [answer.status for answer in answers] == [200] * 3
    assert vault.order == ["1", "2", "3"]


async def test_b109_also_between_connections_and_routes(runtime, vault):
    gates = {"1": asyncio.Event()}
    authenticator = Scripted(Principal("ann"), gates)
    runtime.http.realms.set_authenticator("vault", authenticator)
    async with connected(runtime) as (reader, writer), connected(runtime) as (reader2, writer2):
        writer.write(get("/vault/inside?n=1"))
        await eventually(lambda: authenticator.seen == ["1"])
        writer2.write(get("/vault/outside?n=2"))
        await eventually(lambda: len(vault._tasks) == 2)
        assert vault.order == []
        gates["1"].set()
        assert (await read_answer(reader2)).status == (await read_answer(reader)).status == 200
    assert vault.order == ["1", "2"]


async def test_b109_a_client_that_goes_away_holds_up_nobody(runtime, vault):
    authenticator = Scripted(Principal("ann"), {"1": asyncio.Event()})
    runtime.http.realms.set_authenticator("vault", authenticator)
    async with connected(runtime) as (_, writer), connected(runtime) as (reader2, writer2):
        writer.write(get("/vault/inside?n=1"))
        await eventually(lambda: authenticator.seen == ["1"])
        writer2.write(get("/vault/outside?n=2"))
        await eventually(lambda: len(vault._tasks) == 2)
        reset_on_close(writer)
        writer.transport.abort()
        assert (await read_answer(reader2)).status == 200
    assert vault.order == ["2"]


async def test_b109_an_authenticator_that_takes_too_long_is_503(runtime, vault, clock):
    authenticator = Scripted(Principal("ann"), {"1": asyncio.Event()})
    runtime.http.realms.set_authenticator("vault", authenticator)
    async with connected(runtime) as (reader, writer):
        writer.write(get("/vault/inside?n=1") + get("/vault/outside?n=2"))
        await eventually(lambda: authenticator.seen == ["1"])
        await clock.advance(runtime.http.limits.authentication_s)
        answers = await read_answers(reader, 2)
    assert [answer.status for answer in answers] == [503, 200]


async def test_a_process_that_ends_during_authentication(runtime, vault):
    authenticator = Scripted(Principal("ann"), {"1": asyncio.Event()})
    runtime.http.realms.set_authenticator("vault", authenticator)
    async with connected(runtime) as (reader, writer):
        writer.write(get("/vault/inside?n=1") + get("/vault/outside"))
        await eventually(lambda: authenticator.seen == ["1"])
        runtime.terminate(vault.pid)
        answers = await read_answers(reader, 2)
    assert [answer.status for answer in answers] == [500, 500]
    assert vault.order == []


# Authorization.


async def test_callbacks_say_who_may(runtime, vault):
    asked = []

    def only_ann(request, principal):
        asked.append(request.path)
        return principal == Principal("ann")

    async def nobody(request, principal):
        return False

    realms = runtime.http.realms
    realms.set_authorization({"/vault/inside": only_ann, "/vault/outside": nobody})
    realms.set_authenticator("vault", Scripted(Principal("ann")))
    assert (await ask(runtime, "/vault/inside/and/more")).status == 200
    assert asked == ["/vault/inside/and/more"], "the route counts, not what follows it"
    assert (await ask(runtime, "/vault/outside")).status == 403
    realms.set_authenticator("vault", Scripted(Principal("bob")))
    assert (await ask(runtime)).status == 403
    realms.set_authorization({})
    assert (await ask(runtime)).status == 200


async def test_only_a_clear_yes_is_a_yes(runtime, vault):
    runtime.http.realms.set_authorization({"/vault/outside": lambda request, principal: "yes"})
    assert (await ask(runtime, "/vault/outside")).status == 403
