"""The decoder that generates: a drawing follows from its tokens, hides the target, and is saved and loaded as any part is."""

import json

import numpy as np
import pytest

from normpipe.errors import UsageError
from normpipe.normalizers.norface.weights import CONFIG_FILE, INDEX_FILE, weights_folder

from .tiny import faces, generating, norface, tiny, torch

from normpipe.normalizers.norface.common_face import neutral_common_face  # isort: skip
from normpipe.normalizers.norface.decoder import draw  # isort: skip
from normpipe.normalizers.norface.generation import FlowDecoder  # isort: skip
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip


def tokens(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 4, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def generator():
    return generating().decoder


@pytest.fixture
def saved(tmp_path):
    generating().save_pretrained(tmp_path / "flow")
    return tmp_path / "flow"


def difference(first, second):
    return np.abs(np.stack(first).astype(int) - np.stack(second)).max()


def test_a_drawing_is_a_picture_in_its_own_colours(generator):
    drawing = generator(tokens(3))
    assert [part.shape for part in (drawing.flow, drawing.light, drawing.cover, drawing.colour)] == [
        (3, channels, 32, 32) for channels in (2, 1, 1, 3)
    ]
    assert {part.dtype for part in (drawing.flow, drawing.light, drawing.cover, drawing.colour)} == {torch.float32}
    assert ((drawing.cover >= 0) & (drawing.cover <= 1)).all()
    assert (drawing.colour.abs() <= 1).all()
    assert not drawing.light.any()


@pytest.mark.parametrize("side", [32, 80])
def test_nothing_of_the_target_shines_through(generator, side):
    """Not even where the drawing has no face and the target has one."""
    drawing = generator(tokens(2))
    target = torch.ones(1, 1, side, side)
    target[..., 0, :] = target[..., -1, :] = target[..., 0] = target[..., -1] = 0  # as beyond any face
    _, alpha = draw(torch.zeros(1, 3, side, side), target, drawing)
    cover = torch.nn.functional.interpolate(drawing.cover, (side, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(alpha, cover)
    assert cover.min() < 0.5


def test_the_same_tokens_are_drawn_the_same_by_whoever_asks(generator):
    first = generator(tokens(2)).colour
    torch.manual_seed(5)
    assert torch.equal(generator(tokens(2)).colour, first), "no number is drawn by chance"
    assert not torch.allclose(generator(tokens(2, seed=1)).colour, first)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 16])
def test_a_drawing_depends_neither_on_its_place_nor_on_its_neighbours(generator, count):
    mine = tokens(1)
    drawn = generator(torch.cat([mine] * count))
    assert (drawn.colour == drawn.colour[:1]).all(), "all places in a batch are alike"
    others = generator(torch.cat([mine, tokens(count, seed=3)]))
    alike = generator(torch.cat([mine, tokens(count, seed=4)]))
    assert torch.equal(others.colour[0], alike.colour[0])
    assert torch.equal(others.cover[0], alike.cover[0])


def test_it_goes_to_where_it_is_told_in_so_many_equal_steps(generator, monkeypatch):
    asked = []

    def end(latents, time, wanted):
        asked.append((float(time), latents))
        return torch.full_like(latents, 0.5)

    monkeypatch.setattr(generator, "end", end)
    generator.middle.fill_(0.1)
    generator.spread.fill_(2.0)
    drawing = generator(tokens(1))
    assert [time for time, _ in asked] == pytest.approx([0, 1 / 3, 2 / 3])
    for time, latents in asked:
        torch.testing.assert_close(latents, (1 - time) * generator.noise + time * 0.5)
    expected = generator.pictures(torch.full_like(generator.noise, 0.5 * 2 + 0.1))
    torch.testing.assert_close(drawing.colour, expected[:, :3].clamp(-1, 1), atol=1e-4, rtol=1e-4)


def test_latents_are_what_has_to_be_drawn_for_a_picture_to_come_out(generator):
    pictures = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain = generator.latents(pictures)
    assert plain.shape == (2, *generator.noise.shape[1:])
    generator.middle.fill_(0.1)
    generator.spread.fill_(2.0)
    torch.testing.assert_close(generator.latents(pictures) * 2 + 0.1, plain)


def test_what_is_saved_and_loaded_draws_the_same(saved):
    pictures = generating()(faces(3), 0.5, 64)
    loaded = NorfacePipeline.from_pretrained(saved)
    assert isinstance(loaded.decoder, FlowDecoder)
    assert difference(loaded(faces(3), 0.5, 64), pictures) == 0
    assert difference(pictures[:1], pictures[1:2]) > 0
    assert weights_folder(saved) == saved


def test_saving_again_writes_the_same_bytes(saved, tmp_path):
    pipeline = NorfacePipeline.from_pretrained(saved)
    pipeline.speed_up(half=False)
    pipeline(faces(1), 0.5, 64)
    pipeline.save_pretrained(tmp_path / "again")
    files = [path.relative_to(saved) for path in saved.rglob("*") if path.is_file()]
    assert all((saved / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_blanks_that_fill_up_a_batch_change_no_picture():
    pipeline = generating()
    full = pipeline(faces(5), 0.5, 64)
    for count in (1, 2, 5):
        assert difference(pipeline(faces(count), 0.5, 64, batch=5), full[:count]) == 0


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder, pattern):
    with pytest.raises(UsageError, match=pattern) as error:
        NorfacePipeline.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_one_decoder_is_not_taken_for_the_other(saved):
    config = saved / "decoder" / CONFIG_FILE
    rewrite(config, _class_name="WarpDecoder")
    refused(saved, r"^weights flow: model_index\.json names no WarpDecoder as decoder; ")
    rewrite(saved / INDEX_FILE, decoder=["normpipe.normalizers.norface.decoder", "WarpDecoder"])
    refused(saved, r"^weights flow: decoder: channels is no option of WarpDecoder; ")
    rewrite(config, _class_name="AutoencoderKL")
    refused(saved, r"^weights flow: decoder/config\.json is of AutoencoderKL, not of WarpDecoder or FlowDecoder; ")


@pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": 1.5}, {"groups": 7}, {"channels": 0.5}], ids=str)
def test_options_that_make_no_decoder_are_refused(saved, changes):
    rewrite(saved / "decoder" / CONFIG_FILE, **changes)
    refused(saved, r"^weights flow: decoder: no FlowDecoder can be made with these options; get it again$")


@pytest.mark.parametrize("changes", [{"channels": 3}, {"widths": [8, 8]}, {"picture_widths": [16, 16]}], ids=str)
def test_tensors_of_another_architecture_are_refused(saved, changes):
    rewrite(saved / "decoder" / CONFIG_FILE, **changes)
    refused(saved, r"^weights flow: decoder: the tensor [\w.]+ (is|has) .*: weights and options are of different networks")


def test_another_common_face_is_refused(saved, tmp_path):
    with pytest.raises(UsageError, match=r"^the network generates the common face that it has learnt"):
        generating()(faces(1), 0.5, 64, common_face=neutral_common_face(64))
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"not looked at")
    with pytest.raises(UsageError, match=r"^normalize\.identity: the network of the weights flow draws no other face"):
        norface(saved, decoder="network", identity=str(photo))
    norface(saved, decoder="mesh", identity=str(photo))
    tiny().save_pretrained(tmp_path / "warp")
    norface(tmp_path / "warp", decoder="network", identity=str(photo))


@pytest.mark.slow
def test_compiled_and_in_half_precision_it_draws_nearly_the_same():
    """The way of a GPU, on the CPU: the compiler needs one that it can call."""
    pipeline = generating()
    exact = pipeline(faces(4), 0.5, 64)
    pipeline.speed_up(half=True)
    fast = pipeline(faces(4), 0.5, 64)
    assert difference(fast, pipeline(faces(4), 0.5, 64)) == 0
    assert np.abs(np.stack(exact).astype(int) - np.stack(fast)).mean() < 2


@pytest.mark.gpu
def test_a_gpu_draws_nearly_the_same(saved):
    exact = NorfacePipeline.from_pretrained(saved)(faces(4), 0.5, 64)
    pipeline = NorfacePipeline.from_pretrained(saved)
    pipeline.to("cuda")
    assert np.abs(np.stack(exact).astype(int) - pipeline(faces(4), 0.5, 64)).mean() < 0.1
    pipeline.speed_up(half=True)
    fast = pipeline(faces(4), 0.5, 64)
    assert difference(fast, pipeline(faces(4), 0.5, 64)) == 0
    assert np.abs(np.stack(exact).astype(int) - fast).mean() < 3
