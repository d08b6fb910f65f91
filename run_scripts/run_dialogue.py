"""Train and judge a conditional VAE that answers in dialogues.

On the built-in small talk, on your own dialogues, and with one turn a column:

    python run_scripts/run_dialogue.py --dataset_name toy_dialogues --output_dir out
    accelerate launch run_scripts/run_dialogue.py --method bn_cvae --train_file dialogues.jsonl --output_dir out
    python run_scripts/run_dialogue.py --train_file pairs.tsv --context_column context --response_column answer ...

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from accelerate.utils import gather_object
from script_utils import (
    DIALOGUE_MODELS,
    CardArguments,
    JudgeArguments,
    MethodArguments,
    SplitArguments,
    UsageError,
    begin_run,
    check_least,
    check_output_dir,
    check_same_model,
    check_training,
    far_apart,
    find_checkpoint,
    goes_on,
    judge_trained_nll,
    load_model,
    load_vectors,
    log_reports,
    parse_arguments,
    print_results,
    push_to_hub,
    run_main,
    take_push_to_hub,
    take_word_vectors,
    training_results,
    unknown_shares,
    write_json,
    write_run,
)
from transformers import set_seed
from transformers.utils import logging

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration
from hf_bnvae.analysis import Case, write_case_study
from hf_bnvae.analysis.case_study import CONTEXT_SHOWN
from hf_bnvae.data import (
    CorpusError,
    DialogueCollator,
    DialogueCorpus,
    DialogueReport,
    DialogueResponses,
    DialogueSampler,
    encode_dialogues,
    load_dialogues,
    load_tokenizer,
)
from hf_bnvae.data.dialogue_formats import DEFAULT_TURN_SEPARATOR, DialogueLayout
from hf_bnvae.evaluation import WordVectors, judge_responses, sample_responses
from hf_bnvae.hub.records import response_interpolation
from hf_bnvae.methods import DIALOGUE_METHODS, method_table
from hf_bnvae.models.configuration_bncvae import CONDITIONAL_POSTERIORS
from hf_bnvae.models.configuration_bnvae import RATE_FIELDS
from hf_bnvae.training import DIALOGUE_RECIPES, DIALOGUE_SIZES, DialogueTrainer, DialogueTrainingArguments

RESPONSES_SHOWN = 3
CONTEXTS_TOGETHER = 128

logger = logging.get_logger("hf_bnvae.run_dialogue")


@dataclass
class DialogueDataArguments(SplitArguments):
    """Where the dialogues come from."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "'toy_dialogues' (built in), a local folder with train/valid/test files, or a Hub dataset id"
        },
    )
    train_file: str | None = field(
        default=None, metadata={"help": "jsonl, json or txt of dialogues, or a table of pairs"}
    )
    validation_file: str | None = field(default=None, metadata={"help": "the same"})
    test_file: str | None = field(default=None, metadata={"help": "the same"})
    context_column: str = field(default="context", metadata={"help": "of a table: the turns before the response"})
    response_column: str = field(default="response", metadata={"help": "of a table: the response"})
    turn_separator: str = field(
        default=DEFAULT_TURN_SEPARATOR, metadata={"help": "of a table: what stands between the turns of a context"}
    )
    conversation_column: str | None = field(
        default=None, metadata={"help": "of a table of one utterance a row: the id of the conversation"}
    )
    utterance_column: str | None = field(default=None, metadata={"help": "of such a table: what is said"})
    speaker_column: str | None = field(default=None, metadata={"help": "of such a table: who says it"})
    no_header: bool = field(
        default=False, metadata={"help": "the first line of csv and tsv files is data; columns have numbers from 0"}
    )
    skip_empty_turns: bool = field(
        default=False, metadata={"help": "leave out and count turns that hold nothing, which are errors otherwise"}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "use only the first so many dialogues"})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "use only the first so many dialogues of each of validation and test"}
    )
    max_utterance_length: int = field(
        default=42, metadata={"help": "cut utterances at so many tokens, both ends counted"}
    )

    def __post_init__(self):
        check_least(self, max_utterance_length=3, max_train_samples=1, max_eval_samples=1)

    def load(self) -> DialogueCorpus:
        """Read the dialogues that the flags name."""
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        limits = {"train": self.max_train_samples, "validation": self.max_eval_samples, "test": self.max_eval_samples}
        names = [item.name for item in fields(DialogueLayout)]
        return load_dialogues(
            self.dataset_name,
            files,
            max_dialogues=limits,
            **{name: getattr(self, name) for name in names},
            **self.split_choice(),
        )


@dataclass
class DialogueModelArguments(MethodArguments):
    """What the model is. The names are those of `BnCvaeConfig`."""

    METHODS = DIALOGUE_METHODS
    RECIPES = DIALOGUE_RECIPES
    SIZES = DIALOGUE_SIZES
    READ_BY = {
        "gamma": ("posterior", ("batch_norm", "du", "any with --prior_batch_norm")),
        "rate": ("posterior", tuple(name for name in CONDITIONAL_POSTERIORS if name in RATE_FIELDS)),
        "tau": ("posterior", ("tied_scales",)),
        "variance_dropout": ("posterior", ("du",)),
    }

    method: str = field(
        default="bn_cvae", metadata={"help": "which system to train", "choices": sorted(DIALOGUE_METHODS)}
    )
    recipe: str = field(
        default="fast", metadata={"help": "defaults of the training", "choices": sorted(DIALOGUE_RECIPES)}
    )
    size: str | None = field(
        default=None, metadata={"help": "defaults of the sizes", "choices": sorted(DIALOGUE_SIZES)}
    )
    list_methods: bool = field(default=False, metadata={"help": "print the table of methods and exit"})
    posterior: str | None = field(
        default=None, metadata={"help": "by default the method's", "choices": list(CONDITIONAL_POSTERIORS)}
    )
    rate: float | None = field(
        default=None, metadata={"help": "nats a response: sets gamma or tau; matched: the least KL, by default 8"}
    )
    gamma: float | None = field(
        default=None, metadata={"help": "the frozen scale of the batch-normalised posterior mean, by default 0.6"}
    )
    tau: float | None = field(
        default=None,
        metadata={"help": "tied_scales: least share of the variance that the means take, by default at a rate of 8"},
    )
    variance_dropout: float = field(default=0.5, metadata={"help": "du: dropout on the posterior variance"})
    prior_batch_norm: bool = field(
        default=False, metadata={"help": "normalise the prior's mean as well, which the paper reports to fail"}
    )
    prior_kl_weight: float = field(
        default=1.0, metadata={"help": "weight of KL(p || N(0, I)) in the loss; 0 in a plain CVAE"}
    )
    bow_weight: float = field(default=0.0, metadata={"help": "weight of the loss of the response's bag of words"})
    bow_hidden_size: int = field(default=400, metadata={"help": "width of the layer that predicts the bag of words"})
    kl_weight: float = field(default=1.0, metadata={"help": "the full weight of both KLs in the loss"})
    latent_size: int = field(default=200, metadata={"help": "latent dimensions"})
    embedding_size: int = field(default=200, metadata={"help": "width of the word vectors"})
    utterance_hidden_size: int = field(default=300, metadata={"help": "width of each direction over an utterance"})
    context_hidden_size: int = field(default=600, metadata={"help": "width of the GRU over the context"})
    hidden_size: int = field(default=400, metadata={"help": "width of the decoder"})
    prior_hidden_size: int = field(default=100, metadata={"help": "width of the prior network's tanh layer"})
    context_turns: int = field(default=10, metadata={"help": "turns before a response that it sees, at most"})
    topic_embedding: bool = field(default=False, metadata={"help": "give each topic of the training data a vector"})
    topic_size: int = field(default=30, metadata={"help": "width of a topic's vector"})
    initial_word_vectors: str | None = field(
        default=None, metadata={"help": "start from these: GloVe or word2vec text, or word2vec .bin"}
    )
    embedding_dropout: float = field(default=0.0, metadata={"help": "dropout on the decoder's inputs"})
    output_dropout: float = field(default=0.0, metadata={"help": "dropout on the decoder's outputs"})
    word_dropout: float = field(
        default=0.0, metadata={"help": "share of the words that are hidden from the decoder in training"}
    )
    initializer_range: float = field(default=0.08, metadata={"help": "weights start uniform in +- this"})
    embedding_initializer_range: float = field(default=0.08, metadata={"help": "word vectors start uniform in +- this"})
    tie_word_embeddings: bool = field(default=False, metadata={"help": "the output layer shares the word vectors"})
    tokenizer: str = field(
        default="word",
        metadata={"help": "'word', 'bpe', 'unigram', 'char' (built from the training data), or a tokenizer's name"},
    )
    vocab_size: int = field(default=10_000, metadata={"help": "size of a built vocabulary at most, specials included"})
    min_count: int = field(default=1, metadata={"help": "leave out words seen fewer times than this"})
    keep_linebreaks: bool = field(default=False, metadata={"help": "for 'word': make line breaks in a text words"})
    split_punctuation: bool = field(
        default=False, metadata={"help": "for 'word': make punctuation marks words of their own"}
    )

    def __post_init__(self):
        check_least(self, vocab_size=1, min_count=0, initializer_range=0, embedding_initializer_range=0)

    def config(self, tokenizer, corpus: DialogueCorpus) -> BnCvaeConfig:
        """The model's configuration for a tokenizer and the topics of the training split."""
        topics = []
        if self.topic_embedding:
            topics = sorted({dialogue.topic for dialogue in corpus.splits["train"] if dialogue.topic})
            if not topics:
                raise UsageError(f"--topic_embedding: no training dialogue of {corpus.name} has a topic")
        return self.make_config(BnCvaeConfig, tokenizer, topics=topics, **self.choices())

    def choices(self) -> dict[str, str]:
        return {"posterior": self.posterior or DIALOGUE_METHODS[self.method].posterior}

    def refuse_unread(self, given: set[str]) -> None:
        super().refuse_unread(given - {"gamma"} if self.prior_batch_norm else given)
        if "topic_size" in given and not self.topic_embedding:
            raise UsageError("--topic_size is read with --topic_embedding only: leave it out")
        if "bow_hidden_size" in given and not self.bow_weight:
            raise UsageError("--bow_hidden_size is read with --bow_weight above 0 only: leave it out")


@dataclass
class ResponseArguments(JudgeArguments):
    """How the trained model and its responses are judged."""

    nll_samples: int = field(
        default=0, metadata={"help": "importance samples K of the NLL of the responses; 0 leaves it out"}
    )
    num_responses: int = field(default=10, metadata={"help": "responses to each context that are judged; 0 for none"})
    max_response_contexts: int | None = field(
        default=None, metadata={"help": "judge the responses to the first so many contexts of the split"}
    )
    word_vectors: str | None = field(
        default=None,
        metadata={"help": "for A-bow and E-bow: GloVe or word2vec text, or word2vec .bin"},
    )
    num_cases: int = field(default=8, metadata={"help": "contexts shown in samples.md"})
    compare_with: list[str] = field(
        default_factory=list, metadata={"help": "other trained models whose responses stand in samples.md as well"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_least(self, num_responses=0, max_response_contexts=1, num_cases=0)
        for name, reader in (
            ("max_nll_samples", "nll_samples"),
            ("word_vectors", "num_responses"),
            ("max_response_contexts", "num_responses"),
            ("compare_with", "num_cases"),
        ):
            if getattr(self, name) and not getattr(self, reader):
                raise UsageError(f"--{name} is read with --{reader} above 0 only: leave it out")


def main(argv: list[str] | None = None) -> None:
    data, model_args, judge, card, args = parse_arguments(
        DialogueDataArguments,
        DialogueModelArguments,
        ResponseArguments,
        CardArguments,
        DialogueTrainingArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )
    if model_args.list_methods:
        print(method_table(DIALOGUE_METHODS))
        return
    checkpoint = find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    check_output_dir(args.output_dir, checkpoint, args.overwrite_output_dir)
    vectors = load_vectors(judge.word_vectors, "--word_vectors")
    ours = Path(args.output_dir).resolve().name
    others = load_others(judge.compare_with, ours)
    set_seed(args.seed)

    corpus = data.load()
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
    texts = [turn.text for dialogue in corpus.splits["train"] for turn in dialogue.turns]
    tokenizer = model_args.make_tokenizer(texts, checkpoint)
    config = model_args.config(tokenizer, corpus)
    if checkpoint is not None:
        check_same_model(config, checkpoint, model_args)
    encoded = encode_dialogues(corpus, tokenizer, data.max_utterance_length, config.context_turns, config.topics)
    log_reports(corpus.reports)
    check_training(args, config, corpus.name, len(encoded["train"]), "validation" in encoded)
    pushed = take_push_to_hub(args)
    model = BnCvaeForConditionalGeneration(config)
    if model_args.initial_word_vectors is not None and checkpoint is None:
        logger.warning(take_word_vectors(model, tokenizer, model_args.initial_word_vectors))
    model.generation_config.max_new_tokens = data.max_utterance_length - 1

    trainer = DialogueTrainer(
        model,
        args,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("validation"),
        data_collator=DialogueCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    goes_on(trainer, checkpoint)
    begin_run(args, checkpoint, args.overwrite_output_dir)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    results = training_results(trainer, trained, corpus.reports["train"].tokens) | unknown_shares(corpus.reports)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split in encoded:
            results |= judge_split(trainer, encoded[split], prefix, judge, last="test" not in encoded)
    last = next((split for split in ("test", "validation") if split in encoded), None)
    if last is not None and judge.num_responses:
        prefix = "eval" if last == "validation" else last
        found = judge_sampled(
            model,
            tokenizer,
            encoded[last],
            trainer.get_eval_dataloader,
            reference_responses(corpus, last, tokenizer),
            judge,
            vectors,
            args.seed,
            progress=not args.disable_tqdm and trainer.is_world_process_zero(),
        )
        results |= {f"{prefix}_{name}": value for name, value in found.items()}
    if trainer.is_world_process_zero():
        trainer.save_state()
        write_json(Path(args.output_dir) / "all_results.json", results)
        examples = {}
        if last is not None and card.card_quotes:
            examples = write_examples(model, tokenizer, corpus, last, data, card.card_quotes, args.seed)
        write_run(__file__, argv, corpus, (data, model_args, card, args), examples, pushed)
        if last is None:
            logger.warning("There is neither a test nor a validation split: no response was judged or shown.")
        elif judge.num_cases:
            models = {ours: (model, tokenizer), **others}
            write_samples(Path(args.output_dir) / "samples.md", corpus, last, models, data, judge, args.seed)
        print_results(results)
        if pushed:
            push_to_hub(args)


def load_others(names: list[str], ours: str) -> dict[str, tuple]:
    """The models of --compare_with with their tokenizers, by the names of their folders."""
    others: dict[str, tuple] = {}
    for name in names:
        folder = Path(name).resolve().name
        if folder == ours or folder in others:
            raise UsageError(f"--compare_with {name}: another model's folder is named {folder} too; rename one")
        model = load_model(name, "--compare_with", DIALOGUE_MODELS)
        others[folder] = model, load_tokenizer(name, "--compare_with")
    return others


def judge_split(trainer: DialogueTrainer, dataset: DialogueResponses, prefix: str, judge, last: bool) -> dict:
    """The bounds of a split, and its NLL if that is wanted."""
    metrics = trainer.evaluate(dataset, metric_key_prefix=prefix)
    names = ("elbo", "rec", "kl", "kl_prior", "use", "bow_loss", "rec_ppl")
    results = {f"{prefix}_{name}": metrics[f"{prefix}_{name}"] for name in names if f"{prefix}_{name}" in metrics}
    results[f"{prefix}_sentences"] = len(dataset)
    if prefix == "test" or last:
        judged = judge_trained_nll(trainer, dataset, trainer.get_likelihood_dataloader, judge)
        results |= {f"{prefix}_{name}": value for name, value in judged.items()}
    return results


def judge_sampled(
    model,
    tokenizer,
    dataset: DialogueResponses,
    make_batches: Callable,
    references: list[list[str]],
    judge: ResponseArguments,
    vectors: WordVectors | None,
    seed: int,
    progress: bool,
) -> dict:
    """The judges' words on `num_responses` responses to each context, which all processes sample together."""
    if judge.max_response_contexts is not None:
        dataset = dataset.select(range(min(judge.max_response_contexts, len(dataset))))
        references = references[: len(dataset)]
    batches = make_batches(dataset)
    rows = [row for batch in batches.batch_sampler for row in batch]
    sampled = sample_responses(model, batches, tokenizer, judge.num_responses, seed=seed, progress=progress)
    by_row = dict(gather_object(list(zip(rows, sampled, strict=True))))
    predictions = [by_row[row] for row in range(len(dataset))]
    found = judge_responses(predictions, references, vectors)
    found |= {"response_contexts": len(dataset), "responses": judge.num_responses}
    return found | ({"word_vectors": vectors.name} if vectors is not None else {})


def reference_responses(corpus: DialogueCorpus, split: str, tokenizer) -> list[list[str]]:
    """What people said, of every response in its order: the turn itself, and other references where there are any.

    It is cut into words as the model's responses are; words that the model does not know stay as they are.
    """
    turns = [dialogue.turns[turn] for dialogue, turn in corpus.responses(split)]
    texts = [text for turn in turns for text in (turn.text, *turn.references)]
    split_texts = iter(as_the_model_writes(texts, tokenizer))
    return [[next(split_texts) for _ in range(1 + len(turn.references))] for turn in turns]


def as_the_model_writes(texts: list[str], tokenizer) -> list[str]:
    """Texts encoded and decoded, but for unknown words."""
    encoded = tokenizer(texts, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
    decoded = tokenizer.batch_decode(encoded["input_ids"], skip_special_tokens=True)
    unknown = tokenizer.unk_token_id
    for place, ids in enumerate(encoded["input_ids"]):
        if unknown in ids:
            decoded[place] = " ".join(
                texts[place][start:end] if number == unknown else tokenizer.decode([number])
                for number, (start, end) in zip(ids, encoded["offset_mapping"][place], strict=True)
                if end > start
            )
    return decoded


def write_samples(path: Path, corpus, split: str, models: dict, data, judge: ResponseArguments, seed: int) -> None:
    """Contexts of a split that lie far apart in it, their responses, and those of each model."""
    places = corpus.responses(split)
    chosen = far_apart(judge.num_cases, len(places))
    responses = {
        name: responses_to(model, tokenizer, corpus, split, chosen, data, RESPONSES_SHOWN, seed)
        for name, (model, tokenizer) in models.items()
    }
    write_case_study(path, [Case.of(*places[place]) for place in chosen], responses)


def write_examples(model, tokenizer, corpus: DialogueCorpus, split: str, data, quotes: int, seed: int) -> dict:
    """What the model writes: responses to contexts that lie far apart in a split, and the way between two of them."""
    places = corpus.responses(split)
    chosen = far_apart(quotes, len(places))
    responses = responses_to(model, tokenizer, corpus, split, chosen, data, RESPONSES_SHOWN, seed)
    cases = [Case.of(*places[place]).last_turns(CONTEXT_SHOWN) for place in chosen]
    (first,) = batches_of(model, tokenizer, corpus, split, chosen[:1], data)
    return {
        "split": split,
        "responses": [
            {
                "context": [[turn.speaker, turn.text] for turn in case.context],
                "target": [case.response.speaker, case.response.text],
                "responses": texts,
            }
            for case, texts in zip(cases, responses, strict=True)
        ],
        "interpolation": response_interpolation(model, tokenizer, first, seed),
    }


def responses_to(
    model, tokenizer, corpus: DialogueCorpus, split: str, chosen: list[int], data, num_responses: int, seed: int
) -> list[list[str]]:
    """Responses of a model to some contexts of a split, in their order."""
    batches = batches_of(model, tokenizer, corpus, split, chosen, data)
    return sample_responses(model, batches, tokenizer, num_responses, seed)


def batches_of(model, tokenizer, corpus: DialogueCorpus, split: str, chosen: list[int], data) -> Iterator[dict]:
    """Batches of some responses of a split, in their order, as a model reads them."""
    config = model.config
    part = DialogueCorpus({split: corpus.splits[split]}, {split: DialogueReport()})
    rows = encode_dialogues(part, tokenizer, data.max_utterance_length, config.context_turns, config.topics)[split]
    rows = rows.select(chosen)
    sampler = DialogueSampler(rows.dialogues, CONTEXTS_TOGETHER, shuffle=False)
    collate = DialogueCollator(tokenizer.pad_token_id)
    return (collate(rows.__getitems__(batch)) for batch in sampler)


if __name__ == "__main__":
    run_main(main)
