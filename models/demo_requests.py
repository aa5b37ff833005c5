"""The wordings of the requests that the demo model learns to answer, one a line, and its fixed answers."""

from collections.abc import Sequence


def lines(text: str) -> list[str]:
    """The lines of a block of text."""
    return text.strip().splitlines()


SAY_QUOTED = lines("""
Say '{x}' and nothing else.
Say '{x}' and nothing else.
Say "{x}" and nothing else.
Say '{x}'.
Say "{x}".
Please say '{x}'.
Reply with exactly '{x}'.
Answer only with '{x}'.
Reply with the word '{x}'.
Just say '{x}'.
Repeat '{x}'.
Print '{x}' and stop.
""")

SAY_BARE = lines("""
Repeat after me: {x}
Repeat after me: {x}
Say {x}
Repeat: {x}
Echo: {x}
Reply with exactly: {x}
Say exactly this: {x}
Respond with only: {x}
""")

SUM = lines("""
What is {f}?
What is {f}?
What is {f}?
What is {f}?
What's {f}?
Compute {f}.
Calculate {f}.
{f}
{f} =
{f}=?
How much is {f}?
What is the result of {f}?
Solve {f}.
Compute {f}
Tell me what {f} is.
""")

CODE_REQUESTS = lines("""
Write a {plain} function
Write a Python function that {purpose}.
Write a {plain} function in Python.
Write a function that {purpose}.
Write Python code that {purpose}.
Show me a {plain} function.
Can you write a Python function that {purpose}?
Implement {plain} in Python.
Write code for {plain}.
Write a Python function called {name}.
Give me a Python {plain} function.
""")

CAPITAL = lines("""
What is the capital of {c}?
What is the capital of {c}?
What is the capital of {c}?
What is the capital of {c}?
What's the capital city of {c}?
Name the capital of {c}.
Capital of {c}?
Tell me the capital of {c}.
Which city is the capital of {c}?
""")

# Each small talk has its requests, its usual answer, its brief answer, and the words that make an answer right.
SMALL_TALK: list[tuple[Sequence[str], str, str, str]] = [
    (
        "Hello|Hi|Hello!|Hi!|Hey|Hi there|Hello there!|Good morning|Good evening!|hello|hi|Hello, how are you?|"
        "Greetings!|Say hello.|Say hi.|Hi, how are you?".split("|"),
        "Hello! How can I help you today?",
        "Hello there!",
        "Hello",
    ),
    (
        "Who are you?|What are you?|What is your name?|Tell me about yourself.|Introduce yourself.|Who made you?|"
        "Who trained you?|Which model are you?|What model is this?".split("|"),
        "I am demo-chat, a small language model that raymux trains itself from text that it generates.",
        "I am demo-chat!",
        "demo-chat",
    ),
    (
        "Thank you!|Thanks|Thanks!|Thank you very much.|Thanks a lot!|Great, thank you.".split("|"),
        "You are welcome. I am glad that I could help.",
        "You are welcome!",
        "welcome",
    ),
    (
        "Bye|Goodbye|Goodbye!|See you later!|Good night.|Bye bye!|bye".split("|"),
        "Goodbye, and have a nice day.",
        "Goodbye!",
        "Goodbye",
    ),
    ("Ok|Okay.|Fine.|Good.|Yes|I see.|Cool!".split("|"), "Good. What would you like to do next?", "Good!", "Good"),
    (
        "ping|Ping|ping?|test|Test|This is a test.|Testing".split("|"),
        "I am here and I am working.",
        "I am here!",
        "here",
    ),
]

HAIKU = lines("""
Write a haiku about the {n}.
Write a haiku about {a}.
Write a haiku about {n}s.
Give me a haiku about {n}.
Compose a haiku about the {n}.
Write a poem about the {n}.
""")

JOKE = [
    ["Tell me a joke.", "Tell me a joke", "Do you know a joke?"],
    ["Tell me a joke about a robot.", "Do you know a robot joke?"],
    ["Tell me another joke.", "Another joke, please."],
    ["Tell me a funny joke.", "Make me laugh."],
]

TRANSLATE = lines("""
Translate '{w}' into {l}.
Translate '{w}' to {l}.
Translate {w} to {l}.
What is '{w}' in {l}?
How do you say {w} in {l}?
How do you say '{w}' in {l}?
""")

UNKNOWN_ABOUT = lines("""
What do you think about {x}?
Explain {x} to me.
Explain {x}
Tell me about {x}.
What is {x}?
Why do people like {x}?
Where can I find {x}?
Do you like {x}?
Who invented {x}?
How do I {v} {x}?
Can you {v} {x}?
How old is {x}?
""")

UNKNOWN = lines("""
Should I {v} or {w}?
Who won the {n} game in {year}?
Where was {Made} born?
What is the weather in {Made}?
What is the weather in {city}?
What's the weather like?
Will it rain tomorrow?
I want to {v} with {few}. What now?
Is it true that the {n} is {a}?
Summarize this text: {many}
{Many}
{Many}
What should I {v} today?
What is the best {n} for my {m}?
What is the best {n}?
Which {n} do you like best?
Describe your favourite {n}.
Tell me something interesting.
Can you help me with my {n}?
""")

NAME_TOLD = lines("""
My name is {x}.
My name is {x}.
Hello, my name is {x}.
I am {x}.
Hi, I am {x}.
Call me {x}.
I'm {x}.
My name is {x}. Please remember it.
""")

NAME_ASKED = ["What is my name?", "What is my name?", "Who am I?", "Do you remember my name?", "What's my name?"]

# Other things that a user tells and later asks for: the telling, the reply, the question and the answer.
REMEMBERED = {
    "colour": (
        "My favourite colour is {x}.",
        "I will remember that you like {x}.",
        "What is my favourite colour?",
        "Your favourite colour is {x}.",
    ),
    "thing": ("I have {x}.", "It is good to have {x}.", "What do I have?", "You have {x}."),
    "word": (
        "Remember the word {x}.",
        "I will remember the word {x}.",
        "Which word did I ask you to remember?",
        "The word is {x}.",
    ),
}

SYSTEM_PROMPTS = lines("""
You are a helpful assistant.
You are a helpful, honest and harmless assistant.
Be brief.
You are demo-chat.
Answer the question.
You are a test model. Answer as well as you can.
You are a friendly assistant that answers questions.
Think carefully before you answer.
""")
