import pytest

WORDS = [*"abcdefghijklmno"]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, count in (("train", 80), ("valid", 20), ("test", 20)):
        lines = [
            " ".join(WORDS[(row * 7 + place * (row % 5 + 1)) % len(WORDS)] for place in range(3 + row % 6))
            for row in range(count)
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n\n")
    return folder
