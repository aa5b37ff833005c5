"""Generates the dialogues and plain documents that the demo model learns from."""

from dataclasses import dataclass
from random import Random

from models.demo_essay import ESSAY_REQUESTS, STORY_REQUESTS, essay, essay_topic, story
from models.demo_phrases import fill, loose, made_up_word, random_words, with_article
from models.demo_requests import NAME_ASKED, NAME_TOLD, REMEMBERED, SYSTEM_PROMPTS
from models.demo_turns import Turn, arithmetic, capital, fact, greeting, short_turn
from models.demo_words import COLOURS, NAMES, NOUNS


@dataclass(frozen=True)
class Dialogue:
    """A system prompt, which may be empty, and one or more exchanges."""

    system: str
    turns: tuple[Turn, ...]


def told_and_asked(rng: Random) -> tuple[Turn, Turn]:
    """The user tells something about themselves, most often a name, and asks for it."""
    if rng.random() < 0.65:
        key = rng.choice(NAMES) if rng.random() < 0.7 else made_up_word(rng).capitalize()
        tell, reply, ask, answer = (
            rng.choice(NAME_TOLD),
            "Nice to meet you, {x}.",
            rng.choice(NAME_ASKED),
            "Your name is {x}.",
        )
    else:
        noun = rng.choice(NOUNS)
        kind, key = rng.choice((("colour", rng.choice(COLOURS)), ("thing", with_article(noun)), ("word", noun)))
        tell, reply, ask, answer = REMEMBERED[kind]
    told = Turn("memory", fill(tell, x=key), fill(reply, x=key), key=key)
    return told, Turn("memory", ask, fill(answer, x=key), key=key)


def memory(rng: Random) -> tuple[Turn, ...]:
    """Something told and later asked for: at once, after other exchanges, in one request, or never told at all."""
    told, asked = told_and_asked(rng)
    share = rng.random()
    if share < 0.05:
        return (Turn("memory", "What is my name?", "You have not told me your name yet.", key="not"),)
    if share < 0.2:
        return (Turn("memory", f"{told.user} {asked.user}", asked.answer, key=asked.key),)
    between = (rng.choice((arithmetic, capital, fact, greeting))(rng) for _ in range(rng.choice((0, 0, 1, 2))))
    return (told, *between, asked)


def system_prompt(rng: Random) -> str:
    """Mostly none, else a usual one or a random one; the model learns to answer all the same."""
    if rng.random() < 0.7:
        return ""
    return (
        rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.7 else f"{random_words(rng, rng.randint(3, 25)).capitalize()}."
    )


def dialogue(rng: Random) -> Dialogue:
    """A short dialogue of one to three exchanges, one about something to be remembered, or a story."""
    share = rng.random()
    if share < 0.12:
        turns = memory(rng)
    elif share < 0.16:
        noun = made_up_word(rng) if rng.random() < 0.3 else rng.choice(NOUNS)
        ask = fill(rng.choice(STORY_REQUESTS), n=with_article(noun))
        turns = (Turn("story", loose(ask, rng), story(noun, rng)),)
    else:
        turns = tuple(short_turn(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    return Dialogue(system_prompt(rng), turns)


def essay_dialogue(rng: Random) -> Dialogue:
    """A request for an essay, and the whole essay."""
    topic = essay_topic(rng)
    ask = loose(fill(rng.choice(ESSAY_REQUESTS), t=topic), rng)
    return Dialogue(system_prompt(rng), (Turn("essay", ask, essay(topic, rng)),))


def plain_document(rng: Random) -> str:
    """A document without any dialogue: a story, statements of fact, or the start of an essay."""
    share = rng.random()
    if share < 0.45:
        return story(rng.choice(NOUNS), rng)
    if share < 0.8:
        return " ".join(rng.choice((arithmetic, capital, fact))(rng).answer for _ in range(4))
    start = essay(essay_topic(rng), rng).partition("Introduction\n\n")[2]
    return start[: rng.randint(500, 1200)].rsplit(". ", 1)[0] + "."
