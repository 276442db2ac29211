"""Commands, one by one."""

from __future__ import annotations

import pytest

from localllm.chat.loop import suggestions
from localllm.errors import NotEnoughMemoryError, StoreError
from localllm.generate.params import Sampling
from tests.generate.fake import ALPHABET, FakeModel, FakeTokenizer


def contents(said):
    return [m["content"] for m in said.chat.messages]


class TestRead:
    def test_files_go_along_with_the_next_message(self, say, tmp_path):
        one, two = tmp_path / "one", tmp_path / "a b.txt"
        one.write_text("x\n")
        two.write_text("y")
        said = say(f"/read {one} '{two}'", "hi", "yo", n_ctx=4000, model=Wide())
        first, _, second, _ = contents(said)
        assert first == f"{one}:\n```\nx\n```\n\n{two}:\n```\ny\n```\n\nhi"
        assert second == "yo"
        assert f"{one}: 2 lines, 2 tokens" in said.err
        assert "tokens are free then" in said.err

    def test_a_fence_within_a_file(self, say, tmp_path):
        (tmp_path / "f").write_text("```\nx\n```\n")
        said = say(f"/read {tmp_path / 'f'}", "hi", n_ctx=4000, model=Wide())
        assert "\n````\n```\nx\n```\n````\n" in contents(said)[0]

    def test_alone_it_forgets_them(self, say, tmp_path):
        (tmp_path / "f").write_text("x")
        assert contents(say(f"/read {tmp_path / 'f'}", "/read", "hi", model=Wide(), n_ctx=4000))[0] == "hi"

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (None, "no such file"),
            (b"ab\xff", "byte 2 is no UTF-8"),
            (b"x" * 20_000, "20,000 bytes are too many for a context of 64 tokens"),
            (b"x" * 100, "tokens, the context holds 64: -c N gives a larger context"),
        ],
    )
    def test_what_cannot_be_read(self, say, tmp_path, monkeypatch, content, why):
        monkeypatch.chdir(tmp_path)
        if content is not None:
            (tmp_path / "f").write_bytes(content)
        said = say("/read f", "hi", model=Wide())
        assert why in said.err
        assert contents(said)[0] == "hi"

    def test_room_is_made_where_that_helps(self, say, tmp_path):
        (tmp_path / "f").write_bytes(b"x" * 20)
        said = say("y" * 30, f"/read {tmp_path / 'f'}", model=Wide(), n_ctx=len(f"{tmp_path / 'f'}") + 55)
        assert "/drop or /clear make room, -c N a larger context" in said.err

    def test_a_folder_and_an_open_quote(self, say, tmp_path):
        assert "is a folder" in say(f"/read {tmp_path}").err
        assert "names with spaces stand in quotes" in say("/read 'x").err

    def test_a_mark_at_the_beginning_and_line_ends_of_windows(self, say, tmp_path):
        (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa\r\nb")
        assert "```\na\nb\n```" in contents(say(f"/read {tmp_path / 'f'}", "hi", model=Wide(), n_ctx=4000))[0]


class TestSet:
    def test_a_value(self, say):
        said = say("/set temperature 0.7", "/set top-k=5", "/set temp 0.25", "/set seed 4", "/set min_keep 2")
        assert said.chat.sampling == Sampling(temperature=0.25, top_k=5, seed=4, min_keep=2)
        assert "temperature is 0.7." in said.err
        assert say("/set seed none").chat.sampling.seed is None

    def test_the_order_of_the_stages(self, say):
        assert say("/set samplers top_k;temperature").chat.sampling.samplers == ("top_k", "temperature")

    def test_several_values(self, say):
        lines = ["/set bans 3;4", "/set logit_bias 5+1;6-inf", r"/set dry_sequence_breakers \n;x"]
        said = say(*lines, "/set")
        chosen = said.chat.sampling
        assert (chosen.bans, chosen.dry_sequence_breakers) == ((3, 4), ("\n", "x"))
        assert dict(chosen.logit_bias) == {5: 1.0, 6: float("-inf")}
        for line in ("bans                 3;4", "logit_bias           5+1;6-inf", r"dry_sequence_breakers \n;x"):
            assert line in said.err
        said = say(*lines, *(f"/set {name} none" for name in ("bans", "logit_bias", "dry_sequence_breakers")))
        assert not any((said.chat.sampling.bans, said.chat.sampling.logit_bias))

    def test_alone_it_lists(self, say):
        err = say("/set").err
        assert "temperature          0\n" in err
        assert "samplers             penalties;dry" in err

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("temprature 1", "there is no 'temprature'; near it: temperature"),
            ("zzzzz 1", "/set lists what there is"),
            ("top_p 2", "top_p is 2.0: it must lie between 0.0 and 1.0"),
            ("top_p nan", "top_p is nan"),
            ("top_k 1.5", "top_k is '1.5': it must be a whole number"),
            ("temperature hot", "temperature is 'hot': it must be a number"),
            ("seed x", "seed is 'x': it must be a whole number"),
            ("top_k", "/set top_k: which value?"),
            ("bans x", "bans is 'x': it must be numbers of tokens: 15;16"),
            ("logit_bias 15", "it must be tokens and what is added: 15+1;16-inf"),
            ("bans 9999", "9999"),
            ("samplers nonsense", "samplers names 'nonsense'"),
        ],
    )
    def test_wrong(self, say, text, why):
        said = say(f"/set {text}")
        assert why in said.err
        assert said.chat.sampling == Sampling(temperature=0)


class TestThink:
    def test_switches(self, say):
        model = FakeModel("<think>hm</think>yes")
        model.template.source = "<think> </think>"
        said = say("/think", "/think off", "/think fold", "/think", model=model)
        assert "thinks as its template has it; thinking is shown" in said.err
        assert said.chat.thinking is False
        assert said.talk.folds_thinking
        assert "does not think; thinking is folded" in said.err

    def test_a_model_that_does_not_think(self, say):
        assert "this model does not think" in say("/think on").err

    def test_a_wrong_word(self, say):
        assert "/think maybe: write on, off, show or fold" in say("/think maybe").err


class TestModel:
    def test_the_conversation_goes_on(self, say):
        first, second = FakeModel(), FakeModel("howdy")
        said = say("/set top_k 7", "hi", "/model other", "yo", model=first, load=lambda name: second)
        assert said.out == "hello\nhowdy\n"
        assert contents(said) == ["hi", "hello", "yo", "howdy"]
        assert first.closed
        assert first.contexts[0].closed
        assert said.chat.sampling.top_k == 7

    def test_one_that_is_not_there_changes_nothing(self, say):
        def load(name):
            raise StoreError(f"{name!r} is not here")

        first = FakeModel()
        said = say("/model other", "hi", model=first, load=load)
        assert said.out == "hello\n"
        assert "localllm: 'other' is not here" in said.err
        assert not first.closed

    def test_where_there_is_no_memory_for_two_the_first_goes_first(self, say):
        first, second = FakeModel(), FakeModel("howdy")

        def load(name):
            if name == "other" and not first.closed:
                raise NotEnoughMemoryError("too little")
            return second

        said = say("hi", "/model other", "yo", model=first, load=load)
        assert said.out == "hello\nhowdy\n"

    def test_and_comes_back_where_the_other_does_not_fit(self, say):
        first = FakeModel()

        def load(name):
            if name == "other":
                raise NotEnoughMemoryError("too little")
            assert name == first.path
            return FakeModel()

        said = say("/system be", "/model other", "hi", model=first, load=load)
        assert said.out == "hello\n"
        assert contents(said) == ["be", "hi", "hello"]
        assert "too little" in said.err

    def test_a_smaller_context_is_told(self, say):
        second = FakeModel()
        make = second.context
        vars(second)["context"] = lambda **options: make(n_ctx=10)
        assert "It takes 16 tokens: /drop" in say("hi", "/model other", load=lambda name: second).err

    def test_alone_it_says_which(self, say):
        assert "fake 64 F32 (fake.gguf)" in say("/model").err

    def test_where_none_can_be_loaded(self, say):
        assert "another model cannot be loaded here" in say("/model x").err


class TestTokens:
    def test_each_message(self, say):
        lines = say("/system be", "hi", "/tokens").err.splitlines()
        assert "21 of 64 tokens are used, 43 are free." in lines
        assert [line.split() for line in lines[-4:]] == [
            ["2", "system", "be"], ["2", "you", "hi"], ["5", "answer", "hello"], ["12", "template"],
        ]  # fmt: skip

    def test_of_nothing(self, say):
        assert "0 of 64 tokens are used, 64 are free." in say("/tokens").err

    def test_totals(self, say):
        err = say("hi", "yo", "/stats").err
        assert "2 answers: 10 tokens" in err
        assert "13 were there" in err
        assert "context of 64 tokens" in err


class TestFullContext:
    def test_the_oldest_turns_are_dropped_if_wanted(self, say):
        said = say("hi", "yo", "my", "0123456789", n_ctx=40, answers=["y"], keeps=True)
        assert said.reader.questions == ["Drop the 2 oldest turns to make room? [y/N] "]
        assert contents(said) == ["my", "hello", "0123456789", "hello"]
        assert said.out.count("hello") == 4
        assert "the context holds 40" in said.err

    @pytest.mark.parametrize("answer", ["n", ""])
    def test_or_the_message_comes_back(self, say, answer):
        said = say("hi", "yo", "my", "0123456789", n_ctx=40, answers=[answer])
        assert contents(said)[-2:] == ["my", "hello"]
        assert said.reader.defaults[-1] == "0123456789"
        assert all(way in said.err for way in ("/undo", "/drop N", "/clear", "-c N"))

    def test_where_dropping_does_not_help(self, say):
        said = say("x" * 70)
        assert not said.reader.questions
        assert said.reader.defaults[-1] == "x" * 70
        assert "Shorten the message" in said.err

    def test_by_hand(self, say):
        said = say("hi", "yo", "/drop", "/tokens")
        assert contents(said) == ["yo", "hello"]
        assert "13 tokens are free again; turns that stay: 1." in said.err

    @pytest.mark.parametrize(("n", "why"), [("5", "there are 1 turns: 5"), ("x", "how many turns? There are 1")])
    def test_wrong_numbers(self, say, n, why):
        assert why in say("hi", f"/drop {n}").err


class TestUndoAndEdit:
    def test_undo(self, say):
        said = say("hi", "yo", "/undo")
        assert contents(said) == ["hi", "hello"]
        assert "Forgotten, with its answer: yo" in said.err

    def test_edit(self, say):
        said = say("hi", "/edit", "yo")
        assert said.reader.defaults == ["", "", "hi", ""]
        assert contents(said) == ["yo", "hello"]

    @pytest.mark.parametrize("word", ["/undo", "/edit"])
    def test_nothing_to_take_back(self, say, word):
        assert "there is no message yet to take back" in say(word).err


class TestConversations:
    def test_list(self, say):
        err = say("hi there", "/save plan", "/clear", "yo", "/list", keeps=True).err
        newest, oldest = [line for line in err.splitlines() if " messages  " in line]
        assert newest.endswith("2 messages  yo (this one)")
        assert oldest.endswith("2 messages  plan: hi there")
        assert (
            "No conversation has been kept yet"
            in say("/delete plan", "/delete 2", "/list", keeps=True, answers="yy").err
        )

    def test_rename(self, say):
        said = say("hi", "/save plan", "/rename plan other", "/list", keeps=True)
        assert "other: hi (this one)" in said.err

    @pytest.mark.parametrize(
        ("line", "missing"), [("/save", "NAME"), ("/rename", "NAME"), ("/rename plan", "NEW"), ("/delete", "NAME")]
    )
    def test_a_name_that_is_missing(self, say, line, missing):
        assert f"{line.split()[0]}: {missing} is missing" in say("hi", "/save plan", line, keeps=True).err

    def test_delete_asks(self, say):
        said = say("hi", "/save plan", "/delete plan", "/list", keeps=True, answers=["n"])
        assert said.reader.questions == ["Delete 'plan', 2 messages? [y/N] "]
        assert "plan: hi" in said.err
        said = say("/load plan", "/delete plan", "yo", keeps=True, answers=["y"])
        assert contents(said) == ["yo", "hello"]

    @pytest.mark.parametrize("name", ["12", "a b", "x" * 61, "a\x1b"])
    def test_names_that_are_none(self, say, name):
        assert "is no name for a conversation" in say("hi", f"/save {name}", keeps=True).err

    def test_a_name_that_is_taken(self, say):
        assert "another conversation has this name" in say("hi", "/save a", "/new", "hi", "/save A", keeps=True).err

    def test_nothing_to_save(self, say):
        assert "nothing has been said yet" in say("/save a", keeps=True).err

    @pytest.mark.parametrize("keeps", [True, False])
    def test_export(self, say, tmp_path, keeps):
        path = tmp_path / "out.md"
        said = say("hi", f"/export {path}", f"/export {path}", keeps=keeps)
        assert path.read_text() == "## User\n\nhi\n\n## Assistant\n\nhello\n"
        assert f"{path}: there is such a file already: give another name" in said.err
        assert [p.name for p in tmp_path.glob("out*")] == ["out.md"]

    def test_export_has_what_was_dropped(self, say, tmp_path):
        say("hi", "yo", "/drop", f"/export {tmp_path / 'out.md'}", keeps=True)
        assert (tmp_path / "out.md").read_text().count("## User") == 2

    def test_export_to_nowhere(self, say, tmp_path):
        assert "No such file or directory" in say("hi", f"/export {tmp_path}/no/out.md").err
        assert "FILE is missing" in say("hi", "/export").err
        assert "nothing has been said yet" in say(f"/export {tmp_path}/x").err


class TestSuggestions:
    @pytest.fixture
    def suggest(self, say):
        talk = say("hi", keeps=True).talk
        return lambda text: [name for name, _, _ in suggestions(talk, text)]

    def test_commands(self, suggest):
        assert suggest("/re") == ["/read", "/regen", "/rename"]
        assert suggest("x") == suggest("/x") == suggest("/help ") == suggest("/sy\nx") == []

    def test_settings(self, suggest):
        assert suggest("/set temp") == ["temperature"]
        assert suggest("/set temperature 0") == []

    def test_words(self, suggest):
        assert suggest("/think o") == ["on", "off"]

    def test_what_cannot_be_told_is_not(self, say, monkeypatch):
        """An error would be written over the line that is being entered."""
        talk = say("hi", keeps=False).talk
        monkeypatch.setenv("LOCALLLM_ORIGINS", "nonsense")
        assert list(suggestions(talk, "/load ")) == []
        assert list(suggestions(talk, "/model ")) == []

    def test_files(self, suggest, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "sub").mkdir()
        for name in ("sun.txt", "moon.txt", ".hidden", "sub/deep"):
            (tmp_path / name).write_text("")
        assert suggest("/read su") == ["sub/", "sun.txt"]
        assert suggest("/read moon.txt sub/") == ["sub/deep"]
        assert suggest("/read .h") == [".hidden"]
        assert suggest("/read no/such") == []

    def test_models(self, suggest, home):
        from localllm.store.catalog import catalog

        (home / "models").mkdir()
        (home / "models" / "mine-1b.gguf").write_bytes(b"GGUF")
        assert "mine-1b" in suggest("/model ")
        assert catalog().default.name in suggest("/model ")


class AnyText(FakeTokenizer):
    """Reads what its alphabet does not have as dots."""

    def encode(self, text, add_special=False, parse_special=False):
        return super().encode("".join(c if c in ALPHABET else "." for c in text), add_special, parse_special)


class Wide(FakeModel):
    """A model that can read any text."""

    def __init__(self):
        super().__init__()
        self.tokenizer = AnyText()
