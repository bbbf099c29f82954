"""Weights to and from PyTorch. tests/nn/test_golden.py compares what the nets compute with what PyTorch did."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from fixtures_run import TEXT, finish, same, start, stop_at
from test_docs import ROOT, blocks, commands, folder, in_bash, shell  # noqa: F401  two are fixtures

import charrnn
from charrnn.cli import main, report
from charrnn.config import CELL_NAMES, ModelConfig, TextConfig
from charrnn.data.corpus import Corpus
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, CorpusError, VocabError
from charrnn.interop.pytorch import from_torch, to_torch
from charrnn.nn import model

pytestmark = pytest.mark.usefixtures("no_sync")

CHARACTERS = "".join(sorted(set(TEXT), reverse=True))  # not in the order of a vocabulary
V = len(CHARACTERS)
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
QUICK = "LAYERS, UNITS, EMBED = 2, 16, 8\nBATCH, WINDOW, STEPS, RATE = 8, 20, 30, 1e-2"  # in place of a page's settings
NAMES = ("embedding.", "rnn.", "readout.")
H = 6


def state_dict(characters=V, cell="lstm", layers=2, embed=0, names=NAMES, dtype="float32"):
    """Return random weights as a module with these parts has them."""
    embedding, rnn, readout = names
    G, shapes = GATES[cell] * H, {f"{embedding}weight": (characters, embed)} if embed else {}
    for layer in range(layers):
        D = H if layer else embed or characters
        own = {"weight_ih": (G, D), "weight_hh": (G, H), "bias_ih": (G,), "bias_hh": (G,)}
        shapes |= {f"{rnn}{name}_l{layer}": shape for name, shape in own.items()}
    shapes |= {f"{readout}weight": (characters, H), f"{readout}bias": (characters,)}
    rng = np.random.default_rng(3)
    return {name: rng.normal(0, 0.5, shape).astype(dtype) for name, shape in shapes.items()}


def refusal(weights, characters=CHARACTERS, corpus=None, *, kind=CheckpointError):
    """Return the one line with which an import is refused."""
    with pytest.raises(kind) as caught:
        charrnn.from_torch(weights, characters, corpus)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# There and back


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("embed_size", [0, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_our_weights_come_back(cell, embed_size, dtype):
    config = ModelConfig(5, cell=cell, hidden_size=4, num_layers=2, embed_size=embed_size, dropout=0.0, dtype=dtype)
    params = model.init_params(config, np.random.default_rng(1))
    if cell == "gru":
        params["layer1.b_hn"][:] = [1, 2, 3, 4]
    given = to_torch(config, params)
    assert list(given) == list(state_dict(5, cell, 2, embed_size))
    assert all(array.flags.c_contiguous and array.flags.owndata for array in given.values())
    back_config, back = from_torch(given)
    assert back_config == config
    assert list(back) == list(params)
    assert same(back, params)


def test_what_is_exported_is_a_copy():
    exported = charrnn.from_torch(state_dict(), CHARACTERS)
    before = exported.evaluate(TEXT).nats_per_char
    for array in exported.to_torch().values():
        array[...] = 0
    assert charrnn.LanguageModel(exported.checkpoint).evaluate(TEXT).nats_per_char == before


@pytest.mark.parametrize(
    "names",
    [
        ("encoder.", "lstm.", "decoder."),
        ("module._orig_mod.embed.", "module._orig_mod.rnn.", "module._orig_mod.head.1."),
        ("embed.", "", "fc."),
    ],
)
def test_modules_may_have_any_names_and_any_order(names):
    usual = from_torch(state_dict(embed=3))
    given = state_dict(embed=3, names=names)
    config, params = from_torch(dict(reversed(given.items())))
    assert config == usual[0]
    assert same(params, usual[1])


@pytest.mark.parametrize("embed", [0, 3])
def test_rows_follow_their_characters(embed):
    given = state_dict(embed=embed)
    turned = {
        name: array[::-1] if name.startswith(("readout", "embedding")) else array for name, array in given.items()
    }
    if not embed:
        turned["rnn.weight_ih_l0"] = given["rnn.weight_ih_l0"][:, ::-1]
    one, other = charrnn.from_torch(given, CHARACTERS), charrnn.from_torch(turned, list(CHARACTERS[::-1]))
    assert one.checkpoint.vocab == other.checkpoint.vocab == Vocab("".join(sorted(CHARACTERS)))
    assert same(one.checkpoint.params, other.checkpoint.params)
    assert np.array_equal(one.checkpoint.params["out.b_y"], given["readout.bias"][::-1])


@pytest.mark.parametrize(
    ("given", "kept"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), (">f4", "float32")]
)
def test_types_of_numbers(given, kept):
    imported = charrnn.from_torch(state_dict(dtype=given), CHARACTERS)
    assert imported.checkpoint.model_config.dtype == kept
    assert {str(array.dtype) for array in imported.checkpoint.params.values()} == {kept}
    assert np.array_equal(imported.to_torch()["readout.bias"][::-1], state_dict(dtype=given)["readout.bias"])


def test_one_weight_in_double_precision_makes_all_double():
    given = state_dict()
    given["readout.bias"] = given["readout.bias"].astype("float64")
    assert charrnn.from_torch(given, CHARACTERS).checkpoint.model_config.dtype == "float64"


# What can be done with a model from PyTorch


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a text and gpu.npz."""
    place = tmp_path_factory.mktemp("gpu")
    (place / "text.txt").write_text(TEXT, encoding="utf-8")
    charrnn.from_torch(state_dict(embed=3), CHARACTERS).save(place / "gpu.npz")
    return place


@pytest.mark.parametrize(
    "command",
    [
        "eval text.txt -m gpu.npz",
        "score text.txt -m gpu.npz",
        "sample -m gpu.npz -n 20 --seed 1",
        "complete 1 -m gpu.npz",
        "inspect text.txt -m gpu.npz",
        "info gpu.npz",
        "train text.txt --init-from gpu.npz --steps 2 --seed 1 --out run --quiet",
    ],
)
def test_commands_take_the_file(place, monkeypatch, command):
    monkeypatch.chdir(place)
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 0, result.output
    assert result.output or "--quiet" in command


def test_info_and_report_show_no_settings_of_a_training_that_never_was(place, monkeypatch):
    monkeypatch.chdir(place)

    def shown(*args):
        result = CliRunner().invoke(main, ["info", *args])
        assert result.exit_code == 0, result.output
        return result.output

    table = shown("gpu.npz")
    assert "Weights     imported from another library" in table
    assert "Trained on  unknown: it was imported without its corpus" in table
    assert "to train it further: charrnn train TEXT --init-from gpu.npz" in table
    for never in ("SHA-256", "Val fraction", "Training", "Batch size", "Dropout", "Init ", "Result"):
        assert never not in table
    data = json.loads(shown("gpu.npz", "--json"))
    assert (data["train"]["batch_size"], data["train"]["normalize"], data["model"]["init"]) == (None, "none", None)
    charrnn.from_torch(state_dict(), CHARACTERS, Corpus.read("text.txt")).save("with.npz")
    table = shown("with.npz")
    assert "to train it further: charrnn train text.txt --init-from with.npz" in table
    assert "SHA-256" in table
    monkeypatch.setattr(report, "_figures", lambda _: dict.fromkeys(("confusions", "symbols"), ""))
    result = CliRunner().invoke(main, ["report", "with.npz"])
    assert result.exit_code == 0, result.output
    page = (place / "with.html").read_text(encoding="utf-8")
    assert "The weights were imported from another library, so how they were trained is unknown." in page
    assert "The log gives no reasons" not in page
    for never in ("Length</dt>", "Batch size</dt>", "Dropout</dt>", "learning rate", "charrnn train"):
        assert never not in page


def test_what_is_saved_is_what_was_imported(place):
    loaded = charrnn.load(place / "gpu.npz")
    assert same(loaded.checkpoint.params, charrnn.from_torch(state_dict(embed=3), CHARACTERS).checkpoint.params)
    assert loaded.checkpoint.model_config.dropout == 0
    with pytest.raises(CorpusError, match="was not a file"):
        loaded.validation_text()


@pytest.mark.parametrize("path", ["gpu", "gpu.pt", None])
def test_save_takes_the_path_of_an_npz_file(place, path):
    with pytest.raises(ConfigError, match=r"save needs the path of a \.npz file, got"):
        charrnn.load(place / "gpu.npz").save(path)


def test_save_says_why_it_cannot_write(place):
    with pytest.raises(CharRNNError, match="No such file or directory: name another file;") as caught:
        charrnn.load(place / "gpu.npz").save(place / "no folder" / "gpu.npz")
    assert "\n" not in str(caught.value)


def test_with_its_corpus_a_model_reads_it_again(place):
    corpus = Corpus.read(str(place / "text.txt"), TextConfig(val_fraction=0.25))
    imported = charrnn.from_torch(state_dict(), CHARACTERS, corpus)
    imported.save(place / "with.npz")
    loaded = charrnn.load(place / "with.npz")
    assert str(loaded.validation_text()) == str(corpus.val)
    assert loaded.checkpoint.vocab == Vocab("".join(sorted(CHARACTERS))).counted(corpus.train)
    assert loaded.baselines(corpus.val).train_chars == len(corpus.train)


def test_documents_need_their_corpus_and_keep_its_settings(place):
    settings = TextConfig(split_documents="lines", lowercase=True)
    corpus = Corpus.read(str(place / "text.txt"), settings)
    vocab = Vocab.from_text(str(corpus.train), str(corpus.val))
    weights = state_dict(vocab.size)
    imported = charrnn.from_torch(weights, vocab, corpus)
    assert imported.checkpoint.text_config == settings
    assert imported.checkpoint.vocab.specials == ("end",)
    assert imported.checkpoint.vocab.lowercase
    assert np.array_equal(imported.to_torch()["readout.bias"], weights["readout.bias"])
    assert imported.evaluate("A\nB\n").chars == 4  # each document, and its end
    plain = Corpus.read(str(place / "text.txt"))
    assert "end of documents needs the corpus" in refusal(weights, vocab, kind=VocabError)
    assert "the vocabulary is one of documents, and the corpus is not" in refusal(
        weights, vocab, plain, kind=VocabError
    )
    assert "the corpus is one of documents, and the vocabulary is not" in refusal(
        state_dict(), CHARACTERS, corpus, kind=VocabError
    )


def test_bytes_and_the_unknown_symbol_come_with_a_vocab():
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes")
    imported = charrnn.from_torch(state_dict(256), vocab)
    assert imported.evaluate("é").chars == 1  # the second byte
    corpus = Corpus.from_text("éa" * 20)
    assert "the vocabulary is one of bytes" in refusal(state_dict(256), vocab, corpus, kind=VocabError)
    learned = charrnn.from_torch(state_dict(3), Vocab("ab", specials=("unknown",)))
    assert learned.evaluate("abc").chars == 2


def test_a_text_in_memory_can_be_the_corpus():
    imported = charrnn.from_torch(state_dict(), CHARACTERS, Corpus.from_text(TEXT))
    assert sum(imported.checkpoint.vocab.counts) == len(TEXT) * 9 // 10
    other = Corpus.from_text(f"{TEXT}Q", val_fraction=0.0)
    assert "'Q' (U+0051)" in refusal(state_dict(), CHARACTERS, other, kind=VocabError)


def test_the_corpus_is_no_path():
    message = refusal(state_dict(), CHARACTERS, "text.txt", kind=ConfigError)
    assert message == "corpus must be a charrnn.Corpus, got 'text.txt': pass charrnn.Corpus.read(path)"


# What has no counterpart


@pytest.mark.parametrize("cell", [cell for cell in CELL_NAMES if cell not in GATES])
def test_other_cells_have_no_counterpart(cell):
    with pytest.raises(ConfigError, match=f"^--cell {cell} has no counterpart in PyTorch: .* --cell rnn, lstm or gru$"):
        to_torch(ModelConfig(5, cell=cell), {})


@pytest.mark.parametrize(("setting", "value"), [("tied", True), ("attention", 5)])
def test_other_settings_have_no_counterpart(setting, value, tmp_path):
    run = start(tmp_path, embed_size=3, steps=1, **{setting: value})
    stop_at(run, lambda event: True)
    with pytest.raises(ConfigError, match=f"^--{setting} has no counterpart in PyTorch.*train a model without it$"):
        charrnn.load(tmp_path / "last.npz").to_torch()


# What is wrong with weights


def without(name):
    return lambda given: given.pop(name)


def changed(name, change):
    def apply(given):
        given[name] = change(given[name])

    return apply


def added(name, *shape):
    return lambda given: given.update({name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("rnn.bias_ih_l1"), r"rnn\.bias_ih_l1 is missing: pass the whole state dict; .* add zeros"),
        (without("rnn.weight_ih_l0"), r"rnn\.weight_ih_l0 is missing"),
        (without("rnn.weight_hh_l0"), "the weights have no nn.RNN, nn.LSTM or nn.GRU: charrnn takes"),
        (without("rnn.weight_hh_l1"), r"rnn\.weight_ih_l1 has no counterpart"),
        (without("readout.bias"), "the weights have no nn.Linear with a bias: charrnn takes"),
        (without("readout.weight"), "the weights have no nn.Linear"),
        (added("rnn.weight_ih_l0_reverse", 24, 3), r"rnn\.weight_ih_l0_reverse has no counterpart.*in one direction"),
        (added("rnn.weight_hr_l0", 3, 6), r"rnn\.weight_hr_l0 has no counterpart.*without a projection"),
        (added("norm.scale", 6), r"norm\.scale has no counterpart"),
        (added("second.weight", 5, 3), "embedding and second could each be the embedding"),
        (added("other.weight_hh_l0", 24, 6), "rnn and other could each be the rnn"),
        (changed("embedding.weight", lambda array: array[:-1]), r"embedding\.weight has shape \(\d+, 3\), not"),
        (
            changed("rnn.weight_ih_l1", np.transpose),
            r"rnn\.weight_ih_l1 has shape \(6, 24\), not \(24, 6\):.* 2x6",
        ),
        (
            changed("rnn.weight_hh_l0", lambda array: array[:-1]),
            r"weight_hh_l0 has shape \(23, 6\), which is \(GH",
        ),
        (changed("rnn.weight_hh_l0", lambda array: array[0]), r"weight_hh_l0 has shape \(6,\), which"),
        (changed("rnn.weight_hh_l0", lambda array: array[:0, :0]), r"weight_hh_l0 has shape \(0, 0\), which"),
        (changed("readout.bias", lambda array: array * np.inf), r"readout\.bias contains numbers that are not finite"),
        (changed("readout.bias", lambda array: array * np.nan), r"readout\.bias contains numbers that are not finite"),
        (changed("readout.bias", lambda array: array.astype(int)), r"readout\.bias is int64: pass floating-point"),
        (changed("readout.bias", lambda array: "text"), r"readout\.bias is <U4: pass floating-point"),
        (changed("readout.bias", lambda array: [[1.0], 2.0]), r"readout\.bias cannot be read as an array"),
    ],
)
def test_wrong_weights_are_refused(change, message):
    given = state_dict(embed=3)
    change(given)
    assert re.match(f".*{message}", refusal(given))


def test_an_unused_norm_is_no_readout():
    given = state_dict() | {"norm.weight": np.ones(6), "norm.bias": np.ones(6)}
    assert "norm.weight has no counterpart" in refusal(given)


def test_one_hot_inputs_are_as_many_as_characters():
    given = state_dict()
    given["rnn.weight_ih_l0"] = given["rnn.weight_ih_l0"][:, 1:]
    assert "and one-hot inputs" in refusal(given)


@pytest.mark.parametrize("weights", [None, [], np.zeros(3)])
def test_what_is_no_state_dict_is_refused(weights):
    assert refusal(weights).endswith(": pass net.state_dict()")


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        (
            CHARACTERS[1:],
            rf"^{V - 1} symbols for {V} rows of the readout: give",
        ),
        (CHARACTERS + "Q", rf"^{V + 1} symbols for"),
        (Vocab("ab"), "^2 symbols for"),
        (CHARACTERS[1] + CHARACTERS[1:], f"^'{CHARACTERS[1]}' occurs twice, the second time for row 1: give each"),
        (["<pad>", *CHARACTERS[1:]], "^row 0 is '<pad>', which is not one character"),
        (["", *CHARACTERS[1:]], "^row 0 is '', which is not one character"),
        ([*CHARACTERS[1:], 7], f"^row {V - 1} is 7, which is not one character"),
        (
            dict.fromkeys(CHARACTERS),
            "^the characters must be a string, a list in the order of the rows or a Vocab, got",
        ),
        (None, "^the characters must be a string.* got NoneType$"),
    ],
)
def test_characters_must_match_the_rows(characters, message):
    assert re.search(message, refusal(state_dict(), characters, kind=VocabError))


# With PyTorch itself


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def net_of(torch, cell, embed, dtype):
    """Return a module whose parts have the names that `to_torch` gives."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, embed) if embed else None
            self.rnn = getattr(torch.nn, cell.upper())(embed or V, H, num_layers=2)
            self.readout = torch.nn.Linear(H, V)

        def forward(self, ids, state=None):
            one_hot = torch.nn.functional.one_hot(ids, V).to(self.readout.weight.dtype)
            h, state = self.rnn(self.embedding(ids) if embed else one_hot, state)
            return self.readout(h), state

    torch.manual_seed(5)
    return Net().to(getattr(torch, dtype))


def ids_of(torch, text, characters):
    """Return the ids of a text as one batch row."""
    return torch.tensor([characters.index(char) for char in text])[:, None]


def log_probs(torch, net, ids):
    """Return PyTorch's log-probabilities after each id of one batch row."""
    with torch.no_grad():
        return torch.log_softmax(net(ids)[0][:, 0], dim=-1).numpy()


def loss_of(torch, net, ids):
    """Return PyTorch's loss on one batch row: the mean over each id after the first, in nats."""
    return torch.nn.functional.cross_entropy(net(ids)[0][:-1, 0], ids[1:, 0])


def descend(torch, net, ids):
    """Take one step of gradient descent; torch.optim would be imported for seconds."""
    net.zero_grad()
    loss_of(torch, net, ids).backward()
    with torch.no_grad():
        for weight in net.parameters():
            weight -= 0.5 * weight.grad


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("embed", [0, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_both_compute_the_same_in_both_directions(torch, cell, embed, dtype, tolerance):
    net, text = net_of(torch, cell, embed, dtype), TEXT[:200]
    theirs = log_probs(torch, net, ids_of(torch, text, CHARACTERS))
    imported = charrnn.from_torch(net.state_dict(), CHARACTERS)
    ours, symbols = imported.read(text).log_probs, imported.checkpoint.vocab.symbols
    np.testing.assert_allclose(ours[:, [symbols.index(char) for char in CHARACTERS]], theirs, rtol=0, atol=tolerance)

    back = net_of(torch, cell, embed, dtype)
    back.load_state_dict({name: torch.from_numpy(array) for name, array in imported.to_torch().items()})
    np.testing.assert_allclose(log_probs(torch, back, ids_of(torch, text, symbols)), ours, rtol=0, atol=tolerance)


def test_after_training_eval_gives_the_loss_of_pytorch(torch, place, monkeypatch):
    net, ids = net_of(torch, "lstm", 3, "float32"), ids_of(torch, TEXT, CHARACTERS)
    before = loss_of(torch, net, ids[:200]).item()
    for _ in range(5):
        descend(torch, net, ids[:200])
    assert loss_of(torch, net, ids[:200]).item() < before - 0.1
    theirs = loss_of(torch, net, ids).item()
    charrnn.from_torch(net.state_dict(), CHARACTERS).save(place / "trained.npz")
    monkeypatch.chdir(place)
    result = CliRunner().invoke(main, ["eval", "text.txt", "-m", "trained.npz", "--json"])
    assert json.loads(result.stdout)["nats_per_char"] == pytest.approx(theirs, abs=1e-5)


def test_a_model_of_ours_goes_on_in_pytorch(torch, tmp_path):
    finish(start(tmp_path, num_layers=2, hidden_size=H, cell="gru"))
    model = charrnn.load(tmp_path)
    vocab, net = model.checkpoint.vocab, net_of(torch, "gru", 0, "float32")
    assert vocab.size == V
    net.load_state_dict({name: torch.from_numpy(array) for name, array in model.to_torch().items()})
    ids = torch.from_numpy(vocab.encode(TEXT).astype(np.int64))[:, None]
    loss = loss_of(torch, net, ids)
    assert loss.item() == pytest.approx(charrnn.load(tmp_path, memory=0).evaluate(TEXT).nats_per_char, abs=1e-5)
    descend(torch, net, ids)
    later = charrnn.from_torch(net.state_dict(), vocab)
    assert later.evaluate(TEXT).nats_per_char < loss.item() - 1e-3


def test_tensors_that_numpy_cannot_read(torch):
    net = net_of(torch, "rnn", 3, "float32")
    remedy = ": pass net.float().cpu().state_dict()"
    for given in (dict(net.named_parameters()), net.bfloat16().state_dict()):
        message = refusal(given)
        assert message.startswith("embedding.weight cannot be read as an array (")
        assert message.endswith(remedy)
    assert charrnn.from_torch(net.half().state_dict(), CHARACTERS).checkpoint.model_config.dtype == "float32"
    assert refusal(net).endswith(": pass net.state_dict()")


@in_bash
@pytest.mark.slow
@pytest.mark.usefixtures("torch")
def test_the_page_on_a_gpu_shows_programs_that_run(folder):  # noqa: F811
    """Its programs are files, with fewer steps and units; its commands are run in order."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    section = re.search(r"^## A GPU\n((?:(?!## ).*\n)*)", page, re.MULTILINE)[1]
    shown = blocks(section)
    for block in shown:
        if block.info.startswith("python "):
            small = re.sub("^LAYERS.*\n^BATCH.*", QUICK, block.body, flags=re.MULTILINE)
            (folder.path / block.info.removeprefix("python ")).write_text(small, encoding="utf-8")
    assert QUICK in (folder.path / "gpu.py").read_text(encoding="utf-8")
    ran = [command for block in shown if block.info == "console" for command, _ in commands(block.body)]
    for command in ran:
        quick = command.replace("--steps 100", "--steps 5")
        folder.run("docs/scale.md", ["bash", "-c", quick])
    assert len(ran) >= 6
