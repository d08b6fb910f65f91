"""Tokenizers: built from a corpus or loaded by name, always with a start, an end and a padding symbol."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .errors import CorpusError, first_line
from .tokenizer_pair import SUBFOLDER, TokenizerPair, with_decoder_tokenizer

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
SPECIALS = [PAD, BOS, EOS, UNK]
USUAL_SYMBOLS = {
    "pad_token": (PAD, "[PAD]"),
    "bos_token": (BOS, "[CLS]", "<bos>", "[BOS]"),
    "eos_token": (EOS, "[SEP]", "<eos>", "[EOS]"),
    "unk_token": (UNK, "[UNK]"),
}
TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
KINDS = ("word", "bpe", "unigram", "char")
NO_LIMIT = 1_000_000


def build_tokenizer(
    sentences: Iterable[str],
    kind: str = "word",
    vocab_size: int = 20_000,
    min_count: int = 1,
    split_punctuation: bool = False,
    keep_linebreaks: bool = False,
) -> PreTrainedTokenizerFast:
    """A fast tokenizer that `AutoTokenizer` loads without this package.

    Args:
        sentences: the training split.
        kind: `"word"` (what spaces separate is a word), `"bpe"` (byte-level BPE), `"unigram"` (pieces of words by a
            unigram language model) or `"char"` (single characters).
        vocab_size: size of the vocabulary at most, the four specials included.
        min_count: leave out words (or BPE merges) seen fewer times than this.
        split_punctuation: for `"word"`, make punctuation marks words of their own. Leave it off for text that is
            tokenised already.
        keep_linebreaks: for `"word"`, make line breaks words, which are white space otherwise. The others keep them.

    Raises:
        CorpusError: when no word reaches `min_count` or `vocab_size` leaves no room for one.
    """
    if kind == "word":
        tokenizer, trainer = _whole_words(_word_splitter(split_punctuation, keep_linebreaks), vocab_size, min_count)
    elif kind == "char":
        tokenizer, trainer = _whole_words(pre_tokenizers.Split(Regex("."), "isolated"), vocab_size, min_count)
        tokenizer.decoder = decoders.Fuse()
    elif kind == "bpe":
        tokenizer, trainer = _byte_pairs(vocab_size, min_count)
    elif kind == "unigram":
        tokenizer, trainer = _unigrams(vocab_size)
    else:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if vocab_size > len(SPECIALS):
        try:
            tokenizer.train_from_iterator(sentences, trainer)
        except Exception as error:  # `tokenizers` raises no narrower kind
            if "vocabulary is not large enough" not in str(error):
                raise
            raise CorpusError(
                f"`vocab_size` {vocab_size} is too small for {kind}, which holds each character of the text: raise it"
            ) from error
        if kind in ("word", "char"):
            tokenizer = _each_symbol_once(tokenizer, vocab_size)
    if tokenizer.get_vocab_size() <= len(SPECIALS):
        raise CorpusError(
            f"the vocabulary holds nothing but its {len(SPECIALS)} special symbols: lower `min_count` (now "
            f"{min_count}) or raise `vocab_size` (now {vocab_size})"
        )
    _add_ends(tokenizer, BOS, EOS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _word_splitter(split_punctuation: bool, keep_linebreaks: bool) -> pre_tokenizers.PreTokenizer:
    splitters: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.WhitespaceSplit()]
    if keep_linebreaks:
        splitters = [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
        ]
    if split_punctuation:
        splitters.append(pre_tokenizers.Punctuation())
    return pre_tokenizers.Sequence(splitters)


def _whole_words(
    splitter: pre_tokenizers.PreTokenizer, vocab_size: int, min_count: int
) -> tuple[Tokenizer, trainers.Trainer]:
    """For a vocabulary of what the splitter makes of texts; `_each_symbol_once` brings it to its size."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.pre_tokenizer = splitter
    trainer = trainers.WordLevelTrainer(
        # Where the text spells out a special symbol, the trainer counts it as a word besides.
        vocab_size=vocab_size + len(SPECIALS),
        min_frequency=min_count,
        special_tokens=SPECIALS,
        show_progress=False,
    )
    return tokenizer, trainer


def _each_symbol_once(trained: Tokenizer, vocab_size: int) -> Tokenizer:
    """The same tokenizer of whole words, where none of them is a special symbol that the texts spell out."""
    by_id = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    words = [word for word, _ in by_id if word not in SPECIALS][: vocab_size - len(SPECIALS)]
    vocabulary = {word: number for number, word in enumerate(SPECIALS + words)}
    # A new one, for a tokenizer remembers the numbers that its symbols had in training.
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    if trained.decoder is not None:
        tokenizer.decoder = trained.decoder
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def _byte_pairs(vocab_size: int, min_count: int) -> tuple[Tokenizer, trainers.Trainer]:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(alphabet) + len(SPECIALS)
    if vocab_size < least:
        raise CorpusError(f"`vocab_size` {vocab_size} is too small for bpe, which needs {least}")
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=SPECIALS,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    return tokenizer, trainer


def _unigrams(vocab_size: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=SPECIALS, unk_token=UNK, show_progress=False
    )
    return tokenizer, trainer


def bare_tokenizer(name: str, called: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a pretrained model as it is; `called` is what an error calls the name.

    Raises:
        CorpusError: there is none, or a slow one.
    """
    return _fast_tokenizer(lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=False), name, called)


def with_ends(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer of a pretrained language model, made to put its start and its end around each text.

    No symbol is added, for which the model would have no vector: the end of a text stands for those that are missing.
    """
    for name in ("bos_token", "pad_token"):
        if getattr(tokenizer, name) is None:
            setattr(tokenizer, name, tokenizer.eos_token)
    tokenizer.padding_side = "right"
    _add_ends(tokenizer.backend_tokenizer, str(tokenizer.bos_token), str(tokenizer.eos_token))
    return tokenizer


def check_ends(tokenizer: Any, called: str = "the tokenizer") -> None:
    """Refuse a tokenizer that does not put a start and an end around each text, as that of GPT-2.

    What is read as the ends would be words. Of a `TokenizerPair` the decoder's are put there, whatever it does.

    Raises:
        CorpusError: naming the remedy.
    """
    if not isinstance(tokenizer, TokenizerPair) and not has_ends(tokenizer("")["input_ids"], tokenizer):
        raise CorpusError(
            f"{called} does not put a start and an end symbol around each text: load it by "
            "hf_bnvae.data.load_tokenizer, which makes it do so"
        )


def length_limit(tokenizer: Any) -> int | None:
    """At how many tokens, both ends counted, a tokenizer says that texts are cut; None where it does not."""
    return tokenizer.model_max_length if tokenizer.model_max_length < NO_LIMIT else None


def has_ends(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether token ids begin with a start symbol and end with an end symbol."""
    starts, ends = (tokenizer.bos_token_id, tokenizer.cls_token_id), (tokenizer.eos_token_id, tokenizer.sep_token_id)
    return len(ids) >= 2 and ids[0] in starts and ids[-1] in ends


def _fast_tokenizer(load: Callable[[], Any], name: str, called: str) -> Any:
    """What `load` gives; a CorpusError where it gives nothing or a slow tokenizer."""
    try:
        tokenizer = load()
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{called} {name!r}: its tokenizer could not be loaded ({first_line(error)})") from error
    if not tokenizer.is_fast:
        raise CorpusError(f"{called} {name!r} is a slow tokenizer: use one with a tokenizer.json")
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):  # Transformers makes one of symbols alone
        raise CorpusError(f"{called} {name!r} has no tokenizer: save that of the model there, by its save_pretrained")
    return tokenizer


def load_tokenizer(name: str, called: str = "`tokenizer`") -> Any:
    """An existing tokenizer by name, folder or tokenizer.json, made to put its start and its end around each sentence.

    Missing symbols are borrowed where that does no harm (a classifier's `[CLS]` starts, its `[SEP]` ends) and added
    otherwise. A tokenizer.json alone says nothing of its symbols: they go by their usual names.
    `called` is what an error calls the name. A model with two of them gives a `TokenizerPair`.

    Raises:
        CorpusError: when there is no such tokenizer, or it is a slow one that cannot be adapted.
    """
    path = Path(name)
    if (path / SUBFOLDER).is_dir():
        return TokenizerPair(*(bare_tokenizer(str(folder), called) for folder in (path, path / SUBFOLDER)))
    _refuse_word_pieces(path, called)
    file = path / TOKENIZER_FILE if path.is_dir() else path

    def load() -> PreTrainedTokenizerBase:
        if file.is_file() and file.suffix == ".json" and not (file.parent / TOKENIZER_CONFIG_FILE).is_file():
            return _from_tokenizer_json(file)
        return AutoTokenizer.from_pretrained(path.parent if path.is_file() else name, trust_remote_code=False)

    tokenizer = _fast_tokenizer(load, name, called)
    if not path.exists() and isinstance(pair := with_decoder_tokenizer(tokenizer, name), TokenizerPair):
        return pair
    return _with_symbols(tokenizer)


def tokenizer_at_hand(tokenizer: Any, called: str = "`tokenizer`") -> Any:
    """A copy of a tokenizer that a program has, made to put its start and its end around each sentence.

    Raises:
        CorpusError: it is no fast tokenizer of Transformers.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise CorpusError(
            f"{called} must be a name or a fast tokenizer of Transformers, got {type(tokenizer).__name__}: wrap one "
            "of the library tokenizers in transformers.PreTrainedTokenizerFast"
        )
    return _with_symbols(deepcopy(tokenizer))


def _with_symbols(tokenizer: Any) -> Any:
    """A tokenizer with a start, an end and a padding symbol, and the first two around each sentence."""
    if tokenizer.bos_token is None:
        tokenizer.add_special_tokens({"bos_token": tokenizer.cls_token or BOS})
    if tokenizer.eos_token is None:
        tokenizer.add_special_tokens({"eos_token": tokenizer.sep_token or EOS})
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.padding_side = "right"
    ends = tokenizer("")["input_ids"]
    if ends != [tokenizer.bos_token_id, tokenizer.eos_token_id]:
        _add_ends(tokenizer.backend_tokenizer, tokenizer.bos_token, tokenizer.eos_token)
    return tokenizer


def _from_tokenizer_json(file: Path) -> PreTrainedTokenizerBase:
    """A tokenizer.json without the settings that Transformers saves beside it."""
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as error:  # `tokenizers` raises no narrower kind
        raise ValueError(f"no tokenizer.json: {first_line(error)}") from error
    present = backend.get_vocab()
    symbols = {
        role: next((symbol for symbol in usual if symbol in present), None) for role, usual in USUAL_SYMBOLS.items()
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **{role: symbol for role, symbol in symbols.items() if symbol is not None},
    )


def _refuse_word_pieces(path: Path, called: str) -> None:
    """Refuse the vocabulary of a WordPiece tokenizer alone, which does not say whether it lowers letters."""
    folder = path.parent if path.is_file() and path.name == "vocab.txt" else path
    if not (folder / "vocab.txt").is_file():
        return
    if any((folder / name).is_file() for name in (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE)):
        return
    raise CorpusError(
        f"{called} {str(path)!r} holds the words of WordPiece (vocab.txt) alone: make a whole tokenizer of them by "
        f"transformers.BertTokenizerFast.from_pretrained({str(folder)!r}, do_lower_case=True or False)"
        f".save_pretrained(FOLDER), and name FOLDER"
    )


def _add_ends(tokenizer: Tokenizer, start: str, end: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B {end}",
        special_tokens=[(symbol, tokenizer.token_to_id(symbol)) for symbol in {start, end}],
    )
