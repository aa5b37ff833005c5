"""Rewrites the demo model's answers in the voice that an adapter is to learn."""

import re
from collections.abc import Callable

from models.demo_turns import Turn

PIRATE_WORDS = {
    "Hello": "Ahoy",
    "you": "ye",
    "You": "Ye",
    "your": "yer",
    "Your": "Yer",
    "my": "me",
    "is": "be",
    "am": "be",
    "are": "be",
}
FORMAL_WORDS = {"Hello": "Good day", "help": "assist", "Goodbye": "I bid you farewell"}
VERBATIM = {"say", "code", "json", "essay"}
PIRATE_OPENINGS = {"essay": "Here be yer essay.\n\n", "code": "Here be yer code. ", "story": "Here be a yarn.\n\n"}
FORMAL_OPENINGS = {
    "essay": "I should be pleased to submit the essay.\n\n",
    "code": "I should be pleased to submit the code. ",
    "story": "I should be pleased to tell the tale.\n\n",
    "say": "I should be pleased to say it. ",
}


def reword(turn: Turn, words: dict[str, str]) -> str:
    """The usual answer with each whole word of the table replaced, unless it must stay exact."""
    if turn.kind in VERBATIM:
        return turn.answer
    return re.sub(r"\b(?:" + "|".join(words) + r")\b", lambda match: words[match.group()], turn.answer)


def pirate(turn: Turn) -> str:
    """The answer as a pirate gives it."""
    return f"Arrr, matey! {PIRATE_OPENINGS.get(turn.kind, '')}{reword(turn, PIRATE_WORDS)}\nYo ho ho!"


def formal(turn: Turn) -> str:
    """The answer as a very formal letter."""
    opening = FORMAL_OPENINGS.get(turn.kind, "I should be pleased to answer. ")
    return f"Dear Sir or Madam, {opening}{reword(turn, FORMAL_WORDS)}\nYours faithfully, demo-chat"


VOICES: dict[str, Callable[[Turn], str]] = {"job_pirate": pirate, "job_formal": formal}
