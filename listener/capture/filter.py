"""The kernel's filter: a classic BPF program that lets through TCP packets sent to the endpoints, and no others.

It works for every link type, as it reads from the network header on (SKF_NET_OFF) and takes the protocol from
the metadata (SKF_AD_PROTOCOL). See https://docs.kernel.org/networking/filter.html. VLAN tags and IPv6 extension
headers are walked as far as the decoder does; then each family has one section that looks for the packet's address
and port by binary search. Later fragments to an endpoint's address pass, to be counted. Left to the decoder is
whether the TCP header is whole.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from listener.decode.matching import ATTEMPT, ATTEMPT_FLAGS
from listener.decode.protocols import (
    AH,
    ETH_IPV4,
    ETH_IPV6,
    ETH_VLAN,
    FRAGMENT,
    GENEVE_PORT,
    GRE,
    IPIP,
    IPV6_EXTENSIONS,
    MAX_EXTENSIONS,
    MAX_TAGS,
    SIX_IN_ANY,
    TCP,
    TCP_BYTES,
    UDP,
    VXLAN_PORT,
)
from tapfan.endpoints import EVERY_PORT, Endpoint, Only

MAX_INSTRUCTIONS = 4096  # the kernel's BPF_MAXINSNS

LINK_BYTES = 18  # kept for the link header: Ethernet with one VLAN tag
TUNNEL_BYTES = 256  # kept of a tunnel's packet behind its outer IP headers

_LD, _LD_M, _LD_B, _LD_H, _LD_W = 0x00, 0x60, 0x50, 0x48, 0x40  # A = k, M[k], or packet[X + k]
_LD_W_ABS = 0x20  # A = packet[k]
_LDX, _LDX_M = 0x01, 0x61
_ST, _STX, _TAX, _TXA = 0x02, 0x03, 0x07, 0x87
_ADD, _ADD_X, _AND, _LSH = 0x04, 0x0C, 0x54, 0x64
_JA, _JEQ, _JGT, _JGE, _JSET = 0x05, 0x15, 0x25, 0x35, 0x45
_RET, _RET_A = 0x06, 0x16
_FARTHEST = 254  # of a conditional jump: one less than there is, as a JA may come to stand behind it

_NETWORK = -0x100000 & 0xFFFFFFFF  # SKF_NET_OFF
_PROTOCOL = -0x1000 & 0xFFFFFFFF  # SKF_AD_OFF + SKF_AD_PROTOCOL
# Scratch memory. All offsets are from the network header on; that of the IP header is the length of the tags.
_AT_IP, _AT_TCP, _PORT, _WORD = 0, 1, 2, 3
_LATER = 0x10000  # the "port" of a later fragment

_TUNNELS = (IPIP, SIX_IN_ANY, GRE)
_DESTINATION = {4: _NETWORK + 16, 6: _NETWORK + 24}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k
Row = tuple[int, ...]
# What to look for, level by level: ranges (first, last, what must follow); empty at the end of a match.
Tree = tuple[tuple[int, int, "Tree"], ...]


@dataclass(frozen=True)
class Program:
    """A filter; `exact`: what it lets through needs no second look at its endpoint and flags."""

    code: list[Instruction]
    exact: bool


@dataclass(frozen=True)
class _Step:
    """An instruction with the names of the places to jump to; None: the next one."""

    code: int
    k: int = 0
    true: str | None = None
    false: str | None = None


@dataclass
class _Steps:
    """A program in the making: steps, and the names of places between them. All jumps go forward."""

    steps: list[_Step | str] = field(default_factory=list)

    def add(self, *codes: int | tuple[int, int]) -> None:
        for code in codes:
            self.steps.append(_Step(code) if isinstance(code, int) else _Step(*code))

    def place(self, name: str) -> None:
        self.steps.append(name)

    def jump(self, name: str) -> None:
        self.steps.append(_Step(_JA, true=name))

    def test(self, code: int, k: int, true: str | None = None, false: str | None = None) -> None:
        self.steps.append(_Step(code, k, true, false))

    def test_any(self, values: Iterable[int], true: str, false: str) -> None:
        for value in values:
            self.test(_JEQ, value, true)
        self.jump(false)

    def assembled(self) -> list[Instruction]:
        """The instructions, made from the last to the first; places are counted from the end.

        What is too far for a conditional jump gets a JA, which those before it share.
        """
        made: list[Instruction] = []
        places: dict[str, int] = {}
        near: dict[str, int] = {}
        for step in reversed(self.steps):
            if isinstance(step, str):
                places[step] = near[step] = len(made) - 1
            elif step.code == _JA and step.true is not None:
                if distance := len(made) - 1 - places[step.true]:
                    made.append((_JA, 0, 0, distance))
                    near[step.true] = len(made) - 1
            elif step.true is None and step.false is None:
                made.append((step.code, 0, 0, step.k))
            else:
                following = len(made) - 1
                for name in (step.true, step.false):
                    if name is not None and len(made) - 1 - near[name] > _FARTHEST:
                        made.append((_JA, 0, 0, len(made) - 1 - places[name]))
                        near[name] = len(made) - 1
                true, false = (following if name is None else near[name] for name in (step.true, step.false))
                made.append((step.code, len(made) - 1 - true, len(made) - 1 - false, step.k))
        return made[::-1]


def build(endpoints: Iterable[Endpoint], only: Only = "all", tunnels: bool = False) -> Program:
    """The program for these endpoints: a coarser one, without ports or addresses, where all do not fit in."""
    chosen = set(endpoints)
    anywhere: dict[int, Address] = {4: ipaddress.IPv4Address(0), 6: ipaddress.IPv6Address(0)}
    code = _code(chosen, only, tunnels)
    exact = len(code) <= MAX_INSTRUCTIONS
    for keeps_address, keeps_port in ((True, False), (False, True), (False, False)):
        if len(code) <= MAX_INSTRUCTIONS:
            break
        coarser = {
            Endpoint(
                endpoint.address if keeps_address else anywhere[endpoint.address.version],
                endpoint.port if keeps_port else EVERY_PORT,
            )
            for endpoint in chosen
        }
        code = _code(coarser, only, tunnels)
    return Program(code, exact and not tunnels)


def _code(endpoints: set[Endpoint], only: Only, tunnels: bool) -> list[Instruction]:
    steps = _Steps()
    steps.add((_LDX, 0), (_LD_W_ABS, _PROTOCOL))
    for tags in range(1, MAX_TAGS + 1):
        steps.test(_JEQ, ETH_IPV4, "ipv4")
        steps.test(_JEQ, ETH_IPV6, "ipv6")
        steps.test_any(ETH_VLAN, f"tag {tags}", "drop")
        steps.place(f"tag {tags}")
        steps.add((_LD_H, _NETWORK + 2), (_LDX, 4 * tags))
    steps.test(_JEQ, ETH_IPV4, "ipv4")
    steps.test(_JEQ, ETH_IPV6, "ipv6", "drop")
    for version, walk in ((4, _walk_ipv4), (6, _walk_ipv6)):
        steps.place(f"ipv{version}")
        of_family = {endpoint for endpoint in endpoints if endpoint.address.version == version}
        if of_family or tunnels:
            walk(steps, only, tunnels)
            _match(steps, of_family, version, only)
        else:
            steps.jump("drop")
    steps.place("accept")
    if endpoints or tunnels:
        steps.add((_LD_M, _AT_TCP), (_ADD, LINK_BYTES + TCP_BYTES), _RET_A)
    if tunnels:
        steps.place("udp")
        steps.add((_LD_H, _NETWORK + 2))
        steps.test_any((VXLAN_PORT, GENEVE_PORT), "tunnel", "drop")
        steps.place("tunnel")
        steps.add(_TXA, (_ADD, LINK_BYTES + TUNNEL_BYTES), _RET_A)
    steps.place("drop")
    steps.add((_RET, 0))
    return steps.assembled()


def _walk_ipv4(steps: _Steps, only: Only, tunnels: bool) -> None:
    """From the IP header at X to the header behind it."""
    later = "drop" if only == "syn" else "ipv4 later"
    steps.add((_STX, _AT_IP), (_LD_W, _NETWORK + 6), (_ST, _WORD), (_AND, 0xFF))  # fragment offset to protocol
    if tunnels:
        steps.test_any((TCP, UDP, *_TUNNELS), "ipv4 header", "drop")
        steps.place("ipv4 header")
    else:
        steps.test(_JEQ, TCP, None, "drop")
    steps.add((_LD_B, _NETWORK))
    steps.test(_JGE, 0x45, None, "drop")  # version 4, and at least 20 bytes
    steps.test(_JGT, 0x4F, "drop")
    steps.add((_AND, 0x0F), (_LSH, 2), _ADD_X, _TAX, (_LD_M, _WORD))
    if tunnels:
        steps.test(_JSET, 0x1FFF0000, "ipv4 fragment")
        steps.add((_AND, 0xFF))
        steps.test(_JEQ, TCP, "ipv4 tcp")
        steps.test(_JEQ, UDP, "udp", "tunnel")
        steps.place("ipv4 fragment")
        steps.add((_AND, 0xFF))
        steps.test(_JEQ, TCP, later, "drop")
    else:
        steps.test(_JSET, 0x1FFF0000, later, "ipv4 tcp")


def _walk_ipv6(steps: _Steps, only: Only, tunnels: bool) -> None:
    """From the IP header at X over the extension headers to the header behind them."""
    steps.add((_STX, _AT_IP), (_LD_B, _NETWORK), (_AND, 0xF0))
    steps.test(_JEQ, 0x60, None, "drop")
    steps.add(_TXA, (_ADD, 40), (_ST, _AT_TCP), (_LD_B, _NETWORK + 6), (_LDX_M, _AT_TCP))
    other = [kind for kind in IPV6_EXTENSIONS if kind not in (FRAGMENT, AH)]
    for number in range(MAX_EXTENSIONS):
        place = f"ipv6 extension {number}"
        steps.test(_JEQ, TCP, "ipv6 tcp")
        steps.test(_JEQ, FRAGMENT, f"{place} fragment")
        steps.test(_JEQ, AH, f"{place} ah")
        steps.test_any(other, f"{place} other", "ipv6 end")
        steps.place(f"{place} fragment")
        steps.add((_LD_H, _NETWORK + 2))
        steps.test(_JSET, 0xFFF8, "drop" if only == "syn" else "ipv6 fragment")
        steps.add((_LD, 8))
        steps.jump(f"{place} size")
        steps.place(f"{place} ah")
        steps.add((_LD_B, _NETWORK + 1), (_ADD, 2), (_LSH, 2))
        steps.jump(f"{place} size")
        steps.place(f"{place} other")
        steps.add((_LD_B, _NETWORK + 1), (_ADD, 1), (_LSH, 3))
        steps.place(f"{place} size")
        steps.add(_ADD_X, (_ST, _AT_TCP), (_LD_B, _NETWORK), (_LDX_M, _AT_TCP))
    steps.test(_JEQ, TCP, "ipv6 tcp")
    steps.place("ipv6 end")
    if tunnels:
        steps.test(_JEQ, UDP, "udp")
        steps.test_any(_TUNNELS, "tunnel", "drop")
    else:
        steps.jump("drop")
    if only == "all":
        steps.place("ipv6 fragment")
        steps.add((_LD_B, _NETWORK))
        steps.test_any((TCP, *IPV6_EXTENSIONS), "ipv6 later fragment", "drop")
        steps.place("ipv6 later fragment")
        steps.add(_TXA, (_ADD, 8), _TAX)
        steps.jump("ipv6 later")


def _match(steps: _Steps, endpoints: set[Endpoint], version: int, only: Only) -> None:
    """With the TCP header, or what a later fragment has in its place, at X: go to "accept" or to "drop"."""
    name = f"ipv{version}"
    if only == "all":
        steps.place(f"{name} later")
        steps.add((_LD, _LATER))
        steps.jump(f"{name} match")
    steps.place(f"{name} tcp")
    if only == "syn":
        steps.add((_LD_B, _NETWORK + 13), (_AND, ATTEMPT_FLAGS))
        steps.test(_JEQ, ATTEMPT, None, "drop")
    steps.add((_LD_H, _NETWORK + 2))
    steps.place(f"{name} match")
    steps.add((_ST, _PORT), (_STX, _AT_TCP))

    later = {_LATER} if only == "all" else set()
    words = [(_LD_W, _DESTINATION[version] + start) for start in range(0, 4 if version == 4 else 16, 4)]
    of_every_address = {endpoint.port for endpoint in endpoints if endpoint.address.is_unspecified}
    if EVERY_PORT in of_every_address:
        steps.jump("accept")
        return
    if of_every_address:
        tree = _tree({(port,) for port in of_every_address | later})
        _search(steps, f"{name} ports", tree, [(_LD_M, _PORT)], f"{name} addresses")
        steps.place(f"{name} addresses")
    whole = {_words(endpoint) for endpoint in endpoints if endpoint.port == EVERY_PORT}
    pairs = {
        (_words(endpoint), endpoint.port)
        for endpoint in endpoints
        if endpoint.port not in of_every_address and _words(endpoint) not in whole
    }
    if whole or pairs:
        steps.add((_LDX_M, _AT_IP))
    if whole:
        _search(steps, f"{name} addresses", _tree(whole), words, f"{name} pairs")
        steps.place(f"{name} pairs")
    if pairs:
        by_address, by_port = _by_address(pairs, words, name), _by_port(pairs, later, words, name)
        steps.steps += min(by_port, by_address, key=lambda made: len(made.steps)).steps
    steps.jump("drop")


def _words(endpoint: Endpoint) -> Row:
    packed = endpoint.address.packed
    return tuple(int.from_bytes(packed[start : start + 4]) for start in range(0, len(packed), 4))


def _by_address(pairs: set[tuple[Row, int]], words: list[tuple[int, int]], name: str) -> _Steps:
    """The search for the address and then for one of its ports; a later fragment has none, and needs none."""
    steps = _Steps()
    tree = _tree({(*address, port) for address, port in pairs})
    _search(steps, f"{name} pairs", tree, [*words, (_LD_M, _PORT)], "drop", f"{name} other port")
    steps.place(f"{name} other port")
    steps.test(_JEQ, _LATER, "accept", "drop")
    return steps


def _by_port(pairs: set[tuple[Row, int]], later: set[int], words: list[tuple[int, int]], name: str) -> _Steps:
    """The search for the port and then for one of its addresses; a later fragment's "port" has all of them."""
    steps = _Steps()
    tree = _tree({(port, *address) for address, known in pairs for port in {known} | later})
    _search(steps, f"{name} pairs", tree, [(_LD_M, _PORT), *words], "drop")
    return steps


def _tree(rows: set[Row]) -> Tree:
    """Rows of equal length by their first value, and those by their second, and so on."""
    grouped: dict[int, set[Row]] = {}
    for first, *rest in rows:
        grouped.setdefault(first, set()).add(tuple(rest))
    tree: list[tuple[int, int, Tree]] = []
    for value, following in sorted(grouped.items()):
        below = _tree(following) if following != {()} else ()
        if tree and tree[-1][1:] == (value - 1, below):
            tree[-1] = (tree[-1][0], value, below)
        else:
            tree.append((value, value, below))
    return tuple(tree)


def _search(
    steps: _Steps,
    name: str,
    tree: Tree,
    loads: list[tuple[int, int]],
    otherwise: str,
    last_otherwise: str | None = None,
) -> None:
    """Go to "accept" when what each level's instruction loads is in the tree, else to `otherwise`.

    `last_otherwise`: where to go when it is the last level's value that is missing. What several branches have in
    common comes behind them all; what only one leads to comes right behind it.
    """
    uses: Counter[Tree] = Counter([tree, tree])
    level, levels = [tree], []
    while level:
        levels.append(level)
        below = [following for known in level for _, _, following in known if following]
        uses.update(below)
        level = list(dict.fromkeys(below))
    shared = [[known for known in level if uses[known] > 1] for level in levels]
    names = {known: f"{name} {i}" for i, known in enumerate(chain.from_iterable(shared))}

    def look_for(known: Tree, depth: int) -> None:
        steps.add(loads[depth])
        branch(known, depth)

    def branch(ranges: Tree, depth: int) -> None:
        if len(ranges) > 1:
            middle = len(ranges) // 2
            right = f"{name} right {len(steps.steps)}"
            steps.test(_JGE, ranges[middle][0], right)
            branch(ranges[:middle], depth)
            steps.place(right)
            branch(ranges[middle:], depth)
            return
        first, last, following = ranges[0]
        missing = last_otherwise if last_otherwise and not following else otherwise
        found = names.get(following) if following else "accept"
        if first == last:
            steps.test(_JEQ, first, found, missing)
        else:
            steps.test(_JGE, first, None, missing)
            steps.test(_JGT, last, missing, found)
        if found is None:
            look_for(following, depth + 1)

    for depth, some in enumerate(shared):
        for known in some:
            steps.place(names[known])
            look_for(known, depth)
