"""What z costs a pretrained decoder: a training step and a pass of the NLL over those of the decoder alone.

    python benchmarks/pretrained_cost.py
    python benchmarks/pretrained_cost.py --decoder build/pretrained/smollm2 --lengths 20 80

Both models have the same decoder with the same low-rank adapters and take turns on the same batches, so that every
ratio comes from one run. A training step reads states of a frozen encoder that were computed before, as runs do.
Without `--decoder` it is a Llama of 6 layers of 384 that begins with no weights, which cost the same.
"""

from functools import partial

import torch
from measure import autocast, machine, median_ratio, parsed, parser_of, seconds, write_figures
from train_throughput import step_of
from transformers import AutoConfig, AutoModelForCausalLM

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration, LstmLMConfig, LstmLMForCausalLM

STATE = 384
LORA = {"rank": 16, "alpha": 32.0}
SMALL = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1024}


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--decoder", help="the folder of a pretrained decoder")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 80], help="tokens of a text")
    parser.add_argument("--prompts", type=int, nargs="+", default=[0, 2, 8], help="soft prompts to try")
    parser.add_argument("--memories", type=int, nargs="+", default=[8], help="key-value memories to try")
    parser.add_argument("--batch_size", type=int, default=16, help="texts in a batch")
    parser.add_argument("--steps", type=int, default=10, help="steps of each model")
    args = parsed(parser, argv)
    torch.manual_seed(0)
    if args.decoder is None:
        network = AutoConfig.for_model("llama", vocab_size=8_000, **SMALL)
    else:
        network = AutoConfig.from_pretrained(args.decoder)
    shared = {"decoder_config": network, "decoder_lora": LORA, "vocab_size": network.vocab_size}
    alone = LstmLMForCausalLM(LstmLMConfig(**shared))
    ways = [(prompt, 0) for prompt in args.prompts] + [(0, memory) for memory in args.memories]
    models = {
        f"soft prompt {prompt}, memory {memory}": BnVaeForConditionalGeneration(
            BnVaeConfig(
                **shared,
                decoder="pretrained",
                encoder="given",
                encoder_hidden_size=STATE,
                soft_prompt_length=prompt,
                latent_memory_length=memory,
            )
        )
        for prompt, memory in ways
    }
    if args.decoder is not None:
        for model in (alone, *models.values()):
            model.decoder.take(AutoModelForCausalLM.from_pretrained(args.decoder, dtype=torch.float32))
    print(f"{args.decoder or 'a Llama of 6 layers of 384'}, batch {args.batch_size}, {machine()}")
    figures = {}
    for kind in args.precisions:
        for length in args.lengths:
            for way, model in models.items():
                found = ratios(alone, model, network.vocab_size, length, kind, args)
                figures[f"{kind} {length} {way}"] = found
                print(
                    f"{kind:<6}{length:>4} tokens, {way}: training step "
                    f"{found['step']:.2f}, NLL {found['nll']:.2f} of the decoder alone",
                    flush=True,
                )
    write_figures(args.json_file, figures)


def ratios(alone, model, words: int, length: int, kind: str, args) -> dict[str, float]:
    """The time of a step and of an evaluation over those of the decoder alone, medians of pairs."""
    labels = torch.randint(3, words, (args.batch_size, length), device=args.device)
    states = torch.randn(args.batch_size, STATE, device=args.device)
    batches = {
        alone: {"input_ids": alone.prepare_decoder_input_ids_from_labels(labels), "labels": labels},
        model: {"encoder_states": states, "labels": labels},
    }
    zs = {alone: states[:, :0], model: states[:, : model.config.latent_size]}
    found = {}
    for what in ("step", "nll"):
        works = {}
        for each in (alone, model):
            each.to(args.device)
            if what == "step":
                works[each] = partial(step_of(each, kind), batches[each])
            else:
                works[each] = partial(evaluate, each.eval(), labels, zs[each], kind)
        times: dict = {each: [] for each in works}
        for number in range(args.steps + 1):
            for each, work in works.items():
                taken = seconds(work, args.device)
                if number:
                    times[each].append(taken)
        found[what] = median_ratio(times[model], times[alone])
    return found


@torch.no_grad()
def evaluate(model, labels: torch.Tensor, latents: torch.Tensor, kind: str) -> torch.Tensor:
    with autocast(kind, labels.device):
        return model.sentence_losses(labels, latents)


if __name__ == "__main__":
    main()
