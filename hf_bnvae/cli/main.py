"""The command `hf-bnvae`: finds the subcommand, and imports that one only. To list them it imports nothing."""

import sys
from importlib import import_module

PROGRAM = "hf-bnvae"
COMMANDS = {
    "train": "train and evaluate a text VAE on sentences",
    "dialogue": "train and evaluate a conditional VAE that answers in dialogues",
    "evaluate": "evaluate a trained text VAE on sentences",
    "evaluate-dialogue": "evaluate a trained dialogue model on dialogues",
    "compare": "train several methods on the same data, and put them side by side",
    "classify": "evaluate encoders by a linear classifier on their vectors",
    "explore": "a report on a trained text VAE as one HTML file, or a page to play with it",
    "publish": "publish the folder of a finished run on the Hugging Face Hub",
    "card": "write the model card of a finished run once more",
    "synthetic": "the synthetic study of the paper's appendix A.1",
    "human-eval": "blind pages for annotators of dialogue models, and their scores",
    "vectors": "train word vectors for the metrics of responses",
    "demo": "train a plain VAE, a BN-VAE and a matched VAE on a built-in corpus, and show which use their latent",
    "demo-dialogue": "train the dialogue models on the built-in small talk",
}


def main() -> None:
    """Run the subcommand that `sys.argv` names."""
    argv = sys.argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if argv else 2)
    if argv[0] == "--version":
        from ..models.version import __version__

        print(f"{PROGRAM} {__version__}")
        return
    command = argv[0]
    if command not in COMMANDS:
        sys.exit(f"{PROGRAM}: error: there is no command {command!r}; {PROGRAM} --help lists them")
    sys.argv = [f"{PROGRAM} {command}", *argv[1:]]  # what messages and the help call the program
    from .run import run

    run(import_module(f".{command.replace('-', '_')}", __package__).main)


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [FLAGS]",
            "",
            "Text VAEs whose posterior does not collapse, for Transformers.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help lists the flags of a command. Several processes:",
            "accelerate launch -m hf_bnvae.cli.COMMAND FLAGS, with _ in the place of - in COMMAND",
        ]
    )


if __name__ == "__main__":
    main()
