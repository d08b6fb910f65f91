"""`python -m hf_bnvae.cli`, where the command is not on the path."""

from .main import main

if __name__ == "__main__":
    main()
