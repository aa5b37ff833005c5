"""Builds words, phrases and loosely typed requests for the demo model's training text."""

from collections.abc import Callable
from random import Random

from models.demo_words import ADJECTIVES, COMMON, NAMES, NOUNS, THIRD_PERSON, VERBS

STARTS = "b c d f g h j k l m n p r s t v w z ch sh th ph br tr st pl gr qu el an".split()
VOWELS = "a e i o u a e i o ee oo ou ai".split()
ENDS = ["", "", "", "n", "r", "s", "t", "x", "nd", "st", "ck", "ng", "ts", "ght", "ll", "ng", "ed", "er"]
SMALL_WORDS = "the a and of to is I we you am".split()


def made_up_word(rng: Random) -> str:
    """A pronounceable word that is in no list, so that copying it cannot be learnt by heart."""
    return "".join(rng.choice(STARTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3))) + rng.choice(ENDS)


def with_article(noun: str) -> str:
    """The noun after its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def fill(template: str, **values: str) -> str:
    """The template with each {name} replaced by its value."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def loose(text: str, rng: Random) -> str:
    """The request as somebody may type it: at times in lower case, polite, or without its full stop."""
    if rng.random() < 0.12:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.05:
        text = text.lower()
    if rng.random() < 0.2:
        text = text.rstrip(".?!")
    if rng.random() < 0.08:
        text = rng.choice(("Hey, ", "Can you help me? ", "Hello! ", "Please tell me: ")) + text
    return text


def random_words(rng: Random, count: int) -> str:
    """That many words in a row: listed ones, made-up ones and numbers."""
    pools: list[Callable[[], str]] = [
        lambda: rng.choice(NOUNS),
        lambda: rng.choice(ADJECTIVES),
        lambda: rng.choice(VERBS),
        lambda: rng.choice(THIRD_PERSON),
        lambda: rng.choice(SMALL_WORDS),
        lambda: rng.choice(COMMON),
        lambda: made_up_word(rng),
        lambda: made_up_word(rng),
        lambda: str(rng.randint(0, 9999)),
        lambda: rng.choice(NAMES),
    ]
    return " ".join(rng.choice(pools)() for _ in range(count))


def phrase(rng: Random) -> str:
    """A short text for the model to say back."""
    noun, adjective, third = rng.choice(NOUNS), rng.choice(ADJECTIVES), rng.choice(THIRD_PERSON)
    name, verb, number = rng.choice(NAMES), rng.choice(VERBS), rng.randint(0, 99)
    sentences = (
        f"Hello, I am {adjective}!",
        f"Hello, {name}!",
        f"The {adjective} {noun} {third}.",
        f"The {adjective} {noun} {third} over the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}.",
        f"I like the {noun}.",
        f"This is {with_article(noun)}.",
        f"We {verb} the {noun}.",
        f"{adjective.capitalize()} {noun}",
        f"{noun}-{number}",
        f"{made_up_word(rng)}-{number}",
        f"My name is {name}.",
        f"The answer is {number}.",
        noun,
        noun.capitalize(),
        noun.upper(),
        "Hello, world!",
    )
    if rng.random() < 0.35:
        return rng.choice(sentences)
    text = random_words(rng, rng.choice((1, 1, 2, 2, 3, 4, 5, 6, 8, 10)))
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", ".", "!", "?"))
