"""From a checkpoint to vectors: seconds to load, sentences a second, and the peak of memory.

    python benchmarks/encode.py --model_name_or_path out --text_file my.txt

With no model, an untrained one of the sizes of short Yelp; with no file, sentences of the built-in corpus, over and
over. A name on the Hub is downloaded, and that is counted.
"""

import argparse
import tempfile
import time

import torch
from measure import MIB, machine, peak_bytes

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration, TextVaePipeline
from hf_bnvae.data import build_tokenizer, load_corpus

SIZES = {"embedding_size": 128, "hidden_size": 512, "latent_size": 32}


def untrained(folder: str, texts: list[str]) -> str:
    tokenizer = build_tokenizer(texts, "word", 20_000, 1)
    model = BnVaeForConditionalGeneration(BnVaeConfig(**SIZES, vocab_size=len(tokenizer.get_vocab())))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_name_or_path")
    parser.add_argument("--text_file", help="one sentence a line")
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=128)
    args = parser.parse_args()
    if args.text_file:
        with open(args.text_file, encoding="utf-8") as lines:
            texts = [line.strip() for line in lines if line.strip()]
    else:
        texts = load_corpus("pydocs").splits["train"]["text"][:]
    texts = (texts * (1 + args.sentences // len(texts)))[: args.sentences]
    with tempfile.TemporaryDirectory() as folder:
        name = args.model_name_or_path or untrained(folder, texts)
        before = peak_bytes() / MIB
        started = time.perf_counter()
        vae = TextVaePipeline.from_pretrained(name, batch_size=args.batch_size)
        loaded = time.perf_counter()
        vectors = vae.encode(texts)
        done = time.perf_counter()
    shown = args.model_name_or_path or "an untrained model"
    words = sum(len(text.split()) for text in texts)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in vae.model.parameters()) / MIB
    print(f"{shown}: {weights:.0f} MiB of weights, {vae.latent_size} latent dimensions, {machine()}")
    print(f"loaded in {loaded - started:.2f} s")
    print(
        f"{len(vectors):,} sentences of {words / len(texts):.1f} words encoded in {done - loaded:.2f} s: "
        f"{len(vectors) / (done - loaded):,.0f} sentences/s"
    )
    print(f"peak memory {peak_bytes() / MIB:.0f} MiB, {before:.0f} MiB of it before the model was loaded")
    assert torch.isfinite(vectors).all()


if __name__ == "__main__":
    main()
