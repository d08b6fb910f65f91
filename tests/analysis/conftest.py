import shutil

import pytest

from hf_bnvae import TextVaePipeline
from hf_bnvae.analysis.explorer import Explorer
from hf_bnvae.data import build_tokenizer

EVIL = "</script><script>document.title='evil'</script><b>bold</b> & \"quoted\""
NASTY = EVIL + " ${document.title='evil'} {{title}} `x`"
WORDS = [*"abcdefghij"]


@pytest.fixture
def sentences():
    """Sixty sentences of two to eight words; a third of them hold the word `a`."""
    return [
        " ".join(WORDS[(row * 7 + place * (row % 4 + 1)) % len(WORDS)] for place in range(2 + row % 7))
        for row in range(60)
    ]


@pytest.fixture
def make_vae(make_model, sentences):
    """A pipeline around a small random model whose statistics are those of `sentences`."""

    def make(**changes) -> TextVaePipeline:
        model = make_model(**changes)
        vae = TextVaePipeline(model, build_tokenizer([" ".join(WORDS)], "word", 40, 1), batch_size=64, max_length=20)
        if model.config.normalises_batches:
            batch = vae.tokenizer(sentences, padding=True, return_tensors="pt")
            model.recompute_statistics([batch])
        return vae

    return make


@pytest.fixture
def explorer(make_vae, sentences):
    return Explorer.of(make_vae(), "one", [*sentences, NASTY])


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or chromium is None:
        pytest.skip("there is no chromedriver with a chromium on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic", "dev-shm-usage")
    for argument in ("--headless=new", "--no-sandbox", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    for feature in quiet:
        options.add_argument(f"--disable-{feature}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()
