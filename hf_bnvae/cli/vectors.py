"""Train the word vectors of the metrics A-bow and E-bow on the training split of dialogues.

    hf-bnvae vectors --dataset_name toy_dialogues --output_file vectors.txt
    hf-bnvae dialogue --dataset_name toy_dialogues --word_vectors vectors.txt --output_dir out

The vectors are skip-gram word2vec by gensim, in word2vec text. The same flags give the same file. Words are what white
space separates; for a model that cuts texts otherwise, `--tokenizer` names it, or `--split_punctuation` does as it did.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ..data import CorpusError, build_tokenizer, load_tokenizer
from ..evaluation.references import as_the_model_writes
from ..runs.checks import check_least
from ..runs.dialogue_data_arguments import DialogueDataArguments
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .run import run

NEEDED = 10  # words; fewer are a mistake, not a corpus
EVERY_WORD = 1 << 31
UNREAD = (
    "validation_file",
    "test_file",
    "validation_split",
    "test_split",
    "max_eval_samples",
    "max_utterance_length",
)


@dataclass
class VectorArguments:
    """What the vectors are."""

    output_file: str = field(metadata={"help": "where they go; gzipped when it ends in .gz"})
    vector_size: int = field(default=200, metadata={"help": "dimensions"})
    window: int = field(default=5, metadata={"help": "words to each side that a word predicts"})
    min_count: int = field(default=1, metadata={"help": "leave out words seen fewer times than this"})
    epochs: int = field(default=10, metadata={"help": "passes over the text"})
    seed: int = field(default=1, metadata={"help": "of the start and of the sampling"})
    tokenizer: str | None = field(
        default=None,
        metadata={"help": "cut texts into words as this tokenizer or trained model does; by default at white space"},
    )
    split_punctuation: bool = field(
        default=False, metadata={"help": "cut at white space, and make punctuation marks words of their own"}
    )

    def __post_init__(self):
        if self.tokenizer is not None and self.split_punctuation:
            raise UsageError("--split_punctuation is for texts that no --tokenizer cuts: leave one of them out")
        check_least(self, vector_size=1, window=1, min_count=1, epochs=1)
        if Path(self.output_file).is_dir():
            raise UsageError(f"--output_file {self.output_file} is a folder: name a file")

    def words(self, texts: list[str]) -> list[list[str]]:
        """Texts cut into words, which are those of the responses of a model that cuts them so."""
        if self.tokenizer is not None:
            texts = as_the_model_writes(texts, load_tokenizer(self.tokenizer))
        elif self.split_punctuation:
            every_word = build_tokenizer(texts, vocab_size=EVERY_WORD, split_punctuation=True)
            texts = as_the_model_writes(texts, every_word)
        return [text.split() for text in texts]


@flags_named()
def main(argv: list[str] | None = None) -> None:
    data, vectors = parse_arguments(
        DialogueDataArguments, VectorArguments, description=__doc__.splitlines()[0], argv=argv
    )
    for name in UNREAD:
        if getattr(data, name) is not None:
            raise UsageError(f"--{name} is not read, for vectors come of whole training turns: leave it out")
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise UsageError("training word vectors takes gensim: pip install 'hf-bnvae[dialogue]'") from error
    corpus = data.load()
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
    sentences = vectors.words([turn.text for dialogue in corpus.splits["train"] for turn in dialogue.turns])
    known = len({word for sentence in sentences for word in sentence})
    if known < NEEDED:
        raise CorpusError(f"{corpus.name} has {known} distinct words: too few to train vectors on")
    model = Word2Vec(
        vector_size=vectors.vector_size,
        window=vectors.window,
        min_count=vectors.min_count,
        seed=vectors.seed,
        epochs=vectors.epochs,
        sg=1,
        workers=1,  # more would make the result depend on their turns
    )
    model.build_vocab(sentences)
    if not model.wv.index_to_key:
        raise UsageError(f"--min_count {vectors.min_count} leaves no word of {corpus.name}: lower it")
    model.train(sentences, total_examples=model.corpus_count, epochs=vectors.epochs)
    path = Path(vectors.output_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.wv.save_word2vec_format(str(path), binary=False)
    words = sum(map(len, sentences))
    left_out = known - len(model.wv.index_to_key)
    print(
        f"{path}: {len(model.wv.index_to_key):,} words of {vectors.vector_size} dimensions, trained on {words:,} words "
        f"of {corpus.name} in {len(sentences):,} turns; {left_out:,} rare words left out"
    )


if __name__ == "__main__":
    run(main)
