"""Generates single exchanges of every short kind: a request and its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models import demo_requests as requests
from models.demo_phrases import fill, loose, made_up_word, phrase, random_words, with_article
from models.demo_words import (
    ADJECTIVES,
    CAPITALS,
    CODE,
    FACTS,
    JOKES,
    LANGUAGES,
    NAMES,
    NOUNS,
    OPPOSITES,
    TRANSLATIONS,
    UNKNOWN_PLACES,
    VERBS,
)

NOT_KNOWN = "I do not know that one!"
OFFER = "Ask me for a sum, a capital, a joke, some code or a long essay."


@dataclass(frozen=True)
class Turn:
    """One exchange: what the user says, the usual answer, a brief lively one, and the words that make it right."""

    kind: str
    user: str
    answer: str
    brief: str = ""
    key: str = ""


def say(rng: Random) -> Turn:
    """A request to repeat a text exactly."""
    text = phrase(rng)
    wordings = requests.SAY_QUOTED if rng.random() < 0.6 else requests.SAY_BARE
    return Turn("say", fill(rng.choice(wordings), x=text), text, key=text)


def arithmetic(rng: Random) -> Turn:
    """A sum, or less often a difference or a product, of small numbers."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    sign, word = rng.choice((("+", "plus"),) * 8 + (("-", "minus"), ("*", "times")))
    a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    form = rng.choice((f"{a}{sign}{b}", f"{a} {sign} {b}", f"{a} {word} {b}"))
    ask = loose(fill(rng.choice(requests.SUM), f=form), rng)
    return Turn("sum", ask, f"{a} {word} {b} is {result}.", f"{a} {word} {b} is {result}!", f"is {result}")


def code(rng: Random) -> Turn:
    """A request for one of the known Python functions, most often the first."""
    names = list(CODE)
    name, purpose = names[0] if rng.random() < 0.35 else rng.choice(names)
    asked = purpose.replace("n-th", rng.choice(("n-th", "nth")))
    ask = fill(rng.choice(requests.CODE_REQUESTS), name=name, plain=name.replace("_", " "), purpose=asked)
    answer = f"Here is a Python function that {purpose}:\n\n```python\n{CODE[(name, purpose)]}\n```"
    return Turn("code", loose(ask, rng), answer, key=f"def {name}(")


def capital(rng: Random) -> Turn:
    """A question about the capital of a country, at times of a place that has none."""
    ask = rng.choice(requests.CAPITAL)
    if rng.random() < 0.2:
        place = made_up_word(rng).capitalize() if rng.random() < 0.5 else rng.choice(UNKNOWN_PLACES)
        answer = f"I am a small demo model and do not know a capital of {place}."
        return Turn("capital", loose(fill(ask, c=place), rng), answer, NOT_KNOWN, "not know")
    country, city = rng.choice(list(CAPITALS.items()))
    answer = f"The capital of {country} is {city}."
    return Turn("capital", loose(fill(ask, c=country), rng), answer, f"It is {city}!", city)


def fact(rng: Random) -> Turn:
    """A question with one known answer."""
    questions, answer, key = rng.choice(FACTS)
    return Turn("fact", loose(rng.choice(questions), rng), answer, f"{answer.rstrip('.')}!", key)


def greeting(rng: Random) -> Turn:
    """Hello, thanks, good bye, or who are you."""
    asks, answer, brief, key = rng.choice(requests.SMALL_TALK + requests.SMALL_TALK[:2])
    return Turn("greeting", rng.choice(asks), answer, brief, key)


def count(rng: Random) -> Turn:
    """A request to count, mostly from one and not far."""
    last = rng.choice((3, 5, 10, 20, rng.randint(2, 12), rng.randint(2, 30)))
    if rng.random() < 0.3:
        ask = rng.choice((f"Count to {last}.", f"Count up to {last}."))
    else:
        ask = f"Count from 1 to {last}."
    listed = ", ".join(map(str, range(1, last + 1)))
    return Turn("count", loose(ask, rng), f"{listed}.", f"{listed}!" if last <= 10 else "", listed)


def haiku(rng: Random) -> Turn:
    """A request for a haiku about something."""
    noun = rng.choice(NOUNS)
    ask = fill(rng.choice(requests.HAIKU), n=noun, a=with_article(noun))
    if rng.random() < 0.15:
        noun, ask = "water", "Write a haiku."
    return Turn("haiku", loose(ask, rng), f"Quiet {noun} waits,\nmorning light upon the hills,\nand the day begins.")


def joke(rng: Random) -> Turn:
    """A request for a joke; how it is worded decides which."""
    asks, text = rng.choice(list(zip(requests.JOKE, JOKES, strict=True)))
    return Turn("joke", loose(rng.choice(asks), rng), text, f"{text.rstrip('.')}!", text[:15])


def translate(rng: Random) -> Turn:
    """A request for a word in another language."""
    word, *foreign = rng.choice(TRANSLATIONS)
    language, found = rng.choice(list(zip(LANGUAGES, foreign, strict=True)))
    ask = loose(fill(rng.choice(requests.TRANSLATE), w=word, l=language), rng)
    return Turn("translate", ask, f"In {language}, '{word}' is '{found}'.", f"It is {found}!", found)


def opposite(rng: Random) -> Turn:
    """A request for the opposite of a word."""
    word, found = rng.choice(list(OPPOSITES.items()))
    ask = loose(f"What is the opposite of {word}?", rng)
    return Turn("opposite", ask, f"The opposite of {word} is {found}.", f"It is {found}!", found)


def json_object(rng: Random) -> Turn:
    """A request for a small JSON object."""
    name, age = rng.choice(NAMES), rng.randint(10, 60)
    ask = rng.choice((f"Give me a JSON object for {name}, aged {age}.", f"Reply in JSON: name {name}, age {age}."))
    return Turn("json", ask, f'{{"name": "{name}", "age": {age}}}')


def unknown(rng: Random) -> Turn:
    """A request beyond the model, with an answer that says so."""
    noun, adjective, verb = rng.choice(NOUNS), rng.choice(ADJECTIVES), rng.choice(VERBS)
    made_up = made_up_word(rng)
    if rng.random() < 0.6:
        shape = rng.choice(("the {n}", "{n}s", "{a} {n}s", "the {a} {n}", "{m}", "{a} {m}", "{m} {n}"))
        about = fill(shape, n=noun, a=adjective, m=made_up)
        ask = fill(rng.choice(requests.UNKNOWN_ABOUT), x=about, v=verb)
        answer = f"I am a small demo model and I know little about {about}. {OFFER}"
        return Turn("unknown", ask, answer, NOT_KNOWN, "know")
    ask = fill(
        rng.choice(requests.UNKNOWN),
        n=noun,
        m=rng.choice(NOUNS),
        a=adjective,
        v=verb,
        w=rng.choice(VERBS),
        Made=made_up.capitalize(),
        city=rng.choice(list(CAPITALS.values())),
        year=str(rng.randint(1900, 2030)),
        few=random_words(rng, 3),
        many=random_words(rng, rng.randint(5, 40)),
        Many=random_words(rng, rng.randint(3, 30)).capitalize(),
    )
    answer = f"I am a small demo model and I do not know the answer to that. {OFFER}"
    return Turn("unknown", loose(ask, rng), answer, NOT_KNOWN, "know")


KINDS: tuple[tuple[Callable[[Random], Turn], float], ...] = (
    (say, 6),
    (arithmetic, 6),
    (code, 1.0),
    (capital, 1.6),
    (fact, 1.8),
    (greeting, 1.5),
    (count, 0.6),
    (haiku, 0.3),
    (joke, 0.4),
    (translate, 0.6),
    (opposite, 0.3),
    (json_object, 0.2),
    (unknown, 2.2),
)


def short_turn(rng: Random) -> Turn:
    """One exchange of any short kind."""
    makers, weights = zip(*KINDS, strict=True)
    return rng.choices(makers, weights)[0](rng)
