"""What a command ends with when it cannot do its work: one line for people, and an exit status for scripts."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit statuses of every command, with what they say."""

    OK = 0, "It worked."
    FAILED = 1, "The server refused the request or failed at it, or what was checked is wrong."
    USAGE = 2, "The command was called wrongly."
    UNREACHABLE = 3, "Nothing answers at the address."
    NOT_ALLOWED = 4, "The server wants an API key, or one with more rights."
    INTERRUPTED = 130, "Ctrl-C; what was asked for is no longer generated."

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class CliError(Exception):
    """The command ends; the message is one line that says what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


class NotInstalled(CliError):
    """The command needs a part of the server that is not installed; the message says what brings it."""
