"""An interpreter of classic BPF, as linux/filter.h and bpf_common.h describe it, that also counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from listener.capture.filter import Instruction
from tests.listener.frames import Frame

_NETWORK, _ANCILLARY = -0x100000, -0x1000  # SKF_NET_OFF, SKF_AD_OFF
_PROTOCOL = 0  # SKF_AD_PROTOCOL
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Run:
    """How many bytes a program keeps of a frame, and how many instructions that took."""

    kept: int
    steps: int


def kept(program: Sequence[Instruction], frame: Frame) -> int:
    """How many bytes the program keeps of a frame."""
    return run(program, frame).kept


def run(program: Sequence[Instruction], frame: Frame) -> Run:
    """What the program makes of a frame; memory that nothing was stored in must not be loaded."""
    a = x = at = steps = 0
    memory: dict[int, int] = {}
    while True:
        code, true, false, k = program[at]
        at += 1
        steps += 1
        match code & 0x07:
            case 0x00 | 0x01:  # BPF_LD, BPF_LDX
                loaded = _loaded(code, k, x, frame, memory)
                if loaded is None:
                    return Run(0, steps)
                a, x = (loaded, x) if code & 0x07 == 0 else (a, loaded)
            case 0x02 | 0x03:  # BPF_ST, BPF_STX
                memory[k] = a if code & 0x07 == 2 else x
            case 0x04:  # BPF_ALU
                b = x if code & 0x08 else k
                operations = {0x00: a + b, 0x40: a | b, 0x50: a & b, 0x60: a << b, 0x70: a >> b}
                a = operations[code & 0xF0] & _WORD
            case 0x05:  # BPF_JMP
                tests = {0x10: a == k, 0x20: a > k, 0x30: a >= k, 0x40: bool(a & k)}
                at += k if code == 0x05 else true if tests[code & 0xF8] else false
            case 0x06:  # BPF_RET
                return Run(a if code & 0x18 == 0x10 else k, steps)
            case _:  # BPF_MISC: TAX, TXA
                a, x = (x, x) if code == 0x87 else (a, a)


def _loaded(code: int, k: int, x: int, frame: Frame, memory: dict[int, int]) -> int | None:
    """What a load gives; None where the packet ends before."""
    mode = code & 0xE0
    if mode == 0x00:  # BPF_IMM
        return k
    if mode == 0x60:  # BPF_MEM
        return memory[k]
    signed = k - 2**32 if k >= 2**31 else k
    if mode == 0x40:  # BPF_IND
        signed += x
    if _ANCILLARY <= signed < 0:
        assert signed == _ANCILLARY + _PROTOCOL
        return frame.protocol
    at = signed - _NETWORK + frame.link if signed < 0 else signed
    size = {0x00: 4, 0x08: 2, 0x10: 1}[code & 0x18]
    content = frame.data[at : at + size]
    return int.from_bytes(content) if len(content) == size else None
