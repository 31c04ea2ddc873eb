from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sedd.diffusion.graphs import make_graph
from sedd.diffusion.parametrization import Parametrization
from sedd.model.attention import PaddingMask, Rotary, _cu_seqlens, attend, padding_mask, rotate
from sedd.model.kernels import FusedCpuAttention, gather_rows
from sedd.model.qk_norm import QueryKeyNorm
from sedd.model.transformer import SigmaEmbedding, Transformer
from sedd.plugins.networks import Ddit

SMALL = Ddit(hidden_size=24, cond_dim=8, n_blocks=2, n_heads=2, length=16, dropout=0.0)


def awake(config: Ddit = SMALL, *, states: int = 6, out: int = 5, seed: int = 0) -> Transformer:
    """A network in which nothing is zero, as after some training."""
    torch.manual_seed(seed)
    network = Transformer(config, states=states, outputs=out)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def test_names_and_shapes_are_those_of_the_published_network() -> None:
    small = Ddit(hidden_size=768, cond_dim=128, n_blocks=12, n_heads=12, length=1024, head="score")
    graph = make_graph("absorb", 50_257)
    with torch.device("meta"):
        network = Transformer(small, states=graph.states, outputs=Parametrization.of(small).outputs(graph))
    h, c, vocab = 768, 128, 50_258
    wanted = {
        "vocab_embed.embedding": (vocab, h),
        "sigma_map.mlp.0.weight": (c, 256),
        "sigma_map.mlp.0.bias": (c,),
        "sigma_map.mlp.2.weight": (c, c),
        "sigma_map.mlp.2.bias": (c,),
        "rotary_emb.inv_freq": (32,),
        "output_layer.norm_final.weight": (h,),
        "output_layer.linear.weight": (vocab, h),
        "output_layer.linear.bias": (vocab,),
        "output_layer.adaLN_modulation.weight": (2 * h, c),
        "output_layer.adaLN_modulation.bias": (2 * h,),
    }
    for i in range(12):
        wanted |= {
            f"blocks.{i}.norm1.weight": (h,),
            f"blocks.{i}.attn_qkv.weight": (3 * h, h),
            f"blocks.{i}.attn_out.weight": (h, h),
            f"blocks.{i}.norm2.weight": (h,),
            f"blocks.{i}.mlp.0.weight": (4 * h, h),
            f"blocks.{i}.mlp.0.bias": (4 * h,),
            f"blocks.{i}.mlp.2.weight": (h, 4 * h),
            f"blocks.{i}.mlp.2.bias": (h,),
            f"blocks.{i}.adaLN_modulation.weight": (6 * h, c),
            f"blocks.{i}.adaLN_modulation.bias": (6 * h,),
        }
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == wanted
    block = 2 * h + 4 * h * h + 8 * h * h + 5 * h + 6 * h * (c + 1)
    ends = 2 * vocab * h + vocab + h + 2 * h * (c + 1) + (256 + 1) * c + (c + 1) * c
    assert sum(p.numel() for p in network.parameters()) == 12 * block + ends == 169_627_218


def by_hand(w: dict[str, Tensor], config: Ddit, tokens: Tensor, sigma: Tensor) -> Tensor:
    """The published forward pass, written out residue by residue from its description."""
    half = torch.arange(128, dtype=torch.float64)
    angles = sigma[:, None] / 10_000 ** (half / 128)
    c = torch.cat([torch.cos(angles), torch.sin(angles)], 1)
    c = c @ w["sigma_map.mlp.0.weight"].T + w["sigma_map.mlp.0.bias"]
    c = (c * torch.sigmoid(c)) @ w["sigma_map.mlp.2.weight"].T + w["sigma_map.mlp.2.bias"]
    c = c * torch.sigmoid(c)
    size, heads = config.hidden_size, config.n_heads
    dim = size // heads

    def norm(x: Tensor, gain: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * gain

    def turned(x: Tensor, position: int) -> Tensor:
        out = x.clone()
        for j in range(dim // 2):
            angle = position * 10_000 ** (-2 * j / dim)
            a, b = x[j], x[j + dim // 2]
            out[j] = a * math.cos(angle) - b * math.sin(angle)
            out[j + dim // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    rows = []
    for row, condition in zip(tokens, c, strict=True):
        x = w["vocab_embed.embedding"][row]
        for i in range(config.n_blocks):
            at = {name.removeprefix(f"blocks.{i}."): value for name, value in w.items() if f"blocks.{i}." in name}
            modulation = at["adaLN_modulation.weight"] @ condition + at["adaLN_modulation.bias"]
            shift1, scale1, gate1, shift2, scale2, gate2 = modulation.split(size)
            qkv = (norm(x, at["norm1.weight"]) * (1 + scale1) + shift1) @ at["attn_qkv.weight"].T
            mixed = torch.zeros_like(x)
            for head in range(heads):
                q, k, v = (qkv[:, part * size + head * dim : part * size + (head + 1) * dim] for part in range(3))
                if config.qk_norm:
                    q = q / torch.sqrt((q**2).mean(-1, keepdim=True) + 1e-6) * at["qk_norm.query"]
                    k = k / torch.sqrt((k**2).mean(-1, keepdim=True) + 1e-6) * at["qk_norm.key"]
                q = torch.stack([turned(one, place) for place, one in enumerate(q)])
                k = torch.stack([turned(one, place) for place, one in enumerate(k)])
                mixed[:, head * dim : (head + 1) * dim] = torch.softmax(q @ k.T / math.sqrt(dim), -1) @ v
            x = x + gate1 * (mixed @ at["attn_out.weight"].T)
            inner = (norm(x, at["norm2.weight"]) * (1 + scale2) + shift2) @ at["mlp.0.weight"].T + at["mlp.0.bias"]
            gelu = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
            x = x + gate2 * (gelu @ at["mlp.2.weight"].T + at["mlp.2.bias"])
        shift, scale = (
            w["output_layer.adaLN_modulation.weight"] @ condition + w["output_layer.adaLN_modulation.bias"]
        ).split(size)
        x = norm(x, w["output_layer.norm_final.weight"]) * (1 + scale) + shift
        rows.append(x @ w["output_layer.linear.weight"].T + w["output_layer.linear.bias"])
    return torch.stack(rows)


@pytest.mark.parametrize("qk_norm", [False, True])
@torch.no_grad()
def test_the_forward_pass_is_the_published_one(qk_norm: bool) -> None:
    config = SMALL.model_copy(update={"qk_norm": qk_norm})
    network = awake(config)
    tokens = torch.tensor([[0, 5, 2, 2, 1], [3, 3, 5, 4, 0]])
    sigma = torch.tensor([0.3, 5.0])
    weights = {name: value.double() for name, value in network.state_dict().items()}
    wanted = by_hand(weights, config, tokens, sigma.double())
    torch.testing.assert_close(network(tokens, sigma).double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ["matmul", "sdpa", "auto"])
@torch.no_grad()
def test_pads_are_never_attended_to(attention: str) -> None:
    network = awake(SMALL.model_copy(update={"attention": attention}))
    tokens = torch.tensor([[1, 2, 3, 0, 0, 0], [4, 3, 2, 1, 0, 0], [0, 1, 2, 3, 4, 5]])
    lengths = torch.tensor([3, 4, 6])
    mask = torch.arange(6)[None] < lengths[:, None]
    sigma = torch.tensor([0.1, 1.0, 3.0])
    out = network(tokens, sigma, mask)
    other = network(torch.where(mask, tokens, 5), sigma, mask)
    assert torch.equal(out[mask], other[mask])
    for row, length in enumerate(lengths):
        alone = network(tokens[row : row + 1, :length], sigma[row : row + 1])
        torch.testing.assert_close(out[row, :length], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-2, 1e3])
def test_query_key_norm_keeps_logits_bounded_whatever_the_weights_are(scale: float) -> None:
    norm = QueryKeyNorm(6)
    qkv = scale * torch.randn(2, 7, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        q, k, v = norm(qkv).unbind(2)
    assert torch.equal(v, qkv[:, :, 2])
    assert q.square().mean(-1).allclose(torch.ones(2, 7, 4), atol=0.1)
    assert (q @ k.transpose(-1, -2)).abs().max() * 6**-0.5 <= 6**0.5 + 1e-4
    assert set(dict(norm.named_parameters())) == {"query", "key"}


def test_pads_get_no_gradient_and_give_none() -> None:
    network = awake()
    tokens = torch.tensor([[1, 2, 5, 5]])
    mask = torch.tensor([[True, True, False, False]])
    network(tokens, torch.tensor([1.0]), mask)[mask].square().sum().backward()
    assert network.vocab_embed.embedding.grad is not None
    assert (network.vocab_embed.embedding.grad[5] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("padded", [False, True])
def test_plain_and_fused_attention_agree(padded: bool) -> None:
    qkv = torch.randn(2, 7, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7)[None] < torch.tensor([[7], [4]]) if padded else None
    plain, fused = (attend(qkv, Rotary(6)(7), padding_mask(mask), fused=fused) for fused in (False, True))
    torch.testing.assert_close(plain, fused, rtol=1e-5, atol=1e-5)
    tokens = torch.randint(6, (2, 7), generator=torch.Generator().manual_seed(1))
    outs = [
        awake(SMALL.model_copy(update={"attention": kind}))(tokens, torch.tensor([0.5, 2.0]), mask)
        for kind in ("matmul", "sdpa")
    ]
    torch.testing.assert_close(*(out[mask] if padded else out for out in outs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reach", [1.0, 60.0], ids=["soft", "sharp"])
def test_attention_for_compilation_has_the_values_and_gradients_of_the_plain_one(reach: float) -> None:
    qkv = torch.randn(2, 7, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    grad = torch.randn(2, 7, 4, 6, generator=torch.Generator().manual_seed(1))
    inputs = qkv * torch.tensor([reach, 1.0, 1.0])[:, None, None]
    seen = padding_mask(torch.arange(7)[None] < torch.tensor([[7], [4]]))
    assert seen is not None
    still = torch.ones(7, 3), torch.zeros(7, 3)  # no rotation
    plain = attend(inputs.requires_grad_(), still, seen, fused=False)
    (expected,) = torch.autograd.grad(plain, inputs, grad)
    q, k, v = inputs.transpose(1, 3).unbind(2)
    fast = FusedCpuAttention.apply(q * 6**-0.5, k, v, seen.mask).transpose(1, 2)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(fast, inputs, grad)[0], expected, rtol=1e-4, atol=1e-4)


def test_residues_and_pads_of_a_row_are_two_sequences() -> None:
    mask = torch.arange(5)[None] < torch.tensor([[5], [2], [1]])
    assert _cu_seqlens(mask).tolist() == [0, 5, 5, 7, 10, 11, 15]
    assert _cu_seqlens(mask).dtype == torch.int32


@pytest.mark.parametrize("told", [None, "mask", "ends"])
def test_attention_of_gpus_agrees_with_products(told: str | None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no cuda device on this machine")
    if told == "ends" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no FlashAttention on this chip")
    lengths = torch.tensor([[70], [33], [1], [64]], device="cuda")
    mask = torch.arange(70, device="cuda")[None] < lengths if told else None
    qkv = torch.randn(4, 70, 3, 2, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    grad = torch.randn(4, 70, 2, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(1))
    if mask is not None:
        grad *= mask[:, :, None, None]
    half = qkv.bfloat16().requires_grad_()
    exact = half.detach().float().requires_grad_()
    angles = Rotary(64).cuda()(70)
    seen = None if mask is None else PaddingMask(mask.float(), _cu_seqlens(mask) if told == "ends" else None)
    outs = attend(half, angles, seen, fused=True).float(), attend(exact, angles, seen, fused=False)
    for out in outs:
        out.backward(grad)
    assert half.grad is not None
    assert exact.grad is not None
    where = slice(None) if mask is None else mask
    torch.testing.assert_close(outs[0][where], outs[1][where], rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(half.grad.float(), exact.grad, rtol=5e-2, atol=5e-2)


def test_picking_and_its_gradient_are_those_of_an_index() -> None:
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    positions = torch.tensor([14, 0, 7, 8])
    grad = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    index = x.flatten(0, 1)[positions]
    assert torch.equal(gather_rows(x, positions), index)
    assert torch.equal(*(torch.autograd.grad(out, x, grad)[0] for out in (gather_rows(x, positions), index)))


@torch.no_grad()
def test_each_sequence_is_on_its_own() -> None:
    network = awake()
    tokens = torch.randint(6, (4, 5), generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([0.1, 0.5, 2.0, 6.0])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(tokens[order], sigma[order]), network(tokens, sigma)[order])


@torch.no_grad()
def test_without_time_conditioning_sigma_has_no_influence() -> None:
    tokens = torch.tensor([[1, 2, 3]])
    blind = awake(SMALL.model_copy(update={"time_conditioning": False}))
    assert torch.equal(blind(tokens, torch.tensor([0.1])), blind(tokens, torch.tensor([5.0])))
    seeing = awake()
    assert not torch.allclose(seeing(tokens, torch.tensor([0.1])), seeing(tokens, torch.tensor([5.0])))
    assert torch.equal(blind(tokens, torch.tensor([5.0])), seeing(tokens, torch.tensor([0.0])))


def test_an_untrained_network_puts_out_zeros_and_every_parameter_soon_learns() -> None:
    torch.manual_seed(0)
    network = Transformer(SMALL, states=6, outputs=5)
    tokens, sigma = torch.tensor([[0, 1, 2, 3, 4, 5]]), torch.tensor([0.7])
    assert (network(tokens, sigma) == 0).all()
    # Zero weights pass no gradient back: output layer, then its modulation and the gates, then all the rest.
    step = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(4):
        network.zero_grad()
        target = torch.tensor([[0, 1, 2, 3, 4, 0]])
        F.cross_entropy(network(tokens, sigma).flatten(0, 1), target.flatten()).backward()
        step.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("start", [0.0, 0.1, 1.0])
def test_only_the_gates_of_attention_begin_open(start: float) -> None:
    network = Transformer(SMALL.model_copy(update={"gate_init": start}), states=6, outputs=5)
    for block in network.blocks:
        layer = block.adaLN_modulation
        shift1, scale1, gate1, shift2, scale2, gate2 = layer.bias.chunk(6)
        assert (gate1 == start).all()
        assert not torch.cat([shift1, scale1, shift2, scale2, gate2, layer.weight.flatten()]).any()


def test_positions_matter_only_by_their_distance() -> None:
    cos, sin = Rotary(8)(10)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).expand(2, 1, 1, 10, 8)
    products = rotate(q, cos, sin) @ rotate(k, cos, sin).transpose(-1, -2)
    for distance in range(-5, 6):
        along = products[0, 0].diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rotate(q, cos, sin).norm(dim=-1), q.norm(dim=-1))


def test_sigma_is_embedded_as_cosines_then_sines() -> None:
    embedding = SigmaEmbedding(4)
    caught: list[Tensor] = []
    embedding.mlp[0].register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    embedding(torch.tensor([0.0, 2.0]))
    assert caught[0].shape == (2, 256)
    assert (caught[0][0, :128] == 1).all()
    assert (caught[0][0, 128:] == 0).all()
    assert float(caught[0][1, 0]) == pytest.approx(math.cos(2.0))
    assert float(caught[0][1, 255]) == pytest.approx(math.sin(2.0 * 10_000 ** (-127 / 128)))


@torch.no_grad()
def test_the_conditioning_is_float32_whatever_the_products_are() -> None:
    network, sigma = awake(), torch.tensor([0.3, 5.0])
    exact = network.sigma_map(sigma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.sigma_map(sigma), exact)
        for part in (*network.blocks, network.output_layer):
            layer = part.adaLN_modulation
            with torch.autocast("cpu", enabled=False):
                wanted = F.linear(exact, layer.weight, layer.bias)
            assert torch.equal(layer(exact), wanted[:, None])
        assert network.blocks[0].attn_qkv(torch.zeros(1, 24)).dtype == torch.bfloat16  # so autocast was at work


def test_dropout_acts_in_training_only() -> None:
    network = awake(SMALL.model_copy(update={"dropout": 0.5}))
    tokens, sigma = torch.tensor([[0, 1, 2, 3]]), torch.tensor([0.7])
    assert torch.equal(network(tokens, sigma), network(tokens, sigma))
    network.train()
    assert not torch.equal(network(tokens, sigma), network(tokens, sigma))
