"""The blocks of evidence.py in order of worth: which trainings, on what, at which sizes."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, replace

Flags = dict[str, object]


@dataclass(frozen=True)
class Block:
    """Trainings that belong together and end within eight minutes on one GPU.

    Args:
        name: what the user calls it.
        group: folder of its results; blocks of one group make one table.
        corpora: folders of the data that it reads; the first is trained on.
        methods: as compare.py takes them.
        seeds: each method with each of them.
        flags: of every training.
        with_latent: flags of the methods that have a latent.
        cpu: flags that take their place with `--scale cpu`.
        together: trainings that share the GPU.
        classify: judge each encoder by a linear classifier on its vectors as well (Table 3).
        pretrained: folders of the pretrained networks that it stands on.
        kind: `sentences`, `dialogue`, or `stage`, whose methods are stages of gpu.sh and which runs on a GPU alone.
    """

    name: str
    group: str
    corpora: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = (1,)
    _: KW_ONLY
    flags: Flags = field(default_factory=dict)
    with_latent: Flags = field(default_factory=dict)
    cpu: Flags = field(default_factory=dict)
    together: int = 3
    classify: bool = False
    pretrained: tuple[str, ...] = ()
    kind: str = "sentences"

    def trainings(self) -> Iterator[tuple[str, int]]:
        yield from ((method, seed) for method in self.methods for seed in self.seeds)


ON_A_GPU: Flags = {"bf16": True, "nll_bf16": True, "per_device_eval_batch_size": 512}
# A model that is large beside its corpus has a better NLL with more dropout, and a small corpus wants small batches.
IMDB_SIZE: Flags = {"size": "yahoo", "vocab_size": 20_000}
IMDB_RECIPE: Flags = {"recipe": "muon", "embedding_dropout": 0.4, "output_dropout": 0.4}
IMDB_SIZE_CPU: Flags = {
    "embedding_size": 128,
    "hidden_size": 256,
    "vocab_size": 5_000,
    "max_train_samples": 5_000,
    "max_eval_samples": 1_000,
    "num_train_epochs": 8,
    "kl_annealing_epochs": 3,
    "nll_samples": 100,
    "max_nll_samples": 300,
}
IMDB_RECIPE_CPU: Flags = {"per_device_train_batch_size": 64, "embedding_dropout": 0.3, "output_dropout": 0.3}
IMDB, IMDB_CPU = IMDB_SIZE | IMDB_RECIPE, IMDB_SIZE_CPU | IMDB_RECIPE_CPU
YELP: Flags = {"size": "short_yelp", "recipe": "fast"}
YELP_CPU: Flags = {"hidden_size": 256, "max_train_samples": 25_000, "max_eval_samples": 2_000, "max_nll_samples": 500}
PTB: Flags = {"size": "ptb", "recipe": "fast"}
PTB_CPU: Flags = {"max_train_samples": 10_000, "max_eval_samples": 1_000, "num_train_epochs": 8, "max_nll_samples": 300}
PTB_METHODS = ("lstm_lm", "vae", "bn_vae:gamma=0.7", "matched_vae:rate=8")
GLOVE: Flags = {
    "embedding_size": 100,
    "initial_word_vectors": "{data}/glove/glove_100d.txt",
    "word_vectors": "{data}/glove/glove_100d.txt",
    "size": "switchboard",
    "recipe": "fast",
    "num_train_epochs": 10,
    "kl_annealing_epochs": 3,
}
DIALOGUE_CPU: Flags = {
    "size": "switchboard_half",
    "num_train_epochs": 4,
    "kl_annealing_epochs": 1,
    "max_response_contexts": 300,
}
# As many turns of either: a dialogue of Switchboard has 172, one of DailyDialog eight.
DIALOGUES_CPU: dict[str, Flags] = {
    "switchboard": {"max_train_samples": 200, "max_eval_samples": 20},
    "dailydialog": {"max_train_samples": 4_000, "max_eval_samples": 400},
}


def without_nll(flags: Flags) -> Flags:
    """Flags of a training whose NLL is not wanted."""
    return {name: value for name, value in flags.items() if name != "max_nll_samples"} | {"nll_samples": 0}


def imdb(name: str, methods: tuple[str, ...], seeds: tuple[int, ...] = (1,)) -> Block:
    return Block(name, "imdb_passages", ("imdb_passages",), methods, seeds, flags=IMDB, cpu=IMDB_CPU, classify=True)


def yelp(name: str, methods: tuple[str, ...], seed: int) -> Block:
    flags = YELP | {"max_nll_samples": 2_000}
    return Block(
        name, "short_yelp", ("short_yelp",), methods, (seed,), flags=flags, cpu=YELP_CPU, together=4, classify=True
    )


def pairs(name: str, corpus: str, epochs: int, methods: tuple[str, ...]) -> Block:
    """A latent space on MiniLM and SmolLM2, and the same decoder without one."""
    flags: Flags = {
        "recipe": "pretrained",
        "decoder_name_or_path": "{pretrained}/smollm2",
        "num_train_epochs": epochs,
        "max_nll_samples": 1_000,
        "nll_samples": 100,
        "per_device_eval_batch_size": 128,
    }
    # Without a GPU a step takes seconds: what the small run shows is that the loss falls and z is used.
    cpu: Flags = {
        "max_train_samples": 2_400,
        "max_eval_samples": 100,
        "num_train_epochs": 1,
        "kl_annealing_epochs": 0.33,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 32,
        "max_nll_samples": 100,
        "nll_samples": 10,
    }
    return Block(
        name,
        f"{corpus}_pairs",
        (corpus,),
        methods,
        flags=flags,
        with_latent={"encoder_name_or_path": "{pretrained}/minilm"},
        cpu=cpu,
        pretrained=("minilm", "smollm2"),
    )


def rates(name: str, methods: tuple[str, ...], seed: int) -> Block:
    """What a rate buys, on the 40,000 sentences of which docs/rate.md tells."""
    flags = YELP | {"hidden_size": 256, "max_train_samples": 40_000, "max_eval_samples": 2_000, "max_nll_samples": 500}
    return Block(name, "short_yelp_rates", ("short_yelp",), methods, (seed,), flags=flags, together=5, classify=True)


def muon(name: str, seed: int) -> Block:
    """Recipe muon, beside the recipe fast of `rates`, and larger batches at the same quality."""
    bn_vae, larger = "bn_vae:gamma=0.7", "per_device_train_batch_size"
    methods = ("lstm_lm", "vae", bn_vae, "matched_vae:rate=4", "matched_vae:rate=8", f"{bn_vae}:{larger}=1024")
    block = rates(name, (*methods, f"{bn_vae}:recipe=fast:{larger}=256"), seed)
    return replace(block, group="short_yelp_muon", flags=block.flags | {"recipe": "muon"}, classify=False)


def dropout(name: str, seed: int) -> Block:
    """Recipe fast with recipe muon's dropout: what of the latter's figures is the dropout's, for each method."""
    block = rates(name, ("lstm_lm", "bn_vae:gamma=0.7", "matched_vae:rate=8"), seed)
    flags = block.flags | {"embedding_dropout": 0.3, "output_dropout": 0.3}
    return replace(block, group="short_yelp_dropout", flags=flags, classify=False)


def dialogue(corpus: str, seed: int) -> Block:
    return Block(
        f"table4_{corpus}_{seed}",
        corpus,
        (corpus, "glove"),
        ("cvae", "cvae_bow", "bn_cvae", "matched_cvae:rate=8"),
        (seed,),
        flags=GLOVE,
        cpu=DIALOGUE_CPU | DIALOGUES_CPU[corpus],
        kind="dialogue",
    )


BLOCKS = (
    # Table 1 on documents of the paper's shape and at its sizes.
    imdb("imdb_1", ("lstm_lm", "vae", "bn_vae:gamma=0.7")),
    imdb("imdb_2", ("bn_vae:gamma=0.5",), (1, 2, 3)),
    imdb("imdb_3", ("lstm_lm", "vae", "bn_vae:gamma=0.7"), (2,)),
    imdb("imdb_4", ("lstm_lm", "vae", "bn_vae:gamma=0.7"), (3,)),
    imdb("imdb_matched", ("matched_vae:rate=4", "matched_vae:rate=8"), (1, 2, 3)),
    muon("muon_1", 1),
    muon("muon_2", 2),
    muon("muon_3", 3),
    *(dropout(f"dropout_{seed}", seed) for seed in (1, 2, 3)),
    *(
        rates(
            f"rates_{seed}a",
            ("lstm_lm", "vae", "bn_vae:gamma=0.7", "matched_vae:rate=4", "matched_vae:rate=8"),
            seed,
        )
        for seed in (1, 2, 3)
    ),
    *(
        rates(
            f"rates_{seed}b",
            ("matched_vae:rate=6.4", "matched_vae:rate=16", "fb_vae:free_bits=4", "vmf_vae:kappa=13"),
            seed,
        )
        for seed in (1, 2, 3)
    ),
    # What decorrelation does, which matched_vae has and nothing else.
    *(
        rates(f"decorrelation_{seed}", ("bn_vae:gamma=0.7:decorrelation=2", *plain), seed)
        for seed, plain in (
            (1, tuple(f"matched_vae:rate={rate}:decorrelation=0" for rate in ("4", "6.4", "8", "16"))),
            (2, tuple(f"matched_vae:rate=8:decorrelation={weight}" for weight in (0, 1))),
        )
    ),
    imdb("imdb_5", ("beta_vae:kl_weight=0.4", "cyclic_vae:kl_annealing_epochs=2", "skip_vae")),
    imdb("imdb_6", ("fb_vae:free_bits=4", "delta_vae:delta=0.15", "vmf_vae:kappa=13")),
    imdb("imdb_7", ("ae", "ae+fb_vae:free_bits=4", "ae+bn_vae:gamma=0.7")),
    imdb("imdb_8", ("cnn_vae:cnn_dilations=1 2 4 8 16",)),
    # SA-VAE and aggressive training cost several times a VAE's step: they and what they are held against, on a cut.
    Block(
        "imdb_cut",
        "imdb_passages_10k",
        ("imdb_passages",),
        ("sa_vae:refinement_steps=10", "agg_vae", "vae", "bn_vae:gamma=0.7"),
        flags=IMDB | {"max_train_samples": 10_000, "max_nll_samples": 1_000},
        cpu=IMDB_CPU | {"max_train_samples": 2_000},
        together=4,
        classify=True,
    ),
    # A latent space on a pretrained encoder and decoder.
    *(
        block
        for corpus, epochs in (("ptb", 3), ("imdb_passages", 1), ("short_yelp", 3))
        for block in (
            pairs(f"pairs_{corpus}_1", corpus, epochs, ("lm", "matched_vae:rate=8", "vae")),
            pairs(f"pairs_{corpus}_2", corpus, epochs, ("bn_vae:rate=8", "matched_vae:rate=32", "fb_vae:free_bits=8")),
        )
    ),
    # Table 2: seconds to the best model, each alone on the card.
    Block(
        "table2",
        "imdb_passages_times",
        ("imdb_passages",),
        ("vae", "bn_vae:gamma=0.7", "ae+fb_vae:free_bits=4", "agg_vae", "sa_vae:refinement_steps=10"),
        flags=without_nll(IMDB) | {"max_train_samples": 8_000, "max_eval_samples": 1_000},
        cpu=without_nll(IMDB_CPU) | {"max_train_samples": 2_000},
        together=1,
    ),
    # Table 3, with the NLL of short Yelp as a whole beside it.
    *(
        block
        for seed in (1, 2, 3)
        for block in (
            yelp(f"table3_{seed}a", ("vae", "bn_vae:gamma=0.7", "ae", "ae+fb_vae:free_bits=6"), seed),
            yelp(f"table3_{seed}b", ("lstm_lm", "cyclic_vae:kl_annealing_epochs=2", "fb_vae:free_bits=9"), seed),
            yelp(f"table3_{seed}c", ("delta_vae:delta=0.15", "agg_vae"), seed),
        )
    ),
    Block("ptb_1", "ptb", ("ptb",), PTB_METHODS, (1, 2, 3), flags=PTB, cpu=PTB_CPU, together=12),
    Block(
        "ptb_paper",
        "ptb_paper",
        ("ptb",),
        ("bn_vae:gamma=0.7",),
        flags=PTB | {"recipe": "paper", "num_train_epochs": 36, "plateau_start_epoch": 10},
        cpu=PTB_CPU | {"plateau_start_epoch": 4, "plateau_patience": 2},
    ),
    # Table 4. GloVe vectors of 100 numbers are the word vectors that training starts from, and those of the judges.
    *(dialogue(corpus, seed) for seed in (1, 2, 3) for corpus in ("switchboard", "dailydialog")),
    # The authors' recipe as it is beside ours: seconds to the same validation ELBO, by curves.csv.
    *(
        Block(
            f"recipe_{recipe}",
            f"imdb_passages_recipe_{recipe}",
            ("imdb_passages",),
            ("bn_vae:gamma=0.7",),
            flags=without_nll(IMDB_SIZE) | changes | {"recipe": recipe},
            cpu=without_nll(IMDB_SIZE_CPU) | changes_cpu,
            together=1,
        )
        for recipe, changes, changes_cpu in (
            ("paper", {"num_train_epochs": 9, "kl_annealing_epochs": 3}, {}),
            ("fast", IMDB_RECIPE, IMDB_RECIPE_CPU),
            ("muon", IMDB_RECIPE, IMDB_RECIPE_CPU),
        )
    ),
)


# Figures of docs/performance.md.
BLOCKS += (Block("performance", "performance", (), ("throughput", "nll", "memory"), together=1, kind="stage"),)
BLOCKS += (
    Block("growth", "performance", (), ("graphs", "convergence", "growth", "pretrained"), together=1, kind="stage"),
)
