"""The corpus of requests over the reader alone: whole, split anywhere, mutated."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorproc.core.wire import REMEMBERED_HEADS_MAX, REMEMBERED_SIZES_MAX, HeadMemory
from tests.data.wire_corpus.corpus import read_corpus
from tests.unit.actorproc.sink import Feeding

CORPUS = read_corpus()
CASES_MIN = 300
BYTEWISE_MAX = 3000  # longer ones come in pieces: byte by byte they would take a minute
TWO_PIECES_MAX = 400
DOCUMENTED = {None, 400, 413, 500}  # what a refused peer is answered, None for nothing


def outcomes_of(feeding):
    """Events in the words of the corpus."""
    outcomes = []
    for kind, *rest in feeding.sink.events:
        match kind:
            case "message":
                *addressed, refused = rest
                outcomes.append(("misaddressed", refused[0]) if refused else (kind, *addressed))
            case "request":
                line = rest[0].partition(b"\r\n")[0]
                outcomes.append((kind, line.decode(errors="surrogateescape")))
            case "refused":
                outcomes.append((kind, *rest) if rest[0] is not None else ("closed",))
    is_open = feeding.error is None
    if is_open and (not outcomes or not feeding.reader.is_between_requests):
        outcomes.append(("waits",))
    return outcomes


def fed(*pieces, memory=None):
    feeding = Feeding(memory)
    feeding.feed(*pieces)
    return feeding


def wanted(case):
    return [outcome for outcome in case.outcomes if outcome != ("ends",)]


def pieces_of(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= CASES_MIN


@pytest.mark.parametrize("case", CORPUS, ids=str)
def test_a_case_whole_and_in_pieces(case):
    assert outcomes_of(fed(case.data)) == wanted(case)
    size = 1 if len(case.data) <= BYTEWISE_MAX else 997
    assert outcomes_of(fed(*pieces_of(case.data, size))) == wanted(case)


def test_every_case_in_every_two_pieces():
    for case in CORPUS:
        for cut in range(1, min(len(case.data), TWO_PIECES_MAX)):
            got = outcomes_of(fed(case.data[:cut], case.data[cut:]))
            assert got == wanted(case), (case.name, cut)


def test_what_other_connections_sent_before_changes_no_case():
    memory = HeadMemory()
    for case in CORPUS * 2:
        assert outcomes_of(fed(case.data, memory=memory)) == wanted(case), case.name
    assert len(memory.heads) <= REMEMBERED_HEADS_MAX
    assert len(memory.sizes) <= REMEMBERED_SIZES_MAX


# Mutations.

SHORT = [case.data for case in CORPUS if len(case.data) <= 1000]
_STREAMS = st.lists(st.sampled_from(SHORT), min_size=1, max_size=4).map(b"".join)
_PIECES = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from(
        [b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"0", b"\x00", b":", b" ", b"%", b";", b"/"]
    ),
    st.sampled_from(
        [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"]
    ),
)
_MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["replace", "insert", "delete", "copy"]), st.integers(0), _PIECES),
    max_size=5,
)
_CUTS = st.lists(st.integers(0, 4000), max_size=6)


def mutated(data, mutations):
    for kind, at, piece in mutations:
        at %= len(data) + 1
        if kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(piece) :]
        else:
            data = data[:at] + data[at : at + 60] + data[at:]
    return data


def split(data, cuts):
    positions = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(positions)]


@settings(max_examples=500)
@given(_STREAMS, _MUTATIONS, _CUTS)
def test_mutated_streams_mean_the_same_however_they_are_split(data, mutations, cuts):
    data = mutated(data, mutations)
    whole = fed(data)  # any other error than that of a peer leaves it
    assert whole.error is None or whole.error.status in DOCUMENTED
    assert outcomes_of(fed(*split(data, cuts))) == outcomes_of(whole)
    assert outcomes_of(fed(*pieces_of(data, 1))) == outcomes_of(whole)


@settings(max_examples=200)
@given(_STREAMS, _STREAMS, _MUTATIONS, _CUTS)
def test_a_memory_full_of_other_streams_changes_nothing(before, data, mutations, cuts):
    memory = HeadMemory()
    fed(before, memory=memory)
    data = mutated(data, mutations)
    assert outcomes_of(fed(*split(data, cuts), memory=memory)) == outcomes_of(fed(data))
