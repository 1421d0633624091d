"""Connections of one thread refused by the kernel: for what C libraries do past the interpreter.

A seccomp filter (Linux, x86-64 and arm64; `man 2 seccomp`) of the calling thread, and of all
threads and processes that it starts: `connect`, and `sendto` with an address, fail with EACCES. It
cannot be taken off; it ends with the thread. Threads that were there before are not touched.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from typing import Final

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_MODE_FILTER: Final = 2

_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EACCES
_NUMBER, _ARCHITECTURE, _ADDRESS_LOW, _ADDRESS_HIGH = 0, 4, 48, 52
"""Offsets in `struct seccomp_data`; the address is the fifth argument of `sendto`."""

_MACHINES: Final = {"x86_64": (0xC000003E, 42, 44), "aarch64": (0xC00000B7, 203, 206)}
"""AUDIT_ARCH_…, and the numbers of connect and sendto."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def refuse_connections() -> bool:
    """From now on, in this thread. False where this kernel or machine cannot."""
    numbers = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if numbers is None:
        return False
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    instructions = _filter(*numbers)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.addressof(buffer))
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0) == 0)


def _filter(architecture: int, connect: int, sendto: int) -> bytes:
    """The filter's instructions: (code, steps if true, steps if false, operand) each."""
    return b"".join(
        struct.pack("=HBBI", *one)
        for one in (
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_IF_EQUAL, 0, 8, architecture),
            (_LOAD, 0, 0, _NUMBER),
            (_IF_EQUAL, 5, 0, connect),
            (_IF_EQUAL, 0, 5, sendto),
            (_LOAD, 0, 0, _ADDRESS_LOW),
            (_IF_EQUAL, 0, 2, 0),
            (_LOAD, 0, 0, _ADDRESS_HIGH),
            (_IF_EQUAL, 1, 0, 0),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
