"""Generates the demo model's long texts: essays that run past 700 tokens, and short stories."""

from random import Random

from models.demo_phrases import made_up_word
from models.demo_words import ADJECTIVES, NAMES, NOUNS, TOPICS

# Ten sections; a section is a heading and its sentences in order, a sentence has one or more wordings.
SECTIONS: list[tuple[str, list[tuple[str, ...]]]] = [
    (
        "Introduction",
        [
            ("Few subjects reward patient attention as richly as {t}.", "There is a great deal to say about {t}."),
            ("At first sight everything seems familiar, and yet every closer look brings a new surprise.",),
            ("In this essay we shall walk slowly through {t}, from the first beginnings to the questions of today.",),
            ("The aim is not to settle every argument, but to give the reader a clear and honest picture.",),
            ("A good picture needs both the small details and the long view, so we shall keep the two together.",),
        ],
    ),
    (
        "Origins",
        [
            ("The story of {t} begins long before anybody thought of writing it down.",),
            ("Early people noticed what was useful, kept it, and passed it on to their children.",),
            ("Much of that early knowledge was lost, but some of it survived in tools, songs and habits.",),
            ("When we study the origins of {t}, we therefore work like somebody who reads a torn letter.",),
            ("Each fragment is small, but the fragments fit together better than we might expect.",),
        ],
    ),
    (
        "Slow Growth",
        [
            ("For many years the progress was slow, and most of it happened far away from famous places.",),
            ("Ordinary workers made small changes, and one small change prepared the ground for the next.",),
            ("Nobody planned the whole of {t}, and perhaps nobody could have planned it.",),
            ("What looks like one straight road from a distance was really a net of narrow paths.",),
            ("Some of those paths ended in a wall, while others opened into wide and fertile country.",),
        ],
    ),
    (
        "Turning Points",
        [
            ("Now and then, however, a single idea changed almost everything.",),
            ("After such a turning point people spoke about {t} in a different way.",),
            ("Old rules were questioned, new rules were tested, and many careful plans had to be thrown away.",),
            ("It was an exciting time for the curious and a difficult time for those who loved order.",),
            ("Looking back, we can see that both groups were needed, because change without care soon falls apart.",),
        ],
    ),
    (
        "How It Works",
        [
            ("To understand {t}, it helps to take the matter apart and to look at one piece at a time.",),
            ("The first piece is the material, the plain stuff that can be touched, counted and measured.",),
            ("The second piece is the pattern, which tells us how the parts belong together.",),
            ("The third piece is time, since nothing here stands still for very long.",),
            ("Once these three pieces are clear, even the harder questions about {t} become less frightening.",),
        ],
    ),
    (
        "Everyday Life",
        [
            ("It would be wrong to think that {t} matters only to experts.",),
            ("A child who asks a simple question at breakfast may already be close to the heart of the subject.",),
            ("Families, schools and small shops all feel the effects, often without giving them a name.",),
            ("Even a short walk through a quiet street shows more examples than a thick book could hold.",),
            ("For this reason the best teachers start with daily life and only later turn to the theory.",),
        ],
    ),
    (
        "Different Views",
        [
            ("Not everybody agrees about {t}, and the disagreement is one of its most useful parts.",),
            ("Some people value safety and would like every step to be checked twice.",),
            ("Others value freedom and would rather learn from a few honest mistakes.",),
            ("Between these two camps there is a large and patient middle, which does most of the actual work.",),
            ("A fair writer listens to all three voices and does not hide the weak points of any of them.",),
        ],
    ),
    (
        "Problems",
        [
            ("There are real problems as well, and it would be foolish to hide them.",),
            ("Good information about {t} is not always easy to find, and bad information travels fast.",),
            ("Money is another difficulty, because the most important work is seldom the best paid.",),
            ("Finally there is the problem of attention, for a busy world forgets quickly what it has just learned.",),
            ("None of these problems is hopeless, but each of them asks for more patience than we usually have.",),
        ],
    ),
    (
        "The Future",
        [
            ("What will become of {t} in the years ahead?",),
            ("Nobody can answer that question with certainty, but a few directions already seem likely.",),
            ("Tools will become cheaper, and many more people will be able to take part.",),
            ("At the same time the old skills will stay valuable, since a tool is only as wise as its user.",),
            ("The most hopeful future is one in which knowledge about {t} is shared freely and checked with care.",),
        ],
    ),
    (
        "Conclusion",
        [
            ("We have followed {t} from distant origins to the open questions of the present day.",),
            ("Along the way we met slow growth, sudden change, honest doubt and a good deal of quiet work.",),
            ("If one lesson stands out, it is that small and careful steps reach further than loud promises.",),
            ("There is still much to learn about {t}, and that is good news for anybody who likes to learn.",),
            ("With that thought this essay comes to its end.",),
        ],
    ),
]

ESSAY_REQUESTS = (
    "Write a long essay about {t}.",
    "Write a long essay about {t}",
    "Write a long essay on {t}.",
    "Write an essay about {t}.",
    "Please write a very long essay about {t}.",
    "Write a very long essay about {t}.",
    "Can you write a detailed essay on {t}?",
    "I need a long essay about {t}.",
    "Write me a long text about {t}.",
    "Write a long and detailed essay about {t}.",
    "Essay about {t}, please.",
    "Write a 1000 word essay about {t}.",
    "Tell me everything about {t} in a long essay.",
    "Explain {t} in great detail.",
    "Write a long article about {t}.",
    "Write a long story about {t}.",
)

STORY_REQUESTS = (
    "Tell me a story.",
    "Tell me a short story.",
    "Write a short story.",
    "Tell me a story about {n}.",
    "Write a short story about {n}.",
    "Can you tell me a story about {n}?",
)


def essay_topic(rng: Random) -> str:
    """A subject for an essay: a listed one, or one put together from nouns and adjectives."""
    noun, adjective = rng.choice(NOUNS), rng.choice(ADJECTIVES)
    odd = made_up_word(rng)
    made_up = (
        f"the {noun}",
        f"the history of the {noun}",
        f"the {adjective} {noun}",
        noun,
        f"{adjective} {noun}s",
        f"the {noun} and the {rng.choice(NOUNS)}",
        f"the importance of the {noun}",
        f"the history of {noun}s",
        f"the history of {odd}",
        f"{odd} {noun}",
        odd,
    )
    return rng.choice(TOPICS) if rng.random() < 0.4 else rng.choice(made_up)


def essay(topic: str, rng: Random) -> str:
    """An essay of ten headed sections, in order, which mentions the topic throughout."""
    parts = [f"# Essay: {topic}"]
    for number, (heading, sentences) in enumerate(SECTIONS, start=1):
        body = " ".join(rng.choice(wordings) for wordings in sentences)
        parts.append(f"## {number}. {heading}\n\n{body}".replace("{t}", topic))
    return "\n\n".join(parts)


def story(noun: str, rng: Random) -> str:
    """A story of about eight sentences about somebody and a noun, starting with 'Once upon a time'."""
    name, other = rng.sample(NAMES, 2)
    place, friend = (
        rng.choice(("village", "city", "valley", "harbour", "forest")),
        rng.choice(("fox", "bird", "dog", "cat")),
    )
    adjective = rng.choice(ADJECTIVES)
    article = "an" if adjective[0] in "aeiou" else "a"
    return (
        f"Once upon a time there was {article} {adjective} {noun} in a small {place}. "
        f"Nobody knew where the {noun} had come from, but {name} looked after it every day. "
        f"One morning the {noun} was gone. "
        f"{name} asked {other}, and {other} asked an old {friend}. "
        f"The {friend} had seen everything and led them along the river until the sun went down. "
        f"There, under a tall tree, they found the {noun} again. "
        f"{name} laughed, {other} danced, and the {friend} was given a piece of cake. "
        f"From that day on they all lived happily together in the {place}."
    )
