"""What people make models and losses of: torch's differentiable functions, each in a small call in double precision.

`EVERY` maps a name to a function of tensors and the tensors that are differentiated; whatever else a call takes
(labels, indices, masks) is fixed. The names were collected from `torch`, `torch.nn` and its functions, `torch.linalg`,
`torch.fft`, `torch.special` and `torch.distributions`, and from the table of operators of torch's own tests, where
functions that are linear, or views, are left out beyond a few of each kind. Arguments keep away from kinks.
"""

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Call = tuple[Callable[..., Tensor], tuple[Tensor, ...]]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def positive(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64) + 0.5


def within(*shape: int) -> Tensor:
    """Between zero and one, with a distance."""
    return torch.rand(shape, dtype=torch.float64) * 0.8 + 0.1


def above_one(*shape: int) -> Tensor:
    return positive(*shape) + 1


def definite(a: Tensor) -> Tensor:
    return a @ a.mT + torch.eye(a.shape[-1], dtype=a.dtype)


def symmetric(a: Tensor) -> Tensor:
    return a + a.mT


def distribution(rows: int = 4, columns: int = 3) -> Tensor:
    return torch.softmax(normal(rows, columns), -1)


def elementwise(names: str, of: Callable[..., Tensor], module=torch) -> dict[str, Call]:
    return {name: (getattr(module, name), (of(3, 4),)) for name in names.split()}


def module(made: nn.Module, *inputs: Tensor, read=lambda out: out) -> Call:
    """A module's output as a function of its inputs and parameters."""
    made = made.double().eval()  # buffers that training moves would make two calls of one differ
    names = [name for name, _ in made.named_parameters()]

    def call(*tensors: Tensor) -> Tensor:
        given, parameters = tensors[: len(inputs)], tensors[len(inputs) :]
        return read(functional_call(made, dict(zip(names, parameters, strict=True)), given))

    return call, (*inputs, *(p.detach().clone() for p in made.parameters()))


def activations() -> dict[str, Call]:
    names = (
        "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu sigmoid"
        " silu softplus softshrink softsign tanh tanhshrink"
    )
    return {
        **elementwise(names, normal, F),
        "gelu, by tanh": (partial(F.gelu, approximate="tanh"), (normal(3, 4),)),
        "glu": (F.glu, (normal(3, 4),)),
        "gumbel_softmax": (F.gumbel_softmax, (normal(3, 4),)),
        "log_softmax": (partial(F.log_softmax, dim=-1), (normal(3, 4),)),
        "prelu": (F.prelu, (normal(3, 4), within(4))),
        "rrelu": (partial(F.rrelu, training=True), (normal(3, 4),)),
        "softmax": (partial(F.softmax, dim=-1), (normal(3, 4),)),
        "softmin": (partial(F.softmin, dim=-1), (normal(3, 4),)),
        "threshold": (partial(F.threshold, threshold=0.2, value=0.1), (normal(3, 4),)),
        "in place": (lambda x: F.relu(F.elu(x * 1, inplace=True) * x, inplace=True), (normal(3, 4),)),
        "hardsigmoid, in place": (lambda x: F.hardsigmoid(x * 1, inplace=True), (normal(3, 4),)),
    }


def losses() -> dict[str, Call]:
    labels, signs, other = torch.tensor([0, 2, 1, 0]), torch.tensor([1, -1, 1, -1.0]).double(), normal(4, 3)
    many = torch.tensor([[0, 2, -1], [1, -1, -1], [2, 0, 1], [0, -1, -1]])
    bits, x = (torch.rand(4, 3) > 0.5).double(), (normal(4, 3),)
    ctc = partial(
        F.ctc_loss, targets=torch.tensor([[1, 2]]), input_lengths=torch.tensor([5]), target_lengths=torch.tensor([2])
    )
    return {
        "gaussian_nll_loss": (F.gaussian_nll_loss, (*x, normal(4, 3), positive(4, 3))),
        "binary_cross_entropy": (F.binary_cross_entropy, (within(4, 3), within(4, 3))),
        "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, (*x, within(4, 3))),
        "binary_cross_entropy_with_logits, weighted": (
            lambda a: F.binary_cross_entropy_with_logits(a, bits, pos_weight=other[0].abs()),
            x,
        ),
        "cosine_embedding_loss": (lambda a, b: F.cosine_embedding_loss(a, b, signs, 0.1), (normal(4, 3), normal(4, 3))),
        "cross_entropy": (lambda a: F.cross_entropy(a, labels, weight=other[0].abs(), label_smoothing=0.1), x),
        "cross_entropy, soft": (lambda a, t: F.cross_entropy(a, t), (*x, distribution())),
        "ctc_loss": (lambda a: ctc(a.log_softmax(-1)), (normal(5, 1, 4),)),
        "hinge_embedding_loss": (lambda a: F.hinge_embedding_loss(a, signs, 5.0), (normal(4),)),
        "huber_loss": (lambda a, b: F.huber_loss(a, b, delta=0.7), (*x, normal(4, 3))),
        "kl_div": (lambda a, t: F.kl_div(a.log_softmax(-1), t, reduction="batchmean"), (*x, distribution())),
        "kl_div, logarithms": (lambda a, t: F.kl_div(a, t, log_target=True, reduction="sum"), (*x, normal(4, 3))),
        "l1_loss": (F.l1_loss, (*x, normal(4, 3))),
        "margin_ranking_loss": (lambda a, b: F.margin_ranking_loss(a, b, signs, 0.5), (normal(4), normal(4))),
        "mse_loss": (F.mse_loss, (*x, normal(4, 3))),
        "multi_margin_loss": (lambda a: F.multi_margin_loss(a, labels, margin=0.7), x),
        "multi_margin_loss, squared": (
            lambda a: F.multi_margin_loss(a, labels, p=2, weight=other[0].abs(), reduction="none"),
            x,
        ),
        "multi_margin_loss, averaged": (lambda a: F.multi_margin_loss(a, labels, size_average=True), x),
        "multilabel_margin_loss": (lambda a: F.multilabel_margin_loss(a, many), x),
        "multilabel_soft_margin_loss": (lambda a: F.multilabel_soft_margin_loss(a, bits), x),
        "nll_loss": (lambda a: F.nll_loss(a.log_softmax(-1), labels), x),
        "poisson_nll_loss": (lambda a, t: F.poisson_nll_loss(a, t, full=True), (*x, above_one(4, 3))),
        "smooth_l1_loss": (lambda a, b: F.smooth_l1_loss(a, b, beta=0.6), (*x, normal(4, 3))),
        "soft_margin_loss": (lambda a: F.soft_margin_loss(a, bits * 2 - 1), x),
        "triplet_margin_loss": (F.triplet_margin_loss, (normal(4, 3), normal(4, 3), normal(4, 3))),
        "triplet_margin_with_distance_loss": (
            F.triplet_margin_with_distance_loss,
            (normal(4, 3), normal(4, 3), normal(4, 3)),
        ),
    }


def distances() -> dict[str, Call]:
    pair = normal(3, 4), normal(5, 4)
    return {
        "cdist": (torch.cdist, pair),
        "cdist, batched": (torch.cdist, (normal(2, 3, 4), normal(1, 5, 4))),
        "cdist, by differences": (
            partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist"),
            (normal(27, 2), normal(2, 2)),
        ),
        "cdist, by products": (partial(torch.cdist, compute_mode="use_mm_for_euclid_dist"), pair),
        "cdist, many": (torch.cdist, (normal(26, 2), normal(2, 2))),
        "cdist, p=1": (partial(torch.cdist, p=1.0), pair),
        "cdist, p=3": (partial(torch.cdist, p=3.0), pair),
        "cdist, p=inf": (partial(torch.cdist, p=float("inf")), pair),
        "cdist, to itself": (lambda x: torch.cdist(x, x), (normal(4, 3),)),
        "cosine_similarity": (F.cosine_similarity, (normal(4, 3), normal(4, 3))),
        "dist": (torch.dist, (normal(4), normal(4))),
        "normalize": (F.normalize, (normal(4, 3),)),
        "pairwise_distance": (F.pairwise_distance, (normal(4, 3), normal(4, 3))),
        "pdist": (F.pdist, (normal(4, 3),)),
        "pdist, p=1": (partial(F.pdist, p=1.0), (normal(4, 3),)),
        "pdist, p=3": (partial(F.pdist, p=3.0), (normal(4, 3),)),
        "renorm": (lambda x: torch.renorm(x, 2, 0, 0.5), (normal(4, 3),)),
    }


def layers() -> dict[str, Call]:
    words, image = torch.tensor([[0, 1], [1, 3]]), normal(2, 4, 5, 5)
    grid = torch.rand(1, 3, 3, 2, dtype=torch.float64) * 1.6 - 0.8
    bags, offsets, gaps = torch.tensor([0, 2, 1, 3, 3]), torch.tensor([0, 2]), torch.tensor([0, 2, 2, 5])
    row, kept = normal(1, 4, 5), torch.tensor([1.0, 1, 1, 0]).double()[:, None]
    return {
        "affine_grid": (lambda t: F.affine_grid(t, [1, 1, 3, 3], align_corners=False), (normal(1, 2, 3),)),
        "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (image, normal(4), normal(4))),
        "batch_norm, of running statistics": (
            lambda x, m, v: F.batch_norm(x, torch.zeros(4).double(), torch.ones(4).double(), m, v, False),
            (image, normal(4), normal(4)),
        ),
        "bilinear": (F.bilinear, (normal(3, 2), normal(3, 4), normal(2, 2, 4), normal(2))),
        "conv1d": (F.conv1d, (row, normal(2, 4, 3), normal(2))),
        "conv2d": (partial(F.conv2d, stride=2, padding=1), (image, normal(2, 4, 3, 3), normal(2))),
        "conv2d, grouped": (partial(F.conv2d, groups=2, dilation=2), (image, normal(2, 2, 2, 2), normal(2))),
        "conv3d": (F.conv3d, (normal(1, 2, 3, 3, 3), normal(2, 2, 2, 2, 2))),
        "conv_tbc": (torch.conv_tbc, (normal(5, 2, 3), normal(2, 3, 2), normal(2))),
        "conv_transpose1d": (F.conv_transpose1d, (row, normal(4, 2, 3), normal(2))),
        "conv_transpose2d": (partial(F.conv_transpose2d, stride=2), (image, normal(4, 2, 2, 2), normal(2))),
        "conv_transpose3d": (F.conv_transpose3d, (normal(1, 2, 2, 2, 2), normal(2, 2, 2, 2, 2))),
        "dropout": (F.dropout, (normal(3, 4),)),
        "channel_shuffle": (partial(F.channel_shuffle, groups=2), (image,)),
        **{
            f"dropout, {kind}": (partial(getattr(F, kind), training=True), (x,))
            for kind, x in {
                "dropout1d": row,
                "dropout2d": image,
                "dropout3d": normal(1, 2, 2, 2, 2),
                "feature_alpha_dropout": image,
            }.items()
        },
        "dropout, alpha": (partial(F.alpha_dropout, training=True), (normal(3, 4),)),
        "embedding": (partial(F.embedding, words), (normal(4, 3),)),
        "embedding, padded": (lambda w: F.embedding(words, w * kept, padding_idx=3), (normal(4, 3),)),
        "embedding, scaled": (
            partial(F.embedding, torch.tensor([[0, 0], [0, 1]]), scale_grad_by_freq=True),
            (normal(4, 3),),
        ),
        "embedding, max_norm": (lambda w: F.embedding(words, w * 1, max_norm=0.5), (normal(4, 3),)),
        "embedding, sparse": (partial(F.embedding, words, sparse=True), (normal(4, 3),)),
        "embedding_bag": (partial(F.embedding_bag, words), (normal(4, 3),)),
        "embedding_bag, max": (lambda w: F.embedding_bag(bags, w, offsets, mode="max"), (normal(4, 3),)),
        "embedding_bag, padded": (
            lambda w: F.embedding_bag(bags, w * kept, gaps, include_last_offset=True, padding_idx=3),
            (normal(4, 3),),
        ),
        "embedding_bag, max_norm": (
            lambda w: F.embedding_bag(bags, w * 1, offsets, mode="sum", max_norm=0.5),
            (normal(4, 3),),
        ),
        "embedding_bag, scaled": (
            lambda w: F.embedding_bag(bags, w, offsets, mode="sum", scale_grad_by_freq=True),
            (normal(4, 3),),
        ),
        "embedding_bag, sparse": (
            lambda w: F.embedding_bag(bags, w, offsets, mode="sum", sparse=True),
            (normal(4, 3),),
        ),
        "embedding_bag, sum": (lambda w: F.embedding_bag(bags, w, offsets, mode="sum"), (normal(4, 3),)),
        "embedding_bag, weighted": (
            lambda w, s: F.embedding_bag(bags, w, offsets, mode="sum", per_sample_weights=s),
            (normal(4, 3), normal(5)),
        ),
        "fold": (lambda x: F.fold(x, (3, 3), 2), (normal(1, 4, 4),)),
        "grid_sample": (partial(F.grid_sample, align_corners=False), (normal(1, 2, 4, 4), grid)),
        "grid_sample, bicubic": (
            partial(F.grid_sample, mode="bicubic", padding_mode="border", align_corners=True),
            (normal(1, 2, 4, 4), grid),
        ),
        "grid_sample, 3d": (
            partial(F.grid_sample, align_corners=False),
            (normal(1, 1, 3, 3, 3), within(1, 2, 2, 2, 3)),
        ),
        "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (image, normal(4), normal(4))),
        "instance_norm": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (image, normal(4), normal(4))),
        "layer_norm": (lambda x, w, b: F.layer_norm(x, (5,), w, b), (row, normal(5), normal(5))),
        "layer_norm, shift alone": (lambda x, b: F.layer_norm(x, (5,), None, b), (row, normal(5))),
        "batch_norm, shift alone": (lambda x, b: F.batch_norm(x, None, None, None, b, True), (image, normal(4))),
        "instance_norm, shift alone": (lambda x, b: F.instance_norm(x, bias=b), (image, normal(4))),
        "layer_norm, bare": (lambda x: F.layer_norm(x, (5,)), (row,)),
        "linear": (F.linear, (normal(3, 4), normal(2, 4), normal(2))),
        "local_response_norm": (partial(F.local_response_norm, size=3), (image,)),
        "pad, circular": (lambda x: F.pad(x, (1, 2), "circular"), (row,)),
        "pad, reflect": (lambda x: F.pad(x, (1, 2), "reflect"), (row,)),
        "pad, replicate": (lambda x: F.pad(x, (1, 2), "replicate"), (row,)),
        "pixel_shuffle": (partial(F.pixel_shuffle, upscale_factor=2), (image,)),
        "pixel_unshuffle": (partial(F.pixel_unshuffle, downscale_factor=2), (normal(1, 2, 4, 4),)),
        "rms_norm": (lambda x, w: F.rms_norm(x, (5,), w), (row, normal(5))),
        "scaled_dot_product_attention": (
            partial(F.scaled_dot_product_attention, is_causal=True),
            (normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4)),
        ),
        "unfold": (lambda x: F.unfold(x, 2), (image,)),
        "weight_norm, of rows": (lambda v, g: torch._weight_norm(v, g, 0), (normal(4, 3, 2), normal(4, 1, 1))),
        "weight_norm, of columns": (lambda v, g: torch._weight_norm(v, g, 1), (normal(4, 3), normal(1, 3))),
        "weight_norm, of numbers": (lambda v, g: torch._weight_norm(v, g, 0), (normal(4), normal(4))),
        "weight_norm, within": (lambda v, g: torch._weight_norm(v, g, 1), (normal(4, 3, 2), normal(1, 3, 1))),
        "weight_norm, of the whole": (lambda v, g: torch._weight_norm(v, g, -1), (normal(4, 3), normal(1))),
    }


def first(found: tuple[Tensor, ...]) -> Tensor:
    return found[0]


def pools() -> dict[str, Call]:
    image, row, cube = normal(1, 2, 6, 6), normal(1, 2, 6), normal(1, 2, 4, 4, 4)
    drawn, thrice = torch.rand(1, 2, 2, dtype=torch.float64), torch.rand(1, 2, 3, dtype=torch.float64)

    def unpooled(dimensions: int, x: Tensor) -> Tensor:
        found, places = getattr(F, f"max_pool{dimensions}d")(x, 2, return_indices=True)
        return getattr(F, f"max_unpool{dimensions}d")(found, places, 2)

    return {
        "adaptive_avg_pool1d": (partial(F.adaptive_avg_pool1d, output_size=4), (row,)),
        "adaptive_avg_pool2d": (partial(F.adaptive_avg_pool2d, output_size=4), (image,)),
        "adaptive_avg_pool3d": (partial(F.adaptive_avg_pool3d, output_size=3), (cube,)),
        "adaptive_max_pool1d": (partial(F.adaptive_max_pool1d, output_size=4), (row,)),
        "adaptive_max_pool2d": (partial(F.adaptive_max_pool2d, output_size=4), (image,)),
        "adaptive_max_pool3d": (partial(F.adaptive_max_pool3d, output_size=3), (cube,)),
        "avg_pool1d": (partial(F.avg_pool1d, kernel_size=3), (row,)),
        "avg_pool2d": (partial(F.avg_pool2d, kernel_size=3, stride=2, padding=1), (image,)),
        "avg_pool3d": (partial(F.avg_pool3d, kernel_size=2), (cube,)),
        "fractional_max_pool2d": (
            partial(F.fractional_max_pool2d, kernel_size=2, output_size=3, _random_samples=drawn),
            (image,),
        ),
        "fractional_max_pool3d": (
            partial(F.fractional_max_pool3d, kernel_size=2, output_size=2, _random_samples=thrice),
            (cube,),
        ),
        "lp_pool3d": (lambda x: F.lp_pool3d(x, 3, 2), (positive(1, 2, 4, 4, 4),)),
        "lp_pool1d": (lambda x: F.lp_pool1d(x, 3, 2), (positive(1, 2, 6),)),
        "lp_pool2d": (lambda x: F.lp_pool2d(x, 3, 2), (positive(1, 2, 4, 4),)),
        "max_pool1d": (partial(F.max_pool1d, kernel_size=2), (row,)),
        "max_pool2d": (partial(F.max_pool2d, kernel_size=3, stride=2, padding=1), (image,)),
        "max_pool3d": (partial(F.max_pool3d, kernel_size=2), (cube,)),
        "max_unpool1d": (partial(unpooled, 1), (row,)),
        "max_unpool2d": (partial(unpooled, 2), (image,)),
        "max_unpool3d": (partial(unpooled, 3), (cube,)),
        **{
            f"interpolate, {mode}": (partial(F.interpolate, scale_factor=1.5, mode=mode), (x,))
            for mode, x in {
                "nearest": image,
                "nearest-exact": image,
                "linear": row,
                "bilinear": image,
                "bicubic": image,
                "trilinear": cube,
                "area": image,
            }.items()
        },
        "interpolate, smoothed": (
            lambda x: F.interpolate(x, size=(4, 4), mode="bicubic", antialias=True, align_corners=False),
            (image,),
        ),
    }


def networks() -> dict[str, Call]:
    sequence, state = normal(3, 2, 4), normal(2, 3)
    wide, words = nn.Linear(4, 3).double(), torch.tensor([0, 3, 5])
    options = {"dropout": 0.0, "dim_feedforward": 6, "batch_first": True}
    softmax = nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4], div_value=1.0)
    softmax.forward = partial(softmax.forward, target_=words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated
        old = nn.utils.weight_norm(nn.Conv1d(4, 3, 2), dim=2)

    def normed(name: str, **more: str) -> Call:
        return module(getattr(nn.utils.parametrizations, name)(nn.Linear(4, 3).double(), **more), normal(5, 4))

    return {
        "RNN": module(nn.RNN(4, 3), sequence, read=first),
        "RNN, relu": module(nn.RNN(4, 3, nonlinearity="relu"), sequence, read=first),
        "GRU": module(nn.GRU(4, 3, bidirectional=True), sequence, read=first),
        "LSTM": module(nn.LSTM(4, 3, num_layers=2), sequence, read=first),
        "LSTM, projected": module(nn.LSTM(4, 3, proj_size=2), sequence, read=first),
        "RNNCell": module(nn.RNNCell(4, 3), normal(2, 4), state),
        "GRUCell": module(nn.GRUCell(4, 3), normal(2, 4), state),
        "LSTMCell": module(nn.LSTMCell(4, 3), normal(2, 4), read=first),
        "TransformerEncoderLayer": module(nn.TransformerEncoderLayer(4, 2, **options), normal(1, 3, 4)),
        "TransformerDecoderLayer": module(
            nn.TransformerDecoderLayer(4, 2, **options, activation="gelu"), normal(1, 3, 4), normal(1, 2, 4)
        ),
        "MultiheadAttention": module(nn.MultiheadAttention(4, 2), *(normal(3, 2, 4) for _ in "qkv"), read=first),
        "AdaptiveLogSoftmaxWithLoss": module(softmax, normal(3, 4), read=lambda out: out.loss),
        "CrossMapLRN2d": module(nn.CrossMapLRN2d(3), normal(1, 4, 3, 3)),
        "parametrizations.weight_norm": normed("weight_norm"),
        "utils.weight_norm": module(old, normal(1, 4, 3)),
        "parametrizations.spectral_norm": normed("spectral_norm"),
        "orthogonal, by exponential": normed("orthogonal", orthogonal_map="matrix_exp"),
        "orthogonal, by Cayley": normed("orthogonal", orthogonal_map="cayley"),
        "checkpoint": (
            lambda x: checkpoint(lambda t: F.gelu(wide(t)).tanh(), x, use_reentrant=False),
            (normal(5, 4),),
        ),
    }


def pointwise() -> dict[str, Call]:
    real = "abs atan asinh cos cosh deg2rad erf erfc exp exp2 expm1 frac neg sigmoid sin sinc sinh square tanh trunc"
    pairs = "add atan2 copysign fmax fmin hypot logaddexp logaddexp2 maximum minimum mul sub rsub"
    above = "digamma lgamma log log10 log1p log2 reciprocal rsqrt sqrt"
    special = "entr erfcx gammaln i0 i0e i1 i1e log_ndtr ndtr"
    return {
        **elementwise(real, normal),
        **elementwise(above, positive),
        **elementwise("acos asin atanh erfinv logit tan", within),
        **elementwise("acosh", above_one),
        **{f"special.{name}": call for name, call in elementwise(special, positive, torch.special).items()},
        **{name: (getattr(torch, name), (normal(3, 4), normal(3, 4))) for name in pairs.split()},
        "special.ndtri": (torch.special.ndtri, (within(3, 4),)),
        "special.multigammaln": (lambda x: torch.special.multigammaln(x, 2), (above_one(3, 4),)),
        "special.polygamma": (partial(torch.special.polygamma, 1), (positive(3, 4),)),
        "special.xlog1py": (torch.special.xlog1py, (normal(3, 4), positive(3, 4))),
        "addcdiv": (partial(torch.addcdiv, value=0.3), (normal(3, 4), normal(3, 4), positive(3, 4))),
        "addcmul": (partial(torch.addcmul, value=0.3), (normal(3, 4), normal(3, 4), normal(3, 4))),
        "clamp": (lambda x: torch.clamp(x, -0.5, 0.8), (normal(3, 4),)),
        "clamp, by tensors": (torch.clamp, (normal(3, 4), -positive(3, 4), positive(3, 4))),
        "complex": (lambda a, b: (torch.complex(a, b) * torch.complex(b, a)).abs(), (normal(3, 4), normal(3, 4))),
        "polar": (lambda a, b: torch.polar(a, b) ** 2, (positive(3, 4), normal(3, 4))),
        "div": (torch.div, (normal(3, 4), positive(3, 4))),
        "float_power": (torch.float_power, (positive(3, 4), normal(3, 4))),
        "fmod": (torch.fmod, (normal(3, 4), above_one(3, 4))),
        "lerp": (torch.lerp, (normal(3, 4), normal(3, 4), within(3, 4))),
        "nan_to_num": (torch.nan_to_num, (normal(3, 4),)),
        "pow": (torch.pow, (positive(3, 4), normal(3, 4))),
        "pow, a cube": (lambda x: x**3, (normal(3, 4),)),
        "remainder": (torch.remainder, (normal(3, 4), above_one(3, 4))),
        "where": (lambda a, b: torch.where(a > b, a * b, a - b), (normal(3, 4), normal(3, 4))),
        "xlogy": (torch.xlogy, (normal(3, 4), positive(3, 4))),
    }


def reductions() -> dict[str, Call]:
    x = (normal(3, 4),)
    plain = "amax amin cumprod cumsum logcumsumexp logsumexp max mean median min nanmean nansum prod std sum var"
    return {
        **{name: (partial(_along, name), x) for name in plain.split()},
        "aminmax": (lambda x: torch.stack(list(torch.aminmax(x, dim=1))), x),
        "corrcoef": (torch.corrcoef, x),
        "cov": (torch.cov, x),
        "cummax": (lambda x: torch.cummax(x, 1).values, x),
        "cumulative_trapezoid": (torch.cumulative_trapezoid, x),
        "diff": (torch.diff, x),
        "kthvalue": (lambda x: torch.kthvalue(x, 2).values, x),
        "max, of all": (torch.max, x),
        "mean of squares, by norm": (torch.norm, x),
        "prod, with zeros": (lambda x: torch.prod(x * torch.tensor([0.0, 1, 1, 1]).double(), 1), x),
        "prod, of all": (torch.prod, x),
        "quantile": (lambda x: torch.quantile(x, 0.3, 1), x),
        "sort": (lambda x: torch.sort(x, 1).values, x),
        "std_mean": (lambda x: torch.stack(torch.std_mean(x, 1)), x),
        "topk": (lambda x: torch.topk(x, 2, 1).values, x),
        "trapezoid": (torch.trapezoid, x),
        "var_mean": (lambda x: torch.stack(torch.var_mean(x, 1)), x),
        "masked.softmax": (lambda x: torch.masked.softmax(x, 1, mask=torch.eye(3, 4) == 0), x),
    }


def _along(name: str, x: Tensor) -> Tensor:
    found = getattr(torch, name)(x, 1)
    return found if isinstance(found, Tensor) else found.values


def matrices() -> dict[str, Call]:
    a, b, square = normal(4, 3), normal(3, 2), normal(3, 3)
    linalg, tall = torch.linalg, (normal(4, 3),)
    of = {
        "cholesky": lambda a: linalg.cholesky(definite(a)),
        "cholesky, upper": lambda a: linalg.cholesky(definite(a), upper=True),
        "cholesky_ex": lambda a: linalg.cholesky_ex(definite(a)).L,
        "cholesky_inverse": lambda a: torch.cholesky_inverse(linalg.cholesky(definite(a))),
        "cond": linalg.cond,
        "det": linalg.det,
        "eig": lambda a: linalg.eig(a).eigenvectors.abs(),
        "eigh": lambda a: linalg.eigh(symmetric(a)).eigenvectors.abs(),
        "eigvals": lambda a: linalg.eigvals(a).abs(),
        "eigvalsh": lambda a: linalg.eigvalsh(symmetric(a)),
        "inv": linalg.inv,
        "inv_ex": lambda a: linalg.inv_ex(a).inverse,
        "logdet": lambda a: torch.logdet(definite(a)),
        "lu": lambda a: torch.cat(list(linalg.lu(a))[1:]),
        "lu_factor": lambda a: linalg.lu_factor(a).LU,
        "matrix_exp": linalg.matrix_exp,
        "matrix_norm, nuclear": lambda a: linalg.matrix_norm(a, "nuc"),
        "matrix_norm, spectral": lambda a: linalg.matrix_norm(a, 2),
        "matrix_power": lambda a: linalg.matrix_power(a, -3),
        "pinv, hermitian": lambda a: linalg.pinv(definite(a), hermitian=True),
        "slogdet": lambda a: linalg.slogdet(a).logabsdet,
        "trace": torch.trace,
        "tril": torch.tril,
    }
    return {
        **{name: (call, (square,)) for name, call in of.items()},
        "addmm": (partial(torch.addmm, alpha=0.5), (normal(4, 2), a, b)),
        "baddbmm": (torch.baddbmm, (normal(2, 4, 2), normal(2, 4, 3), normal(2, 3, 2))),
        "bmm": (torch.bmm, (normal(2, 4, 3), normal(2, 3, 2))),
        "cross": (linalg.cross, (normal(4, 3), normal(4, 3))),
        "dot": (torch.dot, (normal(3), normal(3))),
        "einsum": (partial(torch.einsum, "ij,jk,lk->il"), (a, b, normal(5, 2))),
        "householder_product": (linalg.householder_product, (a, positive(3))),
        "kron": (torch.kron, (a, b)),
        "lobpcg": (lambda a: torch.lobpcg(definite(a), k=1, niter=200, tol=1e-14)[0], (normal(6, 6),)),
        "lstsq": (lambda a, b: linalg.lstsq(a, b).solution, (a, normal(4, 2))),
        "matmul": (torch.matmul, (normal(2, 4, 3), b)),
        "matrix_norm": (linalg.matrix_norm, tall),
        "multi_dot": (lambda *m: linalg.multi_dot(m), (a, b, normal(2, 5))),
        "outer": (torch.outer, (normal(3), normal(4))),
        "pinv": (linalg.pinv, tall),
        "qr": (lambda a: torch.cat(list(linalg.qr(a))), tall),
        "solve": (linalg.solve, (square, b)),
        "solve, by Cholesky": (lambda a, b: torch.cholesky_solve(b, linalg.cholesky(definite(a))), (square, b)),
        "solve, by LU": (lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b), (square, b)),
        "solve_triangular": (lambda a, b: linalg.solve_triangular(a.triu(), b, upper=True), (square, b)),
        "svd": (lambda a: torch.cat([s.abs() for s in linalg.svd(a, full_matrices=False)[::2]]), tall),
        "svdvals": (linalg.svdvals, tall),
        "svd_lowrank": (lambda a: torch.svd_lowrank(a, 2)[1], tall),
        "tensordot": (torch.tensordot, (normal(3, 4), normal(3, 4))),
        "tensorinv": (partial(linalg.tensorinv, ind=1), (normal(4, 2, 2),)),
        "tensorsolve": (linalg.tensorsolve, (normal(2, 2, 4), normal(2, 2))),
        "vander": (linalg.vander, (normal(4),)),
        "vecdot": (linalg.vecdot, (normal(3, 4), normal(3, 4))),
        "vector_norm": (linalg.vector_norm, tall),
        "vector_norm, 3": (lambda a: linalg.vector_norm(a, 3, 1), tall),
        "vector_norm, infinite": (lambda a: linalg.vector_norm(a, float("inf"), 1), tall),
        "sparse.mm": (lambda a: torch.sparse.mm(torch.eye(4).double().to_sparse(), a), tall),
    }


def indexing() -> dict[str, Call]:
    x, y, rows = normal(3, 4), normal(2, 4), torch.tensor([0, 2])
    places = torch.tensor([[0, 1, 0, 1], [2, 2, 1, 0]])
    mask, lengths = torch.eye(3, 4) > 0, torch.tensor([1, 2])
    reduced = ("sum", "prod", "mean", "amax", "amin")
    return {
        "as_strided": (lambda x: torch.as_strided(x * 1, (2, 2), (1, 2)), (x,)),
        "as_strided_scatter": (lambda x, y: torch.as_strided_scatter(x, y, (2, 2), (1, 2), 1), (x, normal(2, 2))),
        "cat": (lambda x, y: torch.cat([x, y]), (x, y)),
        "diag_embed": (torch.diag_embed, (x,)),
        "diagonal_scatter": (torch.diagonal_scatter, (x, normal(3))),
        "flip": (lambda x: torch.flip(x, [1]), (x,)),
        "gather": (lambda x: torch.gather(x, 0, places), (x,)),
        "getitem": (lambda x: x[rows[:, None], places[:, :3]], (x,)),
        "index_add": (lambda x, y: torch.index_add(x, 0, rows, y, alpha=0.5), (x, y)),
        "index_copy": (lambda x, y: torch.index_copy(x, 0, rows, y), (x, y)),
        "index_fill": (lambda x, y: torch.index_fill(x, 0, rows, y), (x, normal())),
        "index_put": (lambda x, y: torch.index_put(x, (rows,), y, accumulate=True), (x, y)),
        "index_select": (lambda x: torch.index_select(x, 0, torch.tensor([0, 0, 1])), (x,)),
        "masked_fill": (lambda x, y: torch.masked_fill(x, mask, y), (x, normal())),
        "masked_scatter": (lambda x, y: torch.masked_scatter(x, mask, y), (x, normal(4))),
        "masked_select": (lambda x: torch.masked_select(x, mask), (x,)),
        "permute": (lambda x: torch.permute(x, (1, 0)), (x,)),
        "put": (lambda x, y: torch.put(x, torch.tensor([3, 5]), y), (x, normal(2))),
        "repeat": (lambda x: x.repeat(2, 1), (x,)),
        "repeat_interleave": (lambda x: torch.repeat_interleave(x, 2, 1), (x,)),
        "roll": (lambda x: torch.roll(x, 1, 1), (x,)),
        "scatter": (lambda x, y: torch.scatter(x, 0, places, y), (x, y)),
        "scatter_add": (lambda x, y: torch.scatter_add(x, 0, places, y), (x, y)),
        **{
            f"scatter_reduce, {kind}": (lambda x, y, kind=kind: torch.scatter_reduce(x, 0, places, y, kind), (x, y))
            for kind in reduced
        },
        **{
            f"index_reduce, {kind}": (lambda x, y, kind=kind: torch.index_reduce(x, 0, rows, y, kind), (x, y))
            for kind in reduced[1:]
        },
        **{
            f"segment_reduce, {kind}": (lambda y, kind=kind: torch.segment_reduce(y, kind, lengths=lengths), (x,))
            for kind in ("sum", "mean", "max")
        },
        "select_scatter": (lambda x, y: torch.select_scatter(x, y, 0, 1), (x, normal(4))),
        "slice_scatter": (lambda x, y: torch.slice_scatter(x, y, 0, 0, 2), (x, y)),
        "stack": (lambda x: torch.stack([x, x * x]), (x,)),
        "take": (lambda x: torch.take(x, places), (x,)),
        "take_along_dim": (lambda x: torch.take_along_dim(x, places, 0), (x,)),
        "unfold, of a tensor": (lambda x: x.unfold(1, 2, 1), (x,)),
        "written in place": (_written, (x, y)),
    }


def _written(x: Tensor, y: Tensor) -> Tensor:
    out = x * 1
    out[:2] = y * x[1:]
    return out.mul_(x).add_(1).cumsum_(0)


def fourier() -> dict[str, Call]:
    x, fft = normal(3, 4), torch.fft

    def real(name: str) -> Call:
        return lambda x: torch.view_as_real(getattr(fft, name)(x).resolve_conj()), (x,)

    window = torch.hann_window(4, dtype=torch.float64)
    return {
        **{name: real(name) for name in ["fft", "fft2", "fftn", "ifft", "ihfft", "rfft", "rfft2", "rfftn"]},
        **elementwise("hfft irfft irfft2 irfftn", normal, fft),
        "istft": (lambda x: torch.istft(torch.stft(x, 4, window=window, return_complex=True), 4, window=window), (x,)),
        "stft": (lambda x: torch.stft(x, 4, window=window, return_complex=True).abs(), (x,)),
    }


def draws() -> dict[str, Call]:
    """Samples as functions of a distribution's parameters, for one state of the generator."""
    made = torch.distributions
    loc, scale = normal(4), positive(4)
    located = "Cauchy Gumbel Laplace LogNormal Normal"
    return {
        **{name: (partial(_drawn, name), (loc, scale)) for name in located.split()},
        "Beta": (lambda a, b: made.Beta(a, b).rsample(), (scale, positive(4))),
        "Dirichlet": (lambda a: made.Dirichlet(a).rsample(), (scale,)),
        "Exponential": (lambda a: made.Exponential(a).rsample(), (scale,)),
        "Gamma, of a rate": (lambda b: made.Gamma(torch.full_like(b, 2), b).rsample(), (scale,)),
        "Gamma, of a shape": (lambda a: made.Gamma(a, 1.0).rsample(), (scale,)),
        "Kumaraswamy": (lambda a, b: made.Kumaraswamy(a, b).rsample(), (scale, positive(4))),
        "MultivariateNormal": (
            lambda m, a: made.MultivariateNormal(m, scale_tril=torch.linalg.cholesky(definite(a))).rsample(),
            (normal(3), normal(3, 3)),
        ),
        "RelaxedOneHotCategorical": (lambda a: made.RelaxedOneHotCategorical(0.7, logits=a).rsample(), (loc,)),
        "StudentT, of a scale": (lambda b: made.StudentT(3.0, 0.0, b).rsample(), (scale,)),
        "Weibull": (lambda a, b: made.Weibull(a, b).rsample(), (scale, positive(4))),
        "log_prob, Beta": (lambda a, b: made.Beta(a, b).log_prob(torch.tensor(0.3).double()), (scale, positive(4))),
        "log_prob, Normal": (lambda a, b: made.Normal(a, b).log_prob(torch.tensor(0.3).double()), (loc, scale)),
        "log_prob, StudentT": (lambda a: made.StudentT(a).log_prob(torch.tensor(0.3).double()), (above_one(4),)),
        "kl_divergence": (
            lambda a, b: made.kl_divergence(made.Gamma(a, b), made.Gamma(b, a)),
            (scale, positive(4)),
        ),
        "entropy": (lambda a: made.Categorical(logits=a).entropy(), (loc,)),
    }


def _drawn(name: str, loc: Tensor, scale: Tensor) -> Tensor:
    return getattr(torch.distributions, name)(loc, scale).rsample()


def fused() -> dict[str, Call]:
    """Functions that only some versions of torch have."""
    words = torch.tensor([0, 2, 1, 0])
    if not hasattr(F, "linear_cross_entropy"):
        return {}
    chunks = nn.LinearCrossEntropyOptions(chunking_method="auto", batch_chunk_size=2, allow_retain_graph=True)
    return {
        "linear_cross_entropy": (lambda x, w: F.linear_cross_entropy(x, w, words), (normal(4, 3), normal(3, 3))),
        "linear_cross_entropy, in chunks": (
            lambda x, w: F.linear_cross_entropy(x, w, words, options=chunks),
            (normal(4, 3), normal(3, 3)),
        ),
    }


def every() -> dict[str, Call]:
    """All calls by name; the same at every import, and without a draw from the global generator."""
    families = (
        activations,
        losses,
        distances,
        layers,
        pools,
        networks,
        pointwise,
        reductions,
        matrices,
        indexing,
        fourier,
        draws,
        fused,
    )
    made = {}
    for family in families:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # so that one family's calls do not depend on another's
            made |= {f"{family.__name__}: {name}": call for name, call in family().items()}
    return made


EVERY = every()
