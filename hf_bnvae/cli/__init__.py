"""The command `hf-bnvae`: one file a subcommand, and what they share. Only here are parameters spoken of as flags."""
