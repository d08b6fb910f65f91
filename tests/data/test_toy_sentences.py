"""The built-in corpus whose sentences say which choices made them."""

from dataclasses import fields, replace

from hf_bnvae.data import SentenceFactors, load_corpus, read_factors, toy_sentences
from hf_bnvae.data.toy_sentences import ACTIVITIES, TIMES, _all_factors


def test_a_sentence_says_which_choices_made_it_and_no_other_choices_make_it():
    every = [sentence for split in toy_sentences().values() for sentence in split]
    assert [read_factors(item.sentence()) for item in every] == every
    choices = (
        3
        * 2
        * 5
        * sum(
            len(one.people) * len(one.verbs) * len(one.objects) * len(one.places) * sum(map(len, TIMES.values()))
            for one in ACTIVITIES.values()
        )
    )
    assert len(_all_factors()) == choices


def test_no_sentence_stands_in_two_splits_and_a_seed_says_which_stand_where():
    splits = toy_sentences()
    every = [item for split in splits.values() for item in split]
    assert len(set(every)) == len(every) == 22_000
    assert toy_sentences() == splits != toy_sentences(seed=2)


def test_what_the_grammar_does_not_make_has_no_choices_behind_it():
    for text in ("", "the cook cooks", "the cook cooks eggs ?", "the cook sells eggs .", "cook the eggs ."):
        assert read_factors(text) is None
    assert read_factors("the cook cooks eggs .").tense == "present"


def test_the_share_of_choices_kept_is_one_for_itself_and_falls_by_one_tenth_a_choice():
    one = toy_sentences()["test"][0]
    assert one.share_of(one) == 1
    assert one.share_of(None) == 0
    names = [item.name for item in fields(SentenceFactors)]
    changed = one
    for count, name in enumerate(names, 1):
        changed = replace(changed, **{name: "another"})
        assert one.share_of(changed) == (len(names) - count) / len(names)


def test_the_corpus_loads_with_activities_as_labels():
    corpus = load_corpus("toy_sentences")
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 20_000,
        "validation": 1_000,
        "test": 1_000,
    }
    row = corpus.splits["test"][0]
    assert row["text"] == toy_sentences()["test"][0].sentence()
    assert set(corpus.splits["train"]["label"]) == set(ACTIVITIES)
