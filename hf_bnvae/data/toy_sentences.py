"""A built-in corpus of sentences made by a grammar, each of which says which choices made it."""

import random
from dataclasses import astuple, dataclass
from functools import cache
from itertools import product

SENTENCES_OF_SPLITS = {"train": 20_000, "validation": 1_000, "test": 1_000}

DETERMINERS = ("the", "my")
TRAITS = ("", "young", "old", "tired", "happy")
TIMES = {
    "past": ("", "yesterday", "last week"),
    "present": ("", "every day", "on sundays"),
    "future": ("", "tomorrow", "tonight"),
}
MOODS = ("statement", "negation", "question")


@dataclass(frozen=True)
class Activity:
    """What people do, with words of its own.

    Args:
        people: who does it.
        verbs: each as its past, its third person and its base form.
        objects: what it is done to.
        places: where it is done; the empty one stands for no place.
    """

    people: tuple[str, ...]
    verbs: tuple[tuple[str, str, str], ...]
    objects: tuple[str, ...]
    places: tuple[str, ...]


ACTIVITIES = {
    "cooking": Activity(
        ("cook", "baker", "waiter", "aunt"),
        (("cooked", "cooks", "cook"), ("tasted", "tastes", "taste")),
        ("potatoes", "noodles", "pancakes", "eggs"),
        ("", "in the kitchen", "over a fire"),
    ),
    "gardening": Activity(
        ("gardener", "neighbour", "widow", "uncle"),
        (("planted", "plants", "plant"), ("watered", "waters", "water")),
        ("roses", "tulips", "tomatoes", "trees"),
        ("", "in the garden", "behind the house"),
    ),
    "music": Activity(
        ("singer", "dancer", "student", "sister"),
        (("played", "plays", "play"), ("sang", "sings", "sing")),
        ("songs", "melodies", "waltzes", "ballads"),
        ("", "in the hall", "on the stage"),
    ),
    "writing": Activity(
        ("teacher", "poet", "lawyer", "brother"),
        (("wrote", "writes", "write"), ("studied", "studies", "study")),
        ("letters", "poems", "stories", "novels"),
        ("", "in the library", "at the desk"),
    ),
    "trading": Activity(
        ("merchant", "tailor", "grocer", "cousin"),
        (("sold", "sells", "sell"), ("bought", "buys", "buy")),
        ("apples", "shoes", "hats", "lamps"),
        ("", "at the market", "in the shop"),
    ),
    "repairs": Activity(
        ("mechanic", "driver", "sailor", "father"),
        (("repaired", "repairs", "repair"), ("painted", "paints", "paint")),
        ("cars", "bicycles", "boats", "fences"),
        ("", "in the garage", "in the yard"),
    ),
    "animals": Activity(
        ("farmer", "shepherd", "boy", "girl"),
        (("fed", "feeds", "feed"), ("watched", "watches", "watch")),
        ("horses", "ducks", "rabbits", "sheep"),
        ("", "on the farm", "at the lake"),
    ),
    "laundry": Activity(
        ("maid", "nurse", "soldier", "mother"),
        (("washed", "washes", "wash"), ("folded", "folds", "fold")),
        ("shirts", "dresses", "towels", "sheets"),
        ("", "in the cellar", "by the window"),
    ),
}
AUXILIARIES = {"past": "did", "present": "does", "future": "will"}


@dataclass(frozen=True)
class SentenceFactors:
    """The choices behind a sentence, which are drawn independently of each other (but for the words of an activity).

    Args:
        mood: `statement`, `negation` or `question`.
        tense: `past`, `present` or `future`.
        determiner, trait, person: of the subject; no trait is empty.
        activity: decides which verbs, objects and places there are.
        verb: its base form.
        thing: the object.
        place, time: empty for none.
    """

    mood: str
    tense: str
    determiner: str
    trait: str
    person: str
    activity: str
    verb: str
    thing: str
    place: str
    time: str

    def sentence(self) -> str:
        """Its tokens with a space between them."""
        past, third, base = next(verb for verb in ACTIVITIES[self.activity].verbs if verb[2] == self.verb)
        subject = (self.determiner, self.trait, self.person)
        rest = (self.thing, self.place, self.time)
        auxiliary = AUXILIARIES[self.tense]
        words: tuple[str, ...]
        if self.mood == "question":
            words = (auxiliary, *subject, base, *rest, "?")
        elif self.mood == "negation":
            words = (*subject, auxiliary, "not", base, *rest, ".")
        elif self.tense == "future":
            words = (*subject, auxiliary, base, *rest, ".")
        else:
            words = (*subject, past if self.tense == "past" else third, *rest, ".")
        return " ".join(word for word in words if word)

    def share_of(self, other: "SentenceFactors | None") -> float:
        """The share of these choices which are those of another sentence; 0 for none."""
        if other is None:
            return 0.0
        same = [own == theirs for own, theirs in zip(astuple(self), astuple(other), strict=True)]
        return sum(same) / len(same)


def draw_factors(generator: random.Random) -> SentenceFactors:
    """Choices for one sentence, each equally likely."""
    tense = generator.choice(tuple(TIMES))
    name = generator.choice(tuple(ACTIVITIES))
    activity = ACTIVITIES[name]
    return SentenceFactors(
        mood=generator.choice(MOODS),
        tense=tense,
        determiner=generator.choice(DETERMINERS),
        trait=generator.choice(TRAITS),
        person=generator.choice(activity.people),
        activity=name,
        verb=generator.choice(activity.verbs)[2],
        thing=generator.choice(activity.objects),
        place=generator.choice(activity.places),
        time=generator.choice(TIMES[tense]),
    )


@cache
def _all_factors() -> dict[str, SentenceFactors]:
    """Every sentence of the grammar with the choices behind it."""
    every = {}
    for name, activity in ACTIVITIES.items():
        verbs = [verb[2] for verb in activity.verbs]
        shared = (DETERMINERS, TRAITS, activity.people, [name], verbs, activity.objects, activity.places)
        for tense, times in TIMES.items():
            for choices in product(MOODS, [tense], *shared, times):
                factors = SentenceFactors(*choices)
                every[factors.sentence()] = factors
    return every


def read_factors(sentence: str) -> SentenceFactors | None:
    """The choices behind a sentence; None for one that the grammar does not make."""
    return _all_factors().get(sentence)


def toy_sentences(seed: int = 1) -> dict[str, list[SentenceFactors]]:
    """`train`, `validation` and `test` as the choices behind their sentences, no sentence twice."""
    generator = random.Random(seed)
    drawn: dict[SentenceFactors, None] = {}
    while len(drawn) < sum(SENTENCES_OF_SPLITS.values()):
        drawn[draw_factors(generator)] = None
    left = iter(drawn)
    return {split: [next(left) for _ in range(size)] for split, size in SENTENCES_OF_SPLITS.items()}
