PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs_installed

# Every method at the size of the demo, on fewer sentences.
METHODS := lstm_lm,vae,beta_vae,cyclic_vae:kl_annealing_epochs=2,skip_vae,cnn_vae,sa_vae:refinement_steps=5,agg_vae,fb_vae,fb_vae:free_bits_mode=sum,delta_vae,vmf_vae,bn_vae,bn_vae_learned,du_vae,ae,ae+fb_vae,ae+bn_vae
COMPARISON := --dataset_name pydocs --min_count 2 --embedding_size 128 --hidden_size 128 --latent_size 16 \
	--max_train_samples 4000 --num_train_epochs 8 --kl_annealing_epochs 4 --nll_samples 50

.PHONY: install demo demo-dialogue explore compare tutorial docs test test-slow lint format clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(INSTALLED)
	rm -rf runs/demo
	$(BIN)/python run_scripts/demo.py --output_dir runs/demo

demo-dialogue: $(INSTALLED)
	rm -rf runs/demo_dialogue
	$(BIN)/python run_scripts/demo_dialogue.py --output_dir runs/demo_dialogue

explore: $(INSTALLED)
	test -f runs/demo/bn_vae/model.safetensors || $(MAKE) demo
	$(BIN)/python run_scripts/explore.py serve

compare: $(INSTALLED)
	$(BIN)/python run_scripts/compare.py --methods $(METHODS) --output_dir runs/compare $(COMPARISON)

tutorial: $(INSTALLED)
	rm -rf runs/tutorial
	$(BIN)/python docs/run_tutorial.py

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

docs: $(DOCS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What was trained stays: runs/ is the user's.
clean:
	rm -rf $(VENV) build site *.egg-info
