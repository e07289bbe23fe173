"""Loosenings that are argued to change no verdict, one by one, each with its reason. Pure data.

An entry names the operator, the file, the text of the statement and the change; an entry that fits no place is stale.
"""

from __future__ import annotations

from poolproof.harness.mutation.generated.equivalents import Equivalent

HARMLESS: tuple[Equivalent, ...] = (
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/audit.py",
        statement='strange = np.flatnonzero(known & ((times != 1) | ops.sent.are("no")))',
        change="times != 1 -> ((times != 1) | True)",
        reason="only fewer calls are looked at one by one: a call that ran once and may have run contradicts nothing",
    ),
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/audit.py",
        statement="if op.session is not None and op.type is OpType.OK and op.completed_ns is not None:",
        change="op.completed_ns is not None -> ((op.completed_ns is not None) | True)",
        reason="an operation of the type OK always has an end",
    ),
    Equivalent(
        operator="a_tenth",
        file="harness/checkers/calls/linearizability.py",
        statement="most_visited: int = 200_000",
        change="200_000 -> ((200_000) / 10)",
        reason="bounds the effort of the search, beyond which the result is UNKNOWN and never PASS",
    ),
    Equivalent(
        operator="ten_times",
        file="harness/checkers/calls/linearizability.py",
        statement="most_visited: int = 200_000",
        change="200_000 -> ((200_000) * 10)",
        reason="bounds the effort of the search, beyond which the result is UNKNOWN and never PASS",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/linearizability.py",
        statement="if lost_ns is not None and op.invoked_ns >= lost_ns:",
        change="lost_ns is not None -> ((lost_ns is not None) & False)",
        reason="an answered call after the loss counts as doubtful by the next rule, and a doubtful call can explain itself",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/linearizability.py",
        statement="if lost_ns is not None and op.invoked_ns >= lost_ns:",
        change="op.invoked_ns >= lost_ns -> ((op.invoked_ns >= lost_ns) & False)",
        reason="an answered call after the loss counts as doubtful by the next rule, and a doubtful call can explain itself",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/linearizability.py",
        statement="if op.command in READ_COMMANDS or never:",
        change="op.command in READ_COMMANDS -> ((op.command in READ_COMMANDS) & False)",
        reason="a doubtful read changes no state, and the search leaves out what changes nothing",
    ),
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/linearizability.py",
        statement="return Call(op.index, op.invoked_ns, returned, _step(op, returned is not None))",
        change="returned is not None -> ((returned is not None) | True)",
        reason="a call without an answer has no value to be judged by, and a step that does not fit is one that never happens",
    ),
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/search.py",
        statement="if after is not None and after != state: # leaving out a call that changes nothing gives the same states",
        change="after != state -> ((after != state) | True)",
        reason="only the effort changes: a doubtful call that changes nothing leads to a state that was reached before",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/search.py",
        statement="if len(nearest) == 1 and not doubtful:",
        change="len(nearest) == 1 -> ((len(nearest) == 1) & False)",
        reason="only the effort changes: the set of visited configurations is asked where it need not be",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/search.py",
        statement="return one.returned is not None and one.returned < other.invoked",
        change="one.returned is not None -> ((one.returned is not None) & False)",
        reason="only the effort changes: calls that do not overlap are searched like those that do",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/search.py",
        statement="return one.returned is not None and one.returned < other.invoked",
        change="one.returned < other.invoked -> ((one.returned < other.invoked) & False)",
        reason="only the effort changes: calls that do not overlap are searched like those that do",
    ),
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/search.py",
        statement="return one.returned is not None and one.returned < other.invoked",
        change="one.returned is not None -> ((one.returned is not None) | True)",
        reason="the calls that are compared here all have an answer",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/search.py",
        statement="if bound is not None and call.invoked > bound:",
        change="bound is not None -> ((bound is not None) & False)",
        reason="only the effort changes: calls beyond the bound are filtered out at the end",
    ),
    Equivalent(
        operator="always_false",
        file="harness/checkers/calls/search.py",
        statement="if bound is not None and call.invoked > bound:",
        change="call.invoked > bound -> ((call.invoked > bound) & False)",
        reason="only the effort changes: calls beyond the bound are filtered out at the end",
    ),
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/search.py",
        statement="if call.returned is not None and (bound is None or call.returned < bound):",
        change="call.returned is not None -> ((call.returned is not None) | True)",
        reason="the calls that are compared here all have an answer",
    ),
    Equivalent(
        operator="always_true",
        file="harness/checkers/calls/search.py",
        statement="return [offset for offset in open_ if answered[base + offset].invoked <= bound], bound",
        change="answered[base + offset].invoked <= bound -> ((answered[base + offset].invoked <= bound) | True)",
        reason="calls are in the order of their begin, so the loop before has left out those beyond the bound",
    ),
    Equivalent(
        operator="a_tenth",
        file="harness/checkers/calls/versions.py",
        statement="NEVER_NS = 1 << 63",
        change="1 << 63 -> ((1 << 63) / 10)",
        reason="stands for a moment after every other; nothing is measured against its value",
    ),
    Equivalent(
        operator="ten_times",
        file="harness/checkers/calls/versions.py",
        statement="NEVER_NS = 1 << 63",
        change="1 << 63 -> ((1 << 63) * 10)",
        reason="stands for a moment after every other; nothing is measured against its value",
    ),
)
