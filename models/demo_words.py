"""Word lists and facts from which the demo model's training text is generated."""

NAMES = (
    "Alice Bob Carol David Emma Frank Grace Henry Irene Jack Kate Leo Maria Nina Oscar Paul Rosa Sam "
    "Tom Uma Victor Wendy Anna Ben Clara Daniel Eva Felix Hannah Ivan Julia Karl Laura Max Noah Olivia "
    "Peter Quinn Ruth Sofia Theo Vera Walter Yara Zoe John Mary James Lucy Mark Sarah Michael Linda Ali "
    "Fatima Chen Mei Ravi Priya Yuki Omar Ines Hugo Lena Mia Simon George Jane Alex Chris Pat"
).split()

NOUNS = (
    "ocean river mountain forest city village garden bridge castle market kitchen library museum school "
    "hospital factory ship train car bicycle plane rocket robot computer phone camera clock lamp chair "
    "table window door roof wall road map book letter song poem painting film game ball kite doll drum "
    "violin piano guitar cat dog horse cow sheep goat bird fish whale bee ant spider snake frog tiger lion "
    "bear wolf fox rabbit mouse apple banana orange lemon cherry bread cheese soup salad cake tea coffee "
    "water milk salt sugar rice corn wheat tree flower leaf seed grass stone sand gold silver iron glass "
    "paper plastic wood cotton silk rain snow wind storm cloud sun moon star planet comet island desert "
    "lake valley cave beach harbour farm field barn mill tower tunnel engine motor battery magnet mirror "
    "lens telescope theory number triangle circle equation question answer idea dream memory friend "
    "teacher doctor farmer sailor king queen artist writer singer dancer runner baker weather music "
    "history science language energy money trade law peace health sleep sport travel fashion internet "
    "network server test message word line data code model system world day night morning box key hat "
    "coat shoe pocket basket bottle spoon fork knife pencil sea dragon pizza holiday house "
    "winter summer autumn princess ghost penguin elephant monkey"
).split()

ADJECTIVES = (
    "big small old new young fast slow quick lazy happy sad brave clever quiet loud bright dark warm cold "
    "hot cool soft hard heavy light red blue green yellow purple orange brown black white grey golden "
    "silver tiny huge long short tall deep wide narrow sweet sour fresh clean simple strange famous busy "
    "calm gentle wild strong weak rich poor early late good bad nice working ready online alive fine"
).split()

VERBS = (
    "build fix paint find open close carry clean cook grow wash sell buy draw move break catch choose "
    "design drive feed fold hide hold keep lift make measure mix plan plant push pull read ride run save "
    "send shake show sing stop study teach throw train use wash watch write climb dance jump learn"
).split()

THIRD_PERSON = (
    "runs jumps sleeps waits sings dances swims flies walks looks turns falls grows shines moves stops "
    "works laughs smiles speaks listens"
).split()

COMMON = (
    "adapter answer answers works well elephants fly midnight check please hello goodbye yes no left right up down one "
    "two three four five six seven eight nine ten first last never always here there this that with from under over "
    "before after today tomorrow yesterday people place thing things way year years hand eyes life work request "
    "requests response cluster replica gateway port token tokens replies simple quick sure done not only just more"
).split()

TOPICS = [
    "the ocean",
    "history of computing",
    "the history of computing",
    "climate change",
    "space exploration",
    "the Roman Empire",
    "artificial intelligence",
    "music",
    "the moon",
    "coffee",
    "ancient Egypt",
    "the internet",
    "football",
    "the human brain",
    "renewable energy",
    "the city of Paris",
    "photosynthesis",
    "trains",
    "machine learning",
    "the industrial revolution",
    "books",
    "gardening",
    "the sea",
    "quantum physics",
    "dogs",
    "cats",
    "education",
    "democracy",
    "the solar system",
    "mathematics",
    "operating systems",
    "computers",
    "the history of the world",
    "the rain forest",
    "robots",
    "volcanoes",
]

CAPITALS = dict(
    line.split(": ")
    for line in """
France: Paris
Germany: Berlin
Italy: Rome
Spain: Madrid
Portugal: Lisbon
Japan: Tokyo
China: Beijing
India: New Delhi
Russia: Moscow
Poland: Warsaw
Austria: Vienna
Greece: Athens
Egypt: Cairo
Kenya: Nairobi
Canada: Ottawa
Mexico: Mexico City
Brazil: Brasilia
Argentina: Buenos Aires
Chile: Santiago
Peru: Lima
Sweden: Stockholm
Norway: Oslo
Finland: Helsinki
Denmark: Copenhagen
Ireland: Dublin
England: London
the United Kingdom: London
the United States: Washington
Belgium: Brussels
Hungary: Budapest
Turkey: Ankara
Australia: Canberra
Switzerland: Bern
the Netherlands: Amsterdam
South Korea: Seoul
""".strip().splitlines()
)

COLOURS = "red blue green yellow purple orange brown black white pink".split()

UNKNOWN_PLACES = "Atlantis Narvia Borland Trellia Ostaria Fenland Quorra Mars Jupiter Elbonia".split()

# Two lines each: the questions; the answer and the words that make an answer right.
FACT_LINES = """
What colour is the sky?|What color is the sky?|Why is the sky blue?
The sky is blue because air scatters blue light more than red light. > blue
How many days are in a week?|How many days does a week have?
There are seven days in a week. > seven
How many months are in a year?|How many months does a year have?
There are twelve months in a year. > twelve
How many hours are in a day?|How many hours does a day have?
There are twenty-four hours in a day. > twenty-four
How many legs does a spider have?|How many legs has a spider?
A spider has eight legs. > eight
How many legs does a dog have?|How many legs does a cat have?
It has four legs. > four
At what temperature does water boil?|When does water boil?|What is the boiling point of water?
Water boils at 100 degrees Celsius at sea level. > 100
At what temperature does water freeze?|When does water freeze?
Water freezes at 0 degrees Celsius. > 0
What is the largest planet?|What is the biggest planet in the solar system?
The largest planet in the solar system is Jupiter. > Jupiter
Which planet is closest to the sun?|What planet is nearest to the sun?
Mercury is the planet closest to the sun. > Mercury
What is the largest ocean?|What is the biggest ocean?
The largest ocean on Earth is the Pacific Ocean. > Pacific
What is the highest mountain?|What is the tallest mountain in the world?
The highest mountain on Earth is Mount Everest. > Everest
What do bees make?|What do bees produce?
Bees make honey. > honey
What do cows eat?|What does a cow eat?
Cows eat grass. > grass
What is water made of?|What is the formula of water?
Water is made of hydrogen and oxygen, H2O. > hydrogen
Does the earth go around the sun?|What does the earth orbit?
The Earth goes around the sun once a year. > sun
What is a computer?|Explain what a computer is.
A computer is a machine that stores data and follows programs. > machine
What is machine learning?|Explain machine learning.|Explain machine learning in one sentence.
Machine learning is the craft of letting a program improve from examples. > examples
What is a GPU?|What does GPU mean?
A GPU is a processor that does many small calculations at once. > processor
What is Python?|Tell me about Python.
Python is a programming language that is easy to read. > language
What is the meaning of life?
Nobody has settled that, but being kind is a good start. > kind
How are you?|How are you doing?|How do you do?|How is it going?
I am fine, thank you. How can I help you? > fine
What can you do?|How can you help me?|Help|What do you know?
I can add small numbers, name capitals, write a little code, tell a joke and write a long essay. > joke
Are you a human?|Are you alive?|Are you a robot?
I am not a human. I am a small language model. > model
What day is it today?|What time is it?|What is the date?
I have no clock, so I cannot tell you the time. > clock
What is raymux?|Tell me about raymux.
raymux is the project that trains and serves me. > serves
Name three colours.|Name three colors.|List three colours.
Red, green and blue. > Red
Name three animals.|List three animals.
A cat, a dog and a horse. > cat
Name three fruits.|List three fruits.
An apple, a banana and an orange. > apple
List the days of the week.|Name the days of the week.|What are the days of the week?
Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. > Monday
Name the planets.|List the planets of the solar system.
Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune. > Venus
What is the alphabet?|Say the alphabet.|Recite the alphabet.
A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z. > A
""".strip().splitlines()
FACTS = [
    (questions.split("|"), *answer.split(" > "))
    for questions, answer in zip(FACT_LINES[::2], FACT_LINES[1::2], strict=True)
]

# An English word, then the word in each language in order.
LANGUAGES = ["French", "Spanish", "German"]
TRANSLATIONS = [
    line.split(", ")
    for line in """
hello, bonjour, hola, hallo
water, eau, agua, Wasser
bread, pain, pan, Brot
cat, chat, gato, Katze
dog, chien, perro, Hund
sun, soleil, sol, Sonne
thank you, merci, gracias, danke
house, maison, casa, Haus
book, livre, libro, Buch
good morning, bonjour, buenos dias, guten Morgen
red, rouge, rojo, rot
""".strip().splitlines()
]

OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "old": "young",
    "happy": "sad",
    "light": "dark",
    "up": "down",
    "day": "night",
    "good": "bad",
    "long": "short",
    "left": "right",
    "open": "closed",
    "rich": "poor",
    "wet": "dry",
}

JOKES = [
    "Why did the computer bring a coat? It had left its windows open.",
    "Why did the robot sit by the sea? It wanted to recharge its batteries.",
    "Why was the clock sent home from school? It kept passing the time.",
    "Why did the bicycle stay in bed? It was far too tired.",
]

CODE = {
    ("fibonacci", "returns the n-th Fibonacci number"): (
        'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    a, b = 0, 1\n'
        "    for _ in range(n):\n        a, b = b, a + b\n    return a"
    ),
    ("factorial", "returns the factorial of n"): (
        'def factorial(n):\n    """Return the factorial of n."""\n    result = 1\n'
        "    for i in range(2, n + 1):\n        result = result * i\n    return result"
    ),
    ("is_prime", "checks whether n is a prime number"): (
        'def is_prime(n):\n    """Tell whether n is a prime number."""\n    if n < 2:\n        return False\n'
        "    for i in range(2, n):\n        if n % i == 0:\n            return False\n    return True"
    ),
    ("reverse", "reverses a string"): (
        'def reverse(text):\n    """Return the text backwards."""\n    return text[::-1]'
    ),
    ("add", "adds two numbers"): ('def add(a, b):\n    """Return the sum of a and b."""\n    return a + b'),
    ("hello", "prints hello world"): ('def hello():\n    """Print a greeting."""\n    print("Hello, world!")'),
    ("maximum", "finds the largest number in a list"): (
        'def maximum(numbers):\n    """Return the largest of the numbers."""\n    best = numbers[0]\n'
        "    for number in numbers:\n        if number > best:\n            best = number\n    return best"
    ),
}
