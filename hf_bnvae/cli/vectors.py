"""Train the word vectors of the metrics A-bow and E-bow on the training split of dialogues.

    hf-bnvae vectors --dataset_name toy_dialogues --output_file vectors.txt
    hf-bnvae dialogue --dataset_name toy_dialogues --word_vectors vectors.txt --output_dir out

The vectors are skip-gram word2vec by gensim, in word2vec text. The same flags give the same file.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ..data import CorpusError
from ..runs.checks import check_least
from ..runs.dialogue_data_arguments import DialogueDataArguments
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .run import run

NEEDED = 10  # words; fewer are a mistake, not a corpus


@dataclass
class VectorArguments:
    """What the vectors are."""

    output_file: str = field(metadata={"help": "where they go; gzipped when it ends in .gz"})
    vector_size: int = field(default=200, metadata={"help": "dimensions"})
    window: int = field(default=5, metadata={"help": "words to each side that a word predicts"})
    min_count: int = field(default=1, metadata={"help": "leave out words seen fewer times than this"})
    epochs: int = field(default=10, metadata={"help": "passes over the text"})
    seed: int = field(default=1, metadata={"help": "of the start and of the sampling"})

    def __post_init__(self):
        check_least(self, vector_size=1, window=1, min_count=1, epochs=1)
        if Path(self.output_file).is_dir():
            raise UsageError(f"--output_file {self.output_file} is a folder: name a file")


@flags_named()
def main(argv: list[str] | None = None) -> None:
    data, vectors = parse_arguments(
        DialogueDataArguments, VectorArguments, description=__doc__.splitlines()[0], argv=argv
    )
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise UsageError("training word vectors takes gensim: pip install 'hf-bnvae[dialogue]'") from error
    corpus = data.load()
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
    sentences = [turn.text.split() for dialogue in corpus.splits["train"] for turn in dialogue.turns]
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
